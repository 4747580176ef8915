"""A local HTTP server that replays documents, with the ways in which real ones fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Answer:
    """What is answered to one request. `cut`: the connection ends after so many bytes."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Document = Callable[[str, Mapping[str, str]], Answer]
"""Answers a path (with its query, unquoted) and the request's headers."""


@dataclass
class Replay:
    """`url` is where it listens; `asked` are the requests so far."""

    url: str = ""
    document: Document = lambda path, headers: Answer(status=404)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


def served(content: bytes, tag: str, headers: Mapping[str, str], cut: int | None = None) -> Answer:
    """A file as a server with ETag and ranges gives it (RFC 9110, 13 and 14); lower-case `headers` are the request's."""
    asked = headers.get("range", "")
    if not asked or headers.get("if-range") != tag:
        return Answer(content, 200, {"ETag": tag}, cut)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return Answer(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
    return Answer(content[start:], 206, {"ETag": tag, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}, cut)


@contextmanager
def replaying() -> Iterator[Replay]:
    """A server whose `document` may be set at any time."""
    replay = Replay()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, headers = unquote(self.path), {name.lower(): value for name, value in self.headers.items()}
            replay.asked.append((path, headers))
            answer = replay.document(path, headers)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])
            if answer.cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        replay.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield replay
        finally:
            server.shutdown()
            thread.join()
