"""Performance by windows: against scikit-learn's metrics on the rows labelled, as of any time, and what is not known is said to be so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peers

from mlport.audit import Measure, evaluate
from mlport.decay import performance
from mlport.decay.delays import delays
from mlport.decay.measures import METRICS, loss
from mlport.errors import SpecError

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86400.0


def captured(n: int = 4000, days: int = 14, *, seed: int = 0, decays_at: float = 99, delay_days: float = 0.0) -> pd.DataFrame:
    """Rows as an endpoint captures them, in order of time; from day `decays_at` on the score says nothing."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.uniform(0, days * DAY, n))
    score = rng.beta(1.2, 2, n)
    share = np.where(seconds < decays_at * DAY, score, score.mean())
    time = pd.Timestamp(START) + pd.to_timedelta(seconds.round(3), unit="s")
    came = time + pd.to_timedelta(rng.exponential(delay_days * DAY, n).round(3), unit="s")
    label = (rng.random(n) < share).astype(int)
    ids = {"provider_id": [f"r{at}" for at in range(n)], "row": 0}
    return pd.DataFrame({**ids, "time": time, "prediction": score, "label": label, "labelled_at": came})


PEERS = {
    "accuracy": lambda y, s: peers.accuracy_score(y, s >= 0.5),
    "balanced_accuracy": lambda y, s: peers.balanced_accuracy_score(y, s >= 0.5),
    "mcc": lambda y, s: peers.matthews_corrcoef(y, s >= 0.5),
    "macro_f1": lambda y, s: peers.f1_score(y, s >= 0.5, average="macro"),
    "precision": lambda y, s: peers.precision_score(y, s >= 0.5),
    "recall": lambda y, s: peers.recall_score(y, s >= 0.5),
    "f1": lambda y, s: peers.f1_score(y, s >= 0.5),
    "roc_auc": peers.roc_auc_score,
    "average_precision": peers.average_precision_score,
    "log_loss": peers.log_loss,
    "brier": peers.brier_score_loss,
    "mae": peers.mean_absolute_error,
    "rmse": peers.root_mean_squared_error,
}


@pytest.mark.parametrize("metric", METRICS)
def test_each_window_has_the_metric_that_scikit_learn_gives_of_its_labelled_rows(metric: str) -> None:
    table = captured(1200)
    if metric in ("mae", "rmse"):
        table["label"] = table["label"] + table["prediction"] * 3
    table.loc[table.index % 3 == 0, "label"] = np.nan
    found = performance(table, metric=metric, every="7d")
    assert (found.metric, found.greater_is_better) == (metric, METRICS[metric].greater_is_better)
    week = (table["time"].dt.floor("7D")).astype("int64")
    for window, (_, rows) in zip(found.windows, table.groupby(week), strict=True):
        known = rows.dropna(subset="label")
        assert (window.captured, window.labelled) == (len(rows), len(known))
        assert window.coverage == len(known) / len(rows)
        assert window.value.value == pytest.approx(PEERS[metric](known["label"], known["prediction"]), abs=1e-12)
        assert window.value.low < window.value.value < window.value.high


def test_decay_is_named_where_it_is_and_not_elsewhere() -> None:
    table = captured(decays_at=7)
    found = performance(table, reference=captured(seed=1), every="7d")
    by_start = {window.start: window for window in found.windows}
    before = [by_start[start].status for start in by_start if start < START]
    assert all(status in ("steady", "undecided") for status in before)
    assert found.windows[-1].status == "decayed"
    assert found.decayed[-1] is found.windows[-1] is found.latest
    truth = evaluate(captured(seed=1)["label"], captured(seed=1)["prediction"]).metrics["roc_auc"].value
    assert found.reference.value == pytest.approx(truth, abs=1e-12)
    assert found.windows[-1].decay.value == pytest.approx(truth - found.windows[-1].value.value, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_no_decay_is_named_where_there_is_none(seed: int) -> None:
    found = performance(captured(6000, seed=seed), reference=captured(6000, seed=seed + 50), every="2d")
    assert not found.decayed


def test_a_loss_is_worse_where_it_is_greater() -> None:
    table = captured(decays_at=0)
    found = performance(table, metric="log_loss", reference=captured(seed=1), every="14d")
    assert found.windows[-1].status == "decayed"
    assert found.windows[-1].decay.low > found.margin == pytest.approx(0.05 * found.reference.value)


def test_too_few_labels_are_not_known_yet_and_never_fine() -> None:
    table = captured(2000, decays_at=0)
    table.loc[table["time"] > pd.Timestamp(START) + timedelta(days=7), "label"] = np.nan
    some = table.index[-300:-200]
    table.loc[some, "label"] = 1 - np.arange(100) % 2
    found = performance(table, reference=0.7, every="1d", least_coverage=0.8, min_rows=40)
    assert {window.status for window in found.windows if window.coverage < 0.8} == {"not known yet"}
    assert {window.status for window in found.windows if window.start < START + timedelta(days=6)} <= {"decayed", "undecided"}
    assert "needed" in found.windows[-1].why
    few = performance(table, reference=0.7, every="1d", least_coverage=0.0, min_rows=500)
    assert {window.status for window in few.windows} == {"not known yet"}


def test_no_label_at_all_says_nothing_of_the_performance() -> None:
    table = captured(200).assign(label=None)
    found = performance(table, metric="accuracy", reference=0.9, every="7d")
    assert {window.status for window in found.windows} == {"not known yet"}
    assert found.latest is None
    assert [finding.check for finding in found.findings] == ["no labels"]
    with pytest.raises(SpecError, match="metric: there are no labels yet"):
        performance(table)


def test_a_later_label_changes_its_window_and_the_answer_says_as_of_when() -> None:
    table = captured(1500, delay_days=3)
    early, late = START + timedelta(days=10), START + timedelta(days=60)
    then, now = (performance(table, reference=0.7, every="7d", as_of=as_of) for as_of in (early, late))
    assert (then.as_of, now.as_of) == (early, late)
    known = table[(table["labelled_at"] <= early) & (table["time"] <= early)]
    assert sum(window.labelled for window in then.windows) == len(known) < sum(window.labelled for window in now.windows) == len(table)
    assert then.windows[0].value.value != now.windows[0].value.value
    assert then.left_out == {
        "predicted later than as_of": int((table["time"] > early).sum()),
        "labels later than as_of": int(((table["time"] <= early) & (table["labelled_at"] > early)).sum()),
    }


def test_of_several_labels_for_a_row_the_last_word_by_then_counts() -> None:
    first = captured(400)
    second = first.assign(label=1 - first["label"], labelled_at=first["labelled_at"] + timedelta(days=30))
    both = pd.concat([second, first]).sample(frac=1, random_state=0)
    earlier = performance(both, metric="accuracy", every="14d", as_of=START + timedelta(days=20))
    last = performance(both, metric="accuracy", every="14d")
    for found, table in ((earlier, first), (last, second)):
        rows = sum(window.labelled for window in found.windows)
        right = sum(window.value.value * window.labelled for window in found.windows)
        assert (rows, right) == (400, pytest.approx(((table["prediction"] >= 0.5) == table["label"]).sum()))
        assert found.left_out["an earlier word on the same row"] == 400


def test_rows_come_in_any_order() -> None:
    table = captured(800, delay_days=2)
    shuffled = table.sample(frac=1, random_state=1)
    assert performance(table, every="3d").to_json() == performance(shuffled, every="3d").to_json()


def test_labels_as_the_store_yields_them_join_by_either_id_and_unknown_ones_are_counted() -> None:
    table = captured(300, delay_days=1)
    bare = table.drop(columns=["label", "labelled_at"]).assign(caller_id=[f"mine-{at}" for at in range(300)])
    came = [
        (f"mine-{at}" if at % 2 else f"r{at}", 0, label, time.to_pydatetime())
        for at, (label, time) in enumerate(zip(table["label"], table["labelled_at"], strict=True))
    ]
    late = START + timedelta(days=90)
    unknown = [("gone", 0, 1, late), ("r5", 7, 1, late)]
    found = performance(bare, labels=[*came, *unknown], every="7d", as_of=START + timedelta(days=80))
    same = performance(table, every="7d", as_of=START + timedelta(days=80))
    assert [window.to_json() for window in found.windows] == [window.to_json() for window in same.windows]
    assert found.left_out["labels for unknown requests"] == 2
    assert "unknown requests" in {finding.check for finding in found.findings}


def test_a_label_older_than_its_prediction_is_a_finding_and_no_delay() -> None:
    table = captured(300, delay_days=1)
    table.loc[:9, "labelled_at"] = table.loc[:9, "time"] - timedelta(minutes=5)
    found = performance(table, every="7d")
    skew = next(finding for finding in found.findings if finding.check == "clock skew")
    assert skew.evidence == {"rows": 10, "largest_seconds": pytest.approx(300)}
    assert (found.delays.before, found.delays.labelled) == (10, 290)
    assert sum(window.labelled for window in found.windows) == 300


def test_labels_that_come_sooner_for_some_rows_are_no_fair_sample() -> None:
    table = captured(2000)
    table.loc[table["prediction"] < table["prediction"].median(), "label"] = np.nan
    found = performance(table, every="14d", least_coverage=0.4)
    assert {finding.check for finding in found.findings} == {"selective labels"}
    at_random = captured(2000)
    at_random.loc[::2, "label"] = np.nan
    assert not performance(at_random, every="14d").findings


def test_the_delay_is_the_kaplan_meier_estimate_and_not_that_of_the_labels_that_came() -> None:
    rng = np.random.default_rng(3)
    time, wait = rng.uniform(0, 10 * DAY, 20_000), rng.exponential(3 * DAY, 20_000)
    came = time + wait <= 10 * DAY
    found = delays(time, np.where(came, time + wait, np.nan), came, 10 * DAY)
    assert found.quantiles[0.5] == pytest.approx(3 * DAY * np.log(2), rel=0.05)
    assert np.median(wait[came]) < 0.8 * found.quantiles[0.5]
    assert delays(time, time + wait, np.zeros(20_000, bool), 10 * DAY).quantiles[0.5] is None


def test_lists_of_probabilities_text_classes_and_arrow_tables_are_taken() -> None:
    table = captured(600)
    lists = table.assign(prediction=[[1 - score, score] for score in table["prediction"]])
    broken = lists.assign(prediction=[None if at < 5 else value for at, value in enumerate(lists["prediction"])])
    plain = performance(table.iloc[5:], every="14d")
    found = performance(pa.table({name: broken[name].to_list() for name in broken}), every="14d")
    assert [window.value for window in found.windows] == [window.value for window in plain.windows]
    assert found.left_out == {"without a prediction": 5}
    names = table.assign(label=np.where(table["label"] == 1, "late", "in time"))
    assert performance(names, every="14d", positive="late").windows == performance(table, every="14d").windows
    decided = names.assign(prediction=np.where(table["prediction"] >= 0.5, "late", "in time"))
    assert performance(decided, every="14d").metric == "balanced_accuracy"
    assert performance(table.assign(label=table["label"] == 1), every="14d").windows == performance(table, every="14d").windows


def test_the_result_is_plain_data_and_text() -> None:
    table = captured(900).drop(index=range(300, 600))
    table = table[(table["time"] < pd.Timestamp(START) + timedelta(days=2)) | (table["time"] > pd.Timestamp(START) + timedelta(days=9))]
    found = performance(table, reference=Measure(0.7, 0.68, 0.72), every="1d", min_rows=10)
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["as_of"].endswith("+00:00")
    assert {window["status"] for window in said["windows"]} > {"no requests"}
    assert said["windows"][5]["coverage"] is None
    assert "no requests" in str(found)
    assert "reference 0.7 (0.68 to 0.72)" in str(found)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.001, 0.04), st.floats(0.001, 0.04), st.sampled_from(["accuracy", "brier"]))
def test_the_interval_of_a_difference_contains_it_and_turns_with_its_sign(a: float, b: float, wide: float, other: float, name: str) -> None:
    first, second = Measure(a, a - wide, a + other), Measure(b, b - other, b + wide)
    there, back = loss(name, first, second), loss(name, second, first)
    assert there.low < there.value < there.high
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there.high - there.low >= max(wide, other)
    exact = loss(name, Measure(a), second)
    assert exact.high - exact.low == pytest.approx(wide + other)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda t: t.iloc[:0], {}, "no rows"),
        (lambda t: t.drop(columns="label"), {}, "'label'"),
        (lambda t: t.rename(columns={"prediction": "predicton"}), {}, "did you mean 'predicton'"),
        (lambda t: t.assign(prediction=np.nan), {}, "no row has both"),
        (lambda t: t.assign(time=t["time"].astype(str)), {}, "must be instants"),
        (lambda t: t.assign(label="yes"), {"positive": "yes"}, "one class only"),
        (lambda t: t.assign(label=np.arange(len(t)) % 3), {"task": "binary"}, "not two"),
        (lambda t: t, {"metric": "auc"}, "none of accuracy"),
        (lambda t: t, {"metric": "rmse"}, "the task is binary"),
        (lambda t: t, {"every": "soon"}, "every"),
        (lambda t: t, {"every": "1ms"}, "windows are more"),
        (lambda t: t, {"margin": -1, "reference": 0.5}, "margin"),
        (lambda t: t, {"reference": float("nan")}, "reference"),
        (lambda t: t, {"as_of": datetime(2026, 1, 1)}, "time zone"),
        (lambda t: t, {"labels": []}, "already"),
        (lambda t: t, {"reference": captured(60).assign(label=np.nan)}, "reference: no value"),
    ],
)
def test_bad_input_is_refused_by_name(change: object, options: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        performance(change(captured(300)), **options)


def test_one_class_so_far_has_no_auc_and_is_not_known_yet() -> None:
    found = performance(captured(300).assign(label=0), reference=0.7, every="14d")
    assert {window.status for window in found.windows} == {"not known yet"}
    assert found.windows[0].value.value is None
