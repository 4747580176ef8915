"""README.md shows what the program does: the matrix is the capability maps', the transcript is what the demo prints."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from mlport.demo.main import Summary, run
from mlport.testing.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_matrix_is_fresh(readme: ModuleType) -> None:
    def lasting(matrix: str) -> list[str]:
        return [line for line in matrix.splitlines() if "GPUs" not in line]  # what is said of GPUs depends on the machine

    assert lasting(readme.section(readme.README.read_text(), "matrix")) == lasting(readme.matrix()), "run make docs"


def test_the_demo_prints_what_the_readme_shows(readme: ModuleType, tmp_path: Path) -> None:
    lines: list[str] = []
    found: Summary = run(folder=tmp_path / ".mlport-demo", say=lines.append)
    shown = readme.section(readme.README.read_text(), "demo").strip("`\n")
    assert readme.comparable("\n".join(lines)).strip() == readme.comparable(shown).strip(), "run make docs"
    assert found.captured == found.labelled == found.rows == 28128
    assert 0.76 < found.train_auc < 0.79
    assert 0.72 < found.replay_auc < 0.77
    watched = found.watched
    assert [reading.drift for reading in watched.readings] == ["drift"] * 8
    assert [reading.decay for reading in watched.readings] == ["steady", *["decayed"] * 7]
    assert watched.retraining is not None
    assert (watched.retraining.phase, watched.retraining.trigger) == ("handed over", "decay")
    assert watched.report.stat().st_size < 1_000_000
    eventually(lambda: _processes_of(tmp_path), lambda left: not left, 20)  # nothing stays; what was told to end may still be ending


def _processes_of(folder: Path) -> list[str]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        found += [" ".join(words)] if any(str(folder) in word for word in words) else []
    return found


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", re.sub(r"`[^`]*`", "", page.read_text())):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_example_configuration_is_read(tmp_path: Path) -> None:
    from mlport.config import read_file

    text = (ROOT / "docs" / "configuration.md").read_text()
    block = text.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "mlport.toml"
    path.write_text(block)
    assert set(read_file(path).profiles) == {"laptop", "shared"}
    assert json.loads(read_file(path).objective.model_dump_json())["at_least"] == 0.68
