"""Performance over time as a page: also where nothing is known, and where there is nothing to compare with."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from mlport.decay import performance, report
from mlport.reports.timeline import Span, timeline


def table(n: int, labelled: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    time = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.sort(rng.uniform(0, 28, n)), unit="D")
    label = np.where(rng.random(n) < labelled, rng.normal(size=n), np.nan)
    return pd.DataFrame({"time": time, "prediction": rng.normal(size=n), "label": label, "labelled_at": time + pd.Timedelta(hours=1)})


@pytest.mark.parametrize(
    ("labelled", "reference", "said"),
    [
        (1.0, 0.5, "mae has decayed in 4 of 4 windows"),
        (1.0, 5.0, "mae has decayed in none of 4 windows; the newest window with enough labels begins 2026-01-22 00:00 UTC and is steady"),
        (
            1.0,
            None,
            "mae has decayed in none of 4 windows; the newest window with enough labels begins 2026-01-22 00:00 UTC and is held against nothing",
        ),
        (0.2, 0.5, "Nothing is known of mae yet, in 4 windows"),
        (0.0, 0.5, "Nothing is known of mae yet, in 4 windows"),
    ],
)
def test_the_page_says_what_is_known(labelled: float, reference: float | None, said: str) -> None:
    found = performance(table(1500, labelled), reference=reference, metric="mae")
    page = report.page(found, title="Decayed?", name="a table")
    assert page.lead == f"{said}."
    assert [section.title for section in page.sections] == ["Performance over time", "Labels"]
    written = report.html(found)
    assert "<script" not in written
    assert written.count("<svg viewBox") == 4  # two charts, each for a phone and for a desk
    assert (">margin</li>" in re.sub(r"\s+<", "<", re.sub(r">\s+", ">", written))) is (reference is not None)


def drawn(spans: list[Span], levels: dict[str, float]) -> ET.Element:
    chart = timeline("t", "x", spans, levels, None, kinds=("fine", "bad"), up="y")  # type: ignore[arg-type]
    return ET.fromstring(chart.draw(720, "c"))


def test_a_timeline_draws_intervals_values_gaps_and_levels_where_they_belong() -> None:
    day = [pd.Timestamp(2026, 1, each, tz="UTC").to_pydatetime() for each in range(1, 6)]
    spans = [
        Span(day[0], day[1], 2.0, 1.0, 3.0, "fine"),
        Span(day[1], day[2], None, kind="fine"),
        Span(day[2], day[3], 4.0, 3.0, 5.0, "bad"),
        Span(day[3], day[4], 5.0, kind="bad"),
    ]
    svg = drawn(spans, {"level": 3.0})
    paths = [(each.get("class"), re.findall(r"-?[\d.]+", each.get("d") or "")) for each in svg.iter("path")]
    areas = [[float(each) for each in numbers] for kind, numbers in paths if kind and kind.startswith("area")]
    values = [[float(each) for each in numbers] for kind, numbers in paths if kind == "span"]
    (level,) = [[float(each) for each in numbers] for kind, numbers in paths if kind and kind.startswith("curve")]
    (left, high, right, low, _), (other_left, other_high, _, other_low, _) = areas
    assert right - left == pytest.approx((714 - left) / 4, abs=3)
    assert other_left == pytest.approx(left + 2 * (right - left), abs=0.1)
    assert high == pytest.approx(level[1]) == pytest.approx(other_low)  # 3 is the top of one, the bottom of the other, and the level
    assert values[0][1] == pytest.approx((high + low) / 2, abs=0.02)
    assert len(values[1]) == 6  # two windows, one of which has no interval
    assert values[1][4] == pytest.approx(other_high)
    assert [each.text for each in svg.iter("text") if "2026" in (each.text or "")] == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
        "2026-01-04",
    ]


def test_nothing_at_all_can_be_drawn() -> None:
    assert drawn([], {}).tag == "svg"
