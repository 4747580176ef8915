"""What wrk does, where there is no wrk: keep-alive connections that each send the next row when the last is answered.

`python _client.py WORK.json`, as `_load.py` writes it, prints requests, seconds, errors, p50_ms and p99_ms as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _load import STEP, body


def requests(work: dict[str, Any]) -> Iterator[bytes]:
    """Whole HTTP requests, each with a row of its own."""
    url = urlsplit(work["target"]["url"])
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in work["target"]["headers"].items()
    )
    rows = work["rows"]
    for number in itertools.count(work["start"] + 1):
        first, *rest = rows[number % len(rows)]
        content = body(work["columns"], [first + number * STEP, *rest], work["target"]["form"])
        yield f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode()


class Client(asyncio.Protocol):
    """One connection with one request under way. Answers must carry content-length."""

    def __init__(
        self, source: Iterator[bytes], until: float, seconds: list[float], errors: list[bytes], over: asyncio.Future[None]
    ) -> None:
        self._source, self._until, self._seconds, self._errors, self._over = source, until, seconds, errors, over
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(next(self._source))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, content = self._buffer.partition(b"\r\n\r\n")
        if found and len(content) >= _length(head):
            self._answered(head)

    def _answered(self, head: bytes) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._began)
        if not head.startswith(b"HTTP/1.1 2"):
            self._errors.append(head)
        self._buffer = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self._errors.append(repr(error).encode())
        self._over.set_result(None)


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


async def drive(work: dict[str, Any]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    url = urlsplit(work["target"]["url"])
    source, seconds, errors = requests(work), list[float](), list[bytes]()
    began = time.perf_counter()
    ends = [loop.create_future() for _ in range(work["clients"])]
    for end in ends:
        await loop.create_connection(partial(Client, source, began + work["seconds"], seconds, errors, end), url.hostname, url.port)
    await asyncio.gather(*ends)
    took = time.perf_counter() - began
    seconds.sort()
    p50, p99 = (seconds[min(int(len(seconds) * share), len(seconds) - 1)] * 1e3 for share in (0.5, 0.99))
    return {"requests": len(seconds), "seconds": took, "errors": len(errors), "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.loads(Path(sys.argv[1]).read_text())))))
