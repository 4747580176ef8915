"""What is installed beside the core: entry points by their group. All distributions are looked through once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@cache
def installed(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in _all().select(group=group)}


@cache
def _all() -> Any:
    return entry_points()


def forget() -> None:
    """Look anew at what is installed, for the path has changed."""
    installed.cache_clear()
    _all.cache_clear()
