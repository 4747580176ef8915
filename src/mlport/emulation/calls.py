"""One HTTP exchange, as an emulator's application sees it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mlport.emulation.faults import Rule


@dataclass(frozen=True, slots=True)
class Call:
    """A request that arrived whole. `path` is as sent, percent-encoded; header names are in lower case.

    `befallen` holds the faults of this call, of which those that an emulator added itself are its own to carry out.
    """

    method: str
    host: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: IO[bytes]
    befallen: Sequence[Rule] = ()

    def argument(self, name: str, default: str = "") -> str:
        """The last value of a query argument."""
        return next((value for key, value in reversed(self.query) if key == name), default)

    def read(self) -> bytes:
        """The whole body, from its beginning."""
        self.body.seek(0)
        return self.body.read()

    def json(self) -> Any:
        """The body as JSON, None where there is none; what was sent zipped is unzipped. Raises ValueError."""
        text = self.read()
        if self.headers.get("content-encoding") == "gzip":
            text = _unzipped(text)
        return json.loads(text) if text.strip() else None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered: bytes, parts to stream, or a file to send from `start` to before `end`."""

    status: int = 200
    body: bytes | Iterator[bytes] | Path = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> Reply:
        """JSON."""
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json; charset=UTF-8", **headers})


def _unzipped(text: bytes) -> bytes:
    try:
        return gzip.decompress(text)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the body is not what Content-Encoding says: {error}") from error
