"""The sweep over the digits finds settings that are better than most that it tried."""

from __future__ import annotations

import re
import shutil
import statistics
from pathlib import Path

import pytest

import mlport
from mlport import SweepSpec
from mlport.cli import specfile

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIGITS, tmp_path / "digits"))


def test_the_sweep_of_the_digits(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the file says, with fewer trials."""
    monkeypatch.setenv("MLPORT_EXPORT", "0")
    fields = [("max_trials", "4"), ("job.params.epochs", "8")]
    spec = specfile.load(str(digits / "sweep.toml"), kinds=("sweep",), sets=fields)
    assert isinstance(spec, SweepSpec)
    with mlport.connect(f"local://{tmp_path}/root") as client:
        sweep = client.sweeps.run(spec, timeout=240)
        assert sweep.best is not None
        values = [trial.value for trial in sweep.trials if trial.value is not None]
        assert len(sweep.trials) == 4
        assert sweep.best.value == max(values) >= statistics.median(values)
        assert sweep.best.value > 0.9
        assert Path(sweep.job(sweep.best).outputs["model"], "MLmodel").exists()


def test_the_readme_says_how() -> None:
    commands = re.findall(r"^mlport sweeps .*$", (DIGITS / "README.md").read_text(), re.MULTILINE)
    assert any("sweep.toml" in command for command in commands)
