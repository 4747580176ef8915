"""Which captured files are past their time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from mlport.capture.layout import named


def expired(files: Iterable[Path], now: datetime, keep: timedelta) -> list[Path]:
    """The files of a capture folder's `data` whose newest row is older than `keep`.

    >>> from datetime import UTC
    >>> old = Path("data/00000000000000000001-7-1000000-2000000.parquet")
    >>> expired([old], datetime(1970, 1, 3, tzinfo=UTC), timedelta(days=1)) == [old]
    True
    """
    oldest = (now - keep).timestamp() * 1e6
    return [path for path in files if (found := named(path)) and found.last < oldest]
