"""What endpoints were asked and answered, kept as one Arrow schema whatever the provider.

`schema` is that schema; `read` gives what a folder holds, the latest answers included; `compact` turns the spool that a
model server writes (`mlport.capture.spool`) into Parquet. Importing this loads no pyarrow until one of them is named.

A capture folder:
    spool/START-PID.seg                     what servers write, one open segment a process
    data/START-PID-FIRST-LAST.parquet       the same, compacted; FIRST and LAST in microseconds since 1970
    data/merged-HASH-FIRST-LAST.parquet     several of those as one, of one day; it says which in its metadata
    damaged/                                segments of which a part could not be read
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.capture.compaction import Compacted as Compacted
    from mlport.capture.compaction import compact as compact
    from mlport.capture.reading import CaptureWarning as CaptureWarning
    from mlport.capture.reading import read as read
    from mlport.capture.retention import expired as expired
    from mlport.capture.tables import schema as schema

_HOMES = {
    "Compacted": "compaction",
    "compact": "compaction",
    "CaptureWarning": "reading",
    "read": "reading",
    "expired": "retention",
    "schema": "tables",
}
__all__ = ["CaptureWarning", "Compacted", "compact", "expired", "read", "schema"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
