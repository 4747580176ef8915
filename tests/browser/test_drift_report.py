"""The drift report in Debian's Chromium: phone and desk, light and dark, by keyboard, for screen readers, in print. `make browser`."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from aids.chromium import Page

from mlport import drift
from mlport.demo.flights import FEATURES, flights, months
from mlport.drift import report
from mlport.drift.decisions import decide

pytestmark = pytest.mark.browser
PHONE, DESK = 360, 1200
SMALLEST = 11
"""Letters in charts, in pixels as shown."""
SHOWN = "(each => each.checkVisibility({contentVisibilityAuto: true}) && each.getClientRects().length > 0)"
REACHABLE = f"[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].filter({SHOWN})"
OPEN = "document.querySelectorAll('details').forEach(each => each.open = true)"
SHUT = "document.querySelectorAll('details').forEach(each => each.open = false)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    table = flights().assign(time_hour=lambda found: found["time_hour"].dt.tz_convert(None))
    winter, may = (months(table, *span)[[*FEATURES, "time_hour"]] for span in ((1, 4), (5, 5)))
    found = drift.compare(winter.assign(gone=1.0), may, by="origin")
    file = folder / "report.html"
    file.write_text(report.html(found, decide(found), reference_name="January to April", current_name="May"), encoding="utf-8")
    with Page(folder) as opened:
        opened.show(DESK)
        opened.open(file.as_uri())
        yield opened


@pytest.fixture(autouse=True)
def quiet(page: Page) -> Iterator[None]:
    """After each test: nothing on the console, and nothing asked for but the file itself."""
    yield
    assert not [each for each in page.events if each["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    asked = {each["params"]["request"]["url"] for each in page.events if each["method"] == "Network.requestWillBeSent"}
    assert all((url.startswith("file://") and url.endswith("/report.html")) or url == "data:," for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_every_picture_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.show(width, scheme)
    page.value(OPEN)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert (
        page.value("[...document.querySelectorAll('.short')].filter(each => each.getBoundingClientRect().right > innerWidth).length") == 0
    )
    drawings = page.value(
        f"[...document.querySelectorAll('figure')].map(figure => [...figure.querySelectorAll('svg[role=img]')].filter({SHOWN})"
        ".map(svg => [svg.getScreenCTM().a, ...[...svg.querySelectorAll('text')].map(text => parseFloat(getComputedStyle(text).fontSize))]))"
    )
    assert len(drawings) == len(FEATURES)  # with the time and without the origin, by which they are sliced
    for figure in drawings:
        assert len(figure) == 1, "each picture is shown once"
        scale, *sizes = figure[0]
        assert min(sizes) * scale >= SMALLEST
    bars = page.value("[...document.querySelectorAll('figure path.area')].map(each => getComputedStyle(each).fill)")
    assert len(set(bars)) == 2
    ink, paper = page.value("(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))")
    assert (_light(paper), _light(ink)) == ((True, False) if scheme == "light" else (False, True))


def _light(colour: str) -> bool:
    """Whether rgb(...) is nearer to white."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) > 3 * 128


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_texts_of_a_picture_do_not_cover_each_other(page: Page, width: int) -> None:
    page.show(width)
    page.value(OPEN)
    touching = page.value(
        "[...document.querySelectorAll('figure svg')].flatMap(svg => { const boxes = [...svg.querySelectorAll('text')]"
        ".map(each => [each.textContent, each.getBoundingClientRect()]);"
        " return boxes.flatMap(([one, a], at) => boxes.slice(at + 1).filter(([, b]) =>"
        " a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4).map(([other]) => [one, other])) })"
    )
    assert touching == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_that_can_be_used_is_reached_by_keyboard_and_shows_it(page: Page, width: int) -> None:
    page.show(width)
    page.value(SHUT)
    page.value("document.activeElement.blur(), scrollTo(0, 0), getSelection().empty()")
    page.value(f"window.wanted = {REACHABLE}; window.reached = new Set(); window.dim = []; true")
    wanted = page.value("wanted.length")
    assert wanted > 15
    for _ in range(wanted + 3):
        page.press("Tab")
        page.value(
            "(each => { reached.add(each); const style = getComputedStyle(each);"
            " if (each !== document.body && (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2)) dim.push(each.outerHTML) })"
            "(document.activeElement)"
        )
    assert page.value("wanted.filter(each => !reached.has(each)).map(each => each.outerHTML.slice(0, 200))") == []
    assert page.value("dim.map(each => each.slice(0, 200))") == []


def test_a_column_without_drift_unfolds_by_keyboard(page: Page) -> None:
    page.show(DESK)
    page.value(SHUT)
    fold = "[...document.querySelectorAll('section > details')].find(each => each.querySelector('summary').innerText.includes('no drift'))"
    assert page.value(f"{fold}.querySelector('svg').checkVisibility({{contentVisibilityAuto: true}})") is False
    page.value(f"{fold}.querySelector('summary').focus()")
    page.press("Enter")
    assert page.value(f"{fold}.open && {fold}.querySelector('svg').checkVisibility({{contentVisibilityAuto: true}})") is True
    page.press("Enter")
    assert page.value(f"{fold}.open") is False


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_screen_reader_is_told_what_each_picture_and_table_shows(page: Page, width: int) -> None:
    page.show(width)
    page.value(OPEN)
    nodes = [each for each in page.call("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    images = [each for each in nodes if each["role"]["value"] in ("image", "img")]
    assert len(images) == len(FEATURES)
    assert all("%" in each["name"]["value"] for each in images)
    tables = [each for each in nodes if each["role"]["value"] == "table"]
    assert len(tables) == 2 * len(FEATURES) + 3
    assert all(each["name"]["value"] for each in tables)
    rows = [each["name"]["value"] for each in nodes if each["role"]["value"] == "rowheader"]
    assert {"wasserstein_normed", "temp", "gone"} <= set(rows)
    assert "threshold" not in {each["name"]["value"] for each in nodes if each["role"]["value"] == "rowheader"}
    assert {"metric", "value", "p"} <= {each["name"]["value"] for each in nodes if each["role"]["value"] == "columnheader"}


def test_in_print_every_fold_is_open_and_the_paper_white(page: Page) -> None:
    page.show(DESK, "dark", "print")
    page.value(SHUT)
    assert page.value("[...document.querySelectorAll('details tbody tr')].filter(row => !row.checkVisibility()).length") == 0
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = base64.b64decode(page.call("Page.printToPDF", printBackground=False)["data"])
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") > 4
