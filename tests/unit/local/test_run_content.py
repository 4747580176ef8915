"""What an ended job looks like as an MLflow run."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from mlport.spi import State
from mlport_local.registry.run_content import STATUS, EndedJob, Point, key, params, points, tags

ENDED = 1_700_000_000_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"auc": 0.7, "loss": 1}', [("auc", 0.7, 0, ENDED), ("loss", 1.0, 0, ENDED)]),
        ('{"name": "auc", "value": 0.7}', [("auc", 0.7, 0, ENDED)]),
        ('{"name": "auc", "value": 0.7, "step": 3, "time": 1700000001.5}', [("auc", 0.7, 3, 1_700_000_001_500)]),
        ('{"name": "auc", "value": 0.7, "time": "2023-11-14T22:13:21+00:00"}', [("auc", 0.7, 0, 1_700_000_001_000)]),
        ('{"name": "auc", "value": 0.7, "step": "x", "time": "yesterday"}', [("auc", 0.7, 0, ENDED)]),
        ('{"auc": 0.7, "step": 3}', [("auc", 0.7, 3, ENDED)]),
        ('{"f1@0.5": 1e3}', [("f1_0.5", 1000.0, 0, ENDED)]),
        ('{"auc": "high", "ok": true, "deep": {"auc": 1}}', []),
        ("[1, 2]", []),
        ('{"auc": 0.', []),
        ("", []),
    ],
)
def test_one_line(line: str, expected: list[tuple[str, float, int, int]]) -> None:
    assert list(points([line.encode()], ENDED)) == [Point(*values) for values in expected]


def test_values_without_a_step_are_numbered_and_always_alike() -> None:
    lines = [b'{"auc": 0.5}', b'{"loss": 2}', b'{"auc": 0.6}', b'{"name": "auc", "value": 0.7}']
    first, again = (list(points(lines, ENDED)) for _ in range(2))
    assert first == again
    assert [(point.name, point.step) for point in first] == [("auc", 0), ("loss", 0), ("auc", 1), ("auc", 2)]


def test_params_and_tags() -> None:
    spec = {"params": {"max_depth": 6, "fast": True, "a=b": "x"}, "entrypoint": ["python", "train.py"]}
    inputs = {"flights": {"uri": "/data/f.parquet", "kind": "sha256", "digest": "abc", "bytes": 3}}
    facts = {"bundle": "b1", "git_commit": None, "git_dirty": False, "inputs": inputs}
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    job = EndedJob("delays-1", "delays", State.FAILED, "exit code 3", moment, moment, spec, facts, {"team": "ops"}, exit_code=3)
    assert params(job) == {"max_depth": "6", "fast": "True", "a_b": "x"}
    assert tags(job) == {
        "mlport.job": "delays-1",
        "mlport.state": "FAILED",
        "mlport.reason": "exit code 3",
        "mlport.exit_code": "3",
        "mlport.bundle": "b1",
        "mlport.git_dirty": "false",
        "mlport.entrypoint": json.dumps(["python", "train.py"]),
        "mlport.input.flights": "/data/f.parquet sha256:abc",
        "team": "ops",
    }


def test_every_end_has_a_word_of_mlflows() -> None:
    assert set(STATUS) == {state for state in State if state.terminal}


def test_keys_are_what_mlflow_takes() -> None:
    assert key("ünit tests: a/b-c.d") == "ünit tests: a/b-c.d"
    assert len(key("x" * 300)) == 250
    assert [key(name) for name in ("", ".", "..", "/a", "a/", "a//b")] == ["_", "_", "__", "_a", "a_", "a__b"]
