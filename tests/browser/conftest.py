"""What every report's tests share: the page, opened once a file of tests from the text that the file's `text` gives, and silence after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aids.chromium import Page
from aids.looking import assert_quiet, opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, text: str) -> Iterator[Page]:
    with opened(tmp_path_factory.mktemp("browser"), text) as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(page: Page) -> Iterator[None]:
    yield
    assert_quiet(page)
