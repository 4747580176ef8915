"""A comparison as an HTML file: well-formed, self-contained, escaped, with every chart also in words, and every amount the JSON's."""

from __future__ import annotations

import itertools
import math
import re
import sys
from pathlib import Path

import pytest
from aids.pages import Element, Strict

from mlport import costs
from mlport.cli import specfile
from mlport.cli.main import run
from mlport.costs.comparing.compare import Comparison
from mlport.costs.reporting import page as report
from mlport.costs.workload import Workload
from mlport.errors import MissingExtraError
from mlport.reports import page as pages
from mlport.reports.blocks import Chart, Page, Section, Table, Text
from mlport.reports.charts import Bar, Curve, Mark, colours_of, lines, stacked_bars
from mlport.reports.svg import LETTER, NARROW, WIDE

ROOT = Path(__file__).parents[3]
FIVE = ["local", "vertex", "azureml", "databricks", "sagemaker"]
LOADING = {"src", "srcset", "href", "data", "poster", "action", "formaction", "background", "xlink:href"}


@pytest.fixture(scope="module")
def example() -> Comparison:
    workload = specfile.load(str(ROOT / "examples/cost/workload.toml"), kinds=("workload",), sets=())
    assert isinstance(workload, Workload)
    return costs.compare(workload, FIVE)


@pytest.fixture(scope="module")
def tree(example: Comparison) -> Element:
    return Strict(report.html(example)).root


def table(tree: Element, caption: str) -> list[dict[str, Element]]:
    """The rows of a table by its columns."""
    (found,) = [each for each in tree.all("table") if each.one("caption").text == caption]
    columns = [each.text for each in found.one("thead").all("th")]
    rows = [[each for each in row.children if isinstance(each, Element)] for row in found.one("tbody").all("tr")]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def value(cell: Element) -> float | None:
    """The number behind what is shown."""
    found = cell.all("data")
    return float(found[0].attributes["value"]) if found else None


def test_nothing_is_loaded_and_nothing_runs(example: Comparison, tree: Element) -> None:
    everything = [tree, *(each for tag in set(re.findall(r"<([a-z]+)", report.html(example))) for each in tree.all(tag))]
    assert not {"script", "iframe", "object", "embed", "base", "form", "img", "use", "image"} & {each.tag for each in everything}
    for each in everything:
        told = {name: text for name, text in each.attributes.items() if name in LOADING}
        if each.tag == "a":
            assert re.match(r"#section-\d+$|https?://", told["href"]), told
        else:
            assert set(told.values()) <= {"data:,"}, (each.tag, told)
        assert not [name for name in each.attributes if name.startswith("on") or name == "style"]
    style = tree.one("style").text
    assert not re.search(r"url\(|@import|image-set|expression", style)
    policy = next(each for each in tree.all("meta") if each.attributes.get("http-equiv"))
    assert f"default-src 'none'; style-src '{pages.style_hash(style)}'" in policy.attributes["content"]


def test_every_chart_is_also_words_and_a_table(tree: Element) -> None:
    figures = tree.all("figure")
    assert len(figures) == 2 + 2 + len(FIVE)
    named = [
        each.attributes["id"] for tag in ("section", "h2", "caption", "title", "desc") for each in tree.all(tag) if "id" in each.attributes
    ]
    assert len(named) == len(set(named))
    for figure in figures:
        drawn = [each for each in figure.all("svg") if each.attributes.get("aria-hidden") != "true"]
        assert [each.attributes["class"] for each in drawn] == ["narrow", "wide"]
        for svg in drawn:
            title, text = svg.one("title"), svg.one("desc")
            assert svg.attributes["role"] == "img"
            assert svg.attributes["aria-labelledby"] == f"{title.attributes['id']} {text.attributes['id']}"
            assert title.text == figure.one("figcaption").text
            assert re.search(r"\d", text.text), "a description without a number says nothing"
        assert figure.one("details").one("tbody").all("tr")


def test_every_amount_is_that_of_the_json(example: Comparison, tree: Element) -> None:
    said = example.to_json()
    for row, told in zip(table(tree, "Cost of 12 months, USD"), said["targets"], strict=True):
        columns = ("total", "P10", "P50", "P90", "a useful hour", "1,000 predictions")
        names = ("total", "p10", "p50", "p90", "per_useful_hour", "per_1k_predictions")
        assert row["target"].text.strip() == told["target"]
        assert [value(row[column]) for column in columns] == [told[name] for name in names]
    for name in FIVE:
        lines = [line for line in said["lines"] if line["target"] == name]
        for row, line in zip(table(tree, f"{name}, every line"), lines, strict=True):
            assert [value(row[each]) for each in ("quantity", "unit price", "amount")] == [
                line[each] for each in ("quantity", "unit_price", "amount")
            ]
            words = {each: row[each].text.strip() for each in ("what", "part", "source", "date")}
            assert words == {"what": line["what"], "part": line["part"], "source": line["source"], "date": line["as_of"]}
            assert line["formula"] in row["formula"].text
        sums = {row["kind"].text.strip(): value(row["amount"]) for row in table(tree, f"{name}, by kind of cost")}
        assert sums == next(told["by_category"] for told in said["targets"] if told["target"] == name)
        effects = table(tree, f"What matters most for {name}, USD")
        assert [(value(row["total at its low"]), value(row["total at its high"])) for row in effects] == [
            (effect["at_low"], effect["at_high"]) for effect in said["tornado"][name]
        ]
    for row, told in zip(table(tree, "When own machines pay"), said["break_even"], strict=True):
        columns = ("hours to earn it back", "months to earn it back", "pays from a utilization of")
        assert [value(row[column]) for column in columns] == [told[name]["value"] for name in ("hours", "months", "utilization")]
    for row, told in zip(table(tree, "Ways to pay, USD for 12 months"), said["purchases"], strict=True):
        shown = [value(row[column]) for column in ("on demand", "spot", "reserved 1y", "reserved 3y")]
        assert shown == [option["cost"] for option in told["options"]]
    parts = table(tree, "Cost by part: USD for 12 months")
    for name in FIVE:
        total = next(told["total"] for told in said["targets"] if told["target"] == name)
        assert sum(value(row[name]) or 0 for row in parts) == pytest.approx(total, abs=1e-9)


def test_the_command_line_writes_it_by_the_name_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload, out = str(ROOT / "examples/cost/workload.toml"), tmp_path / "report.html"
    assert run(["cost", "compare", workload, "--targets", "local,vertex", "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    tree = Strict(out.read_text(encoding="utf-8")).root
    assert tree.one("h1").text == "flight-delays: what it costs"
    assert [row["target"].text.strip() for row in table(tree, "Cost of 12 months, USD")] == ["local", "vertex"]


def test_what_is_unknown_is_said_and_never_a_number() -> None:
    workload = Workload.model_validate(
        {
            "name": "gaps",
            "training": [{"name": "fit", "hours": 10, "compute": {"cpus": 2, "spot": True}}],
            "targets": {"vertex": {"region": "us-central1"}, "azureml": {"region": "eastus"}},
        }
    )
    found = costs.compare(workload, ["vertex", "azureml"])
    assert found.standings[0].unpriced, "the example must have a gap"
    tree = Strict(report.html(found)).root
    assert "at least" in table(tree, "Cost of 1 month, USD")[0]["total"].text
    gap = next(row for row in table(tree, "vertex, every line") if row["unit price"].text.strip() == "unknown")
    assert (value(gap["unit price"]), value(gap["amount"]), gap["amount"].text.strip()) == (None, None, "unpriced")
    assert gap["source"].text.strip() == next(line.unknown for line in found.estimates[0].lines if line.price is None)
    assert any("warning" in each.attributes.get("class", "") and "vertex, fit" in each.text for each in tree.all("p"))


def test_a_break_even_is_where_the_lines_cross(example: Comparison) -> None:
    (year, payback, _) = next(each for each in report.page(example).sections if each.title.startswith("Cost against hours")).blocks
    own, cloud = example.estimates[0], example.estimates[FIVE.index("databricks")]
    share = next(each for each in example.break_even if each.cloud == "databricks").utilization.value
    assert isinstance(year, Chart)
    assert isinstance(payback, Chart)
    assert share is not None
    hours = share * own.facts["capacity_hours"]
    assert float(hours * cloud.total / own.facts["used_hours"]) == pytest.approx(float(own.total))
    key = next(key for key in year.legend if key.name == f"databricks costs more from {hours:,.0f} hours on")
    drawn = Strict(year.draw(WIDE, "n")).root
    dot = [each for each in drawn.all("circle") if each.attributes["class"] == "point"][key.colour - 1]
    flat, rising = (curve(drawn.all("path")[place]) for place in (0, FIVE.index("databricks")))
    x, y = float(dot.attributes["cx"]), float(dot.attributes["cy"])
    for (left, low), (right, high) in (flat, rising):
        assert y == pytest.approx(low + (x - left) / (right - left) * (high - low), abs=0.05)
    assert not [key for key in payback.legend if key.form == "dot"], "this server is never earned back"


def curve(path: Element) -> list[tuple[float, float]]:
    """Where a drawn line begins and ends."""
    points = [point.split() for point in path.attributes["d"].removeprefix("M").split("L")]
    return [(float(x), float(y)) for x, y in (points[0], points[-1])]


def test_text_of_others_stays_text() -> None:
    evil = "</title><script>alert(1)</script>\x00\x1b & javascript:alert(1) \"'"
    block = Table(evil, [evil], [[evil], ["see https://example.org/?a=1&b=<x> or javascript:alert(2)"]])
    chart = stacked_bars(evil, evil, [Bar(evil, {evil: 1.0}, evil)], {evil: 0}, block, span=evil)
    drawn = lines(evil, evil, [Curve(evil, [(0, 0), (1, 1)])], [Mark(0, 0, evil)], block, across=evil, up=evil)
    text = pages.render(Page(evil, evil, evil, [Section(evil, [chart, drawn, block, Text(evil)])]))
    tree = Strict(text).root
    assert "<script" not in text
    assert not re.search(r"[\x00-\x08\x1b]", text)
    assert tree.one("h1").text == evil.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    links = {each.attributes["href"] for each in tree.all("a")}
    assert {each for each in links if not each.startswith("#")} == {"https://example.org/?a=1&b="}


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_bars_are_as_long_as_their_amounts_and_nothing_leaves_the_drawing(width: int) -> None:
    bars = [Bar("a", {"x": 30.0, "y": 10.0, "credit": -5.0}, "35"), Bar("nothing", {}, "0")]
    chart = stacked_bars("t", "d", bars, colours_of(bars), Table("", [], []))
    areas = list(Strict(chart.draw(width, "n")).root.all("rect"))
    across = {each.attributes["class"]: (float(each.attributes["x"]), float(each.attributes["width"])) for each in areas}
    assert across["area c0"][1] == pytest.approx(3 * across["area c1"][1], abs=0.05)
    assert across["area c0"][1] == pytest.approx(6 * across["area c2"][1], abs=0.05)
    assert across["area c2"][0] + across["area c2"][1] == pytest.approx(across["area c0"][0], abs=0.02)
    assert all(start >= 0 and start + wide <= width for start, wide in across.values())


def test_numbers_of_points_at_one_place_do_not_cover_each_other() -> None:
    marks = [Mark(5 + number / 100, 5, "same") for number in range(5)]
    chart = lines("t", "d", [Curve("a", [(0, 0), (10, 10)])], marks, Table("", [], []), across="", up="")
    dots = [each.attributes for each in Strict(chart.draw(NARROW, "n")).root.all("circle") if each.attributes["class"] == "dot"]
    places = [(float(dot["cx"]), float(dot["cy"])) for dot in dots]
    assert len(places) == 5
    assert all(math.dist(one, other) >= 17.9 for number, one in enumerate(places) for other in places[:number])


def test_a_part_that_cannot_be_done_is_named_with_every_total_that_lacks_it() -> None:
    workload = Workload.model_validate(
        {
            "name": "big",
            "training": [{"name": "fit", "hours": 10, "compute": {"gpus": 8, "gpu": "H100"}}],
            "storage": [{"name": "data", "gib": 5}],
            "targets": {"sagemaker": {"region": "us-east-1"}, "vertex": {"region": "us-central1"}},
        }
    )
    found = costs.compare(workload, ["sagemaker", "vertex"])
    assert found.standings[0].cannot, "the example must have a refusal"
    tree = Strict(report.html(found)).root
    assert table(tree, "Cost of 1 month, USD")[0]["total"].text.strip().endswith(" without fit")
    assert any(each.text.startswith("sagemaker, fit: cannot") for each in tree.all("p"))
    drawn = tree.all("figure")[0].all("svg")[0]
    assert any(each.text.endswith(" without fit") for each in drawn.all("text"))


@pytest.mark.parametrize("most", [1e-4, 7.0, 35217.82, 1e13])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_numbers_of_an_axis_stay_within_the_drawing_and_apart(width: int, most: float) -> None:
    bars = [Bar("a", {"x": most}, "a")]
    empty = Table("", [], [])
    for chart in (
        stacked_bars("t", "d", bars, colours_of(bars), empty),
        lines("t", "d", [Curve("a", [(0, 0), (most, 1)])], [], empty, across="", up=""),
    ):
        texts = [each for each in Strict(chart.draw(width, "n")).root.all("text") if each.attributes["class"] == "tick middle"]
        spans = [(float(each.attributes["x"]), len(each.text) * LETTER / 2) for each in texts]
        assert spans
        assert all(middle - half >= -0.01 and middle + half <= width + 0.01 for middle, half in spans)
        assert all(one + half < other - its for (one, half), (other, its) in itertools.pairwise(spans))


def test_more_parts_than_colours_share_the_last_one() -> None:
    bars = [Bar("a", {f"p{number}": float(number) for number in range(12)}, "66")]
    chart = stacked_bars("t", "d", bars, colours_of(bars), Table("", [], []))
    assert [key.name for key in chart.legend if "smaller" in key.name] == ["4 smaller ones"]
    assert len(chart.legend) == 9


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_told_from_the_paper_in_light_and_dark(tree: Element) -> None:
    """Text 4.5 to 1, what is drawn 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    modes = re.findall(r":root \{(.*?)\}", tree.one("style").text, re.DOTALL)
    assert len(modes) == 2
    for mode in modes:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", mode))
        needed = {"ink": 7.0, "quiet": 4.5, "link": 4.5, **{f"c{number}": 3.0 for number in range(9)}}
        for name, least in needed.items():
            lighter, darker = sorted((luminance(colours[name]), luminance(colours["paper"])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= least, (name, colours[name])


def test_without_jinja_it_says_what_to_install(example: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match="Jinja2") as caught:
        report.html(example)
    assert "mlport[reports]" in str(caught.value.hint)


def test_the_same_comparison_gives_the_same_bytes(example: Comparison) -> None:
    assert report.html(example) == report.html(example)
