"""Before training: what is planted is found, what is clean is left alone, and every kind of table says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from mlport import audit
from mlport.audit.rows import identities
from mlport.errors import NotFoundError, SpecError


def people(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """A clean table: 30 % positive, no two rows alike."""
    rng = np.random.default_rng(seed)
    age, pay = rng.normal(40, 10, n), rng.normal(size=n)
    label = np.where(rng.random(n) < 0.3, "yes", "no")
    return pd.DataFrame({"age": age, "pay": pay + (label == "yes"), "town": rng.choice(["A", "B", "C"], n), "bought": label})


def found_by(audited: audit.DatasetAudit, check: str) -> list[str]:
    return [finding.text for finding in audited.findings if finding.check == check]


def test_a_clean_table_has_nothing_but_its_skew() -> None:
    audited = audit.dataset(people(), "bought")
    assert [finding.severity for finding in audited.findings if finding.check != "labels"] == ["note"]
    assert audited.classes is not None
    assert audited.classes.verdict == "mildly skewed"
    assert sum(each.rows for each in audited.classes.classes) == 400
    assert audited.conflicts.ceiling == 1
    assert len(audited.suspects.found or ()) < 0.25 * 400
    assert json.loads(json.dumps(audited.to_json(), allow_nan=False))["label"] == "bought"


@pytest.mark.parametrize(("share", "verdict"), [(0.45, "balanced"), (0.3, "mildly"), (0.05, "moderately"), (0.005, "extremely")])
def test_degrees_of_skew(share: float, verdict: str) -> None:
    label = np.arange(1000) < 1000 * share
    audited = audit.dataset({"x": np.random.default_rng(0).random(1000), "y": label}, "y", label_errors=False)
    assert audited.classes is not None
    assert audited.classes.verdict.startswith(verdict)


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.5, None]), st.sampled_from(["a", "b", None])), min_size=1, max_size=30))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_identities_are_equality_of_rows(rows: list[tuple[float | None, str | None]]) -> None:
    table = pd.DataFrame({"x": pd.Series([x for x, _ in rows], dtype=float), "y": pd.Series([y for _, y in rows], dtype=object)})
    found = identities(table, ["x", "y"])
    for at, one in enumerate(rows):
        for to, two in enumerate(rows):
            assert (found[at] == found[to]) == (one == two)


def test_duplicates_conflicts_and_leaks_between_splits() -> None:
    train, test = people(300), people(100, seed=1)
    leaked = pd.concat([test, train.iloc[:7], train.iloc[7:10].assign(bought=lambda part: np.where(part["bought"] == "yes", "no", "yes"))])
    audited = audit.dataset(pd.concat([train, train.iloc[:4]]), "bought", others={"test": leaked}, label_errors=False)
    assert audited.splits == {"train": 304, "test": 110}
    assert audited.duplicates.extra == 4 + 7
    assert audited.duplicates.within == {"train": 4, "test": 0}
    (shared,) = audited.shared_rows
    assert (shared.split, shared.rows, shared.of, shared.examples[0]) == ("test", 10, 110, 404)
    assert (audited.conflicts.groups, audited.conflicts.rows) == (3, 6)
    assert audited.conflicts.ceiling == pytest.approx(1 - 3 / 414)
    assert "10 rows of test (9.1%) have the very features of a row of train" in found_by(audited, "leakage")
    assert audited.findings[0].severity == "problem"
    coarse = {"sex": ["f", "m"] * 100, "bought": ["yes", "no", "no", "no"] * 50}
    usual = audit.dataset(coarse, "bought", others={"test": coarse}, label_errors=False)
    assert [finding.severity for finding in usual.findings if finding.check == "leakage"] == ["warning"]
    assert "coarse features, or duplicates from before the split" in usual.text()


def test_entities_time_and_giveaways() -> None:
    table = people(400)
    rng = np.random.default_rng(1)
    table["who"] = [f"p{at // 2}" for at in range(400)]
    table["at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(400), unit="h")
    table["part"] = np.where(np.arange(400) < 301, "train", "test")
    table["receipt"] = np.where(table["bought"] == "yes", rng.random(400), np.nan)
    audited = audit.dataset(table, "bought", split="part", entity="who", time="at", label_errors=False)
    assert audited.features == ("age", "pay", "town", "receipt")
    assert [(each.rows, each.of) for each in audited.shared_entities or ()] == [(1, 99)]
    assert [each.later for each in audited.order or ()] == [0]
    assert audited.giveaways[0].feature == "receipt"
    assert audited.giveaways[0].score > 0.99
    shuffled = table.assign(part=rng.permutation(table["part"]))
    late = audit.dataset(shuffled, "bought", split="part", time="at", ignore=["who", "receipt"], label_errors=False)
    assert any("it saw its future" in text for text in found_by(late, "leakage"))
    assert not [each for each in late.giveaways if each.score > 0.9]


def test_planted_label_errors_are_suspected() -> None:
    """Forty of 1,797 real digits relabelled: most are found, and few others are doubted. A model of one's own may judge."""
    pixels, digit = load_digits(return_X_y=True, as_frame=True)
    changed = np.random.default_rng(0).choice(len(digit), 40, replace=False)
    digit = digit.copy()
    digit.iloc[changed] = (digit.iloc[changed] + 1) % 10
    audited = audit.dataset(pixels.assign(digit=digit), "digit")
    assert audited.suspects.found is not None
    rows = [each.row for each in audited.suspects.found]
    assert len({*rows} & {*changed}) >= 30
    assert len({*rows} - {*changed}) <= 10
    assert all(each.label == digit.iloc[each.row] and each.suggested != each.label for each in audited.suspects.found)
    table = people(200)[["age", "pay", "bought"]]
    assert audit.dataset(table, "bought", model=LogisticRegression()).suspects.accuracy == pytest.approx(0.75, abs=0.1)


def test_a_model_that_knows_nothing_doubts_nothing() -> None:
    rng = np.random.default_rng(0)
    audited = audit.dataset({"x": rng.random(200), "y": rng.integers(0, 2, 200)}, "y")
    assert audited.suspects.found is None
    assert "its doubts would be noise" in (audited.suspects.reason or "")


def test_columns_that_say_nothing() -> None:
    table = people(100).assign(
        empty=np.nan, same="x", gaps=[1.0] * 10 + [None] * 90, mixed=pd.Series([1, "a"] * 50, dtype=object), wild=[np.inf] + [0.5] * 99
    )
    audited = audit.dataset(table, "bought")
    texts = {finding.subject: finding.text for finding in audited.findings if finding.check in ("missing", "constant", "types")}
    assert texts["empty"] == "'empty' has no values at all"
    assert "mixes types: int, str" in texts["mixed"]
    assert "1 infinite value" in texts["wild"]
    assert texts.keys() == {"empty", "same", "gaps", "mixed", "wild"}


def test_every_kind_of_table_says_the_same(tmp_path: Path) -> None:
    table = people(120)
    pq.write_table(pa.table(table), tmp_path / "table.parquet")
    table.to_csv(tmp_path / "table.csv", index=False)
    kinds: list[Any] = [table, pa.table(table), pl.from_pandas(table), pl.from_pandas(table).lazy(), dict(table.items())]
    kinds += [tmp_path / "table.parquet", str(tmp_path / "table.csv")]
    told = [{**audit.dataset(kind, "bought", label_errors=False).to_json(), "columns": None} for kind in kinds]
    assert all(each == told[0] for each in told)


def test_images_in_a_column_and_gaps_in_lists() -> None:
    """Lists and arrays as values are compared whole; a gap in a list of texts stays a gap."""
    images = [[at, at + 1] for at in range(20)] * 2
    audited = audit.dataset({"image": images, "town": ["A", None, float("nan"), "B"] * 10, "y": [0, 1] * 20}, "y")
    (town,) = (column for column in audited.columns if column.name == "town")
    assert (town.missing, town.distinct) == (20, 2)
    assert audited.duplicates.extra == 20
    assert audit.dataset({"image": [np.array(each) for each in images], "y": [0, 1] * 20}, "y").duplicates.extra == 20


def test_annotators_of_a_table() -> None:
    table = people(100).assign(ann=lambda part: part["bought"], ben=lambda part: np.where(np.arange(100) % 4, part["bought"], "no"))
    audited = audit.dataset(table, "bought", annotators=["ann", "ben"], label_errors=False)
    assert audited.agreement is not None
    assert audited.features == ("age", "pay", "town")
    assert audited.agreement.cohen["ann and ben"].value == audited.agreement.by_annotator["ann"]
    assert "Krippendorff's alpha" in audited.text()


def test_a_number_as_the_label() -> None:
    rng = np.random.default_rng(0)
    audited = audit.dataset({"x": rng.random(200), "y": (target := rng.random(200)), "copy": target * 2}, "y")
    assert (audited.task, audited.classes, audited.suspects.found) == ("regression", None, None)
    assert (audited.giveaways[0].feature, audited.giveaways[0].metric) == ("copy", "r2")
    assert "not judged: the label is a number" in audited.text()


def test_one_class_and_few_rows() -> None:
    audited = audit.dataset({"x": [1, 2, 3], "y": ["a", "a", "a"]}, "y")
    assert audited.suspects.reason == "fewer than two classes have 10 rows or more"
    assert found_by(audited, "classes") == ["every label is 'a': there is nothing to learn"]
    train, test = people(100), people(30, seed=2)
    gone = audit.dataset(train[train["bought"] == "no"], "bought", others={"test": test}, label_errors=False)
    assert "class 'yes' is not in train" in found_by(gone, "classes")


@pytest.mark.parametrize(
    ("table", "arguments", "words"),
    [
        ({"x": [1]}, {"label": "late"}, "label: there is no column 'late'"),
        ({"lat": [1], "x": [2]}, {"label": "late"}, "did you mean 'lat'?"),
        ({"x": [], "late": []}, {"label": "late"}, "has no rows"),
        ({"x": [1, 2], "late": [1]}, {"label": "late"}, "differ in length: x has 2, late has 1"),
        ({"x": [1.0], "late": [None]}, {"label": "late"}, "every row of 'late' is missing"),
        ({"late": [1]}, {"label": "late"}, "features: there are none"),
        (7, {"label": "late"}, "a int is no table"),
        ({"x": np.zeros((1, 2)), "late": [1]}, {"label": "late"}, "'x' has several dimensions"),
        ({"x": [1], "late": [0]}, {"label": "late", "split": "part"}, "split: there is no column 'part'"),
        ({"x": [1], "late": [0], "part": ["test"]}, {"label": "late", "split": "part"}, "no row of 'part' is 'train'"),
        ({"x": [1], "late": [0]}, {"label": "late", "others": {"test": {"x": [1]}}}, "others['test']: there is no column 'late'"),
        ({"x": [1], "late": [0]}, {"label": "late", "others": {"test": {"x": ["a"], "late": [0]}}}, "'x' is"),
        ({"x": [1], "late": [0], "at": ["noon"]}, {"label": "late", "time": "at"}, "neither numbers nor instants"),
        ({"x": [1], "late": [0]}, {"label": "late", "task": "ranking"}, "task: 'ranking' is neither"),
    ],
)
def test_bad_input_is_named(table: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        audit.dataset(table, **arguments)
    assert words in str(caught.value)


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no"):
        audit.dataset(tmp_path / "nowhere.parquet", "late")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SpecError, match=r"torn\.parquet\) cannot be read"):
        audit.dataset(tmp_path / "torn.parquet", "late")
    (tmp_path / "notes.txt").write_text("late")
    with pytest.raises(SpecError, match="of no known format"):
        audit.dataset(tmp_path / "notes.txt", "late")
