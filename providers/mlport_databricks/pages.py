"""Pages of a listing that Databricks gives in no order of ours: all of it is read, sorted, and cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def page_of(
    items: Iterable[T], key: Callable[[T], list[int | str]], *, newest_first: bool, size: int, page: str | None
) -> tuple[list[T], str | None]:
    """The items after those that a page token stands for, and the next token. Keys are unique; what came and went meanwhile does no harm.

    >>> page_of([3, 1, 2], lambda number: [number], newest_first=True, size=2, page=None)
    ([3, 2], '[2]')
    >>> page_of([3, 1, 2], lambda number: [number], newest_first=True, size=2, page="[2]")
    ([1], None)
    """
    ordered = sorted(items, key=key, reverse=newest_first)
    if page is not None:
        last = json.loads(page)
        ordered = [item for item in ordered if (key(item) < last if newest_first else key(item) > last)]
    some = ordered[:size]
    return some, json.dumps(key(some[-1])) if len(ordered) > size else None
