"""A report in Chromium as every report is looked at: phone and desk, light and dark, by keyboard, for screen readers, in print."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aids.chromium import Page

PHONE, DESK = 360, 1200
SMALLEST = 11
"""Letters in charts, in pixels as shown."""
SHOWN = "(each => each.checkVisibility({contentVisibilityAuto: true}) && each.getClientRects().length > 0)"
REACHABLE = f"[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')].filter({SHOWN})"
OPEN = "document.querySelectorAll('details').forEach(each => each.open = true)"
SHUT = "document.querySelectorAll('details').forEach(each => each.open = false)"
SAID = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@contextmanager
def opened(folder: Path, text: str) -> Iterator[Page]:
    """A report as a file, in a browser at a desk."""
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    with Page(folder) as page:
        page.show(DESK)
        page.open(file.as_uri())
        yield page


def assert_quiet(page: Page) -> None:
    """Nothing on the console, and nothing asked for but the file itself."""
    assert not [each for each in page.events if each["method"] in SAID]
    asked = {each["params"]["request"]["url"] for each in page.events if each["method"] == "Network.requestWillBeSent"}
    assert len(asked) <= 2
    assert all((url.startswith("file://") and url.endswith("/report.html")) or url == "data:," for url in asked)


def assert_fits(page: Page, width: int, scheme: str) -> list[Any]:
    """Nothing is wider than the screen, no letter too small, each figure drawn once, in the colours asked for; the drawings' classes."""
    page.show(width, scheme)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert (
        page.value("[...document.querySelectorAll('.short')].filter(each => each.getBoundingClientRect().right > innerWidth).length") == 0
    )
    drawings = page.value(
        f"[...document.querySelectorAll('figure')].map(figure => [...figure.querySelectorAll(':scope > svg[role=img]')].filter({SHOWN})"
        ".map(svg => [svg.getAttribute('class'), svg.getScreenCTM().a,"
        " ...[...svg.querySelectorAll('text')].map(text => parseFloat(getComputedStyle(text).fontSize))]))"
        ".filter(figure => figure.length)"
    )
    for figure in drawings:
        assert len(figure) == 1, "each chart is shown once"
        _, scale, *sizes = figure[0]
        assert min(sizes) * scale >= SMALLEST
    ink, paper = page.value("(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))")
    assert (_light(paper), _light(ink)) == ((True, False) if scheme == "light" else (False, True))
    return [figure[0][0] for figure in drawings]


def _light(colour: str) -> bool:
    """Whether rgb(...) is nearer to white."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) > 3 * 128


def assert_texts_apart(page: Page) -> None:
    """No text of a drawing covers another."""
    touching = page.value(
        "[...document.querySelectorAll('figure svg')].flatMap(svg => { const boxes = [...svg.querySelectorAll('text')]"
        ".map(each => [each.textContent, each.getBoundingClientRect()]);"
        " return boxes.flatMap(([one, a], at) => boxes.slice(at + 1).filter(([, b]) =>"
        " a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4).map(([other]) => [one, other])) })"
    )
    assert touching == []


def assert_reached_by_keyboard(page: Page, width: int, *, least: int) -> None:
    """All that can be used, `least` things at the least, is reached by Tab, and shows that it is."""
    page.show(width)
    page.value("document.activeElement.blur(), scrollTo(0, 0), getSelection().empty()")
    page.value(f"window.wanted = {REACHABLE}; window.reached = new Set(); window.dim = []; true")
    wanted = page.value("wanted.length")
    assert wanted > least
    for _ in range(wanted + 3):
        page.press("Tab")
        page.value(
            "(each => { reached.add(each); const style = getComputedStyle(each);"
            " if (each !== document.body && (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2)) dim.push(each.outerHTML) })"
            "(document.activeElement)"
        )
    assert page.value("wanted.filter(each => !reached.has(each)).map(each => each.outerHTML.slice(0, 200))") == []
    assert page.value("dim.map(each => each.slice(0, 200))") == []


def accessible(page: Page, *roles: str) -> list[str]:
    """The names that a screen reader is told of the things of some roles."""
    nodes = [each for each in page.call("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    return [each["name"]["value"] for each in nodes if each["role"]["value"] in roles]


def assert_prints(page: Page) -> None:
    """Every fold is open, the paper white, and there are pages."""
    page.show(DESK, "dark", "print")
    page.value(SHUT)
    assert page.value("[...document.querySelectorAll('details tbody tr')].filter(row => !row.checkVisibility()).length") == 0
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = base64.b64decode(page.call("Page.printToPDF", printBackground=False)["data"])
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") > 4
