"""Every example and the quickstart, run as they say: a copy of the files, a root of its own, and nothing left running."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from mlport.config import read_file
from mlport_local.config import LocalConfig

REPO = Path(__file__).parents[2]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [code for found, _, code in FENCE.findall((REPO / page).read_text(encoding="utf-8")) if found == language]


class Shell:
    """Where command lines run: programs of one environment, a root and a home of its own."""

    def __init__(self, home: Path, programs: Path = Path(sys.executable).parent) -> None:
        self.root = home / "root"
        own = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "MLPORT_ROOT": str(self.root),
            "MLPORT_OWNER": "test",
            "OMP_NUM_THREADS": "1",  # tests run side by side
        }
        self._env = {**{name: value for name, value in os.environ.items() if not name.startswith(("MLPORT_", "PYTHON"))}, **own}

    def run(self, script: str, folder: Path, seconds: float = 300) -> str:
        """What a script printed, notes included; it must succeed in time."""
        command = ["timeout", "--kill-after=5", str(seconds), "sh", "-euc", script]  # which ends all that the script started in front
        done = subprocess.run(command, cwd=folder, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"exit status {done.returncode}: {script}\n{done.stdout}"
        return done.stdout

    def json(self, command: str, folder: Path) -> Any:
        """The one document that a command prints."""
        return json.loads(self.run(f"{command} --json 2>/dev/null", folder))

    def processes(self) -> list[str]:
        """The command lines that still run for this root."""
        return [" ".join(process.info["cmdline"]) for process in psutil.process_iter(["cmdline", "environ"]) if self._is_own(process)]

    def _is_own(self, process: psutil.Process) -> bool:
        words = [*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()]
        return any(str(self.root) in word for word in words)


def wait_until_nothing_runs(shell: Shell) -> None:
    deadline = time.monotonic() + 60
    while left := shell.processes():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    wait_until_nothing_runs(made)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples, beside the sources that one of them names."""
    (tmp_path / "src").symlink_to(REPO / "src")
    return Path(shutil.copytree(REPO / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("2013-*")))


def test_quickstart(shell: Shell, tmp_path: Path) -> None:
    here = tmp_path / "here"
    for _, title, code in FENCE.findall((REPO / "docs/quickstart.md").read_text(encoding="utf-8")):
        if title:
            (here / title).parent.mkdir(parents=True, exist_ok=True)
            (here / title).write_text(code, encoding="utf-8")

    printed = shell.run("".join(blocks("docs/quickstart.md", "sh")), here)

    assert "trained on 426 tumours" in printed
    assert "{'deployment': 'green', 'prediction': 0, 'label': 0}" in printed
    scored = pd.read_parquet(here / "scored")
    assert len(scored) == 569
    assert (scored["prediction"] == scored["target"]).mean() > 0.8
    assert shell.json("mlport endpoints list", here) == []
    assert shell.json("mlport jobs list", here) == []
    assert [version["version"] for version in shell.json("mlport models versions tumours", here)] == ["2", "1"]


def test_the_readme_shows_hello() -> None:
    shown = next(block for block in blocks("README.md", "python") if "mlport.connect()" in block)
    assert ast.dump(ast.parse(shown)) == ast.dump(ast.parse((REPO / "examples/hello/hello.py").read_text(encoding="utf-8")))


def test_digits(shell: Shell, examples: Path) -> None:
    whole, retried = blocks("examples/digits/README.md", "sh")
    here = examples / "digits"

    right = re.search(r"500 images scored, ([\d.]+)% right", shell.run(whole, here))
    assert right is not None
    assert float(right[1]) > 95

    again = shell.run(retried, here)
    assert "dying after epoch 5, as asked" in again
    assert "from epoch 6 of" in again
    first, second = shell.json("mlport runs list --name digits", here)
    assert first["metrics"] == second["metrics"]  # it went on exactly where it had died
    assert {f"recall_{digit}" for digit in range(10)} < first["metrics"].keys()


def test_a_dry_run_of_digits_sends_nothing(shell: Shell) -> None:
    plan = shell.json("mlport jobs submit examples/digits/job.toml --dry-run", REPO)
    assert plan["facts"]["inputs"]["digits"]["kind"] == "sha256"
    assert plan["spec"]["params"] == {"epochs": 20, "hidden": 64}
    assert shell.json("mlport jobs list", REPO) == []


def test_the_digits_are_those_of_scikit_learn() -> None:
    spec = importlib.util.spec_from_file_location("prepare", REPO / "examples/digits/prepare.py")
    assert spec is not None
    assert spec.loader is not None
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    for name, made in zip(("train", "new"), prepare.images(), strict=True):
        kept = pd.read_parquet(REPO / "examples/digits/data" / f"{name}.parquet")
        pd.testing.assert_frame_equal(kept, made.reset_index(drop=True))


def test_hello_from_an_installed_wheel_outside_the_checkout(tmp_path: Path) -> None:
    """The wheel's own files, in an environment that has its requirements but not this checkout."""
    shell = Shell(tmp_path, _environment_with_wheel(tmp_path))
    here = shutil.copytree(REPO / "examples" / "hello", tmp_path / "hello")
    assert str(tmp_path) in shell.run("python -c 'import mlport, mlport_local; print(mlport.__file__, mlport_local.__file__)'", here)

    (command,) = blocks("examples/hello/README.md", "sh")
    printed = shell.run(command, here)

    assert "accuracy 0.8" in printed
    assert "[1] [{'provider_id'" in printed
    assert "'label': 1" in printed
    assert shell.json("mlport endpoints list", here) == []
    assert shell.json("mlport models get hello@champion", here)["lineage"]["params"] == {"c": 0.5}
    wait_until_nothing_runs(shell)


def _environment_with_wheel(folder: Path) -> Path:
    """The programs of a new environment that holds our wheel, and finds everything else in this one."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPO, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    uv = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)]
    subprocess.run(
        [str(Path(sys.executable).with_name(uv[0])), *uv[1:]], check=True, env={**os.environ, "UV_CACHE_DIR": str(folder / "cache")}
    )
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text("\n".join(place for place in sys.path if place.endswith("site-packages")))
    return python.parent


def test_flights(shell: Shell, examples: Path) -> None:
    (command,) = blocks("examples/flights/README.md", "sh")
    printed = shell.run(command, examples / "flights")
    assert "105,475 flights, 24.2% late" in printed
    (run,) = shell.json("mlport runs list", examples / "flights")
    assert 0.7 < run["metrics"]["train_auc"] < 0.8


def test_monitor(shell: Shell, examples: Path) -> None:
    """A season that drifts is found, judged and told; the winter is not."""
    (command,) = blocks("examples/monitor/README.md", "sh")
    winter, july = shell.run(command, examples / "monitor").split("1,500 flights of the months 7 to 7")
    assert "no drift in 14 columns" in winter
    assert "drift (severe)" not in winter
    assert "drift (severe) in" in july
    assert re.search(r"Performance: \w+; roc_auc 0\.\d+ \(0\.\d+ to 0\.\d+\), reference 0.74", july)
    page = (examples / "monitor" / "season.html").read_text(encoding="utf-8")
    assert "The newest window against the reference" in page
    assert "Worst slices" in page
    assert shell.json("mlport monitors list", examples / "monitor") == []


def test_profiles() -> None:
    """The profiles that are active open, and so would those that are commented out."""
    assert read_file(REPO / "examples/mlport.toml").profiles == {"laptop": {"provider": "local"}}
    uncommented = re.sub(r"^# (?=\[|\w+ = )", "", (REPO / "examples/mlport.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    profiles = tomllib.loads(uncommented)["profiles"]
    assert profiles.pop("cloud")["provider"] == "NAME"
    for name, table in profiles.items():
        assert table.pop("provider") == "local"
        LocalConfig.load(table, where=name)
