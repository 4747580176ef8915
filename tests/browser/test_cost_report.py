"""The cost report in Debian's Chromium: phone and desk, light and dark, by keyboard, for screen readers, in print. `make browser`."""

from __future__ import annotations

from pathlib import Path

import pytest
from aids.chromium import Page
from aids.looking import DESK, PHONE, accessible, assert_fits, assert_prints, assert_reached_by_keyboard

from mlport import costs
from mlport.cli import specfile
from mlport.costs.reporting import page as report
from mlport.costs.workload import Workload

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
FIVE = ["local", "vertex", "azureml", "databricks", "sagemaker"]


@pytest.fixture(scope="module")
def text() -> str:
    workload = specfile.load(str(ROOT / "examples/cost/workload.toml"), kinds=("workload",), sets=())
    assert isinstance(workload, Workload)
    return report.html(costs.compare(workload, FIVE))


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
    drawn = assert_fits(page, width, scheme)
    assert len(drawn) == 2 + 2 + len(FIVE)
    assert width == DESK or set(drawn) == {"narrow"}


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_that_can_be_used_is_reached_by_keyboard_and_shows_it(page: Page, width: int) -> None:
    assert_reached_by_keyboard(page, width, least=20)


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
    images = accessible(page, "image", "img")
    assert len(images) == 2 + 2 + len(FIVE)
    assert all(any(letter.isdigit() for letter in name) for name in images)
    tables = accessible(page, "table")
    assert tables
    assert all(tables)


def test_on_a_phone_tables_stay_tables(page: Page) -> None:
    """Their rows are shown as cards there; what they are is still told."""
    page.show(PHONE)
    for role in ("table", "row", "rowheader", "columnheader", "cell"):
        assert accessible(page, role), role


def test_in_print_every_fold_is_open_and_the_paper_white(page: Page) -> None:
    assert_prints(page)
