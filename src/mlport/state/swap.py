"""Changing a stored value by compare-and-swap, however often others are faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlport.errors import ConflictError

T = TypeVar("T")


def changed(look: Callable[[], tuple[T, str]], put: Callable[[T, str], object], change: Callable[[T], T | None]) -> T | None:
    """Store what `change` makes of the value as it is, however often it must be tried; None if there is nothing to change.

    Args:
        look: the value and its version; what it raises is raised.
        put: stores a value over a version. Raises ConflictError when it is another by now.
    """
    while True:
        now, version = look()
        following = change(now)
        if following is None:
            return None
        try:
            put(following, version)
        except ConflictError:
            continue
        return following
