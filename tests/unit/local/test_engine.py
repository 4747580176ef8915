"""The engine through its front door: queue, slots, attempts, cancel, nodes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aids.local.engine import words_of

from mlport.errors import ConflictError, NotFoundError
from mlport.spi import State
from mlport_local.engine import process
from mlport_local.engine.database import SCHEMA_VERSION, connect
from mlport_local.engine.private import secrets_path

Engine = Any
FOREVER = "import time; print('up', flush=True); time.sleep(600)"


def is_up(engine: Engine, job_id: str) -> Callable[[], bool]:
    return lambda: "up" in engine.log(job_id)


def test_a_job_runs_and_leaves_its_result(engine: Engine) -> None:
    program = "import os, json; print('hello'); open(os.environ['MLPORT_OUTPUT_MODEL'] + '/m', 'w').write('1'); open(os.environ['MLPORT_METRICS'], 'w').write('{\"auc\": 0.7}\\n')"
    job_id = engine.submit(program, params={"depth": 6})
    status = engine.ended(job_id)
    result = engine.jobs.result(job_id)
    assert (status.state, status.native_state, status.reason, status.attempt) == (State.SUCCEEDED, "SUCCEEDED", "", 1)
    assert status.created <= status.started <= status.ended
    assert status.created.utcoffset().total_seconds() == 0
    assert result.metrics == {"auc": 0.7}
    assert Path(result.outputs["model"].uri, "m").read_text() == "1"
    assert result.usage.wall_seconds > 0
    assert result.resolved["executable"] == sys.executable
    assert engine.log(job_id) == ["hello"]


def test_ids_can_be_read(engine: Engine) -> None:
    name, day, clock, tail = engine.submit(["true"]).rsplit("-", 3)
    assert (name, len(day), len(clock), len(tail)) == ("delays", 8, 6, 4)


def test_the_same_token_is_the_same_job(engine: Engine) -> None:
    first = engine.submit(["true"], token="t")
    assert engine.submit(["true"], token="t") == first
    assert engine.jobs.find("t") == first
    assert engine.jobs.find("u") is None
    with pytest.raises(ConflictError, match="used for another plan"):
        engine.submit(["false"], token="t")


def test_what_is_unknown_is_said(engine: Engine) -> None:
    for call in (engine.jobs.status, engine.jobs.result, engine.jobs.logs, engine.jobs.cancel):
        with pytest.raises(NotFoundError, match="no job 'nothing-1'"):
            call("nothing-1")
    engine.jobs.delete("nothing-1")


def test_a_failure_tells_its_exit_code(engine: Engine) -> None:
    status = engine.run("print('x', end=''); raise SystemExit(3)")
    assert (status.state, status.cause, status.reason) == (State.FAILED, "exit", "exit code 3")
    assert engine.jobs.result(status.id).exit_code == 3


def test_no_more_run_than_there_are_slots_and_all_are_served(engine: Engine) -> None:
    jobs = [engine.submit("import time; print('up', time.time(), flush=True); time.sleep(0.2); print(time.time())") for _ in range(5)]
    assert all(engine.ended(job).state is State.SUCCEEDED for job in jobs)
    spans = [(float(engine.log(job)[0].split()[1]), float(engine.log(job)[1])) for job in jobs]
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) == 2


def test_memory_is_reserved(engine: Engine) -> None:
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    large = engine.submit(FOREVER, compute={"cpus": 0.1, "memory_gib": most * 0.7})
    engine.wait_for(is_up(engine, large))
    waiting = engine.submit(["true"], compute={"cpus": 0.1, "memory_gib": most * 0.5})
    small = engine.submit(["true"], compute={"cpus": 0.1, "memory_gib": most * 0.1})
    assert engine.ended(small).state is State.SUCCEEDED
    status = engine.jobs.status(waiting)
    assert (status.state, status.reason) == (State.QUEUED, "waits for a free place: a job slot, cores, memory or GPUs")
    engine.jobs.cancel(large)
    assert engine.ended(waiting).state is State.SUCCEEDED


def test_a_retry_keeps_the_checkpoint_in_a_new_folder(engine: Engine) -> None:
    program = (
        "import os; p = os.environ['MLPORT_CHECKPOINT_DIR'] + '/n'; n = int(open(p).read()) if os.path.exists(p) else 0; open(p, 'w').write(str(n + 1))\n"
        "print('attempt', n, os.listdir()); open('left', 'w'); raise SystemExit(n < 2)"
    )
    status = engine.run(program, retries=5)
    assert (status.state, status.attempt) == (State.SUCCEEDED, 3)
    assert [line for line in engine.log(status.id) if line.startswith(("attempt", "---"))] == [
        "attempt 0 []",
        "--- attempt 1 failed: exit code 1; attempt 2 of 6 ---",
        "attempt 1 []",
        "--- attempt 2 failed: exit code 1; attempt 3 of 6 ---",
        "attempt 2 []",
    ]


def test_usage_is_over_all_attempts(engine: Engine) -> None:
    status = engine.run("import time; time.sleep(0.1); raise SystemExit(1)", retries=2)
    assert (status.state, status.attempt) == (State.FAILED, 3)
    assert engine.jobs.result(status.id).usage.wall_seconds >= 0.3


def test_a_timeout_is_of_one_attempt(engine: Engine) -> None:
    status = engine.run(FOREVER, timeout=0.3, retries=1)
    assert (status.state, status.cause, status.reason, status.attempt) == (State.FAILED, "timeout", "timed out after 0.3 s", 2)


def test_a_queued_job_is_cancelled_at_once(make_engine: Any) -> None:
    engine = make_engine(max_jobs=1)
    running = engine.submit(FOREVER)
    engine.wait_for(is_up(engine, running))
    waiting = engine.submit(["true"])
    engine.jobs.cancel(waiting)
    status = engine.jobs.status(waiting)
    assert (status.state, status.cause, status.started) == (State.CANCELLED, "cancelled", None)
    assert engine.jobs.result(waiting).exit_code is None


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(15, signal.SIG_IGN)
hidden = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], env={}, start_new_session=True)
orphan = subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $!'], stdout=subprocess.PIPE, text=True)
print('up', flush=True)
print(hidden.pid, orphan.stdout.strip(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not process.LINUX, reason="only Linux has subreapers")
def test_cancel_leaves_nobody(engine: Engine) -> None:
    job_id = engine.submit(STUBBORN)
    pids = engine.wait_for(lambda: len(engine.log(job_id)) == 2 and [int(word) for word in engine.log(job_id)[1].split()])
    identities = [process.identify(pid) for pid in pids]
    assert all(identities)
    members = engine.members(job_id)
    request = json.loads(engine.row(job_id)["request"])
    assert request["grace"] == 10
    runner = json.loads(engine.row(job_id)["runners"])[0]
    engine.jobs.cancel(job_id)
    assert engine.jobs.status(job_id).state is State.CANCELLING
    process.send(process.Identity.parse(runner), signal.SIGKILL)  # not to wait for the grace
    assert engine.ended(job_id).state is State.CANCELLED
    assert not [identity for identity in [*identities, *members] if identity and process.alive(identity)]


def test_cancelling_twice_or_when_ended_does_nothing(engine: Engine) -> None:
    job_id = engine.submit(FOREVER)
    engine.wait_for(is_up(engine, job_id))
    engine.jobs.cancel(job_id)
    engine.jobs.cancel(job_id)
    status = engine.ended(job_id)
    assert (status.state, status.cause, status.reason) == (State.CANCELLED, "cancelled", "cancelled")
    done = engine.run(["true"])
    engine.jobs.cancel(done.id)
    assert engine.jobs.status(done.id) == done


def test_a_normal_end_leaves_nobody_either(engine: Engine) -> None:
    status = engine.run(["sh", "-c", "setsid sleep 600 & true"])
    assert status.state is State.SUCCEEDED
    assert not engine.members(status.id)


def test_nodes_meet_and_only_rank_0_gives_outputs(engine: Engine) -> None:
    program = (
        "import os, socket; rank, port = os.environ['MLPORT_NODE_RANK'], int(os.environ['MLPORT_MAIN_PORT'])\n"
        "open(os.environ['MLPORT_OUTPUT_MODEL'] + '/rank', 'w').write(rank)\n"
        "if rank == '0':\n"
        "    s = socket.create_server(('127.0.0.1', port)); print(s.accept()[0].recv(9).decode())\n"
        "else:\n"
        "    import time\n"
        "    while True:\n"
        "        try: socket.create_connection(('127.0.0.1', port)).sendall(b'met'); break\n"
        "        except ConnectionRefusedError: time.sleep(0.01)\n"
    )
    status = engine.run(program, compute={"cpus": 0.5, "memory_gib": 0.1, "nodes": 2})
    assert status.state is State.SUCCEEDED, status.reason
    assert engine.log(status.id) == ["[0] met"]
    assert Path(engine.jobs.result(status.id).outputs["model"].uri, "rank").read_text() == "0"


def test_a_node_that_fails_ends_the_others(engine: Engine) -> None:
    program = "import os, time\nif os.environ['MLPORT_NODE_RANK'] == '1': raise SystemExit(4)\ntime.sleep(600)"
    status = engine.run(program, compute={"cpus": 0.5, "memory_gib": 0.1, "nodes": 2})
    assert (status.state, status.reason) == (State.FAILED, "node 1: exit code 4")


def test_secrets_reach_the_program_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = (
        "import os, pathlib, time; print(len(os.environ['KEY']), 'up', flush=True)\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)"
    )
    job_id = engine.submit(program, secrets={"KEY": "hush-hush"})
    engine.wait_for(lambda: engine.log(job_id))
    assert secrets_path(engine.layout, job_id).stat().st_mode & 0o777 == 0o600
    assert b"hush" not in b"".join(word for identity in engine.members(job_id) for word in words_of(identity.pid))
    gate.touch()
    engine.ended(job_id)
    assert engine.log(job_id) == ["9 up"]
    assert not secrets_path(engine.layout, job_id).exists()
    files = [path for path in engine.layout.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hush-hush" in path.read_bytes()]


def test_a_jobs_environment_is_not_the_terminals(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING_OF_MINE", "1")
    status = engine.run("import os; print('SOMETHING_OF_MINE' in os.environ, 'PATH' in os.environ)")
    assert engine.log(status.id) == ["False True"]


def test_the_client_gets_no_zombie_and_lends_no_socket(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.set_inheritable(server.fileno(), True)
        job_id = engine.submit(FOREVER)
        engine.wait_for(is_up(engine, job_id))
        address = server.getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    supervisors = engine.supervisors()
    engine.jobs.cancel(job_id)
    engine.ended(job_id)
    engine.wait_for(lambda: not any(Path(f"/proc/{identity.pid}").exists() for identity in supervisors))


def test_a_job_may_submit_a_job_that_outlives_it(engine: Engine) -> None:
    paths = [str(Path(sys.modules[name].__file__ or "").parent.parent) for name in ("mlport", "mlport_local")]
    inner = engine.plan(["sh", "-c", "sleep 0.5; echo done"]).to_json()
    program = (
        f"import sys; sys.path[:0] = {paths!r}\n"
        "from mlport_local.config import LocalConfig; from mlport_local.jobs import LocalJobs; from mlport.spi import Facts, Plan, Request\n"
        f"d = {inner!r}; d.update(facts=Facts(), requests=tuple(Request(**r) for r in d['requests']))\n"
        f"print(LocalJobs(LocalConfig(root={str(engine.layout.root)!r}, max_jobs=2)).submit(Plan(**d), token='inner'))"
    )
    outer = engine.run(program, env={"MLPORT_EXPORT": "0"})
    assert outer.state is State.SUCCEEDED, engine.log(outer.id)
    assert engine.ended(engine.log(outer.id)[0]).state is State.SUCCEEDED
    assert engine.log(engine.log(outer.id)[0]) == ["done"]


SUBMIT = """
import json
from mlport.spi import Facts, Plan, Request
from mlport_local.config import LocalConfig
from mlport_local.jobs import LocalJobs
settings = json.loads({settings!r})
d = settings["plan"]; d.update(facts=Facts(), requests=tuple(Request(**r) for r in d["requests"]), support={{}}, notes=())
jobs = LocalJobs(LocalConfig(root=settings["root"], max_jobs=2))
for token in settings["tokens"]:
    print(jobs.submit(Plan(**d), token=token), flush=True)
"""


def start_client(engine: Engine, client: list[str], tokens: list[str], **env: str) -> "subprocess.Popen[str]":
    settings = json.dumps({"plan": engine.plan(["true"]).to_json(), "root": str(engine.layout.root), "tokens": tokens})
    child = subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    assert child.stdin
    child.stdin.write(SUBMIT.format(settings=settings))
    child.stdin.close()
    child.stdin = None
    return child


def test_processes_that_race_for_a_token_get_one_job(engine: Engine, client: list[str]) -> None:
    tokens = [f"t{number}" for number in range(10)]
    outputs = [child.communicate(timeout=60)[0].split() for child in [start_client(engine, client, tokens) for _ in range(4)]]
    assert [len(output) for output in outputs] == [10] * 4
    assert len({tuple(output) for output in outputs}) == 1
    assert len(set(outputs[0])) == 10
    assert all(engine.ended(job).state is State.SUCCEEDED for job in outputs[0])


def test_threads_share_one_object(engine: Engine) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(engine.submit(["true"], token=f"x{time.monotonic_ns()}"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({engine.ended(job).id for job in ids}) == 4


def test_the_schema_is_made_once_by_many(engine: Engine, client: list[str]) -> None:
    code = f"from pathlib import Path; from mlport_local.engine.database import connect; from mlport_local.layout import Layout; connect(Layout(Path({str(engine.layout.root / 'new')!r}))).close()"
    children = [subprocess.Popen(client, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    assert [child.communicate(code, timeout=60)[1] for child in children] == [""] * 8


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    from mlport.errors import ConfigError

    engine.run(["true"])
    connection = connect(engine.layout)
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="schema 99"):
        connect(engine.layout)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.close()
