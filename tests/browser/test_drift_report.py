"""The drift report in Debian's Chromium: phone and desk, light and dark, by keyboard, for screen readers, in print. `make browser`."""

from __future__ import annotations

import pytest
from aids.chromium import Page
from aids.looking import DESK, OPEN, PHONE, SHUT, accessible, assert_fits, assert_prints, assert_reached_by_keyboard, assert_texts_apart

from mlport import drift
from mlport.demo.flights import FEATURES, flights, months
from mlport.drift import report
from mlport.drift.decisions import decide

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def text() -> str:
    table = flights().assign(time_hour=lambda found: found["time_hour"].dt.tz_convert(None))
    winter, may = (months(table, *span)[[*FEATURES, "time_hour"]] for span in ((1, 4), (5, 5)))
    found = drift.compare(winter.assign(gone=1.0), may, by="origin")
    return report.html(found, decide(found), reference_name="January to April", current_name="May")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_every_picture_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.value(OPEN)
    drawn = assert_fits(page, width, scheme)
    assert len(drawn) == len(FEATURES)  # with the time and without the origin, by which they are sliced
    bars = page.value("[...document.querySelectorAll('figure path.area')].map(each => getComputedStyle(each).fill)")
    assert len(set(bars)) == 2


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_texts_of_a_picture_do_not_cover_each_other(page: Page, width: int) -> None:
    page.show(width)
    page.value(OPEN)
    assert_texts_apart(page)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_that_can_be_used_is_reached_by_keyboard_and_shows_it(page: Page, width: int) -> None:
    page.value(SHUT)
    assert_reached_by_keyboard(page, width, least=15)


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
    images = accessible(page, "image", "img")
    assert len(images) == len(FEATURES)
    assert all("%" in name for name in images)
    tables = accessible(page, "table")
    assert len(tables) == 2 * len(FEATURES) + 3
    assert all(tables)
    rows = accessible(page, "rowheader")
    assert {"wasserstein_normed", "temp", "gone"} <= set(rows)
    assert "threshold" not in rows
    assert {"metric", "value", "p"} <= set(accessible(page, "columnheader"))


def test_in_print_every_fold_is_open_and_the_paper_white(page: Page) -> None:
    assert_prints(page)
