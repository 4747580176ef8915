"""The documents that name tests name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def existing() -> set[str]:
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "src" / "mlport" / "testing").rglob("test_*.py")]
    return {name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", ["threat-model.md", "faults.md", "writing-a-provider.md"])
def test_the_tests_that_a_page_names_exist(page: str, existing: set[str]) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / page).read_text()))
    assert len(named) > 10
    assert not named - existing
