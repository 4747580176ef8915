"""Reading a paged listing lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlport.errors import MlportError
from mlport.spi import Page

T = TypeVar("T")


def each(fetch: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Every item of every page, each page fetched when the reader gets there.

    Raises:
        MlportError: the provider gave the same page token twice, which would never end.
    """
    token: str | None = None
    while True:
        page = fetch(token)
        yield from page.items
        if page.next is None:
            return
        if page.next == token:
            raise MlportError(f"the provider gave the page token {token!r} twice: its listing would never end")
        token = page.next
