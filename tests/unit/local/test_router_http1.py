"""Heads and chunks are read strictly: whatever two readers could understand differently is refused."""

from __future__ import annotations

import pytest

from mlport_local.serving.http1 import CHUNKED, UNTIL_CLOSE, Chunks, Refused, parse_request, parse_response


def request(*fields: str, line: str = "POST /x HTTP/1.1", host: bool = True) -> bytes:
    own = ["Host: a"] if host else []
    return "\r\n".join([line, *own, *fields, "", ""]).encode("latin-1")


def test_what_a_worker_gets_of_a_head() -> None:
    head = parse_request(
        request("Authorization: Bearer k", "X-Request-Id: mine", "Connection: close, X-Odd", "X-Odd: 1", "Accept: a,b", "Content-Length: 5")
    )
    assert head.forward == b"POST /x HTTP/1.1\r\nHost: a\r\nAccept: a,b\r\nx-caller-id: mine\r\n"
    assert (head.key, head.length, head.keep_alive) == (b"k", 5, False)


@pytest.mark.parametrize(
    "head",
    [
        b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://other/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
        request(host=False),
        request("Host: b"),
        request("Content-Length: 5", "Content-Length: 5"),
        request("Content-Length: 5, 5"),
        request("Content-Length: +5"),
        request("Content-Length: 5_0"),
        request("Content-Length: \xd9\xa5"),
        request("Content-Length: 5", "Transfer-Encoding: chunked"),
        request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        request("Transfer-Encoding : chunked"),
        request(" folded: line"),
        request("Accept: a", " b"),
        request("no colon"),
        request("Bad\x00Name: a"),
        request("Name: a\x00b"),
        request("Name: a\nContent-Length: 3"),
        request("Authorization: Bearer a", "Authorization: Bearer b"),
        request("Transfer-Encoding: chunked", line="POST /x HTTP/1.0"),
    ],
)
def test_a_head_that_is_not_exact_is_refused(head: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_request(head)
    assert refused.value.status == 400


@pytest.mark.parametrize(("head", "status"), [(request(line="BREW /x HTTP/1.1"), 405), (request("Transfer-Encoding: gzip, chunked"), 501)])
def test_what_no_worker_serves_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        parse_request(head)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("Authorization: Bearer abc", b"abc"),
        ("authorization: bearer abc", b"abc"),
        ("X-API-Key: abc", b"abc"),
        ("Authorization: Basic abc", None),
        ("Authorization: abc", None),
        ("Cookie: abc", None),
    ],
)
def test_where_a_key_is_looked_for(field: str, key: bytes | None) -> None:
    assert parse_request(request(field)).key == key


@pytest.mark.parametrize(
    ("line", "fields", "keeps"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: Close"], False),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: keep-alive"], True),
    ],
)
def test_how_long_a_connection_is_kept(line: str, fields: list[str], keeps: bool) -> None:
    assert parse_request(request(*fields, line=line)).keep_alive is keeps


@pytest.mark.parametrize(
    ("head", "method", "length", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", b"POST", 7, True),
        (b"HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n", b"POST", CHUNKED, True),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"POST", UNTIL_CLOSE, False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", b"HEAD", 0, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"POST", 0, True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", b"GET", 0, True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 7\r\n\r\n", b"POST", 7, False),
    ],
)
def test_where_an_answer_ends(head: bytes, method: bytes, length: int, keeps: bool) -> None:
    found = parse_response(head, method)
    assert (found.length, found.keep_alive) == (length, keeps)


def test_an_answer_that_is_not_http_is_refused() -> None:
    with pytest.raises(ValueError, match="not a response"):
        parse_response(b"what?\r\n\r\n", b"GET")


CODED = b"5;ext=1\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nnext"


@pytest.mark.parametrize("step", [1, 2, 3, 7, len(CODED)])
def test_chunks_come_apart_however_they_arrive(step: int) -> None:
    chunks = Chunks()
    body = b"".join(chunks.feed(CODED[start : start + step]) for start in range(0, len(CODED), step) if not chunks.done)
    assert body == b"hello 0123456789"
    assert chunks.done
    assert b"next".startswith(chunks.rest)


@pytest.mark.parametrize("coded", [b"x\r\n", b"-1\r\n", b"0x5\r\n", b"5\r\nhello!\r\n", b"\r\n", b"1" * 17 + b"\r\n"])
def test_bad_chunks_are_refused(coded: bytes) -> None:
    with pytest.raises(Refused):
        Chunks().feed(coded)
