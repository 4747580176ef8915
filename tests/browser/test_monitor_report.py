"""A monitor's report in Debian's Chromium: phone and desk, light and dark, by keyboard, for screen readers, in print. `make browser`."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from aids.chromium import Page
from aids.looking import (
    DESK,
    OPEN,
    PHONE,
    SHUT,
    accessible,
    assert_fits,
    assert_prints,
    assert_quiet,
    assert_reached_by_keyboard,
    assert_texts_apart,
)
from aids.seasons import retrainings, season, wide

from mlport import audit, drift
from mlport.demo.flights import FEATURES, flights, months
from mlport.drift.decisions import decide
from mlport.monitoring.reporting import report
from mlport.monitoring.specs import MonitorSpec

pytestmark = pytest.mark.browser
SPEC = MonitorSpec(name="flights", endpoint="flights-live", reference="winter.parquet", window=timedelta(days=7))


@pytest.fixture(scope="module")
def text() -> str:
    """A season, with the newest window in full: May of the real flights, and errors of a model that is worse from one airport."""
    table = flights()
    winter, may = (months(table, *span)[FEATURES] for span in ((1, 4), (5, 5)))
    compared = drift.compare(winter, may)
    chance = np.random.default_rng(7)
    truth = chance.random(len(may)) < 0.2
    noise = np.where(may["origin"] == "LGA", 0.95, 0.6)
    scores = np.clip(truth * (1 - noise) + chance.random(len(may)) * noise, 0, 1)
    evaluation = audit.evaluate(truth, scores, slices=may[["origin", "carrier"]])
    found = report.Found(SPEC, "laptop", season(), retrainings(), (compared, decide(compared)), evaluation=evaluation)
    return report.html(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_and_every_picture_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.value(OPEN)
    drawn = assert_fits(page, width, scheme)
    assert len(drawn) >= 2 + len(FEATURES)
    levels = page.value(
        "[...document.querySelector('figure').querySelectorAll('svg[role=img] path.heat')].map(each => getComputedStyle(each).stroke)"
    )
    assert len(set(levels)) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_level_that_matters_more_stands_out_more_also_without_colour(page: Page, scheme: str) -> None:
    """Contrast with the paper (WCAG 2.2) grows from level to level; drift and what is not known have 3 to 1."""
    page.show(DESK, scheme)
    page.value(OPEN)
    shown = page.value(
        "['.heat.h0', '.heat.h1', '.heat.h2', '.heat.h3', '.heat.h4', '.cross'].map(name => getComputedStyle(document.querySelector(name)).stroke)"
    )
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    contrasts = [_contrast(each, paper) for each in shown]
    assert contrasts[:5] == sorted(contrasts[:5])
    assert min(contrasts[3:]) >= 3


def _contrast(one: str, other: str) -> float:
    lights = sorted((_luminance(one), _luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of rgb(...), as WCAG 2.2 has it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_texts_of_a_picture_do_not_cover_each_other(page: Page, width: int) -> None:
    page.show(width)
    page.value(OPEN)
    assert_texts_apart(page)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_all_that_can_be_used_is_reached_by_keyboard_and_shows_it(page: Page, width: int) -> None:
    page.value(SHUT)
    assert_reached_by_keyboard(page, width, least=20)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_screen_reader_is_told_what_each_picture_and_table_shows(page: Page, width: int) -> None:
    page.show(width)
    page.value(OPEN)
    images = accessible(page, "image", "img")
    assert all(images)
    assert any("3 of 5 columns drifted in at least one of 8 windows" in name for name in images)
    assert all(accessible(page, "table"))
    assert {"temp", "2013-06-20", "r-2"} <= set(accessible(page, "rowheader"))


def test_in_print_every_fold_is_open_and_the_paper_white(page: Page) -> None:
    assert_prints(page)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_two_hundred_columns_over_sixty_windows_can_be_read(page: Page, width: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    here, before = page.value("location.href"), list(page.events)
    file = tmp_path_factory.mktemp("wide") / "report.html"
    file.write_text(report.html(report.Found(SPEC, "laptop", wide(200, 60))), encoding="utf-8")
    page.events.clear()
    page.open(file.as_uri())
    page.value(OPEN)
    drawn = assert_fits(page, width, "light")
    assert len(drawn) == 4
    assert_texts_apart(page)
    assert_quiet(page)
    page.events.clear()
    page.open(here)
    page.events[:] = before
