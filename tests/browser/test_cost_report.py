"""The cost report in Debian's Chromium: phone and desk, light and dark, by keyboard, for screen readers, in print. `make browser`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.chromium import Page

from mlport import costs
from mlport.cli import specfile
from mlport.costs.reporting import page as report
from mlport.costs.workload import Workload

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
FIVE = ["local", "vertex", "azureml", "databricks", "sagemaker"]
PHONE, DESK = 360, 1200
SMALLEST = 11
"""Letters in charts, in pixels as shown."""
SHOWN = "(each => each.checkVisibility({contentVisibilityAuto: true}) && each.getClientRects().length > 0)"
REACHABLE = f"[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].filter({SHOWN})"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    workload = specfile.load(str(ROOT / "examples/cost/workload.toml"), kinds=("workload",), sets=())
    assert isinstance(workload, Workload)
    file = folder / "report.html"
    file.write_text(report.html(costs.compare(workload, FIVE)), encoding="utf-8")
    with Page(folder) as found:
        found.show(DESK)
        found.open(file.as_uri())
        yield found


@pytest.fixture(autouse=True)
def quiet(page: Page) -> Iterator[None]:
    """After each test: nothing on the console, and nothing asked for but the file itself."""
    yield
    said = [each for each in page.events if each["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    assert not said
    asked = {each["params"]["request"]["url"] for each in page.events if each["method"] == "Network.requestWillBeSent"}
    assert len(asked) <= 2
    assert all((url.startswith("file://") and url.endswith("/report.html")) or url == "data:," for url in asked)


def test_the_driver_would_hear_an_error_and_a_request(page: Page, tmp_path: Path) -> None:
    """What the other tests take for silence is not deafness."""
    (tmp_path / "bad.html").write_text(
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><script>1</script><img src='http://127.0.0.1:9/x.png'>"
    )
    before, here = list(page.events), page.value("location.href")
    page.events.clear()
    page.open((tmp_path / "bad.html").as_uri())
    told = [each["params"]["entry"]["text"] for each in page.events if each["method"] == "Log.entryAdded"]
    assert any("script" in text for text in told)
    assert any("x.png" in text for text in told)
    page.events.clear()
    page.open(here)
    page.events[:0] = before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.show(width, scheme)
    assert page.value("document.documentElement.scrollWidth") <= width
    drawings = page.value(
        f"[...document.querySelectorAll('figure')].map(figure => [...figure.querySelectorAll(':scope > svg[role=img]')].filter({SHOWN})"
        ".map(svg => [svg.getAttribute('class'), svg.getScreenCTM().a,"
        " ...[...svg.querySelectorAll('text')].map(text => parseFloat(getComputedStyle(text).fontSize))]))"
    )
    assert len(drawings) == 2 + 2 + len(FIVE)
    for figure in drawings:
        assert len(figure) == 1, "each chart is shown once"
        name, scale, *sizes = figure[0]
        assert name == "narrow" or width == DESK
        assert min(sizes) * scale >= SMALLEST
    ink, paper = page.value("(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))")
    assert (_light(paper), _light(ink)) == ((True, False) if scheme == "light" else (False, True))


def _light(colour: str) -> bool:
    """Whether rgb(...) is nearer to white."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) > 3 * 128


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_that_can_be_used_is_reached_by_keyboard_and_shows_it(page: Page, width: int) -> None:
    page.show(width)
    page.value("document.activeElement.blur(), scrollTo(0, 0), getSelection().empty()")
    page.value(f"window.wanted = {REACHABLE}; window.reached = new Set(); window.dim = []; true")
    wanted = page.value("wanted.length")
    assert wanted > 20
    for _ in range(wanted + 3):
        page.press("Tab")
        page.value(
            "(each => { reached.add(each); const style = getComputedStyle(each);"
            " if (each !== document.body && (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2)) dim.push(each.outerHTML) })"
            "(document.activeElement)"
        )
    assert page.value("wanted.filter(each => !reached.has(each)).map(each => each.outerHTML.slice(0, 200))") == []
    assert page.value("dim.map(each => each.slice(0, 200))") == []


def test_a_fold_opens_and_closes_by_keyboard(page: Page) -> None:
    page.show(DESK)
    last = "[...document.querySelectorAll('section > details')].at(-1)"
    assert page.value(f"{last}.open") is False
    page.value(f"{last}.querySelector('summary').focus()")
    page.press("Enter")
    assert page.value(f"{last}.open && {last}.querySelector('tbody tr').checkVisibility()") is True
    page.press("Enter")
    assert page.value(f"{last}.open") is False


def test_a_screen_reader_is_told_what_each_chart_shows(page: Page) -> None:
    page.show(DESK)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    images = [each for each in nodes if not each["ignored"] and each["role"]["value"] in ("image", "img")]
    assert len(images) == 2 + 2 + len(FIVE)
    assert all(any(letter.isdigit() for letter in each["name"]["value"]) for each in images)
    tables = [each for each in nodes if not each["ignored"] and each["role"]["value"] == "table"]
    assert tables
    assert all(each["name"]["value"] for each in tables)


def test_on_a_phone_tables_stay_tables(page: Page) -> None:
    """Their rows are shown as cards there; what they are is still told."""
    page.show(PHONE)
    roles = [each["role"]["value"] for each in page.call("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    assert {"table", "row", "rowheader", "columnheader", "cell"} <= set(roles)


def test_in_print_every_fold_is_open_and_the_paper_white(page: Page) -> None:
    page.show(DESK, "dark", "print")
    hidden = page.value("[...document.querySelectorAll('details tbody tr')].filter(row => !row.checkVisibility()).length")
    assert hidden == 0
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = base64.b64decode(page.call("Page.printToPDF", printBackground=False)["data"])
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") > 4
