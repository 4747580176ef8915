"""The command line in this process, or in one of its own, with a small provider that is found by its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlport import plugins

PLUGIN = Path(__file__).parent / "plugin"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, makes `tiny` and `local` installed providers."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlport.providers]\ntiny = tiny_provider:PROVIDER\nlocal = mlport_local:PROVIDER\n")
    return folder


@pytest.fixture(autouse=True)
def home(entry_points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory whose default profile is an empty world of the tiny provider."""
    for folder in (PLUGIN, entry_points):
        monkeypatch.syspath_prepend(str(folder))
    plugins.forget()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPORT_PROFILE", f"tiny://{tmp_path.name}")
    monkeypatch.setenv("MLPORT_OWNER", "ada")
    for name in ("MLPORT_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    plugins.forget()


@pytest.fixture
def mlport(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process."""
    from mlport.cli.main import run

    def call(*args: str) -> Ran:
        capsys.readouterr()
        status = run(args)
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def environment(entry_points: Path) -> dict[str, str]:
    """The environment of a process of its own that finds the same providers."""
    paths = [str(ROOT / "src"), str(ROOT / "providers"), str(PLUGIN), str(entry_points)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., Ran]:
    """Run a command in a process of its own."""

    def call(*args: str, **more: Any) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "mlport.cli.main", *args],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **more,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def model(home: Path) -> Path:
    """A folder that passes for a model."""
    folder = home / "models"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder
