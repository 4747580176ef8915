"""A comparison as an HTML file: well-formed, self-contained, escaped, small; every number and every word that of the decision."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from aids.pages import NOTHING, Element, Strict, assert_contained, rows, section
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.drift import Bins, compare, report
from mlport.drift.decisions import Rule, decide
from mlport.drift.records import Report
from mlport.reports import pairs
from mlport.reports.blocks import Table
from mlport.reports.svg import LETTER, NARROW

RANDOM = np.random.default_rng(7)


def side(n: int, shift: float, **more: Any) -> pa.Table:
    return pa.table(
        {
            "age": RANDOM.normal(40 + 10 * shift, 10, n),
            "same": RANDOM.normal(0, 1, n),
            "day": pa.array(RANDOM.integers(15_700, 15_750, n) + int(20 * shift), pa.int32()).cast(pa.date32()),
            "place": RANDOM.choice(["a", "b", "c"] if shift else ["a", "b"], n),
            "site": RANDOM.choice(["north", "south"], n),
            "parts": pa.array([[1]] * n, pa.list_(pa.int64())),
            **more,
        }
    )


@pytest.fixture(scope="module")
def example() -> Report:
    return compare(side(1500, 0, gone=np.zeros(1500)), side(900, 1.0, extra=np.zeros(900)), by="site")


@pytest.fixture(scope="module")
def tree(example: Report) -> Element:
    return Strict(report.html(example, decide(example), title="Ages", reference_name="january", current_name="may")).root


def test_nothing_is_loaded_and_nothing_runs(tree: Element) -> None:
    assert_contained(tree)


def test_the_sentence_comes_first_then_the_columns_worst_first(tree: Element, example: Report) -> None:
    decision = decide(example)
    lead = next(each for each in tree.all("p") if each.attributes["class"] == "lead")
    assert lead.text == f"{decision.words[0].upper()}{decision.words[1:]}."
    assert [each.text for each in tree.all("h2")][:3] == ["In short", "What is not known", "Columns that have drifted"]
    told = rows(tree, "All columns, the worst first")
    by_name = {each.column: each for each in decision.columns}
    assert {row[0] for row in told} == set(by_name)
    assert [row[1] for row in told] == [report.status(by_name[row[0]]) for row in told]
    order = ["drift", "unknown", "no drift"]
    places = [order.index(by_name[row[0]].status) for row in told]
    assert places == sorted(places)
    assert {row[0] for row in told if row[1].startswith("drift")} == {"age", "day", "place", "gone"}
    for row in told:
        assert all(f"{effect.metric} {effect.value:.3g}" in row[2] for effect in by_name[row[0]].effects)
        assert (row[3] == NOTHING) == (by_name[row[0]].p is None)


def test_what_could_not_be_read_is_not_known_and_never_no_drift(tree: Element) -> None:
    assert "parts: columns of type list<" in section(tree, "What is not known").text
    assert next(row for row in rows(tree, "All columns, the worst first") if row[0] == "parts")[1] == "not known"
    assert "extra: the reference does not have it" in section(tree, "What else was found").text


def test_every_column_has_its_readings_with_threshold_and_noise(tree: Element, example: Report) -> None:
    for each in decide(example).columns:
        column = example.columns.get(each.column)
        if column is None:
            continue
        told = {row[0]: row[1:] for row in rows(tree, f"{each.column}: readings")}
        assert set(told) == set(column.readings)
        for name, reading in column.readings.items():
            assert told[name][0].startswith(f"{reading.value:,.4g}")
            assert (told[name][1] != NOTHING) == (reading.p is not None)
        for effect in each.effects:
            assert f"threshold {effect.threshold:g}, noise {effect.margin:.2g}" in told[effect.metric][0]


def test_every_picture_is_also_words_and_a_table(tree: Element, example: Report) -> None:
    figures = {each.one("figcaption").text.partition(":")[0]: each for each in tree.all("figure")}
    assert set(figures) == set(example.columns)
    for name, figure in figures.items():
        svg, found = figure.one("svg"), example.columns[name].histogram
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-labelledby"] == f"{svg.one('title').attributes['id']} {svg.one('desc').attributes['id']}"
        assert re.search(r"from \d+\.\d% to \d+\.\d%", svg.one("desc").text)
        assert {each.text for each in svg.all("text")} >= {"reference", "current"}
        assert found is not None
        table = [[cell.text for cell in row.children if isinstance(cell, Element)][1:] for row in figure.one("tbody").all("tr")]
        assert table == [[f"{a:.1%}", f"{b:.1%}"] for a, b in zip(found.reference, found.current, strict=True)]
    assert re.search(r"2013-\d\d-\d\d to 2013-\d\d-\d\d", figures["day"].one("tbody").text), "days are shown as days"
    drifted = section(tree, "Columns that have drifted").all("figure")
    assert {each.one("figcaption").text.partition(":")[0] for each in drifted} == {"age", "day", "place"}
    folds = [each.text for each in section(tree, "The other columns").all("summary") if "as a table" not in each.text]
    assert folds == ["same (number): no drift"]


def test_each_side_is_summed_up_in_the_terms_of_its_kind(tree: Element) -> None:
    told = [each.text for each in tree.all("p") if each.text.startswith("Reference: 1,500 rows")]
    assert "Reference: 1,500 rows, 0.00% missing. Current: 900 rows, 0.00% missing." in told, "categories have no mean"
    assert any(re.search(r"2012-12-\d\d to 2013-0\d-\d\d, mean 2013-0\d-\d\d, deviation [\d.]+ days", each) for each in told)
    vectors = pa.array([[float(at), 1.0] for at in range(1200)], pa.list_(pa.float32(), 2))
    other = pa.table({"words": [f"{'long ' * (at % 7)}{at}" for at in range(1200)], "vector": vectors})
    found = compare(other, other)
    assert {column.kind for column in found.columns.values()} == {"text", "embedding"}
    page = Strict(report.html(found, decide(found))).root
    assert {each.text for each in page.all("figcaption")} == {"words: lengths in characters", "vector: lengths of the vectors"}
    assert "lengths in characters 1 to 34, mean" in section(page, "The other columns").text
    assert "Reference: january, 1,500 rows. Current: may, 900 rows." in tree.one("header").text


def test_definitions_say_base_bins_and_smoothing(tree: Element) -> None:
    told = {(row[0], row[5]): row[1:5] for row in rows(tree, "Definitions")}
    assert told["psi", "number"][1:] == ["e", "10 bins of equal mass of the reference", "shares are at least 0.0001"]
    assert told["js_distance", "category"][1:] == ["2", "each category", NOTHING]
    assert "Thresholds: ks 0.1, js_distance 0.1, missing 0.05." in section(tree, "What the numbers mean").text
    for bins, words in ((Bins("uniform", None), "Sturges"), (Bins("edges", None, (30.0, 50.0)), "your own edges: 30, 50")):
        other = compare(side(50, 0), side(50, 1), columns=["age"], metrics=["psi"], bins=bins)
        page = Strict(report.html(other, decide(other, Rule(thresholds={"psi": 0.2})))).root
        assert words in rows(page, "Definitions")[0][3]


def test_slices_by_the_same_rule(tree: Element, example: Report) -> None:
    told = report.sliced(example, Rule(importance={"age": 3.0, "gone": 1.0}, thresholds={"ks": 0.1, ("age", "ks"): 0.2}))
    assert set(told) == {"site=north", "site=south"}
    assert all({each.column for each in decision.drifted} == {"age", "day"} for decision in told.values())
    assert {row[0] for row in rows(tree, "Slices")} == {"site=north", "site=south"}
    assert sum(int(row[1].replace(",", "")) for row in rows(tree, "Slices")) == 1500


def test_an_alarm_that_is_held_back_says_why() -> None:
    few = compare({"x": [1.0, 2.0, 3.0]}, {"x": [1.5, 2.5, 3.5]})
    decision = decide(few, Rule(noise=0.0))
    assert decision.status == "no drift"
    page = Strict(report.html(few, decision)).root
    assert "x: ks 0.333 is above 0.1" in section(page, "In short").text
    assert "its test does not agree" in section(page, "In short").text


def test_importance_is_shown_where_it_was_given(example: Report) -> None:
    page = Strict(report.html(example, decide(example, Rule(importance={"age": 1.0})))).root
    assert all(row[4].endswith("%") for row in rows(page, "All columns, the worst first"))
    assert "carry" in section(page, "In short").text


def test_names_of_others_stay_text() -> None:
    evil = "</title><script>alert(1)</script>\x00\x1b & \"'"
    one, two = {evil: [evil, "b"] * 50}, {evil: ["b", "c"] * 50}
    found = compare(one, two)
    text = report.html(found, decide(found), title=evil, reference_name=evil, current_name=evil)
    assert "<script" not in text
    shown = evil.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    tree = Strict(text).root
    assert tree.one("h1").text == shown
    assert shown in tree.one("figure").one("tbody").text


def wide(count: int, rows: int, shift: float) -> pa.Table:
    long = [f"one of thirty long categories {number}" for number in range(30)]
    numbers = {f"a_rather_long_feature_name_{at}": RANDOM.normal(at + shift, 1, rows) for at in range(count * 2 // 3)}
    shares = np.arange(1.0, 31.0) if shift else np.arange(30.0, 0.0, -1)
    names = {f"a_rather_long_category_name_{at}": RANDOM.choice(long, rows, p=shares / 465) for at in range(count - len(numbers))}
    return pa.table({**numbers, **names})


def test_two_hundred_drifted_columns_are_less_than_a_megabyte() -> None:
    found = compare(wide(200, 1000, 0), wide(200, 1000, 1))
    decision = decide(found)
    assert len(decision.drifted) == 200
    text = report.html(found, decision)
    assert text.count("<figure") == 200
    assert len(text.encode()) < 1_000_000


def test_of_a_very_wide_table_the_worst_are_drawn_and_all_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DETAILED", 3)
    found = compare(wide(9, 50, 0), wide(9, 50, 0))
    page = Strict(report.html(found, decide(found))).root
    assert len(page.all("figure")) == 3
    assert len(rows(page, "All columns, the worst first")) == 9
    assert "6 more columns stand in the table alone" in section(page, "The other columns").text


def test_columns_and_bars_are_as_long_as_their_shares() -> None:
    shares, empty = ([0.1, 0.0, 0.3, 0.6], [0.4, 0.3, 0.3, 0.0]), Table("", [], [])
    tall = Strict(pairs.columns("t", "d", ("a", "b"), shares, ["1", "22", "333"], empty).draw(NARROW, "n")).root
    long = Strict(pairs.bars("t", "d", ("a", "b"), shares, ["w", "x", "y", "z"], empty).draw(NARROW, "n")).root
    for number, each in enumerate(shares):
        for drawn, way in ((tall, "v-"), (long, "h")):
            (path,) = [found for found in drawn.all("path") if found.attributes["class"] == f"area c{number}"]
            sizes = [float(size) for size in re.findall(rf"M[\d.]+ [\d.]+{way}([\d.]+)", path.attributes["d"])]
            wanted = [share for share in each if share]
            assert len(sizes) == len(wanted)
            assert np.divide(sizes, wanted) == pytest.approx(sizes[0] / wanted[0], rel=2e-3)
    texts = [each for each in tall.all("text") if each.attributes["class"] == "tick middle"]
    spans = [(float(each.attributes["x"]), len(each.text) * LETTER / 2) for each in texts]
    assert [each.text for each in texts] == ["1", "22", "333"]
    assert all(middle + half <= NARROW for middle, half in spans)


VALUES = st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32)), max_size=12)
NAMES = st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(VALUES, VALUES, NAMES, NAMES)
def test_whatever_the_columns_hold_the_page_is_whole(a: Any, b: Any, c: Any, d: Any) -> None:
    for one, two, kind in ((a, b, pa.float64()), (c, d, pa.string())):
        found = compare(pa.table({"x": pa.array(one, kind)}), pa.table({"x": pa.array(two, kind)}))
        decision = decide(found)
        tree = Strict(report.html(found, decision)).root
        assert rows(tree, "All columns, the worst first")[0][1] == report.status(decision.columns[0])


def test_nothing_compared_is_not_known() -> None:
    found = compare({"a": [[1]]}, {"a": [[2]]})
    page = Strict(report.html(found, decide(found))).root
    assert "Not known" in page.all("p")[0].text
    assert "No column could be compared." in section(page, "What is not known").text


def test_the_same_comparison_gives_the_same_bytes(example: Report) -> None:
    assert report.html(example, decide(example)) == report.html(example, decide(example))
