"""The router over real sockets, in front of real workers (`router_peer.py`)."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3

from mlport.spi import Window
from mlport_local.engine import process
from mlport_local.serving import control
from mlport_local.serving.observe import observation

sys.path.insert(0, str(Path(__file__).parent))
from router_rig import HEAD, KEY, OPEN, Rig, connected, read_answer, running, until


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A router and its worker of one's own."""
    with running() as rig:
        yield rig


@pytest.fixture(scope="module")
def steady() -> Iterator[Rig]:
    """A router and its worker for tests that leave them as they were."""
    with running() as rig:
        yield rig


# ------------------------------------------------------------------ bodies and answers


def test_an_answer_says_who_gave_it_and_ids_are_the_routers_own(steady: Rig) -> None:
    first, second = steady.ask("/headers", x_request_id="mine"), steady.ask("/headers", x_request_id="mine")
    assert first.headers["x-mlport-deployment"] == "a"
    assert first.headers["x-mlport-version"] == "a1"
    assert len({first.headers["x-request-id"], second.headers["x-request-id"], "mine"}) == 3
    told = json.loads(first.data)
    assert told["x-request-id"] == first.headers["x-request-id"]
    assert told["x-caller-id"] == "mine"
    assert "authorization" not in told


@pytest.mark.parametrize("size", [0, 1, 100_000, 10 * 2**20])
@pytest.mark.parametrize("target", ["/echo", "/chunked", "/until-close"])
def test_bodies_of_any_size_pass_whole(steady: Rig, size: int, target: str) -> None:
    body = os.urandom(size)
    answer = steady.ask(target, body)
    assert answer.status == 200
    assert hashlib.sha256(answer.data).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1], [70_000, 300_000, 2_000_000]])
def test_chunked_requests_pass_whole(steady: Rig, sizes: list[int]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("POST", steady.url("/chunked"), body=iter(pieces), headers=OPEN, chunked=True)
    assert answer.data == b"".join(pieces)


def test_one_connection_carries_many_requests_also_pipelined(steady: Rig) -> None:
    with connected(steady.address) as talk:
        requests = [
            b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body) for body in (b"1", b"22", b"", b"4444")
        ]
        talk.sendall(b"".join(requests))
        stream = talk.makefile("rb")
        assert [read_answer(stream)[2] for _ in requests] == [b"1", b"22", b"", b"4444"]
        talk.sendall(b"POST /echo HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + requests[1])
        assert [read_answer(stream)[2] for _ in range(2)] == [b"x", b"22"]


def test_a_request_may_arrive_byte_by_byte(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 3\r\n\r\nabc":
            talk.sendall(bytes([byte]))
        assert read_answer(talk.makefile("rb"))[2] == b"abc"


def test_expect_continue_is_answered_before_the_body_comes(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"POST /echo HTTP/1.1\r\n" + HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        stream = talk.makefile("rb")
        assert read_answer(stream)[0] == 100
        talk.sendall(b"ok")
        assert read_answer(stream)[::2] == (200, b"ok")


def test_answers_without_a_body(steady: Rig) -> None:
    with connected(steady.address) as talk:
        stream = talk.makefile("rb")
        for line, status in ((b"HEAD /echo", 200), (b"GET /empty?204", 204), (b"GET /empty?304", 304)):
            talk.sendall(line + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert read_answer(stream, head_only=True)[0] == status
        talk.sendall(b"GET /echo HTTP/1.1\r\n" + HEAD + b"\r\n")
        assert read_answer(stream)[::2] == (200, b"")


@pytest.mark.parametrize(
    ("version", "field", "closes"),
    [(b"1.0", b"", True), (b"1.0", b"connection: keep-alive\r\n", False), (b"1.1", b"connection: close\r\n", True)],
)
def test_who_wants_the_connection_closed_gets_it_closed(steady: Rig, version: bytes, field: bytes, closes: bool) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"POST /echo HTTP/" + version + b"\r\n" + HEAD + field + b"content-length: 2\r\n\r\nok")
        stream = talk.makefile("rb")
        assert read_answer(stream)[::2] == (200, b"ok")
        if closes:
            assert stream.read() == b""
        else:
            talk.sendall(b"GET /echo HTTP/1.0\r\n" + HEAD + b"\r\n")
            assert read_answer(stream)[0] == 200


def test_a_chunked_answer_to_http_1_0_is_plain(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"POST /chunked HTTP/1.0\r\n" + HEAD + b"content-length: 5\r\n\r\nhello")
        _, headers, body = read_answer(talk.makefile("rb"))
        assert "transfer-encoding" not in headers
        assert body == b"hello"


def test_a_slow_reader_is_waited_for_and_holds_up_nobody(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"GET /large?20000000 HTTP/1.1\r\n" + HEAD + b"\r\n")
        assert steady.ask().status == 200
        memory = process_memory(steady.router.pid)
        assert len(read_answer(talk.makefile("rb"))[2]) == 20_000_000
        assert memory < 100 * 2**20


def process_memory(pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"x-api-key": KEY + "x"},
        {"x-api-key": ""},
    ],
)
def test_a_key_that_is_not_good_is_rejected(steady: Rig, headers: dict[str, str]) -> None:
    before = steady.seen("a")["requests"]
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("POST", steady.url("/echo"), body=b"{}", headers=headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert pool.request("POST", steady.url("/echo"), body=b"{}", headers={"x-api-key": KEY}).status == 200
    assert steady.seen("a")["requests"] == before + 1


def test_a_head_that_repeats_is_examined_again_when_the_keys_change(rig: Rig) -> None:
    with connected(rig.address) as talk:
        stream, head = talk.makefile("rb"), b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 1\r\n\r\n1"
        for _ in range(2):
            talk.sendall(head)
            assert read_answer(stream)[0] == 200
        deployments = {"a": {"socket": str(rig.folder / "a"), "version": "1", "percent": 100}}
        control.tell(
            rig.folder / "control", {"do": "table", "generation": 9, "deployments": deployments, "digests": [{"sha256": "00" * 32}]}
        )
        talk.sendall(head)
        assert read_answer(stream)[0] == 401


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 99999999999\r\n\r\n", 413),
        (b"GET /x HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
        (b"GET /x HTTP/1.1\r\n" + HEAD + b"x-mlport-deployment: nobody\r\n\r\n", 404),
        (b"BREW /x HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
    ],
)
def test_bad_requests_get_their_status_and_never_reach_a_worker(steady: Rig, sent: bytes, status: int) -> None:
    before = steady.seen("a")["requests"]
    with connected(steady.address) as talk:
        talk.sendall(sent)
        found, headers, body = read_answer(talk.makefile("rb"))
        assert found == status
        assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert steady.seen("a")["requests"] == before


def test_a_chunked_body_over_the_limit_is_cut_off(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"POST /echo HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(330):
            try:
                talk.sendall(piece)
            except ConnectionError:
                break
        assert read_answer(talk.makefile("rb"))[0] == 413
    assert steady.ask().status == 200


def test_a_caller_that_never_ends_its_head_is_sent_away(steady: Rig) -> None:
    with connected(steady.address) as talk:
        talk.sendall(b"GET /x HTTP/1.1\r\n")
        assert read_answer(talk.makefile("rb"))[0] == 408


# ------------------------------------------------------------------ sharing out


def test_the_split_is_exact_within_three_sigma_counted_at_the_workers(rig: Rig) -> None:
    rig.split(a=70, b=25, c=5, idle=0)
    count = 3000
    with connected(rig.address) as talk:
        stream = talk.makefile("rb")
        for _ in range(count // 100):
            talk.sendall((b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 0\r\n\r\n") * 100)
            for _ in range(100):
                assert read_answer(stream)[0] == 200
    for name, share in rig.percents.items():
        sigma = (count * share / 100 * (1 - share / 100)) ** 0.5
        assert abs(rig.seen(name)["requests"] - count * share / 100) <= 3 * sigma + 0.5, name
    assert rig.seen("idle")["requests"] == 0


def test_one_request_can_be_sent_to_one_deployment(rig: Rig) -> None:
    rig.split(a=100, b=0)
    assert rig.ask(x_mlport_deployment="b").headers["x-mlport-deployment"] == "b"
    assert rig.ask(x_mlport_deployment="c").status == 404


def test_a_deployment_that_is_down_leaves_its_share_to_the_others(rig: Rig) -> None:
    rig.split(a=50, b=50)
    assert {rig.ask().status for _ in range(10)} == {200}
    rig.kill("a")
    assert Counter(rig.ask().headers.get("x-mlport-deployment") for _ in range(20)) == {"b": 20}
    pinned = rig.ask(x_mlport_deployment="a")
    assert pinned.status == 503
    assert pinned.headers["retry-after"] == "1"
    rig.start_peer("a")
    assert rig.ask(x_mlport_deployment="a").status == 200


def test_nobody_there_is_503(rig: Rig) -> None:
    rig.kill("a")
    assert rig.ask().status == 503


@pytest.mark.parametrize("target", ["/die", "/garbage"])
def test_a_worker_that_breaks_while_it_works_is_502(rig: Rig, target: str) -> None:
    rig.split(a=50, b=50)
    answer = rig.ask(target)
    assert answer.status == 502
    assert answer.headers["x-request-id"]
    assert rig.ask().status == 200


def test_no_request_is_lost_while_the_split_changes_and_deployments_come_and_go(rig: Rig) -> None:
    stop, statuses = threading.Event(), Counter[int]()

    def call() -> None:
        with urllib3.PoolManager(retries=False) as pool:
            while not stop.is_set():
                statuses[pool.request("POST", rig.url("/slow?0.002"), body=b"{}", headers=OPEN).status] += 1

    with concurrent.futures.ThreadPoolExecutor(6) as callers:
        calls = [callers.submit(call) for _ in range(6)]
        try:
            for share in (90, 10, 60, 40, 0):
                rig.split(a=share, b=100 - share)
            for _ in range(4):
                rig.split(b=100)
                until(lambda: control.tell(rig.folder / "control", {"do": "status"})["busy"].get("a", 0) == 0)
                rig.kill("a")  # nobody is at it any more
                del rig.peers["a"]
                rig.split(a=50, b=50)
        finally:
            stop.set()
        for done in calls:
            done.result()
    assert set(statuses) == {200}
    assert statuses[200] > 50


# ------------------------------------------------------------------ the router as a process


def test_a_killed_router_leaves_port_and_callers_to_the_next(rig: Rig) -> None:
    rig.router.kill()
    rig.router.wait()
    with connected(rig.address) as talk:  # the kernel takes the call while nobody is there
        talk.sendall(b"POST /echo HTTP/1.1\r\n" + HEAD + b"content-length: 2\r\n\r\nok")
        rig.router = rig.start_router()
        rig.split(a=100)
        assert read_answer(talk.makefile("rb"))[::2] == (200, b"ok")


def test_told_to_quit_it_ends_after_what_is_under_way(rig: Rig) -> None:
    with connected(rig.address) as talk, connected(rig.address) as idle:
        talk.sendall(b"GET /slow?0.3 HTTP/1.1\r\n" + HEAD + b"\r\n")
        until(lambda: control.tell(rig.folder / "control", {"do": "status"})["busy"]["a"] == 1)
        control.tell(rig.folder / "control", {"do": "quit"})
        assert read_answer(talk.makefile("rb"))[0] == 200
        assert idle.recv(1) == b""
    assert rig.router.wait(10) == 0


def test_a_table_that_does_not_sum_to_100_is_refused(steady: Rig) -> None:
    deployments = {"a": {"socket": "x", "version": "1", "percent": 90}}
    with pytest.raises(ValueError, match="sum to 100"):
        control.tell(steady.folder / "control", {"do": "table", "generation": 2, "deployments": deployments, "digests": None})
    assert steady.ask().status == 200


def test_health_metrics_and_observations_agree_on_what_passed(rig: Rig) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    for target in ("/echo", "/echo", "/status?404", "/status?500"):
        rig.ask(target)
    with urllib3.PoolManager(retries=False) as pool:
        assert pool.request("GET", rig.url("/healthz")).status == 200
        metrics = pool.request("GET", rig.url("/metrics"))  # from loopback no key is asked for
    lines = metrics.data.decode().splitlines()
    assert 'mlport_requests_total{deployment="a",endpoint="e"} 4.0' in lines
    assert 'mlport_errors_total{deployment="a",endpoint="e"} 1.0' in lines
    assert 'mlport_latency_seconds_bucket{deployment="a",endpoint="e",le="+Inf"} 4.0' in lines
    window = Window(began, began + timedelta(minutes=1))
    asked = datetime.now(UTC)
    until(lambda: observation(rig.folder / "observed", window).complete_until > asked)
    (seen,) = observation(rig.folder / "observed", window).deployments
    assert (seen.deployment, seen.requests, seen.errors, seen.rejected, sum(seen.latency.weights)) == ("a", 4, 1, 1, 4)
    idle = observation(rig.folder / "observed", window).complete_until
    until(lambda: observation(rig.folder / "observed", window).complete_until > idle)


def test_the_key_is_in_no_process_list_and_no_file(rig: Rig) -> None:
    rig.ask()
    shown = Path(f"/proc/{rig.router.pid}/cmdline").read_bytes() + b"".join(process.environment_of(rig.router.pid))
    kept = b"".join(path.read_bytes() for path in rig.folder.rglob("*") if path.is_file())
    assert KEY.encode() not in shown + kept
