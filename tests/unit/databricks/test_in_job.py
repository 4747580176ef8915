"""What goes with a job into its cluster: it stands alone, writes whole files only, and keeps the log in order over attempts."""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

import pytest

import mlport_databricks.in_job.entry as entry
import mlport_databricks.in_job.volume as volume
from mlport_databricks.in_job.entry import Log, at_time
from mlport_databricks.in_job.volume import MISSING, Volume
from mlport_databricks.running.package import ENTRY, program, program_digest


@pytest.mark.parametrize("name", list(program()))
def test_it_runs_on_python_3_8_with_the_standard_library(name: str) -> None:
    tree = ast.parse(program()[name], feature_version=(3, 8))
    names = {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {*sys.stdlib_module_names, "mlport_node", "volume", "mlport", "mlport_databricks"}, "packages under TYPE_CHECKING only"


def test_the_program_is_named_by_its_content_and_its_first_file_comes_last() -> None:
    assert list(program())[-1] == ENTRY
    lines = [f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(program().items())]
    assert program_digest() == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_folder_is_copied_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"x")
    (tmp_path / "a" / "deep" / "y").write_bytes(b"y")
    there = f"dbfs://{tmp_path}/there"
    assert volume.main([str(tmp_path / "a"), there]) == 0
    assert volume.main(["--expect", "etag:1", there, str(tmp_path / "back")]) == 0
    assert (tmp_path / "back" / "deep" / "y").read_bytes() == b"y"
    assert not list(tmp_path.rglob("*.part"))
    assert volume.main([f"{there}/absent", str(tmp_path / "no")]) == MISSING
    assert volume.main([str(tmp_path / "a" / "x"), f"dbfs://{tmp_path}/a/x/under-a-file"]) == 1


def test_files_of_a_volume(tmp_path: Path) -> None:
    files, address = Volume(), f"dbfs://{tmp_path}/deep/file"
    assert (files.get(address), files.names(f"dbfs://{tmp_path}/deep")) == (None, [])
    assert files.put(address, b"one", absent=True)
    assert not files.put(address, b"two", absent=True)
    assert files.put(address, b"two")
    assert files.get(address) == b"two"
    assert files.fetch(address, str(tmp_path / "copy"))
    assert not files.fetch(f"{address}s", str(tmp_path / "none"))
    assert files.names(f"dbfs://{tmp_path}/deep") == ["file"]


def kept(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_the_log_is_whole_lines_a_file_and_goes_on_with_the_next_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Log(str(tmp_path / "logs"), Volume())
    first.write("one\ntwö".encode())
    first._flush()
    first.write(b" half\nlast without an end")
    first.say("ours")
    first.close()
    assert kept(tmp_path / "logs") == [b"one\n", "twö half\nlast without an end\nmlport: ours\n".encode()]
    second = Log(str(tmp_path / "logs"), Volume())
    second.write(b"\xff")
    second.close()
    assert [path.name for path in sorted((tmp_path / "logs").iterdir())] == ["00000001", "00000002", "00000003"]
    assert kept(tmp_path / "logs")[-1] == b"\xff\n"
    assert "two" not in capsys.readouterr().err


def test_what_could_not_be_put_is_put_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Volume()
    log = Log(str(tmp_path / "logs"), files)
    log.write(b"one\n")
    with monkeypatch.context() as broken:
        broken.setattr(files, "put", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        log._flush()
    log.write(b"two\n")
    log.close()
    assert kept(tmp_path / "logs") == [b"one\ntwo\n"]


@pytest.mark.parametrize("told", ["2026-11-23T16:29:00.000Z", "2026-11-23T16:29:00"])
def test_a_firing_knows_its_time(told: str) -> None:
    work = {"outputs": {"model": {}, "predictions": {"uri": "dbfs:///Volumes/a/b/c/{time}"}}, "env": {"A": "b"}}
    found = at_time(work, told)
    assert found["outputs"] == {"model": {}, "predictions": {"uri": "dbfs:///Volumes/a/b/c/20261123T162900Z"}}
    assert found["env"] == {"A": "b", "MLPORT_SCHEDULED": "2026-11-23T16:29:00+00:00"}
    assert entry.option(["--run", "1", "--time", "t"], "--time") == "t"


def test_the_work_is_a_parameter_or_lies_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "é"}', encoding="utf-8")
    assert entry.manifest(["--manifest", str(tmp_path / "manifest.json"), "--run", "1"]) == {"name": "é"}
    assert entry.manifest(["--work", '{"name": "\\u00e9"}', "--run", "1"]) == {"name": "é"}
