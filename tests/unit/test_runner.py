"""The runner alone: one manifest in, one result out."""

import ast
import functools
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlport import bundle, mlport_runner

RUNNER = Path(mlport_runner.__file__)
Json = dict[str, Any]


class Bench:
    """A folder to run manifests in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self, program: str | list[str], **fields: Any) -> Json:
        entrypoint = ["python", "-c", program] if isinstance(program, str) else program
        return {
            "version": 1,
            "job": "delays-1",
            "name": "delays",
            "workdir": str(self.folder / "work"),
            "entrypoint": entrypoint,
            "outputs": {"model": {"path": str(self.folder / "model")}},
            "checkpoint": {"path": str(self.folder / "checkpoint")},
            "metrics": str(self.folder / "metrics.jsonl"),
            "result": str(self.folder / "result.json"),
            **fields,
        }

    def start(self, manifest: Json, **env: str) -> "subprocess.Popen[str]":
        path = self.folder / "manifest.json"
        path.write_text(json.dumps(manifest))
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen([sys.executable, str(RUNNER), str(path)], env={**os.environ, **env}, stdout=log, stderr=log, text=True)

    def run(self, program: str | list[str], **fields: Any) -> Json:
        """The result, with the runner's exit status as `status`."""
        status = self.start(self.manifest(program, **fields)).wait(60)
        return {**json.loads((self.folder / "result.json").read_text()), "status": status}

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    """Write a tar.gz of these members; the digest of the uncompressed tar."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    import gzip

    path.write_bytes(gzip.compress(plain.getvalue()))
    return hashlib.sha256(plain.getvalue()).hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    return info


# ---------------------------------------------------------------- the contract


def test_it_is_one_file_of_the_standard_library_that_python_3_8_can_read() -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_the_program_sees_its_job(bench: Bench) -> None:
    program = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), {k: v for k, v in os.environ.items() if k.startswith('MLPORT_') and not k.startswith('MLPORT_SUITE')}]))"
    (bench.folder / "flights.csv").write_text("a\n1\n")
    result = bench.run(
        program,
        params={"depth": 6, "fast": True, "rate": 0.5},
        inputs={"flights": {"uri": str(bench.folder / "flights.csv")}},
        env={"MLPORT_X": "y"},
    )
    arguments, folder, variables = json.loads(bench.log)
    assert result["state"] == "SUCCEEDED"
    assert result["status"] == 0
    assert arguments == ["--depth", "6", "--fast", "true", "--rate", "0.5"]
    assert folder == str(bench.folder / "work")
    assert variables == {
        "MLPORT_JOB_ID": "delays-1",
        "MLPORT_PARAMS": '{"depth": 6, "fast": true, "rate": 0.5}',
        "MLPORT_INPUT_FLIGHTS": str(bench.folder / "flights.csv"),
        "MLPORT_OUTPUT_MODEL": str(bench.folder / "model"),
        "MLPORT_CHECKPOINT_DIR": str(bench.folder / "checkpoint"),
        "MLPORT_METRICS": str(bench.folder / "metrics.jsonl"),
        "MLPORT_NUM_NODES": "1",
        "MLPORT_NODE_RANK": "0",
        "MLPORT_MAIN_ADDRESS": "127.0.0.1",
        "MLPORT_MAIN_PORT": "29500",
        "MLPORT_X": "y",
    }


def test_python_is_the_jobs_own_also_for_a_shell_script(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "command -v python"])
    assert Path(bench.log.strip()).parent == Path(sys.executable).parent
    assert result["resolved"] == {"python": ".".join(map(str, sys.version_info[:3])), "executable": sys.executable}


def test_the_manifest_may_come_inline(bench: Bench) -> None:
    manifest = bench.manifest("pass")
    assert (
        subprocess.run([sys.executable, str(RUNNER)], env={**os.environ, "MLPORT_MANIFEST": json.dumps(manifest)}, check=False).returncode
        == 0
    )


def test_metrics_are_the_last_of_each_and_bad_lines_are_counted(bench: Bench) -> None:
    lines = [
        '{"name": "loss", "value": 2, "step": 1}',
        '{"name": "loss", "value": 1.5, "step": 2}',
        '{"auc": 0.7, "f1": 0.5}',
        "not json",
        '{"loss": NaN}',
        '{"name": "x", "value": "y"}',
        "",
    ]
    program = f"import os; open(os.environ['MLPORT_METRICS'], 'w').write({chr(10).join(lines)!r})"
    result = bench.run(program)
    assert result["metrics"] == {"loss": 1.5, "auc": 0.7, "f1": 0.5}
    assert result["state"] == "SUCCEEDED"
    assert result["warnings"] == [
        f"3 of the lines in {bench.folder / 'metrics.jsonl'} are not metrics and were left out; the first is line 4"
    ]


def test_an_outputs_digest_is_the_cores(bench: Bench) -> None:
    program = "import os; d = os.environ['MLPORT_OUTPUT_MODEL']; os.makedirs(d + '/a'); open(d + '/a/b', 'w').write('12'); open(d + '/a.c', 'w').write('345')"
    result = bench.run(program)
    assert result["outputs"]["model"] == {
        "uri": str(bench.folder / "model"),
        "digest": bundle.tree_digest(bench.folder / "model"),
        "bytes": 5,
        "files": 2,
    }


def test_usage_is_that_of_the_children(bench: Bench) -> None:
    usage = bench.run("x = b'x' * 60_000_000\nfor i in range(3_000_000): pass")["usage"]
    assert usage["wall_seconds"] >= usage["cpu_seconds"] * 0.5 > 0.01
    assert usage["max_rss_bytes"] > 60_000_000


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("program", "cause", "reason"),
    [
        ("raise SystemExit(3)", "exit", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "out of memory", "killed by SIGKILL (out of memory?)"),
        ("import os; os.kill(os.getpid(), 6)", "exit", "killed by SIGABRT"),
    ],
)
def test_how_a_program_fails_is_told(bench: Bench, program: str, cause: str, reason: str) -> None:
    result = bench.run(program)
    assert (result["state"], result["cause"], result["reason"], result["status"]) == ("FAILED", cause, reason, 1)


@pytest.mark.parametrize("entrypoint", [["trian"], ["python", "trian.py"], ["./trian.py"]])
def test_an_absent_entrypoint_is_named_with_what_is_there(bench: Bench, entrypoint: list[str]) -> None:
    result = bench.run(entrypoint, files={"train.py": ""})
    assert result["reason"] == f"entrypoint: {entrypoint[-1]!r} does not exist; the working directory holds: train.py"
    assert result["exit_code"] is None


def test_a_script_that_is_not_executable_is_told(bench: Bench) -> None:
    assert "'./run.sh' is not executable (chmod +x)" in bench.run(["./run.sh"], files={"run.sh": "#!/bin/sh\n"})["reason"]


def test_a_changed_input_stops_before_the_program(bench: Bench) -> None:
    data = bench.folder / "flights.csv"
    data.write_text("new")
    fact = {"uri": data.as_uri(), "kind": "sha256", "digest": hashlib.sha256(b"old").hexdigest(), "bytes": 3}
    result = bench.run("open('ran', 'w')", inputs={"flights": fact})
    assert result["cause"] == "input changed"
    assert result["reason"].startswith(
        f"input 'flights' changed since the plan was made: expected {fact['digest']} found {hashlib.sha256(b'new').hexdigest()}"
    )
    assert not (bench.folder / "work" / "ran").exists()


def test_a_folder_is_verified_by_its_tree_digest(bench: Bench) -> None:
    (bench.folder / "data").mkdir()
    (bench.folder / "data" / "x").write_text("1")
    fact = {"uri": str(bench.folder / "data"), "kind": "sha256", "digest": bundle.tree_digest(bench.folder / "data")}
    assert bench.run("pass", inputs={"flights": fact})["state"] == "SUCCEEDED"


def test_a_missing_input_is_named(bench: Bench) -> None:
    assert bench.run("pass", inputs={"flights": {"uri": "/nowhere/x"}})["reason"] == "input 'flights': /nowhere/x does not exist"


def test_a_link_in_an_output_is_refused(bench: Bench) -> None:
    result = bench.run("import os; os.symlink('/etc/passwd', os.environ['MLPORT_OUTPUT_MODEL'] + '/x')")
    assert result["state"] == "FAILED"
    assert "is a symbolic link" in result["reason"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"version": 2}, "version: got 2"),
        ({"entrypoint": []}, "entrypoint: is empty"),
        ({"entrypoint": ["x", 1]}, "entrypoint: must hold texts"),
        ({"entrypont": ["x"]}, "entrypont: unknown field"),
        ({"inputs": {"a": {"path": "x"}}}, "inputs.a.uri: a text is required"),
        ({"env": {"A": 1}}, "env.A: must be a text"),
        ({"timeout": "1h"}, "timeout: got '1h'"),
    ],
)
def test_a_wrong_manifest_is_refused_by_field(bench: Bench, fields: Json, told: str) -> None:
    result = bench.run("pass", **fields)
    assert (result["state"], result["status"]) == ("FAILED", 1)
    assert told in result["reason"]


def test_a_missing_field_is_named(bench: Bench) -> None:
    manifest = bench.manifest("pass")
    del manifest["workdir"]
    assert bench.start(manifest).wait(20) == 1
    assert "workdir: is required" in bench.log


# ---------------------------------------------------------------- the end


def test_a_timeout_ends_the_whole_group(bench: Bench) -> None:
    program = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); open('pid', 'w').write(str(p.pid)); time.sleep(600)"
    result = bench.run(program, timeout=0.5, grace=5)
    assert (result["state"], result["cause"], result["reason"]) == ("FAILED", "timeout", "timed out after 0.5 s")
    assert not is_running(int((bench.folder / "work" / "pid").read_text()))


def test_sigterm_reaches_the_program_which_may_finish(bench: Bench) -> None:
    program = "import signal, sys, time\ndef end(*_): open('saved', 'w'); sys.exit(0)\nsignal.signal(15, end); open('ready', 'w'); time.sleep(600)"
    runner = bench.start(bench.manifest(program))
    wait_for((bench.folder / "work" / "ready").exists)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(20) == 143
    result = json.loads((bench.folder / "result.json").read_text())
    assert (result["state"], result["reason"]) == ("CANCELLED", "stopped by SIGTERM")
    assert (bench.folder / "work" / "saved").exists()


def test_who_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
    runner = bench.start(bench.manifest(program, grace=0.2))
    wait_for((bench.folder / "work" / "ready").exists)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(20) == 143
    assert "it did not stop at SIGTERM and was killed" in json.loads((bench.folder / "result.json").read_text())["reason"]


def test_children_left_behind_in_the_group_are_killed(bench: Bench) -> None:
    bench.run("import subprocess; open('pid', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))")
    pid = int((bench.folder / "work" / "pid").read_text())
    wait_for(lambda: not is_running(pid))


def test_sigterm_during_the_installation_ends_it(bench: Bench) -> None:
    installer = ["sh", "-c", "touch $0.ready; sleep 600", str(bench.folder / "x")]
    runner = bench.start(bench.manifest("pass", requirements=["nothing"], installer=installer))
    wait_for((bench.folder / "x.ready").exists)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(20) == 143
    assert json.loads((bench.folder / "result.json").read_text())["state"] == "CANCELLED"


def test_a_failing_installation_is_told(bench: Bench) -> None:
    result = bench.run("pass", requirements=["nothing"], installer=["sh", "-c", "exit 7"])
    assert (result["cause"], result["reason"]) == ("environment", "the requirements could not be installed (exit code 7); the log says why")


# ---------------------------------------------------------------- the source


def test_the_bundle_of_the_core_is_unpacked_and_verified(bench: Bench) -> None:
    source = bench.folder / "source"
    (source / "package").mkdir(parents=True)
    (source / "train.py").write_text("import package.part")
    (source / "package" / "part.py").write_text("print('here')")
    packed = bundle.pack(source, bench.folder)
    assert bench.run(["python", "train.py"], source=str(packed.path), source_digest=packed.digest)["state"] == "SUCCEEDED"
    assert bench.log == "here\n"


def test_another_bundle_is_refused(bench: Bench) -> None:
    pack(bench.folder / "b.tar.gz", (member("train.py"), b""))
    result = bench.run(["python", "train.py"], source=str(bench.folder / "b.tar.gz"), source_digest="0" * 64)
    assert "is not the one planned" in result["reason"]
    assert not list((bench.folder / "work").iterdir())


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("a/../../evil")],
        [member("/evil")],
        [member("link", tarfile.SYMTYPE, "/etc/passwd")],
        [member("a/link", tarfile.SYMTYPE, "../../evil")],
        [member("hard", tarfile.LNKTYPE, "../evil")],
        [member("d", tarfile.SYMTYPE, "a"), member("d/x")],
        [member("d", tarfile.SYMTYPE, "a"), member("e", tarfile.SYMTYPE, "d/../..")],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("null", tarfile.CHRTYPE)],
    ],
    ids=lambda members: members[-1].name,
)
@pytest.mark.parametrize("filtered", [True, False])
def test_a_bundle_that_would_leave_its_folder_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], filtered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter")
    pack(tmp_path / "b.tar.gz", *((info, b"") for info in members))
    with pytest.raises(mlport_runner.RefusedError, match="in the bundle"):
        mlport_runner.unpack(str(tmp_path / "b.tar.gz"), str(tmp_path / "inside"), None)
    assert [path.name for path in tmp_path.iterdir() if path.name != "inside"] == ["b.tar.gz"]


def test_a_link_inside_the_bundle_is_kept(tmp_path: Path) -> None:
    pack(tmp_path / "b.tar.gz", (member("a/x"), b"1"), (member("a/y", tarfile.SYMTYPE, "x"), b""))
    mlport_runner.unpack(str(tmp_path / "b.tar.gz"), str(tmp_path / "in"), None)
    assert (tmp_path / "in/a/y").read_text() == "1"


def test_a_torn_bundle_is_told(bench: Bench) -> None:
    pack(bench.folder / "b.tar.gz", (member("x"), os.urandom(5000)))
    torn = bench.folder / "b.tar.gz"
    torn.write_bytes(torn.read_bytes()[:2000])
    assert "cannot be unpacked" in bench.run("pass", source=str(torn))["reason"]


def test_a_file_that_leaves_the_folder_is_refused(bench: Bench) -> None:
    assert "'../evil' leaves the working directory" in bench.run("pass", files={"../evil": "x"})["reason"]


# ---------------------------------------------------------------- other addresses


class Tagging(http.server.SimpleHTTPRequestHandler):
    """Says of every file that it is version v1."""

    def end_headers(self) -> None:
        self.send_header("ETag", '"v1"')
        super().end_headers()


@pytest.fixture
def web(tmp_path: Path) -> Any:
    """A web server of the folder `web`; its address."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(Tagging, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_web_input_is_downloaded_and_verified(bench: Bench, web: str) -> None:
    (bench.folder / "web" / "x.csv").write_bytes(b"a" * 3_000_000)
    fact = {"uri": f"{web}/x.csv?v=1", "kind": "sha256", "digest": hashlib.sha256(b"a" * 3_000_000).hexdigest()}
    result = bench.run("import os; print(os.environ['MLPORT_INPUT_FLIGHTS'])", inputs={"flights": fact})
    assert result["state"] == "SUCCEEDED"
    assert bench.log.strip().endswith("work.inputs/flights/x.csv")


@pytest.mark.parametrize(("etag", "cause"), [("v1", ""), ("v0", "input changed")])
def test_a_web_input_must_be_the_version_planned(bench: Bench, web: str, etag: str, cause: str) -> None:
    (bench.folder / "web" / "x.csv").write_text("a")
    result = bench.run("pass", inputs={"x": {"uri": f"{web}/x.csv", "kind": "etag", "digest": etag}})
    assert (result["cause"], "etag:v0 but etag:v1" in result["reason"]) == (cause, bool(cause))


def test_a_missing_web_input_is_told(bench: Bench, web: str) -> None:
    assert "could not be fetched: HTTP Error 404" in bench.run("pass", inputs={"flights": {"uri": f"{web}/none"}})["reason"]


def copier(bench: Bench) -> list[str]:
    """A transfer command that knows `box://`, a folder of the test's."""
    script = bench.folder / "copy.py"
    script.write_text(
        f"import shutil, sys, os\nplace = lambda a: a.replace('box://', {str(bench.folder)!r} + '/box/')\ns, d = map(place, sys.argv[1:])\n"
        "if not os.path.exists(s): sys.exit(3)\n"
        "os.makedirs(os.path.dirname(d), exist_ok=True)\nshutil.copytree(s, d, dirs_exist_ok=True) if os.path.isdir(s) else shutil.copy(s, d)\n"
    )
    return [sys.executable, str(script)]


def test_inputs_and_outputs_go_through_the_transfer_command(bench: Bench) -> None:
    (bench.folder / "box").mkdir()
    (bench.folder / "box" / "x").write_text("data")
    program = "import os, shutil; shutil.copy(os.environ['MLPORT_INPUT_X'], os.environ['MLPORT_OUTPUT_MODEL'] + '/y')"
    outputs = {"model": {"path": str(bench.folder / "model"), "uri": "box://kept/model"}}
    result = bench.run(program, inputs={"x": {"uri": "box://x"}}, outputs=outputs, transfer=copier(bench))
    assert result["outputs"]["model"]["uri"] == "box://kept/model"
    assert (bench.folder / "box/kept/model/y").read_text() == "data"


def test_an_address_without_a_transfer_command_is_refused(bench: Bench) -> None:
    assert "no transfer command" in bench.run("pass", inputs={"x": {"uri": "box://x"}})["reason"]


def test_an_output_does_not_replace_what_is_there(bench: Bench) -> None:
    (bench.folder / "mine").mkdir()
    (bench.folder / "mine" / "precious").write_text("1")
    result = bench.run("pass", outputs={"model": {"path": str(bench.folder / "model"), "uri": str(bench.folder / "mine")}})
    assert "holds files already" in result["reason"]
    assert (bench.folder / "mine" / "precious").exists()


def test_checkpoints_are_restored_and_synced(bench: Bench) -> None:
    program = "import os; p = os.environ['MLPORT_CHECKPOINT_DIR'] + '/n'; n = int(open(p).read()) + 1 if os.path.exists(p) else 1; open(p, 'w').write(str(n)); raise SystemExit(n < 3)"
    checkpoint = {"path": str(bench.folder / "checkpoint"), "uri": "box://checkpoint", "interval": 60}
    for state in ("FAILED", "FAILED", "SUCCEEDED"):
        assert bench.run(program, checkpoint=checkpoint, transfer=copier(bench))["state"] == state
        (bench.folder / "checkpoint" / "n").unlink()
    assert (bench.folder / "box/checkpoint/n").read_text() == "3"


def test_checkpoints_are_synced_while_the_program_runs(bench: Bench) -> None:
    program = "import os, time; open(os.environ['MLPORT_CHECKPOINT_DIR'] + '/n', 'w').write('1'); time.sleep(600)"
    checkpoint = {"path": str(bench.folder / "checkpoint"), "uri": str(bench.folder / "kept"), "interval": 0.05}
    runner = bench.start(bench.manifest(program, checkpoint=checkpoint, grace=1))
    wait_for((bench.folder / "kept" / "n").exists)
    runner.terminate()
    assert runner.wait(20) == 143


# ---------------------------------------------------------------- nodes and gates


def test_lines_of_several_nodes_carry_the_rank(bench: Bench) -> None:
    bench.run(
        "import os; print('one'); print(os.environ['MLPORT_NUM_NODES'])",
        node={"rank": 1, "count": 2, "main_address": "127.0.0.1", "main_port": 1234},
    )
    assert bench.log == "[1] one\n[1] 2\n"


def test_behind_a_gate_nothing_happens_until_the_word_comes(bench: Bench) -> None:
    for word, state in ((b"", None), (b"g", "SUCCEEDED")):
        inside, outside = os.pipe()
        (bench.folder / "m.json").write_text(json.dumps(bench.manifest("pass", started=str(bench.folder / "started"))))
        runner = subprocess.Popen(
            [sys.executable, str(RUNNER), str(bench.folder / "m.json")],
            env={**os.environ, "MLPORT_GATE": str(inside)},
            pass_fds=[inside],
            stderr=subprocess.DEVNULL,
        )
        os.close(inside)
        os.write(outside, word)
        os.close(outside)
        assert runner.wait(20) == (0 if state else 1)
        assert (bench.folder / "started").exists() == bool(state)
