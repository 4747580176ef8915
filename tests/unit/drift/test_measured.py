"""The scripts that measure how exact the engine is, and how often it alarms, at small sizes: `docs/monitoring.md` has the large ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def measured(script: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_values_are_scipys_and_bounds_contain_them() -> None:
    found = measured("drift_accuracy.py")
    assert sum(found["columns"].values()) >= 460
    assert found["outside"] == 0
    assert found["bounded"] > 10_000
    assert set(found["worst"]) == {"ks", "ks p", "wasserstein", "js_distance", "entropy", "chi2", "chi2 p"}


def test_the_default_rule_is_silent_of_chance_where_p_values_are_not() -> None:
    found = measured("drift_alarms.py")
    false, power = found["false_alarms"]["1000"]["any of 20 columns"], found["power"]["1000"]
    assert false["default"] == 0
    assert false["p < 0.05"] > 0.2
    assert power["mean, by 0.5 sd"]["default"] == power["categories, 20 % of rows moved"]["default"] == 1.0
    assert power["mean, by 0.01 sd"]["default"] == 0
