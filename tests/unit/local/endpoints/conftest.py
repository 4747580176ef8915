"""A root of the module's own with endpoints that really serve."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from aids.local.endpoints import Place, save_model, until


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.fixture(name="save_model")
def _save_model() -> Callable[..., None]:
    return save_model


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A root for the module."""
    folder = Path(tempfile.mkdtemp(prefix="mlp-"))
    place = Place(folder)
    try:
        yield place
        place.close()
    finally:
        shutil.rmtree(folder)  # whatever a failed test left ends when its root is gone


@pytest.fixture(scope="module")
def live(place: Place) -> Place:
    """With an endpoint `live` of two deployments, blue at 100 and green at 0 percent."""
    place.done(place.endpoints.create(place.endpoint("live"), token="live"))
    place.done(place.endpoints.deploy(place.deployment("live", "green"), token="live-green"))
    return place
