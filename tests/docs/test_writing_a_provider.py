"""docs/writing-a-provider.md: the provider that it shows is built from its own blocks, and passes the suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-a-provider.md").read_text(encoding="utf-8")
SUITE = ROOT / "src" / "mlport" / "testing" / "suite"
BLOCKS = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE))
ROOMS = ["__init__", "config", "jobs", "plan", "session", "support"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, makes the page's provider an installed one."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in BLOCKS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in names.items()) for group, names in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points)
    return folder


def run(installed: Path, folder: Path, *words: str) -> tuple[int, str]:
    """The exit status and output of pytest, in a process that finds the page's provider."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-W",
        "error",
        f"--basetemp={folder / 'base'}",
    ]
    done = subprocess.run([*command, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_page_shows_every_room() -> None:
    assert sorted(Path(name).stem for name in BLOCKS if name.startswith("mlport_folder/")) == ROOMS


def test_its_provider_passes_the_whole_suite(installed: Path, tmp_path: Path) -> None:
    status, output = run(installed, tmp_path / "run", "--pyargs", "mlport.testing.suite", "--profile=folder")
    assert status == 0, output
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) > 150, output
    assert "skipped" not in output, "what is absent is seen to be refused, never skipped"


def test_its_provider_is_one_job_however_it_dies(installed: Path, tmp_path: Path) -> None:
    status, output = run(installed, tmp_path / "run", str(installed / "tests"), f"--rootdir={installed}")
    assert (status, "4 passed" in output) == (0, True), output


def test_a_defect_in_it_is_caught_by_the_test_that_the_page_names(installed: Path, tmp_path: Path) -> None:
    """An id that is made of more than the token: the page says which test means that."""
    broken = tmp_path / "broken"
    (broken / "mlport_folder").mkdir(parents=True)
    for file in (installed / "mlport_folder").glob("*.py"):
        text = file.read_text().replace('f"{plan.name}-{token}"', 'f"{plan.name}-{os.urandom(4).hex()}-{token}"')
        (broken / "mlport_folder" / file.name).write_text(text)
    for info in installed.glob("*.dist-info"):
        info_copy = broken / info.name
        info_copy.mkdir()
        for file in info.iterdir():
            (info_copy / file.name).write_text(file.read_text())
    status, output = run(broken, tmp_path / "run", "--pyargs", "mlport.testing.suite.test_jobs", "--profile=folder", "-k", "token_once")
    assert (status, "test_the_provider_itself_does_a_token_once" in output) == (1, True), output


def test_the_modules_options_and_capabilities_that_it_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert named
    assert not named - {file.name for file in SUITE.glob("test_*.py")}
    plugin = (ROOT / "src" / "mlport" / "testing" / "plugin.py").read_text()
    options = set(re.findall(r"`(--[a-z-]+)` \|", PAGE))
    assert options == set(re.findall(r'addoption\(\s*"(--[a-z-]+)"', plugin))
