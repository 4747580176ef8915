"""What goes with a job into its container: it stands alone, is packed the same each time, and copies what it is told to."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from aids.vertex.place import emulator  # noqa: F401 - a fixture

import mlport_vertex.in_job.gcs as gcs
from mlport import mlport_node
from mlport.emulation.server import Ready
from mlport.mlport_node import base_name
from mlport_vertex.config import VertexConfig
from mlport_vertex.google.api import VertexApi
from mlport_vertex.in_job.entry import node_of
from mlport_vertex.running.package import BOOTSTRAP, package

FILES = [*sorted(Path(gcs.__file__).parent.glob("*.py")), Path(mlport_node.__file__)]
Transfer = Callable[..., int]


@pytest.mark.parametrize("text", [file.read_text() for file in FILES] + [BOOTSTRAP], ids=[*(file.name for file in FILES), "bootstrap"])
def test_it_runs_on_python_3_8_with_the_standard_library(text: str) -> None:
    tree = ast.parse(text, feature_version=(3, 8))
    names = {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= {*sys.stdlib_module_names, "gcs", "trial", "mlport_node", "mlport", "mlport_vertex"}, (
        "the packages under TYPE_CHECKING only"
    )


def test_a_package_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz").write_bytes(b"bundle")
    (tmp_path / "x-1.whl").write_bytes(b"wheel")
    content, digest = package(tmp_path / "b.tar.gz", [tmp_path / "x-1.whl"])
    assert (content, digest) == package(tmp_path / "b.tar.gz", [tmp_path / "x-1.whl"])
    assert digest == hashlib.sha256(content).hexdigest()
    assert package(None)[1] != digest
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [
            "entry.py",
            "gcs.py",
            "trial.py",
            "mlport_node.py",
            "mlport_runner.py",
            "bundle.tar.gz",
            "wheels/x-1.whl",
        ]


@pytest.mark.parametrize(
    ("task", "rank"),
    [({"type": "workerpool0", "index": 0}, 0), ({"type": "workerpool1", "index": 0}, 1), ({"type": "workerpool1", "index": 1}, 2)],
)
def test_a_node_finds_its_rank_in_the_cluster(task: dict[str, object], rank: int) -> None:
    cluster = {"workerpool0": ["one-0:2222"], "workerpool1": ["two-0:2222", "two-1:2222"]}
    node = node_of(json.dumps({"cluster": cluster, "environment": "cloud", "task": task}))
    assert node == {"rank": rank, "count": 3, "main_address": "one-0", "main_port": 2222}


def test_a_node_alone_is_the_first_of_one() -> None:
    assert node_of(None)["count"] == node_of("")["count"] == 1
    assert base_name("https://x/y/rows.csv?a=b", "rows") == "rows.csv"
    assert base_name("", "rows") == "rows"


def test_a_node_that_is_stopped_before_its_program_began_has_not_failed(tmp_path: Path) -> None:
    """A preemption that comes so early uses no retry: the container is started again."""

    class Quiet(mlport_node.Node):
        def logged(self, *, final: bool) -> None: ...

    work = {"name": "n", "entrypoint": ["python", "-c", ""], "inputs": {}, "outputs": {}}
    node = Quiet(work, str(tmp_path), None, "run", "job", {"rank": 0, "count": 1}, [])
    node.stop(signal.SIGTERM, None)
    assert node.attempt(1)["state"] == "CANCELLED"


@pytest.fixture(scope="module")
def api(emulator: Ready) -> VertexApi:  # noqa: F811
    return VertexApi(VertexConfig.from_url(emulator.targets["vertex"]))


@pytest.fixture
def transfer(emulator: Ready) -> Transfer:  # noqa: F811
    """The runner's transfer command, as in a container; its exit status."""
    around = {**os.environ, **emulator.environment, "GCE_METADATA_HOST": emulator.urls["vertex"].removeprefix("http://")}

    def run(*words: str) -> int:
        done = subprocess.run(
            [sys.executable, "-I", gcs.__file__, *words], env=around, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode

    return run


def test_a_file_and_a_folder_go_there_and_back(api: VertexApi, transfer: Transfer, tmp_path: Path) -> None:
    place = f"{api.config.staging}/{secrets.token_hex(4)}"
    (tmp_path / "some" / "deep").mkdir(parents=True)
    (tmp_path / "some" / "deep" / "é x").write_bytes(b"x" * 3_000_000)
    (tmp_path / "some" / "empty").write_bytes(b"")
    assert transfer(str(tmp_path / "some"), f"{place}/some") == 0
    assert transfer(f"{place}/some", str(tmp_path / "back")) == 0
    assert {
        path.relative_to(tmp_path / "back").as_posix(): path.stat().st_size for path in (tmp_path / "back").rglob("*") if path.is_file()
    } == {
        "deep/é x": 3_000_000,
        "empty": 0,
    }
    assert transfer(f"{place}/some/deep/é x", str(tmp_path / "one")) == 0
    assert (tmp_path / "one").read_bytes() == b"x" * 3_000_000


def test_what_is_not_there_and_what_changed_have_their_own_statuses(api: VertexApi, transfer: Transfer, tmp_path: Path) -> None:
    place = f"{api.config.staging}/{secrets.token_hex(4)}"
    assert transfer(place, str(tmp_path / "none")) == 3
    assert transfer(str(tmp_path / "none"), place) == 3
    assert not (tmp_path / "none").exists()
    api.objects.put(place, b"one")
    found = api.objects.head(place)
    assert found is not None
    assert transfer("--expect", f"generation:{found['version']}", place, str(tmp_path / "one")) == 0
    api.objects.put(place, b"two")
    assert transfer("--expect", f"generation:{found['version']}", place, str(tmp_path / "two")) == 4
    assert not (tmp_path / "two").exists()


def test_a_marker_is_made_once_and_known_again_after_a_lost_answer(
    api: VertexApi,
    emulator: Ready,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"{api.config.staging}/{secrets.token_hex(4)}"
    for name, value in {**emulator.environment, "GCE_METADATA_HOST": emulator.urls["vertex"].removeprefix("http://")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(urllib.request.ProxyHandler({})))  # somebody else's
    storage = gcs.Storage()
    assert storage.put(place, b"mine", absent=True)
    assert storage.put(place, b"mine", absent=True), "as after a lost answer"
    assert not storage.put(place, b"theirs", absent=True)
    assert storage.get(place) == b"mine"
    assert storage.get(f"{place}-absent") is None
