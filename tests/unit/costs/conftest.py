"""The tiny pricing, as if it were installed beside the others."""

from __future__ import annotations

import pytest
from aids.pricing import POINTS, catalogue

from mlport.costs import pricing
from mlport.costs.catalogue import Catalogue


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**pricing._found(), **POINTS}
    monkeypatch.setattr(pricing, "_found", lambda: found)


@pytest.fixture(scope="module")
def prices() -> Catalogue:
    return catalogue()
