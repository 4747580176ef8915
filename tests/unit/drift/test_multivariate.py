"""What no column shows by itself is seen by several; streams are watched value by value."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlport import drift
from mlport.drift import multivariate
from mlport.errors import UsageError

ROWS = 1_500


def pair(correlation: float, seed: int) -> dict[str, Any]:
    """Two normal columns, each the same whatever the correlation; and a category that tells nothing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=ROWS)
    y = correlation * x + math.sqrt(1 - correlation**2) * random.normal(size=ROWS)
    return {"x": x, "y": y, "c": random.choice(["a", "b"], ROWS)}


def test_a_change_of_correlation_is_seen_by_the_classifier_and_no_column() -> None:
    a, b, same = pair(0.9, 1), pair(-0.9, 2), pair(0.9, 3)
    report = drift.compare(a, b)
    assert max(report.column(name)["ks"].value or 0 for name in "xy") < 0.06
    found = drift.domain_classifier(a, b)
    assert found.auc > 0.85
    assert found.lo < found.auc < found.hi
    assert set(list(found.importance)[:2]) == {"x", "y"}
    assert abs(found.importance["c"]) < 0.02
    null = drift.domain_classifier(a, same)
    assert null.lo - 0.02 < 0.5 < null.hi + 0.02
    json.dumps(found.to_json(), allow_nan=False)


def test_reconstruction_rises_when_correlations_break() -> None:
    broken = drift.reconstruction(pair(0.97, 1), pair(0.0, 2))
    still = drift.reconstruction(pair(0.97, 1), pair(0.97, 3))
    assert (broken.components, broken.columns) == (1, ("x", "y"))
    assert broken.current > 3 * broken.reference
    assert broken.ks > 0.4
    assert still.current == pytest.approx(still.reference, rel=0.1)
    json.dumps(broken.to_json(), allow_nan=False)


def test_vectors_nulls_and_categories_unseen_take_part() -> None:
    random = np.random.default_rng(0)
    tables = []
    for shift in (0.0, 1.0):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(random.normal(shift, 1, ROWS * 3)), 3)
        tables.append(pa.table({"v": vectors, "c": pa.array([None, f"{shift}"] * (ROWS // 2)), "flat": np.zeros(ROWS)}))
    found = drift.domain_classifier(*tables)
    assert found.auc > 0.9
    assert list(found.importance)[-1] == "flat"
    assert drift.reconstruction(*tables, variance=0.5).columns == ("v",)


def test_samples_are_drawn_evenly_and_by_seed() -> None:
    from mlport.drift import ingest

    source = ingest.source({"x": np.arange(5_000)}, "it")
    draws = [multivariate._sampled(source, ["x"], 500, np.random.default_rng(seed))["x"].to_numpy() for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert len(set(draws[0])) == 500
    assert draws[0].mean() == pytest.approx(2_500, abs=4 * 5_000 / math.sqrt(12 * 500))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drift.domain_classifier({"x": [1.0] * 5}, {"x": [1.0] * 50}), "the reference has 5 rows"),
        (lambda: drift.domain_classifier({"x": [1.0]}, {"y": [1.0]}), "no column of both sides"),
        (lambda: drift.reconstruction({"x": ["a"] * 50}, {"x": ["a"] * 50}), "no column of both sides"),
        (lambda: drift.reconstruction({"x": [1.0] * 50}, {"x": [1.0] * 50}), "no column of the reference varies"),
        (lambda: drift.reconstruction({"x": [1.0]}, {"x": [1.0]}, variance=1.5), "variance is 1.5"),
        (lambda: drift.stream("adwinn"), "did you mean 'adwin'"),
        (lambda: drift.stream("adwin", speed=3), "detector adwin: .*speed"),
        (lambda: drift.stream("ddm").update(0.5), "errors, which are 0 or 1"),
    ],
)
def test_what_is_wrong_is_named(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("detector", ["adwin", "kswin", "page_hinkley"])
def test_streams_find_a_step_and_little_else(detector: str) -> None:
    random = np.random.default_rng(3)
    watched = drift.stream(detector, **({"seed": 1, "alpha": 1e-4} if detector == "kswin" else {}))
    for value in [*random.normal(0, 1, 1_000), math.nan, *random.normal(3, 1, 500)]:
        watched.update(value)
    assert (watched.seen, watched.left_out) == (1_501, 1)
    assert watched.detections
    assert all(1_001 < at < 1_200 for at in watched.detections)


def test_streams_of_errors() -> None:
    random = np.random.default_rng(4)
    watched = drift.stream("hddm_w")
    found = [watched.update(float(value)) for value in [*(random.random(1_000) < 0.1), *(random.random(500) < 0.6)]]
    assert found.index(True) + 1 == watched.detections[0]
    assert 1_000 < watched.detections[0] < 1_050
