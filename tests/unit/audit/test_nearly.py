"""Near duplicates: those planted are found, and where there are none, none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from mlport import audit
from mlport.audit.nearly import Near, near_duplicates
from mlport.audit.rows import identities

REAL: dict[str, Callable[..., object]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
}
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def found_in(table: pd.DataFrame, test: int = 0, seed: int = 0) -> Near:
    """What is said of the table, whose last rows are the test split."""
    splits = np.array(["train"] * (len(table) - test) + ["test"] * test, object)
    (found,) = near_duplicates(table, list(table.columns), identities(table, list(table.columns)), splits, "train", seed)
    return found


@pytest.mark.parametrize("name", list(REAL))
def test_of_real_tables_with_copies_planted_all_are_found_and_without_none(name: str) -> None:
    table = REAL[name](as_frame=True).data.astype(float).drop_duplicates(ignore_index=True)
    assert found_in(table).rows == 0
    rng = np.random.default_rng(0)
    origins = rng.choice(len(table), len(table) // 20, replace=False)
    copies = table.iloc[origins] + rng.normal(size=(len(origins), table.shape[1])) * table.std().to_numpy() * 0.01
    found = found_in(pd.concat([table, copies], ignore_index=True), test=len(copies))
    assert found.rows == 2 * len(copies)
    (shared,) = found.shared
    assert (shared.split, shared.rows, shared.of, shared.usual) == ("test", len(copies), len(copies), 0)
    assert all(pair.other == len(table) + origins.tolist().index(pair.row) for pair in found.examples)


@pytest.mark.parametrize("columns", [1, 2, 3, 6, 12, 40])
def test_chance_alone_gives_hardly_any_however_many_columns(columns: int) -> None:
    pairs = 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        pairs += found_in(pd.DataFrame(rng.normal(size=(2000, columns))), seed=seed).rows / 2
    assert pairs <= 6


def test_categories_gaps_and_lists_of_numbers_count_too() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"place": rng.choice(list("abcdefgh"), 600), **{name: rng.normal(size=600) for name in "uvwx"}})
    table.loc[::7, "u"] = np.nan
    moved = table.iloc[:10].assign(v=table["v"][:10] + 0.001)
    assert found_in(pd.concat([table, moved], ignore_index=True), test=10).shared[0].rows == 10
    elsewhere = moved.assign(place=np.where(moved["place"] == "a", "b", "a"))
    assert found_in(pd.concat([table, elsewhere], ignore_index=True), test=10).shared[0].rows == 0
    images = pd.DataFrame({"pixels": list(datasets.load_digits().data)})
    dimmed = pd.DataFrame({"pixels": list(datasets.load_digits().data[:9] * 0.97)})
    assert found_in(pd.concat([images, dimmed], ignore_index=True), test=9).shared[0].rows == 9


def test_texts_are_near_by_their_pieces() -> None:
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(LETTERS, 6)) for _ in range(60)]
    texts = [" ".join(rng.choice(words, 40)) for _ in range(500)]
    changed = [f"{text[:80].upper()}  {text[81:]} soon" for text in texts[:20]]
    table = pd.DataFrame({"note": [*texts, *changed, None, None], "hour": 1})
    found = found_in(table, test=22)
    assert (found.of, found.rows, found.shared[0].rows, found.shared[0].of) == ("note", 40, 20, 22)
    assert all(pair.other == pair.row + 500 and 0.8 <= pair.nearness <= 1 for pair in found.examples)


def test_what_is_found_is_told_by_dataset() -> None:
    rng = np.random.default_rng(3)
    train = pd.DataFrame({**{name: rng.normal(size=400) for name in "abcdef"}, "y": rng.integers(0, 2, 400)})
    test = pd.concat(
        [
            train.iloc[:8] + ([1e-3] * 6 + [0]),
            pd.DataFrame({name: rng.normal(size=92) for name in "abcdef"} | {"y": rng.integers(0, 2, 92)}),
        ]
    )
    found = audit.dataset(train, "y", others={"test": test.astype({"y": int})}, label_errors=False)
    (leak,) = [each for each in found.findings if each.check == "leakage"]
    assert (leak.severity, leak.subject, leak.evidence["rows"], leak.evidence["examples"]) == (
        "warning",
        "test",
        8,
        (400, 401, 402, 403, 404),
    )
    assert "8 rows of test (8%) are nearly a row of train" in str(found)
    assert "such as" in str(found)
    assert audit.dataset(train, "y", near=False, label_errors=False).near_duplicates == ()
    (few,) = audit.dataset(train[:30], "y", label_errors=False).near_duplicates
    assert few.reason == "fewer than 50 different rows"
