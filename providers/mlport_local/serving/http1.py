"""HTTP/1.1 heads and chunks as pure functions: read strictly, so that router and worker never disagree on where a request ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

MOST_HEAD = 64 * 1024  # bytes
CHUNKED = -1  # a body's length where chunks tell it
UNTIL_CLOSE = -2  # where the end of the connection tells it

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD = rb"(%s):[ \t]*((?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?)[ \t]*\r\n" % _TOKEN
_FIELDS = re.compile(_FIELD)
_ALL_FIELDS = re.compile(rb"(?:%s:[\t\x20-\x7e\x80-\xff]*\r\n)*" % _TOKEN)
_REQUEST_LINE = re.compile(rb"(%s) (/[\x21-\x7e\x80-\xff]*|\*) HTTP/1\.([01])\r\n" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_LENGTH_FIELD = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer", b"upgrade")
)
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_NOT_FOR_WORKERS = (
    _HOP_BY_HOP
    | _FRAMING
    | {b"expect", b"authorization", b"x-api-key", b"x-request-id", b"x-caller-id", b"x-mlport-deployment", b"x-mlport-version"}
)
_NOT_FOR_CALLERS = _HOP_BY_HOP | _FRAMING | {b"x-request-id", b"x-mlport-deployment", b"x-mlport-version"}
_SINGLE = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key", b"x-mlport-deployment", b"x-request-id")
)


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """What the router answers by itself: an HTTP status and a message for people."""

    def __init__(self, status: int, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass(slots=True)  # a frozen one takes 2 microseconds more to make
class RequestHead:
    """A caller's request head, and `forward`: what a worker gets of it, without request id, framing and last empty line."""

    method: bytes
    target: bytes
    modern: bool  # HTTP/1.1
    keep_alive: bool
    length: int  # of the body in bytes, or CHUNKED
    expects_continue: bool
    key: bytes | None
    deployment: str | None
    forward: bytes

    @property
    def repeatable(self) -> bool:
        """Whether asking twice does what asking once does."""
        return self.method in (b"GET", b"HEAD", b"OPTIONS") and self.length == 0


NOBODYS = RequestHead(b"", b"", True, True, 0, False, None, None, b"")
"""Stands where no good head has come yet."""


@dataclass(slots=True)
class ResponseHead:
    """A worker's response head, and `forward`: its other header lines, for the caller."""

    status: int
    keep_alive: bool
    length: int  # bytes, CHUNKED or UNTIL_CLOSE
    has_length: bool
    forward: bytes


def parse_request(head: bytes) -> RequestHead:
    """The request whose head, last empty line included, is `head`.

    Raises:
        Refused: 400 for what is not exactly HTTP/1.x, 405 and 501 for methods and transfers that no worker serves.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise Refused(400, "the request line is not METHOD /path HTTP/1.1")
    method, target, minor = line.groups()
    if method not in _METHODS:
        raise Refused(405, f"method {method.decode()} is not served here", b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")
    fields, found = _split(head, line.end())
    modern = minor == b"1"
    if modern and b"host" not in found:
        raise Refused(400, "a request of HTTP/1.1 needs the header host")
    tokens = _tokens(found)
    caller = found.get(b"x-request-id") or found.get(b"x-caller-id")
    kept = [b"%s: %s\r\n" % (name, value) for name, value in fields if (low := name.lower()) not in _NOT_FOR_WORKERS and low not in tokens]
    if b"host" not in found:
        kept.append(b"host: localhost\r\n")
    if caller:
        kept.append(b"x-caller-id: %s\r\n" % caller)
    deployment = found.get(b"x-mlport-deployment")
    return RequestHead(
        method,
        target,
        modern,
        b"close" not in tokens if modern else b"keep-alive" in tokens,
        _request_length(found, modern),
        modern and found.get(b"expect", b"").lower() == b"100-continue",
        _key(found),
        deployment.decode("latin-1") if deployment else None,
        b"%s %s HTTP/1.1\r\n%s" % (method, target, b"".join(kept)),
    )


def around_length(head: bytes) -> tuple[bytes, bytes]:
    r"""What comes before and after the number in the field content-length of a good head; `(head, b"")` without such a field.

    >>> around_length(b"POST / HTTP/1.1\r\nContent-Length: 12\r\nHost: a\r\n\r\n")
    (b'POST / HTTP/1.1\r\nContent-Length: ', b'\r\nHost: a\r\n\r\n')
    """
    found = _LENGTH_FIELD.search(head)
    return (head[: found.start(1)], head[found.end(1) :]) if found else (head, b"")


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """The response whose head, last empty line included, is `head`, to a request of `method`. Raises ValueError."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise ValueError(f"not a response of HTTP/1.x: {head[:40]!r}")
    try:
        fields, found = _split(head, line.end())
        length = _length(found)
    except Refused as error:
        raise ValueError(error.message) from error
    status, tokens = int(line[2]), _tokens(found)
    if length is None:
        length = UNTIL_CLOSE
    has_length = b"content-length" in found
    forward = b"".join(
        [b"%s: %s\r\n" % (name, value) for name, value in fields if (low := name.lower()) not in _NOT_FOR_CALLERS and low not in tokens]
    )
    if method == b"HEAD" or status in (204, 304) or status < 200:
        if has_length and status != 204:
            forward += b"content-length: %s\r\n" % found[b"content-length"]
        length = 0
    keep_alive = length != UNTIL_CLOSE and (b"close" not in tokens if line[1] == b"1" else b"keep-alive" in tokens)
    return ResponseHead(status, keep_alive, length, has_length, forward)


def _split(head: bytes, start: int) -> tuple[list[tuple[bytes, bytes]], dict[bytes, bytes]]:
    whole = _ALL_FIELDS.match(head, start)
    if whole is None or head[whole.end() :] != b"\r\n":
        raise Refused(400, "a header line is malformed")
    fields = _FIELDS.findall(head, start)
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        low = name.lower()
        if low in found:
            if low in _SINGLE:
                raise Refused(400, f"the header {low.decode()} is there twice")
            found[low] += b", " + value
        else:
            found[low] = value
    return fields, found


def _tokens(found: dict[bytes, bytes]) -> frozenset[bytes]:
    value = found.get(b"connection")
    return frozenset(token.strip().lower() for token in value.split(b",")) if value else frozenset()


def _length(found: dict[bytes, bytes]) -> int | None:
    coding, length = found.get(b"transfer-encoding"), found.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise Refused(400, "content-length and transfer-encoding exclude each other")
        if coding.lower() != b"chunked":
            raise Refused(501, f"transfer-encoding {coding.decode('latin-1')} is not served here, only chunked")
        return CHUNKED
    if length is None:
        return None
    if not length.isdigit() or len(length) > 15:
        raise Refused(400, "content-length is not a number of bytes")
    return int(length)


def _request_length(found: dict[bytes, bytes], modern: bool) -> int:
    length = _length(found)
    if length == CHUNKED and not modern:
        raise Refused(400, "HTTP/1.0 has no transfer-encoding")
    return length or 0


def _key(found: dict[bytes, bytes]) -> bytes | None:
    authorization = found.get(b"authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" else None
    return found.get(b"x-api-key")


class Chunks:
    r"""Takes chunked transfer coding apart, whatever the pieces it arrives in.

    >>> chunks = Chunks()
    >>> chunks.feed(b"4\r\nwo"), chunks.feed(b"rd\r\n0\r\n\r\nrest"), chunks.done, chunks.rest
    (b'wo', b'rd', True, b'rest')
    """

    __slots__ = ("_buffer", "_left", "_trailer", "done")

    def __init__(self) -> None:
        self._buffer, self._left, self._trailer, self.done = b"", 0, False, False

    @property
    def rest(self) -> bytes:
        """What came after the body."""
        return self._buffer

    def feed(self, data: bytes) -> bytes:
        """The body's bytes that `data` completes. Raises Refused for what is not chunked coding; trailers are dropped."""
        buffer, position, body = self._buffer + data, 0, []
        while not self.done:
            if self._left > 2:
                piece = buffer[position : position + self._left - 2]
                if not piece:
                    break
                body.append(piece)
                position += len(piece)
                self._left -= len(piece)
                continue
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            line, position = buffer[position:end], end + 2
            self._line(line)
        self._buffer = buffer[position:]
        if not self.done and self._left <= 2 and len(self._buffer) > MOST_HEAD:
            raise Refused(400, "a chunk's size or trailer line does not end")
        return b"".join(body)

    def _line(self, line: bytes) -> None:
        if self._left == 2:
            if line:
                raise Refused(400, "a chunk is longer than its size says")
            self._left = 0
        elif self._trailer:
            self.done = not line
        else:
            size = _CHUNK_LINE.fullmatch(line)
            if size is None:
                raise Refused(400, "a chunk's size is not a hexadecimal number")
            self._left = int(size[1], 16) + 2
            if self._left == 2:
                self._left, self._trailer = 0, True


def status_line(status: int) -> bytes:
    """`HTTP/1.1 404 Not Found` and its line end."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
