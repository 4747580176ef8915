"""Comparing and deciding in one: a sketch's verdict is the data's own, wherever these can be read, and is unknown where they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport import drift
from mlport.drift import Definition, Profile
from mlport.drift.decisions import DEFAULT, Rule, decide
from mlport.drift.judging import completed, judged, thresholds_of
from mlport.errors import UsageError

ROWS = 20_000
RANDOM = np.random.default_rng(5)
A = pa.table({"x": RANDOM.normal(size=ROWS), "zip": RANDOM.integers(0, 50, ROWS), "c": RANDOM.choice(["a", "b"], ROWS)})
B = pa.table({"x": RANDOM.normal(0.5, 1, ROWS), "zip": RANDOM.integers(0, 50, ROWS), "c": RANDOM.choice(["a", "b"], ROWS)})
KS = drift.compare(A, B, columns=["x"], metrics=["ks"]).column("x")["ks"].value or 0.0


def at(threshold: float) -> Rule:
    return Rule({"ks": threshold}, noise=0.0, gate=None)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Profile]:
    folder = tmp_path_factory.mktemp("judging")
    for name, table in (("a", A), ("b", B)):
        pq.write_table(table, folder / f"{name}.parquet")
    return folder / "a.parquet", folder / "b.parquet", drift.profile(A, kinds={"zip": "category"})


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(st.text(min_size=1), st.sampled_from([*DEFAULT, "psi"])), st.floats(0, 1)))
def test_thresholds_are_by_metric_or_by_column_and_metric(wanted: dict[tuple[str, str], float]) -> None:
    assert thresholds_of({f"{column}.{metric}": value for (column, metric), value in wanted.items()}) == wanted
    assert thresholds_of(dict(DEFAULT)) == DEFAULT  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", ".ks", "x.", "."])
def test_a_threshold_of_nothing_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="must be a metric, such as ks, or a column and a metric"):
        thresholds_of({key: 0.1})


@pytest.mark.parametrize(("threshold", "status"), [(KS - 1e-9, "drift"), (KS + 1e-9, "no drift")])
def test_what_a_sketch_leaves_open_is_read_again_where_the_data_are(
    stored: tuple[Path, Path, Profile], threshold: float, status: str
) -> None:
    a, b, profile = stored
    for reference, current, memory, again in (
        (a, b, 0, None),
        (A, b, 0, None),
        (profile, b, 0, a),
        (profile, B, 1 << 30, A),
        (profile, b, 0, str(a)),
    ):
        report, decision = judged(reference, current, at(threshold), again=again, memory=memory, columns=["x"])
        assert (decision.status, report.column("x")["ks"].exact) == (status, True)
        assert report.column("x")["ks"].value == KS
    report, decision = judged(A, B, at(threshold), columns=["x"])
    assert (report.to_json(), decision.to_json()) == (drift.compare(A, B, columns=["x"]).to_json(), decide(report, at(threshold)).to_json())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1_000), st.floats(0, 1), st.floats(0.01, 0.4), st.sampled_from(["ks", "psi", "js_distance", "hellinger"]))
def test_a_profile_with_its_data_at_hand_says_what_the_data_say(seed: int, shift: float, threshold: float, metric: str) -> None:
    random = np.random.default_rng(seed)
    a, b = {"x": random.lognormal(0, 1, 3_000)}, {"x": random.lognormal(shift, 1, 2_000)}
    rule = Rule({metric: threshold})
    exact, sketched = judged(a, b, rule)[1], judged(drift.profile(a), b, rule, again=a)[1]
    alone = judged(drift.profile(a), b, rule)[1]
    assert sketched.status == exact.status
    assert alone.status in (exact.status, "unknown")


def test_where_they_are_not_it_stays_unknown_and_says_why(stored: tuple[Path, Path, Profile], tmp_path: Path) -> None:
    a, b, profile = stored
    pq.write_table(A.slice(1), tmp_path / "shorter.parquet")
    pq.write_table(A.drop(["x"]), tmp_path / "less.parquet")
    tried = {
        None: "read the data again",
        tmp_path / "gone.parquet": "it could not be read again: the reference: there is no file",
        tmp_path / "shorter.parquet": "it could not be read again: the reference has 19,999 rows now and had 20,000",
        tmp_path / "less.parquet": "it could not be read again: x: the reference does not have it",
    }
    for again, why in tried.items():
        _, decision = judged(profile, b, at(KS), again=again, columns=["x", "c"])
        assert {each.column: each.status for each in decision.columns} == {"x": "unknown", "c": "no drift"}
        assert why in decision.columns[0].reasons[-1]
    assert judged(a, b, at(KS), memory=0, columns=["x"], refine="never")[1].status == "unknown"
    reader = pa.RecordBatchReader.from_batches(B.schema, B.to_batches())
    report, decision = judged(profile, reader, at(KS), again=a, columns=["x"])
    assert (decision.status, [each.kind for each in report.findings], report.rows_current) == ("unknown", ["range left"], ROWS)


def test_a_column_is_read_again_as_the_profile_has_it(stored: tuple[Path, Path, Profile]) -> None:
    """`zip` is of numbers, and the profile has it as categories; `x` is open, and the kind of neither changes."""
    a, b, profile = stored
    report, _ = judged(profile, b, at(KS), again=a)
    assert {name: column.kind for name, column in report.columns.items()} == {"x": "number", "zip": "category", "c": "category"}
    assert report.column("x")["ks"].exact
    many = {"id": [f"row {n}" for n in range(3_000)]}
    report, decision = judged(drift.profile(many), many, Rule(), again=many, kinds={"id": "category"})
    assert (decision.status, report.column("id")["js_distance"].value) == ("no drift", 0.0), "the profile had not kept so many"


def test_columns_that_no_threshold_fits_have_the_usual_ones(stored: tuple[Path, Path, Profile]) -> None:
    own = Definition("js", name="mine", base=10.0)
    report, decision = judged(A, B, Rule(thresholds_of({"x.mine": 0.9})), metrics=["tv", own])
    assert {each.column: {effect.metric for effect in each.effects} for each in decision.columns} == {
        "x": {"mine"}, "zip": {"ks", "missing"}, "c": {"js_distance", "missing"},
    }  # fmt: skip
    assert set(report.column("x").readings) == {"tv", "mine", "ks", "js_distance", "missing"}
    assert completed(Rule({}), report).thresholds == DEFAULT
    with pytest.raises(UsageError, match=r"threshold c\.ks: columns of kind category have no such metric"):
        judged(A, B, Rule({("c", "ks"): 0.1}))


def test_thresholds_of_columns_that_are_gone_are_their_findings() -> None:
    """Neither the column's own threshold nor the last one of its kind is a mistake of the caller's."""
    for rule in (Rule({("c", "js_distance"): 0.1}), Rule({"chi2": 9.0}), Rule({("c", "chi2"): 9.0, "ks": 0.9}, importance={"c": 1.0})):
        _, decision = judged(A, B.drop(["c"]), rule)
        gone = next(each for each in decision.columns if each.column == "c")
        assert (gone.status, gone.reasons) == ("drift", ["c: the current sample does not have it"])
        assert decide(drift.compare(A, B.drop(["c"])), rule).status == "drift"
    _, decision = judged(A.drop(["c"]), B, Rule({("c", "js_distance"): 0.1, "ks": 0.9}))
    assert {each.column: each.status for each in decision.columns}["c"] == "unknown", "nothing is known of what was asked for"
    with pytest.raises(UsageError, match="'kss' was not compared"):
        judged(A, B.drop(["c"]), Rule({"kss": 0.1}))
