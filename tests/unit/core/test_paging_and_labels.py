"""Listings read page by page, and labels that join by (request id, row) in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport import labels
from mlport.errors import MlportError, SpecError
from mlport.paging import each
from mlport.spi import Page, Window
from mlport.state.sqlite import SqliteStateStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(items=st.lists(st.integers()), size=st.integers(1, 5))
def test_every_item_of_every_page_once_and_in_order(items: list[int], size: int) -> None:
    def fetch(token: str | None) -> Page[int]:
        start = int(token or 0)
        return Page(items[start : start + size], str(start + size) if start + size < len(items) else None)

    assert list(each(fetch)) == items


def test_pages_are_fetched_when_the_reader_gets_there() -> None:
    fetched = list[str | None]()

    def fetch(token: str | None) -> Page[int]:
        fetched.append(token)
        return Page([1, 2], "more" if token is None else None)

    reading = each(fetch)
    assert fetched == []
    assert (next(reading), next(reading)) == (1, 2)
    assert fetched == [None]
    assert list(reading) == [1, 2]


def test_a_token_that_comes_twice_does_not_go_on_for_ever() -> None:
    with pytest.raises(MlportError, match="'same' twice"):
        list(each(lambda token: Page([1], "same")))


def test_an_empty_page_in_the_middle_is_not_the_end() -> None:
    pages: dict[str | None, Page[int]] = {None: Page([1], "a"), "a": Page([], "b"), "b": Page([2])}
    assert list(each(lambda token: pages[token])) == [1, 2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStateStore]:
    opened = SqliteStateStore(tmp_path / "state.db")
    yield opened
    opened.close()


def captured(*rows: tuple[str, str | None, int]) -> pa.Table:
    columns = dict(zip(("provider_id", "caller_id", "row"), zip(*rows, strict=True), strict=True))
    return pa.table({name: list(values) for name, values in columns.items()})


def put(store: SqliteStateStore, minute: int, *pairs: tuple[str, list[Any]], endpoint: str = "e") -> int:
    return labels.put(store, endpoint, pairs, now=NOON + timedelta(minutes=minute))


def test_labels_join_by_request_and_row_in_any_order(store: SqliteStateStore) -> None:
    assert put(store, 0, ("r2", [1]), ("r1", [0, 1])) == 3
    table = labels.join(captured(("r1", None, 0), ("r1", None, 1), ("r2", None, 0), ("r3", None, 0)), labels.read(store, "e"))
    assert table["label"].to_pylist() == [0, 1, 1, None]
    assert table["labelled_at"].to_pylist() == [NOON, NOON, NOON, None]


def test_the_last_word_counts(store: SqliteStateStore) -> None:
    put(store, 0, ("r1", [0]))
    put(store, 5, ("r1", [1]))
    assert labels.join(captured(("r1", None, 0)), labels.read(store, "e"))["label"].to_pylist() == [1]


def test_the_callers_own_id_is_as_good(store: SqliteStateStore) -> None:
    put(store, 0, ("mine", [1]))
    assert labels.join(captured(("theirs", "mine", 0)), labels.read(store, "e"))["label"].to_pylist() == [1]


def test_the_window_is_over_the_time_they_came(store: SqliteStateStore) -> None:
    for minute in range(4):
        put(store, minute, (f"r{minute}", [minute]))
    window = Window(NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))
    assert [value for _, _, value, _ in labels.read(store, "e", window)] == [1, 2]


def test_endpoints_are_kept_apart(store: SqliteStateStore) -> None:
    put(store, 0, ("r1", [1]), endpoint="e")
    put(store, 0, ("r1", [2]), endpoint="e-2")
    assert [value for _, _, value, _ in labels.read(store, "e")] == [1]


def test_numpys_numbers_are_numbers(store: SqliteStateStore) -> None:
    put(store, 0, ("r1", [np.int64(1), np.float32(0.5), np.bool_(True)]))
    assert [value for _, _, value, _ in labels.read(store, "e")] == [1, 0.5, True]


def test_none_says_that_the_truth_is_not_known_yet(store: SqliteStateStore) -> None:
    put(store, 0, ("r1", [None, 1]))
    put(store, 1, ("r1", [0, None]))
    assert labels.join(captured(("r1", None, 0), ("r1", None, 1)), labels.read(store, "e"))["label"].to_pylist() == [0, 1]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("", [1]), "request id ''"),
        ((None, [1]), "request id None"),
        (("r1", [{"a": 1}]), "of request r1 is a dict"),
        (("r1", [object()]), "is a object"),
    ],
)
def test_a_label_that_cannot_be_kept_is_named(store: SqliteStateStore, pair: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        put(store, 0, pair)
    assert list(labels.read(store, "e")) == []


def test_too_many_at_once(store: SqliteStateStore) -> None:
    with pytest.raises(SpecError, match="more than 100000"):
        put(store, 0, ("r1", [0] * (labels.LARGEST_CALL + 1)))


def test_labels_of_several_kinds_do_not_make_a_column(store: SqliteStateStore) -> None:
    put(store, 0, ("r1", [1]), ("r2", ["late"]))
    with pytest.raises(SpecError, match="number, text"):
        labels.join(captured(("r1", None, 0)), labels.read(store, "e"))
    put(store, 1, ("r2", [0.5]))
    assert labels.join(captured(("r1", None, 0), ("r2", None, 0)), labels.read(store, "e"))["label"].to_pylist() == [1.0, 0.5]
