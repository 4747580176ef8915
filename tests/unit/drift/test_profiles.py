"""A sketch's bounds contain the exact value; profiles merge in any order; what a threshold leaves open is read again."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlport import drift
from mlport.drift import Definition, Profile, cells, definitions, kernels, ordered
from mlport.drift.cells import Cells
from mlport.drift.records import Report
from mlport.errors import UsageError

ROWS = 6_000


def column(shape: str, seed: int, shift: float = 0.0, rows: int = ROWS) -> Any:
    random = np.random.default_rng(seed)
    return {
        "normal": lambda: random.normal(shift, 1, rows),
        "lognormal": lambda: random.lognormal(shift, 2, rows),
        "cauchy": lambda: random.standard_cauchy(rows) + shift,
        "atoms": lambda: np.where(random.random(rows) < 0.6 - shift / 3, 0.0, random.gamma(2, 2, rows)),
        "counts": lambda: random.poisson(30 + shift, rows),
        "constant": lambda: np.full(rows, 3.5 + shift),
        "times": lambda: 1.7e9 + random.exponential(60 + shift, rows),
        "two far": lambda: np.where(random.random(rows) < 0.5, random.normal(0, 1e-9, rows), 1e12 + random.normal(shift, 1, rows)),
        "infinite": lambda: np.where(random.random(rows) < 0.1, np.inf, random.normal(shift, 1, rows)),
        "missing": lambda: np.where(random.random(rows) < 0.3, np.nan, random.normal(shift, 1, rows)),
    }[shape]()


SHAPES = ("normal", "lognormal", "cauchy", "atoms", "counts", "constant", "times", "two far", "infinite", "missing")


def contains(sketched: Report, exact: Report) -> None:
    for name, found in exact.columns.items():
        for metric, reading in found.readings.items():
            bounds = sketched.column(name)[metric].interval
            if reading.value is None or bounds is None:
                assert reading.value is None
                assert bounds is None
                continue
            assert bounds[0] - 1e-14 <= reading.value <= bounds[1] + 1e-14, (name, metric, reading.value, bounds)
            value = sketched.column(name)[metric].value
            assert value is not None
            assert bounds[0] <= value <= bounds[1]


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.8])
def test_bounds_contain_the_exact_value_and_are_narrow(shift: float) -> None:
    a = pa.table({shape: column(shape, at) for at, shape in enumerate(SHAPES)})
    b = pa.table({shape: column(shape, at + 50, shift) for at, shape in enumerate(SHAPES)})
    metrics = ["ks", "wasserstein", "wasserstein_normed", *definitions.BINNED, "missing"]
    metrics += [
        Definition("js", name="even", bins=drift.Bins("uniform", 20)),
        Definition("tv", name="sturges", bins=drift.Bins("uniform", None)),
    ]  # type: ignore[list-item]
    exact = drift.compare(a, b, metrics=metrics)
    first, second = drift.profile(a), drift.profile(b)
    for kernel in ("numpy", "compiled"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlport.drift.observed.MANY", 0)
            contains(drift.compare(first, b, metrics=metrics, kernel=kernel), exact)  # type: ignore[arg-type]
    for sides in ((first, second), (first, b), (a, second)):
        sketched = drift.compare(*sides, metrics=metrics)
        contains(sketched, exact)
        widths = [hi - lo for name in SHAPES for lo, hi in [sketched.column(name)["ks"].interval or (0, 1)]]
        assert max(widths) < 2.5 / cells.RESOLUTION * 2
    for name in ("counts", "constant"):
        assert drift.compare(first, b).column(name)["ks"].exact


NUMBERS = st.lists(
    st.one_of(st.floats(-100, 100), st.sampled_from([0.0, 1.0, 1.5, 2.0, -3.0, 1e300, math.inf, -math.inf])), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, NUMBERS, st.sampled_from([1, 2, 5]))
@example([0.0, 1.0], [0.0, 0.0, 0.0, -1.0, -2.0], 2)  # a cell of all that is negative ends at minus zero
def test_bounds_hold_however_coarse_the_cells(first: list[float], second: list[float], resolution: int) -> None:
    metrics = ["ks", "wasserstein", "psi", "js", "linf", Definition("tv", name="even", bins=drift.Bins("uniform", 4))]
    a, b = {"x": np.array(first)}, {"x": np.array(second)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "RESOLUTION", resolution)
        sketches = [drift.profile(a), drift.profile(b)]
        for sides in (sketches, (a, sketches[1]), (sketches[0], b)):
            contains(drift.compare(*sides, metrics=metrics), drift.compare(a, b, metrics=metrics))  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.floats(allow_nan=True), max_size=40), min_size=3, max_size=3))
def test_merging_is_associative_and_commutative(parts: list[list[float]]) -> None:
    sketches = [cells.of_ordered(ordered.of_floats(np.array(part, float), 0, kernels.NUMPY)) for part in parts]
    a, b, c = sketches
    for one, two in itertools.combinations(
        [cells.merge(cells.merge(a, b), c), cells.merge(a, cells.merge(b, c)), cells.merge(cells.merge(c, b), a)], 2
    ):
        same(one, two)
    same(cells.merge(a, cells.EMPTY), a)


@settings(max_examples=12, deadline=None)
@given(st.permutations([("normal", 1), ("lognormal", 2), ("normal", 3), ("two far", 4)]))
def test_merging_large_sketches_in_any_order_gives_the_same_cells(parts: list[tuple[str, int]]) -> None:
    """These have cells of many values, that contain one another."""
    wanted = whole([("normal", 1), ("lognormal", 2), ("normal", 3), ("two far", 4)])
    same(whole(parts), wanted)
    left, right = whole(parts[:2]), whole(parts[2:])
    same(cells.merge(right, left), wanted)
    values = np.sort(np.concatenate([column(*part) for part in parts]))
    first, last = wanted.span
    assert np.array_equal(wanted.counts, np.searchsorted(values, last, "right") - np.searchsorted(values, first, "left"))


def whole(parts: list[tuple[str, int]]) -> Cells:
    found = cells.EMPTY
    for shape, seed in parts:
        found = cells.merge(found, cells.of_ordered(ordered.of_floats(column(shape, seed), 0, kernels.NUMPY)))
    return found


def same(one: Cells, two: Cells) -> None:
    assert np.array_equal(one.starts, two.starts)
    assert np.array_equal(one.levels, two.levels)
    assert np.array_equal(one.counts, two.counts)
    scale = np.maximum(np.abs(one.span[0]), np.abs(one.span[1])) if one.starts.size else np.empty(0)
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.all((np.abs(one.sums - two.sums) <= 1e-9 * scale * one.counts) | ~np.isfinite(one.sums * two.sums))
    for name in ("low", "high", "missing", "rows", "minimum", "maximum"):
        assert getattr(one, name) == getattr(two, name)


def test_a_profile_is_small_and_comes_back_the_same(tmp_path: Path) -> None:
    table = pa.table({
        **{shape: column(shape, at, rows=50_000) for at, shape in enumerate(SHAPES)},
        "name": np.random.default_rng(0).choice(["a", "b", "c"], 50_000),
        "flag": np.random.default_rng(1).random(50_000) < 0.5,
        "words": [f"{at}" for at in range(50_000)],
        "vectors": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(200_000.0)), 4),
    })  # fmt: skip
    found = drift.profile(table)
    assert len(found.to_bytes()) < 6_000 * len(found.columns)
    again = Profile.load(found.save(tmp_path / "day.profile"))
    assert again.to_json() == found.to_json() == json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert found.columns["words"].observed.counts() is None
    report = drift.compare(tmp_path / "day.profile", table)
    contains(report, drift.compare(table, table))
    assert report.column("words").kind == "text"
    assert report.column("vectors")["centroid_euclidean"].value == pytest.approx(0, abs=1e-9)


def test_a_profile_of_values_whose_squares_are_infinite_comes_back_the_same(tmp_path: Path) -> None:
    table = pa.table({"x": np.array([-1e300, 1e300, 1.7e308, 1.7e308])})
    found = drift.profile(table)
    again = Profile.load(found.save(tmp_path / "huge.profile"))
    assert again.to_json() == found.to_json()
    contains(drift.compare(again, table), drift.compare(table, table))


def test_profiles_of_parts_compare_as_the_whole(tmp_path: Path) -> None:
    a, b = ({"x": column("lognormal", seed, shift), "c": column("counts", seed).astype(str)} for seed, shift in ((1, 0.0), (2, 0.1)))
    parts = [drift.profile({name: values[at::3] for name, values in a.items()}) for at in range(3)]
    merged = parts[2] | parts[0] | parts[1]
    assert merged.rows == ROWS
    contains(drift.compare(merged, b), drift.compare(a, b))
    with pytest.raises(UsageError, match="different columns cannot be merged: c"):
        merged | drift.profile({"x": [1.0]})


@pytest.mark.parametrize("order", ["as it is", "ascending"])
def test_files_larger_than_memory(tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches, the sorted ones each in new territory; bounds hold, and a threshold between them is settled by reading again."""
    monkeypatch.setattr("mlport.drift.ingest.BATCH_ROWS", 1_000)
    monkeypatch.setattr("mlport.drift.ingest.MOST_COLUMNS", 2)
    tables = []
    for seed, shift in ((1, 0.0), (2, 0.05)):
        data = {"x": column("lognormal", seed, shift), "n": column("missing", seed, shift), "c": column("counts", seed, shift).astype(str)}
        rows = np.argsort(data["x"]) if order == "ascending" else np.arange(ROWS)
        tables.append(pa.table({name: values[rows] for name, values in data.items()}))
        pq.write_table(tables[-1], tmp_path / f"{seed}.parquet", row_group_size=700)
    paths = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    exact = drift.compare(*tables)
    assert drift.compare(*paths).to_json() == exact.to_json()
    for kernel in ("numpy", "compiled"):
        sketched = drift.compare(*paths, memory=0, kernel=kernel)  # type: ignore[arg-type]
        assert sketched.sketched
        contains(sketched, exact)
    profiles = [drift.profile(paths[0], kernel=kernel).columns["n"].observed.sample for kernel in ("numpy", "compiled")]  # type: ignore[arg-type]
    same(*profiles)  # type: ignore[arg-type]
    assert profiles[0].moments == pytest.approx(profiles[1].moments)
    truth = exact.column("x")["ks"].value
    assert truth is not None
    for threshold in (truth - 1e-9, truth + 1e-9):
        asked = drift.compare(*paths, memory=0, thresholds={("x", "ks"): threshold})
        assert asked.column("x")["ks"].exact
        assert asked.column("x")["ks"].beyond == (truth > threshold)
        assert asked.column("x")["ks"].p == exact.column("x")["ks"].p
        assert not asked.column("n")["ks"].exact
    left_open = drift.compare(*paths, memory=0, thresholds={"ks": truth}, refine="never").column("x")["ks"]
    assert left_open.beyond is None
    always = drift.compare(*paths, memory=0, refine="always")
    for name, found in always.columns.items():
        assert {key: reading.value for key, reading in found.readings.items()} == {
            key: reading.value for key, reading in exact.column(name).readings.items()
        }


def test_a_reader_is_read_once() -> None:
    table = pa.table({"x": column("normal", 1)})
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=500))
    contains(drift.compare(reader, table), drift.compare(table, table))
    spent = drift.compare(table, reader)
    assert spent.rows_current == 0
    assert spent.column("x")["ks"].value is None
    assert [finding.kind for finding in spent.findings] == ["no rows"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no profile"), (b"PAR1", "no profile"), ({"format": 2}, "format 2"), ({"format": 1, "rows": 1}, "damaged")],
)
def test_what_is_no_profile_is_said(content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Profile.from_bytes(content) if isinstance(content, bytes) else Profile.from_json(content)


def test_a_profile_of_nothing_compares_to_nothing() -> None:
    empty = pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())})
    report = drift.compare(drift.profile(empty), drift.profile(empty))
    assert {reading.value for name in "xc" for reading in report.column(name).readings.values()} == {None}
    assert {finding.kind for finding in report.findings} == {"no rows"}
    assert math.isnan(drift.profile(empty).columns["x"].observed.sample.moments[0])
