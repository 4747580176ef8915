"""When a difference is an alarm: by its size beyond chance, not by how sure it is. Rates are those of simulated samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mlport.drift import compare
from mlport.drift.decisions import DEFAULT, Rule, decide, margin, persistent
from mlport.errors import UsageError

REPETITIONS = 250


def normal(seed: int, rows: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(shift, 1.0, rows)}


def words(seed: int, rows: int, weights: tuple[float, ...]) -> dict[str, list[str]]:
    return {"c": [f"v{code}" for code in np.random.default_rng(seed).choice(len(weights), rows, p=weights)]}


def test_a_shift_of_a_hundredth_of_a_deviation_in_a_million_rows_is_no_alarm():
    report = compare(normal(1, 1_000_000), normal(2, 1_000_000, 0.01), metrics=["ks", "missing"])
    found = decide(report)
    assert report.column("x")["ks"].p < 1e-6, "it is sure"
    assert (found.status, found.severity, found.drifted) == ("no drift", "none", [])


@pytest.mark.parametrize(("rows", "shift", "severity"), [(1_000, 0.5, "moderate"), (100_000, 0.3, "moderate"), (10_000, 1.0, "severe")])
def test_a_shift_that_matters_is_found_in_few_rows_and_in_many(rows, shift, severity):
    found = decide(compare(normal(3, rows), normal(4, rows, shift), metrics=["ks", "missing"]))
    (column,) = found.drifted
    assert (found.status, column.severity) == ("drift", severity)
    assert "by more than noise" in column.reasons[0]
    assert found.words.startswith(f"drift ({severity}) in 1 of 1 columns: x")


@pytest.mark.parametrize("metric", ["ks", "js_distance", "js", "psi", "kl", "hellinger"])
@pytest.mark.parametrize(("n", "m"), [(300, 300), (2_000, 400)])
def test_chance_passes_the_margin_as_often_as_it_says(metric, n, m):
    over = 0
    weights = (0.1,) * 10
    for seed in range(REPETITIONS):
        sides = (
            (normal(2 * seed, n), normal(2 * seed + 1, m))
            if metric == "ks"
            else (words(2 * seed, n, weights), words(2 * seed + 1, m, weights))
        )
        (column,) = compare(*sides, metrics=[metric]).columns.values()
        over += column[metric].value > margin(column[metric], n, m, bins=10, noise=0.1)
    assert 0.05 < over / REPETITIONS < 0.15


@pytest.mark.parametrize("metric", ["tv", "linf", "missing"])
def test_margins_that_are_bounds_are_passed_no_more_often_than_they_say(metric):
    over = 0
    for seed in range(REPETITIONS // 2):
        one, two = (
            pa.table({"c": pa.array([None if hole else f"v{code}" for code, hole in zip(random.integers(5, size=400), random.random(400) < 0.2, strict=True)])})
            for random in (np.random.default_rng(2 * seed), np.random.default_rng(2 * seed + 1))
        )  # fmt: skip
        reading = compare(one, two, metrics=[metric]).column("c")[metric]
        over += reading.value > margin(reading, 320 if metric != "missing" else 400, 320 if metric != "missing" else 400, 5, 0.1, 0.2)
    assert over / (REPETITIONS // 2) < 0.15


def test_the_test_is_a_gate_over_all_columns():
    """Forty columns of sixty rows: one alone would pass its own test at 5 %."""
    random = np.random.default_rng(11)
    reference = {f"x{at}": random.normal(size=60) for at in range(40)}
    current = {f"x{at}": random.normal(size=60) for at in range(40)}
    report = compare(reference, current, metrics=["ks"])
    eager = Rule({"ks": 0.05}, noise=0.0, gate=None)
    assert decide(report, eager).status == "drift"
    gated = decide(report, replace(eager, gate=0.05))
    assert gated.status == "no drift"
    assert any("its test does not agree" in reason for column in gated.columns for reason in column.reasons)


def test_what_the_model_does_not_look_at_raises_no_alarm():
    reference = {**normal(1, 2_000), "y": np.random.default_rng(5).normal(size=2_000)}
    current = {**normal(2, 2_000), "y": np.random.default_rng(6).normal(2.0, size=2_000)}
    report = compare(reference, current, metrics=["ks"])
    rule = Rule(importance={"x": 99.0, "y": 1.0}, least_importance=0.05)
    found = decide(report, rule)
    assert (found.status, [each.column for each in found.drifted]) == ("no drift", ["y"])
    assert found.share == pytest.approx(0.01)
    assert decide(report, replace(rule, least_importance=0.0)).status == "drift"


def test_columns_that_a_model_cannot_do_without_are_an_alarm_and_what_cannot_be_read_is_not_well():
    gone = decide(compare({"a": [1.0, 2.0], "b": [1.0, 2.0]}, {"a": [1.0, 2.0]}))
    assert (gone.status, gone.severity, gone.drifted[0].column) == ("drift", "severe", "b")
    empty = decide(compare({"a": [1.0, 2.0, 3.0]}, {"a": pa.array([None, None], pa.float64())}))
    assert (empty.status, empty.severity) == ("drift", "severe")
    bytes_too = pa.table({"a": [1.0, 2.0] * 20, "z": [b"x"] * 40})
    binary = decide(compare(bytes_too, bytes_too))
    assert binary.status == "unknown"
    assert "not known of z" in binary.words


def test_a_bound_that_does_not_tell_is_not_known(tmp_path):
    from mlport.drift import profile

    a, b = normal(1, 20_000), normal(2, 20_000, 0.3)
    report = compare(profile(pa.table(a)), profile(pa.table(b)), metrics=["ks"])
    reading = report.column("x")["ks"]
    chance = margin(reading, 20_000, 20_000, 10, 0.05)
    between = Rule({"ks": (reading.lo + reading.hi) / 2 - chance}, gate=None)
    found = decide(report, between)
    assert (found.status, "read the data again" in found.columns[0].reasons[0]) == ("unknown", True)


def test_thresholds_of_a_column_stand_over_those_of_all():
    report = compare(normal(1, 5_000), normal(2, 5_000, 0.5), metrics=["ks"])
    assert decide(report, Rule({"ks": 0.1})).status == "drift"
    assert decide(report, Rule({"ks": 0.1, ("x", "ks"): 0.5})).status == "no drift"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"thresholds": {"ks": -1}}, "not negative"),
        ({"thresholds": {"ks": math.nan}}, "not negative"),
        ({"noise": 1.0}, "noise is 1.0"),
        ({"gate": -0.1}, "gate is -0.1"),
        ({"importance": {"x": -1}}, "importance"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, told):
    with pytest.raises(UsageError, match=told):
        Rule(**rule)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule({"kss": 0.1}), "'kss' was not compared"),
        (Rule({("y", "ks"): 0.1}), "was not compared"),
        (Rule(importance={"y": 1.0}), "no column 'y'"),
    ],
)
def test_a_rule_for_what_is_not_there_is_refused(rule, told):
    with pytest.raises(UsageError, match=told):
        decide(compare(normal(1, 50), normal(2, 50), metrics=["ks"]), rule)


def test_a_threshold_of_a_column_is_of_a_metric_that_it_has():
    report = compare({**normal(1, 200), **words(1, 200, (0.5, 0.5))}, {**normal(2, 200), **words(2, 200, (0.5, 0.5))})
    with pytest.raises(UsageError, match="was not compared"):
        decide(report, Rule({("c", "ks"): 0.1}))
    rule = Rule({**DEFAULT, ("x", "ks"): 0.3})
    assert [[effect.metric for effect in column.effects] for column in decide(report, rule).columns] == [
        ["ks", "missing"],
        ["js_distance", "missing"],
    ]


def test_drift_lasts_when_it_is_seen_in_k_of_n_windows():
    assert persistent(["drift"] * 3) == "drift"
    assert persistent(["drift", "drift", "no drift", "no drift"]) == "no drift"
    assert persistent(["unknown", "unknown", "drift"]) == "unknown"
    assert persistent([]) == "unknown"
    assert persistent(["drift"], k=1, n=1) == "drift"
    with pytest.raises(UsageError, match="k must be"):
        persistent(["drift"], k=4, n=3)
