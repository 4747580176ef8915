"""What hostile and clumsy callers do to a router: smuggling, floods, slowness; and TLS."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from mlport_local.serving import control

sys.path.insert(0, str(Path(__file__).parent))
from certificates import write_pair
from router_rig import HEAD, OPEN, Rig, connected, read_answer, running, until

POST = b"POST /echo HTTP/1.1\r\n" + HEAD
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HEAD + b"\r\n"


@pytest.fixture(scope="module")
def steady() -> Iterator[Rig]:
    with running("--most-callers", "20") as rig:
        yield rig


# ------------------------------------------------------------------ smuggling


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, id="length and chunked"),
        pytest.param(POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n" + HIDDEN, id="chunked and length"),
        pytest.param(POST + b"content-length: 0\r\ncontent-length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, id="two lengths"),
        pytest.param(POST + b"content-length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN, id="two lengths in one"),
        pytest.param(POST + b"x: y\r\n content-length: 0\r\n\r\n" + HIDDEN, id="folded line"),
        pytest.param(POST + b"content-length : 0\r\n\r\n" + HIDDEN, id="space before the colon"),
        pytest.param(POST + b"x: y\ncontent-length: 0\r\n\r\n" + HIDDEN, id="bare line feed"),
        pytest.param(POST + b"x: y\rcontent-length: 0\r\n\r\n" + HIDDEN, id="bare carriage return"),
        pytest.param(POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, id="unknown coding"),
        pytest.param(POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN, id="chunked not last"),
        pytest.param(POST + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN, id="vertical tab"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n0\n\n" + HIDDEN, id="chunks ended by line feeds"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n1;a=\nb\r\nx\r\n0\r\n\r\n" + HIDDEN, id="line feed in an extension"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n" + HIDDEN, id="size with a prefix"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n" + HIDDEN, id="chunk longer than said"),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(steady: Rig, sent: bytes) -> None:
    before = steady.seen("a")["requests"]
    with connected(steady.address) as talk:
        talk.sendall(sent)
        stream = talk.makefile("rb")
        assert read_answer(stream)[0] in (400, 408, 501)
        assert stream.read() == b""
    assert steady.seen("a")["requests"] == before


def test_a_worker_is_sent_no_framing_but_the_routers_own(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(
            b"POST /headers HTTP/1.1\r\n"
            + HEAD
            + b"connection: te, content-length\r\nte: trailers\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        )
        told = json.loads(read_answer(talk.makefile("rb"))[2])
    assert told["content-length"] == "1"
    assert not {"transfer-encoding", "te", "connection"} & told.keys()


# ------------------------------------------------------------------ floods and slowness


def test_more_callers_than_are_taken_are_told_so_and_hurt_nobody(steady: Rig) -> None:
    until(lambda: control.tell(steady.folder / "control", {"do": "status"})["callers"] == 0)
    talks = [socket.create_connection(steady.address, 20) for _ in range(60)]
    try:
        statuses = [_first_line(talk) for talk in talks[20:]]
        assert statuses.count(b"HTTP/1.1 503") >= 20
        assert set(statuses) <= {b"HTTP/1.1 503", b""}
        talks[0].sendall(POST + b"content-length: 2\r\n\r\nok")
        assert read_answer(talks[0].makefile("rb"))[::2] == (200, b"ok")
    finally:
        for talk in talks:
            talk.close()
    until(lambda: _is_open(steady))


def _first_line(talk: socket.socket) -> bytes:
    try:
        return talk.recv(12)
    except ConnectionError:
        return b""


def _is_open(rig: Rig) -> bool:
    try:
        return rig.ask().status == 200
    except urllib3.exceptions.HTTPError:
        return False


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"POST /echo HTTP/1.1\r\nauthorization: Bearer ", id="head"),
        pytest.param(POST + b"content-length: 1000000\r\n\r\n", id="body"),
        pytest.param(POST + b"transfer-encoding: chunked\r\n\r\n", id="chunks"),
    ],
)
def test_a_request_that_trickles_in_is_given_up(begun: bytes) -> None:
    with running("--body-seconds", "1") as rig, connected(rig.address) as talk:
        started = time.monotonic()
        talk.sendall(begun)
        for _ in range(10):
            talk.sendall(b"1")
        assert read_answer(talk.makefile("rb"))[0] == 408
        assert time.monotonic() - started < 10


def test_whatever_goes_wrong_on_the_way_to_a_worker_is_answered() -> None:
    """A path that no file system has is no OSError, and once left its caller waiting for ever."""
    with running() as rig:
        rig.generation += 1
        deployments = {"a": {"socket": "\ud800", "version": "1", "percent": 100}}
        control.tell(rig.folder / "control", {"do": "table", "generation": rig.generation, "deployments": deployments, "digests": None})
        assert rig.ask().status == 502


# ------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    write_pair(folder)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def secured(pair: tuple[Path, Path]) -> Iterator[Rig]:
    with running("--certificate", str(pair[0]), "--key", str(pair[1])) as rig:
        yield rig


@pytest.mark.parametrize("size", [2, 3_000_000])
def test_tls_carries_bodies_of_any_size(secured: Rig, pair: tuple[Path, Path], size: int) -> None:
    body = os.urandom(size)
    with urllib3.PoolManager(retries=False, ca_certs=str(pair[0])) as pool:
        for target in ("/echo", "/chunked"):
            answer = pool.request("POST", f"https://127.0.0.1:{secured.address[1]}{target}", body=body, headers=OPEN)
            assert (answer.status, answer.data) == (200, body)
        assert pool.request("POST", f"https://127.0.0.1:{secured.address[1]}/echo", body=b"").status == 401
        too_long = pool.request("GET", f"https://127.0.0.1:{secured.address[1]}/" + "x" * 70_000, headers=OPEN)
        assert too_long.status == 431


def test_tls_is_1_2_at_least_and_trusted_only_by_its_authority(secured: Rig) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(secured.address) as plain, old.wrap_socket(plain) as talk:
        assert talk.version() == "TLSv1.2"
    with urllib3.PoolManager(retries=False) as pool, pytest.raises(urllib3.exceptions.SSLError):
        pool.request("GET", f"https://127.0.0.1:{secured.address[1]}/healthz")
    with connected(secured.address) as talk:
        talk.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not _first_line(talk).startswith(b"HTTP")


def test_a_renewed_certificate_is_taken_up_while_serving(tmp_path: Path) -> None:
    write_pair(tmp_path, "first")
    with running("--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")) as rig:
        (tmp_path / "cert.pem").write_text("half a certi")  # a pair that is not whole yet is not taken
        time_of_old = _subject(rig)
        write_pair(tmp_path, "second")
        until(lambda: _subject(rig) != time_of_old)


def _subject(rig: Rig) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(rig.address, 10) as plain, context.wrap_socket(plain) as talk:
        return talk.getpeercert(binary_form=True) or b""
