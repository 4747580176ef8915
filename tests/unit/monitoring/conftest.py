"""One place for all tests of a file: an endpoint takes seconds to make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aids.monitoring import Place, midnight


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("place"))
    yield made
    made.close()


@pytest.fixture
def place(shared: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The place as it was: nothing passed, nobody watches. A lease is not waited for that a killed process had."""
    monkeypatch.setattr("mlport.monitoring.running.LEASE_SECONDS", 0.0)
    shared.today = midnight()
    yield shared
    shared.clear()
