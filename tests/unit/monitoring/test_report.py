"""What a monitor found, as a page: whole, self-contained, small, loud about what is not known, and saying just what the readings say."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from aids.pages import Element, Strict, assert_contained, rows, section
from aids.seasons import judged, reading, retrainings, season, wide, window
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.audit import evaluate
from mlport.decay import performance
from mlport.drift import compare
from mlport.drift.decisions import decide
from mlport.monitoring.records import Column, Effect, Note, Reading
from mlport.monitoring.reporting import report
from mlport.monitoring.reporting.over_time import LEVELS, ranked
from mlport.monitoring.specs import Alert, MonitorSpec, RetrainPolicy
from mlport.reports import heat
from mlport.reports.blocks import Heading, Table
from mlport.reports.svg import NARROW, WIDE
from mlport.specs import JobSpec

SPEC = MonitorSpec(
    name="flights",
    endpoint="flights-live",
    reference="winter.parquet",
    window=timedelta(days=7),
    alerts=(Alert(), Alert(to="slack", url="https://hooks.example/secret/path")),
    retrain=RetrainPolicy(job=JobSpec(name="train", entrypoint=("python", "train.py"))),
)
RANDOM = np.random.default_rng(7)


def found(readings: list[Reading] | None = None, **more: Any) -> report.Found:
    return report.Found(SPEC, "laptop", season() if readings is None else readings, retrainings(), **more)


@pytest.fixture(scope="module")
def tree() -> Element:
    return Strict(report.html(found())).root


def test_the_page_is_whole_and_holds_all_itself(tree: Element) -> None:
    assert_contained(tree)


def test_the_newest_window_is_said_first(tree: Element) -> None:
    lead = next(each for each in tree.all("p") if each.attributes["class"] == "lead")
    assert (
        lead.text
        == "Drift, severe, in the newest window, 2013-06-20 to 2013-06-27 UTC: temp, dewp; roc_auc 0.65, decayed (reference 0.72)."
    )
    assert "Endpoint flights-live, profile laptop. 8 windows of 7 days, 2013-05-02 to 2013-06-27 UTC." in tree.one("header").text
    assert "Of 8 windows: 5 drift, 2 no drift, 1 not known." in section(tree, "In short").text
    told = rows(tree, "Columns that have drifted in the newest window")
    assert [row[:3] for row in told] == [
        ["temp", "severe", "ks 0.6 above 0.1 (noise 0.02)"],
        ["dewp", "severe", "ks 0.44 above 0.1 (noise 0.02)"],
    ]


def test_what_is_not_known_is_loud_and_before_all_else(tree: Element) -> None:
    headings = [each.text for each in tree.all("h2")]
    assert headings[:3] == ["In short", "What is not known", "Drift over time"]
    part = section(tree, "What is not known")
    assert [each.attributes["class"] for each in part.all("p")] == ["warning"]
    assert [each.text for each in part.all("li")] == [
        "2013-06-13 to 2013-06-20 UTC: 312 answered requests (4.9%) could not be taken apart",
        "2013-05-16 to 2013-05-23 UTC: part-3.parquet is no Parquet file",
    ]
    calm = Strict(report.html(found([reading(0, {"temp": 0.2})]))).root
    assert "What is not known" not in [each.text for each in calm.all("h2")]


def test_an_empty_window_that_is_newest_does_not_hide_the_one_before() -> None:
    empty = Reading("flights", window(8), window(8).end, "unknown", "unknown", words="nothing was captured", rows=0)
    told = report.sentence([empty, *season()])
    assert told.startswith("It is not known whether the newest window, 2013-06-27 to 2013-07-04 UTC, has drifted: nothing was captured;")
    assert "the newest that is known, 2013-06-20 to 2013-06-27 UTC: drift (severe)" in told
    assert report.sentence([]) == "No window has been read yet."


def test_the_map_shows_each_column_in_each_window(tree: Element) -> None:
    told = {row[0]: row[1:] for row in rows(tree, "Columns over time")}
    assert list(told) == ["temp", "dewp", "gust", "origin", "dep_hour"], "those that drifted most often are first"
    assert told["temp"] == ["5 of 7, last 2013-06-20", "ks 0.6, 2013-06-20", "drift"]
    assert told["origin"] == ["0 of 7", "ks 0.11, 2013-05-09", "no drift"]
    assert told["gust"] == ["1 of 3, last 2013-06-06", "ks 0.9, 2013-06-06", "no drift"]
    figure = next(each for each in tree.all("figure") if each.one("figcaption").text == "Drift by column and window")
    svg = figure.all("svg")[0]
    assert "3 of 5 columns drifted in at least one of 8 windows; most often temp (5), dewp (4), gust (1)." in svg.one("desc").text
    assert [each.text for each in svg.all("text")][:6] == ["the window", *told]
    legend = [each.text.strip() for each in figure.one("ul").all("li")]
    assert legend == [*LEVELS, "not known"]
    crosses = next(each for each in svg.all("path") if each.attributes["class"] == "cross")
    assert crosses.attributes["d"].count("M") == 2, "the window that could not be read, and the column that was empty"


def test_performance_of_the_readings_where_it_was_not_worked_out_again(tree: Element) -> None:
    told = rows(tree, "Performance by window")
    assert [row[1] for row in told][-1] == "0.65 (0.63 to 0.67)"
    assert [row[4] for row in told] == ["steady"] * 4 + ["decayed"] * 2
    figure = next(each for each in tree.all("figure") if each.one("figcaption").text == "roc_auc by window")
    assert {"reference", "margin", "decayed"} <= {each.text.strip() for each in figure.one("ul").all("li")}


def test_retrainings_with_their_gates_and_how_all_is_judged(tree: Element) -> None:
    told = rows(tree, "Retrainings, newest first")
    assert [row[0] for row in told] == ["r-2", "r-1"]
    assert told[0][5] == "passed: roc_auc 0.71, champion 0.66, gain 0.05 (0.03 to 0.07), 5,400 rows"
    assert told[0][6] == "flights 3, deployment challenger"
    assert told[1][5].endswith("5,400 rows; it gains 0, and more than 0 is asked for")
    text = section(tree, "How it is judged").text
    assert "Windows of 7 days, read 10 minutes after their end" in text
    assert "Told to: log, slack https://hooks.example." in text
    assert "Retrains on drift, decay; not sooner than 1 day after the last." in text


def test_every_window_is_in_the_table(tree: Element) -> None:
    told = rows(tree, "Windows, newest first")
    assert [row[0] for row in told] == [f"{each.window.start:%Y-%m-%d}" for each in season()]
    assert told[5][2:4] == ["not known", "part-3.parquet is no Parquet file"]
    assert told[4][7] == "drift, drift (not sent)"
    assert told[2][8] == "r-1"
    lasting = Strict(report.html(found([replace(reading(0, {"temp": 4.0}), lasting="no drift")]))).root
    assert rows(lasting, "Windows, newest first")[0][2] == "drift, severe; lasting: no drift"


def test_the_newest_windows_comparison_and_the_errors_are_part_of_it() -> None:
    from mlport import audit

    reference = pa.table({"temp": RANDOM.normal(0, 1, 800), "origin": RANDOM.choice(["a", "b"], 800)})
    current = pa.table({"temp": RANDOM.normal(2, 1, 800), "origin": RANDOM.choice(["a", "b"], 800)})
    again = compare(reference, current)
    truth = RANDOM.random(800) < 0.3
    scores = np.clip(truth * 0.4 + RANDOM.random(800) * 0.6, 0, 1)
    evaluation = audit.evaluate(truth, scores, slices=current.to_pandas())
    page = report.page(found(compared=(again, decide(again)), evaluation=evaluation, failures=("performance: the capture is gone",)))
    titles = [each.title for each in page.sections]
    newest, errors = "The newest window against the reference", "Errors by class and slice"
    assert titles.index(newest) < titles.index(errors) < titles.index("Retrainings")
    parts = {each.title: [block.text for block in each.blocks if isinstance(block, Heading)] for each in page.sections}
    assert "Columns that have drifted" in parts[newest]
    assert "All slices" in parts[errors]
    tree = Strict(report.html(found(compared=(again, decide(again)), failures=("performance: the capture is gone",)))).root
    assert_contained(tree)
    assert "performance: the capture is gone" in section(tree, "What is not known").text
    assert len(tree.all("caption")) == len(tree.all("table"))


def test_two_hundred_columns_over_sixty_windows_with_the_newest_in_full_are_less_than_a_megabyte() -> None:
    def side(shift: float) -> pa.Table:
        return pa.table({f"a_rather_long_feature_name_{at}": RANDOM.normal(at + shift, 1, 1000) for at in range(200)})

    again = compare(side(0), side(1))
    decision = decide(again)
    assert len(decision.drifted) == 200
    truth = RANDOM.integers(0, 2, 1000)
    features = side(0).to_pandas()
    evaluation = evaluate(truth, np.clip(0.3 * truth + 0.7 * RANDOM.random(1000), 0, 1), slices=features, pairs=False)
    days = pd.date_range("2026-01-01", periods=60, tz="UTC").repeat(50)
    asked = {"provider_id": range(3000), "row": 0, "time": days, "prediction": RANDOM.random(3000), "label": RANDOM.integers(0, 2, 3000)}
    decayed = performance(pd.DataFrame({**asked, "labelled_at": days}), reference=0.7, every="1d")
    text = report.html(found(wide(200, 60), compared=(again, decision), evaluation=evaluation, performance=decayed))
    assert len(text.encode()) < 1_000_000, len(text.encode())
    tree = Strict(text).root
    assert "200 of 200 columns drifted in at least one of 60 windows" in tree.all("figure")[0].text
    assert "The other 160 columns" in [each.text for each in tree.all("summary")]
    assert (
        sum(
            len(rows_of)
            for rows_of in (each.one("tbody").all("tr") for each in tree.all("table") if each.one("caption").text == "Columns over time")
        )
        == 200
    )


def test_names_and_words_of_others_stay_text() -> None:
    evil = "</title><script>alert(1)</script>\x00\x1b & \"'"
    hurt = replace(reading(0, {evil: 4.0}), notes=(Note(evil, evil, unread=True),), words=evil, error=evil)
    text = report.html(report.Found(SPEC, evil, [hurt], retrainings()))
    assert "<script" not in text
    assert_contained(Strict(text).root)


NUMBERS = st.one_of(st.none(), st.just(float("inf")), st.floats(0, 1e6))
COLUMNS = st.builds(
    Column,
    st.text(min_size=1, max_size=4),
    st.sampled_from(["drift", "no drift", "unknown", "not watched"]),
    st.sampled_from(["none", "moderate", "severe"]),
    effects=st.lists(st.builds(Effect, st.just("ks"), NUMBERS, NUMBERS, NUMBERS, st.booleans()), max_size=2).map(tuple),
)
DRIFT = st.sampled_from(["drift", "no drift", "unknown", "not watched"])


@settings(max_examples=25)
@given(st.lists(st.tuples(DRIFT, DRIFT, st.lists(COLUMNS, max_size=3), NUMBERS), max_size=4))
def test_whatever_the_readings_hold_the_page_is_whole(drawn: list[Any]) -> None:
    readings = [
        Reading("flights", window(place), window(place).end, drift, lasting, columns=tuple({each.name: each for each in columns}.values()),
                performance=None if value is None else replace(judged(place, 0.5), value=value))
        for place, (drift, lasting, columns, value) in enumerate(drawn)
    ][::-1]  # fmt: skip
    tree = Strict(report.html(found(readings))).root
    assert_contained(tree)
    known = {each.name for reading in readings for each in reading.columns}
    assert set(ranked(readings)) == known
    if any(each.drift != "not watched" for each in readings):
        assert len(rows(tree, "Columns over time")) == len(known)


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from([None, -1, 0, 1, 2, 3, 4]), min_size=9, max_size=9), min_size=1, max_size=6))
def test_a_maps_cells_are_as_many_as_its_levels_and_lie_within_it(levels: list[list[int | None]]) -> None:
    """The area of each colour is that of its cells, whatever neighbours are drawn as one."""
    names = [heat.Row(f"column {place}", each) for place, each in enumerate(levels)]
    chart = heat.heat("t", "d 1", names, [str(place) for place in range(9)], LEVELS, Table("", [], []))
    for width in (NARROW, WIDE):
        svg = Strict(chart.draw(width, "n")).root
        drawn = {each.attributes["class"]: each.attributes["d"] for each in svg.all("path")}
        edges = [float(x) for x in re.findall(r"M([\d.]+) ", drawn["between"])]
        cell = edges[1] - edges[0]
        for level in range(5):
            long = sum(float(each) for each in re.findall(r"h([\d.]+)", drawn.get(f"heat h{level}", "")))
            assert long == pytest.approx(cell * sum(row.count(level) for row in levels), abs=0.1)
        assert drawn.get("cross", "").count("M") == sum(row.count(-1) for row in levels)
        assert edges[-1] + cell <= width


def test_times_are_told_in_utc() -> None:
    from mlport.monitoring.telling.messages import moment

    assert moment(datetime(2013, 5, 1, 2, tzinfo=UTC).astimezone()) == "2013-05-01 02:00"
