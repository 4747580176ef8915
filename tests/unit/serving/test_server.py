"""The server over real sockets: protocols, refusals, batching, limits, capture and a graceful end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

NAMES = ["hour of day", "distance", "delay"]
SPLIT = {"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3]]}}


@pytest.fixture
def model(load: Any, linear: Any) -> Any:
    return load(linear, version="7")


@pytest.fixture
def at(model: Any, serve: Any) -> Any:
    with serve(model) as address:
        yield address


# ---------------------------------------------------------------- scoring


@pytest.mark.parametrize(
    "body",
    [
        SPLIT,
        {"dataframe_split": {"columns": NAMES[::-1], "data": [[3, 2, 1]]}},
        {"dataframe_records": [dict(zip(NAMES, [1, 2, 3], strict=True))]},
        {"instances": [dict(zip(NAMES, [1, 2, 3], strict=True))]},
        {"inputs": dict(zip(NAMES, [[1], [2], [3]], strict=True))},
        {"dataframe_split": {"columns": NAMES, "data": [["1", 2.0, 3]]}},
    ],
)
def test_every_json_form(at: Any, body: Any) -> None:
    reply = at.post(body)
    assert reply.status == 200
    assert reply.json["predictions"] == pytest.approx([30201.0])
    assert reply.headers["x-request-id"]


def test_csv(at: Any) -> None:
    reply = at.post(b"delay,distance,hour of day\n3,2,1\n6,5,4\n", content_type="text/csv; charset=utf-8")
    assert reply.json["predictions"] == pytest.approx([30201.0, 60504.0])


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "it is a list"),
        ({}, 400, "dataframe_split"),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, 400, "no rows"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1, 2]]}}, 400, "row 0 has 2 values, and there are 3 columns"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3], 4]}}, 400, "row 1 of dataframe_split.data must be a list"),
        ({"dataframe_split": {"columns": [*NAMES, "delai"], "data": [[1, 2, 3, 4]]}}, 400, "unknown column 'delai'; did you mean 'delay'?"),
        ({"dataframe_split": {"columns": NAMES[:2], "data": [[1, 2]]}}, 400, "missing column 'delay'"),
        ({"dataframe_split": {"data": [[1, 2, 3]]}}, 400, "columns is missing"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3], [1, "far", 3]]}}, 400, "row 1, column 'distance': \"far\""),
        (
            {"dataframe_records": [dict(zip(NAMES, "123", strict=True)), {"delay": 1}]},
            400,
            "row 1: missing columns 'hour of day', 'distance'",
        ),
        ({"dataframe_records": []}, 400, "no rows"),
        ({**SPLIT, "instances": [[1, 2, 3]]}, 400, "exactly one of the input fields"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(at: Any, body: Any, status: int, says: str) -> None:
    reply = at.post(body)
    assert (reply.status, says in reply.error) == (status, True), reply.error
    assert "Traceback" not in reply.error


def test_other_content_types_are_refused(at: Any) -> None:
    assert at.post(b"x", content_type="text/plain").status == 415
    assert at.post(b"{}", content_type="application/json; charset=latin-1").status == 415


def test_ids_are_the_routers_and_the_callers(at: Any) -> None:
    assert at.post(SPLIT, x_request_id="from-the-router").headers["x-request-id"] == "from-the-router"
    made = {at.post(SPLIT).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert at.post(SPLIT, x_request_id="a" * 300).headers["x-request-id"] != "a" * 300


# ---------------------------------------------------------------- Open Inference Protocol


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "rows", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6], **changes}


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor()],
        [tensor(data=[[1, 2, 3], [4, 5, 6]])],
        [tensor(datatype="INT32")],
        [tensor(datatype="FP32")],
        [{"name": name, "shape": [2], "datatype": "FP64", "data": [i, i + 3]} for i, name in enumerate(NAMES, 1)],
        [{"name": name, "shape": [2, 1], "datatype": "INT64", "data": [[i], [i + 3]]} for i, name in enumerate(NAMES, 1)],
    ],
)
def test_infer(at: Any, inputs: Any) -> None:
    for path in ("/v2/models/model/infer", "/v2/models/model/versions/7/infer"):
        reply = at.post({"id": "mine", "inputs": inputs}, path)
        assert reply.status == 200, reply.body
        answer = reply.json
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("model", "7", "mine")
        (output,) = answer["outputs"]
        assert (output["name"], output["shape"], output["datatype"]) == ("predict", [2], "FP64")
        assert output["data"] == pytest.approx([30201.0, 60504.0])


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "at least one tensor"),
        ([tensor(shape=[2, 2])], "the shape must be [rows, 3]"),
        ([tensor(data=[1, 2, 3])], "the shape [2, 3] holds 6 values, and data has 3"),
        ([tensor(datatype="FLOAT")], "unknown datatype 'FLOAT'"),
        ([tensor(datatype="BYTES", data=list("abcdef"))], "BYTES cannot safely become FP64"),
        ([tensor(data=[1, 2, 3, 4, 5, "six"])], "Expected `float | null`, got `str`"),
        ([tensor(datatype="INT8", data=[1, 2, 3, 4, 5, 1000])], "out of range for INT8"),
        ([{"name": "delay", "shape": [1], "datatype": "FP64", "data": [1]}], "missing columns 'hour of day', 'distance'"),
        ([{"name": "delai", "shape": [1], "datatype": "FP64", "data": [1]}] * 2, "two inputs have the same name"),
        ([{"name": "rows", "datatype": "FP64", "data": [1]}], "missing required field `shape`"),
    ],
)
def test_infer_refuses_by_name(at: Any, inputs: Any, says: str) -> None:
    reply = at.post({"inputs": inputs}, "/v2/models/model/infer")
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert says in reply.error


def test_metadata_and_health(at: Any) -> None:
    assert at.get("/v2").json["name"] == "mlport"
    assert at.get("/v2/health/live").json["live"] is True
    assert at.get("/v2/health/ready").json["ready"] is True
    assert at.get("/v2/models/model/ready").json == {"name": "model", "ready": True}
    found = at.get("/v2/models/model/versions/7").json
    assert found["platform"] == "sklearn_ndarray"
    assert found["inputs"][0] == {"name": "hour of day", "datatype": "FP64", "shape": [-1]}
    assert found["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]
    assert [at.get(path).status for path in ("/ping", "/health", "/version", "/ping?deep=1")] == [200] * 4


def test_wrong_paths_and_methods(at: Any) -> None:
    assert "no version '8'; there is: 7" in at.get("/v2/models/model/versions/8").error
    assert "no model 'x'; there is: model" in at.get("/v2/models/x").error
    assert at.get("/nowhere").status == 404
    assert (at.get("/invocations").status, at.get("/invocations").headers["allow"]) == (405, "POST")
    assert at.post(b"{}", "/ping").status == 405


def test_outputs_asked_for(at: Any) -> None:
    body: dict[str, Any] = {"inputs": [tensor()], "outputs": [{"name": "predict"}]}
    assert at.post(body, "/v2/models/model/infer").status == 200
    body["outputs"] = [{"name": "other"}]
    assert "no output 'other'; it has: predict" in at.post(body, "/v2/models/model/infer").error


# ---------------------------------------------------------------- models that misbehave


def native(model: Any, estimator: Any) -> Any:
    from dataclasses import replace

    return replace(model, estimator=estimator)


def test_a_failing_row_does_not_fail_its_neighbours(model: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlport.serving import batching

    monkeypatch.setattr(batching, "INLINE_SECONDS", -1.0)  # always in the thread, so that the others gather meanwhile
    entered, go = threading.Event(), threading.Event()

    def estimator(rows: Any) -> Any:
        entered.set()
        go.wait(10)
        if (rows[:, 0] < 0).any():
            raise ValueError("negative hour")
        return rows[:, 0]

    failing = native(model, estimator)
    with serve(failing) as address, ThreadPoolExecutor(9) as pool:

        def ask(hour: int) -> Any:
            return address.post({"dataframe_split": {"columns": NAMES, "data": [[hour, 0, 0]]}})

        replies = [pool.submit(ask, 100)]
        assert entered.wait(10)
        replies += [pool.submit(ask, hour) for hour in range(-1, 7)]
        go.set()
        answers = [reply.result() for reply in replies]
    assert [reply.status for reply in answers] == [200, 500, *[200] * 7]
    assert [reply.json["predictions"] for reply in answers[2:]] == [[float(hour)] for hour in range(7)]
    assert answers[1].json["request_id"] == answers[1].headers["x-request-id"]
    assert "ValueError: negative hour" in answers[1].error
    assert "Traceback" not in answers[1].error


def test_answers_that_json_cannot_say(model: Any, serve: Any) -> None:
    with serve(native(model, lambda rows: np.array([np.nan, np.inf, 1.0]))) as at:
        reply = at.post({"dataframe_split": {"columns": NAMES, "data": [[1, 2, 3]] * 3}})
    assert reply.json == {"predictions": [None, None, 1.0]}


def test_a_wrong_number_of_predictions_is_the_models_fault(model: Any, serve: Any) -> None:
    with serve(native(model, lambda rows: np.zeros(len(rows) + 1))) as at:
        reply = at.post(SPLIT)
    assert reply.status == 500
    assert "2 predictions for 1 rows" in reply.error


def test_too_many_waiting_are_told_to_come_back(model: Any, serve: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlport.serving import batching

    monkeypatch.setattr(batching, "MOST_WAITING", 2)
    monkeypatch.setattr(batching, "INLINE_SECONDS", -1.0)  # always in the thread, so that the loop can see the queue fill
    entered, go = threading.Event(), threading.Event()

    def slow(rows: Any) -> Any:
        entered.set()
        go.wait(10)
        return rows[:, 0]

    with serve(native(model, slow)) as at, ThreadPoolExecutor(8) as pool:
        first = pool.submit(at.post, SPLIT)
        assert entered.wait(10)
        rest = [pool.submit(at.post, SPLIT) for _ in range(6)]
        until(lambda: sum(reply.done() for reply in rest) == 4)
        refused = [reply.result() for reply in rest if reply.done()]
        go.set()
        assert first.result().status == 200
        assert sorted(reply.result().status for reply in rest) == [200, 200, 503, 503, 503, 503]
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}


def test_rows_are_never_mixed_up(at: Any) -> None:
    """Distinct rows over many connections, of several sizes and protocols: each gets its own answer."""

    def client(seed: int) -> int:
        rng = np.random.default_rng(seed)
        connection = at.connect()
        wrong = 0
        for _ in range(40):
            rows = rng.integers(0, 99, (int(rng.integers(1, 5)), 3)).astype(float)
            expected = rows @ [1, 100, 10000]
            body: dict[str, Any]
            if seed % 2:
                body = {"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}]}
                connection.request("POST", "/v2/models/model/infer", json.dumps(body))
                got = json.loads(connection.getresponse().read())["outputs"][0]["data"]
            else:
                body = {"dataframe_split": {"columns": NAMES[::-1], "data": rows[:, ::-1].tolist()}}
                connection.request("POST", "/invocations", json.dumps(body), {"content-type": "application/json"})
                got = json.loads(connection.getresponse().read())["predictions"]
            wrong += not np.allclose(got, expected)
        connection.close()
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(client, range(8))) == 0


# ---------------------------------------------------------------- HTTP


def talk(at: Any, *sent: bytes, shut: bool = False) -> bytes:
    """Send bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", at.port), timeout=10) as peer:
        for data in sent:
            peer.sendall(data)
        if shut:
            peer.shutdown(socket.SHUT_WR)
        got = b""
        while data := peer.recv(65536):
            got += data
        return got


def request(body: bytes, *lines: str) -> bytes:
    head = "\r\n".join(["POST /invocations HTTP/1.1", "host: x", "content-type: application/json", *lines])
    return head.encode() + b"\r\n\r\n" + body


def test_pipelined_requests_are_answered_in_order(at: Any) -> None:
    bodies = [json.dumps({"dataframe_split": {"columns": NAMES, "data": [[i, 0, 0]]}}).encode() for i in range(50)]
    sent = [request(body, f"content-length: {len(body)}", f"x-request-id: r{i}") for i, body in enumerate(bodies)]
    last = b"GET /ping HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    got = talk(at, b"".join(sent) + last)
    ids = [line.split(b": ")[1] for line in got.split(b"\r\n") if line.startswith(b"x-request-id: r")]
    assert ids == [f"r{i}".encode() for i in range(50)]


def test_chunked_bodies(at: Any) -> None:
    body = json.dumps(SPLIT).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    got = talk(at, request(chunks, "transfer-encoding: chunked", "connection: close"))
    assert got.startswith(b"HTTP/1.1 200 OK")


def test_expect_continue(at: Any) -> None:
    body = json.dumps(SPLIT).encode()
    with socket.create_connection(("127.0.0.1", at.port), timeout=10) as peer:
        peer.sendall(request(b"", f"content-length: {len(body)}", "expect: 100-continue", "connection: close"))
        assert peer.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(body)
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nx: " + b"a" * 300_000, 431),
        (request(b"", "content-length: 5000"), 413),
        (request(b"x" * 5000, "content-length: 5000"), 413),
        (request(b"1000\r\n" + b"x" * 0x1000 + b"\r\n", "transfer-encoding: chunked"), 413),
        (request(b"{}", "content-length: 2", "transfer-encoding: chunked"), 400),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_requests_over_the_limits(model: Any, serve: Any, sent: bytes, status: int) -> None:
    with serve(model, most_body=2000) as at:
        got = talk(at, sent, shut=True)
    assert got.startswith(f"HTTP/1.1 {status} ".encode())
    assert b'{"error":' in got


def test_an_upgrade_is_not_taken_up(at: Any) -> None:
    got = talk(at, b"GET /ping HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nframes")
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in got
    assert got.count(b"HTTP/1.1") == 1


def test_slow_and_idle_clients_are_sent_away(model: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlport.serving import http1

    monkeypatch.setattr(http1, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(http1, "IDLE_SECONDS", 0.0)
    now = [0.0]
    server = http1.Server(lambda asked: asked.answer(asked.refusal[0] if asked.refusal else 200, b""), 100, clock=lambda: now[0])
    slow, idle = server.connect(), server.connect()
    sent = [_Transport(), _Transport()]
    for connection, transport in zip((slow, idle), sent, strict=True):
        connection.connection_made(transport)  # type: ignore[arg-type]
    slow.data_received(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf")
    idle.data_received(b"GET / HTTP/1.1\r\n\r\n")
    now[0] += 1
    server.sweep()
    assert sent[0].data.startswith(b"HTTP/1.1 408")
    assert sent[1].data.startswith(b"HTTP/1.1 200")
    assert sent[1].closed


class _Transport:
    def __init__(self) -> None:
        self.data, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.closed = True

    write_eof = abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def is_reading(self) -> bool:
        return True


# ---------------------------------------------------------------- capture


def captured(folder: Any) -> list[dict[str, Any]]:
    from mlport import capture

    now = datetime.now(UTC)
    found = capture.read(folder, now - timedelta(hours=1), now + timedelta(hours=1))
    return [row for batch in found for row in batch.to_pylist()]


def test_what_was_answered_is_kept_at_once(model: Any, serve: Any, tmp_path: Any) -> None:
    with serve(model, capture=tmp_path, endpoint="delays", deployment="blue") as at:
        before = datetime.now(UTC)
        asked = at.post(SPLIT, x_request_id="r1", x_caller_id="c1")
        at.post({"id": "c2", "inputs": [tensor()]}, "/v2/models/model/infer", x_request_id="r2")
        at.post(b"{", x_request_id="r3")
        rows = captured(tmp_path)
    assert asked.status == 200
    assert [(row["provider_id"], row["caller_id"], row["row"], row["status"]) for row in rows] == [
        ("r1", "c1", 0, 200),
        ("r2", "c2", 0, 200),
        ("r2", "c2", 1, 200),
        ("r3", None, 0, 400),
    ]
    first, refused = rows[0], rows[-1]
    assert first["features"] == {"hour of day": 1.0, "distance": 2.0, "delay": 3.0}
    assert first["prediction"] == pytest.approx(30201.0)
    assert (first["endpoint"], first["deployment"], first["model_version"], first["raw"]) == ("delays", "blue", "7", None)
    assert (refused["features"], refused["raw"]) == (None, b"{")
    assert before <= first["time"] <= datetime.now(UTC)
    assert 0 < first["latency"] < 10


# ---------------------------------------------------------------- the process


def test_the_process_from_start_to_end(start: Any, linear: Any, tmp_path: Any, until: Any) -> None:
    server = start(linear, "--port", "0", "--model-version", "2", "--capture", tmp_path / "kept")
    assert server.ready["ready"] is True
    assert (server.ready["path"], server.ready["version"]) == ("ndarray", "2")
    held = server.address.connect()  # an idle connection must not keep the server
    held.request("GET", "/ping")
    held.getresponse().read()
    assert server.address.post(SPLIT).status == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    held.close()
    assert len(captured(tmp_path / "kept")) == 1
    assert "feature names" not in (tmp_path / "server-0.log").read_text()


def test_a_killed_server_loses_nothing_that_it_answered(start: Any, linear: Any, tmp_path: Any) -> None:
    server = start(linear, "--port", "0", "--capture", tmp_path / "kept")
    answered = [server.address.post(SPLIT).headers["x-request-id"] for _ in range(20)]
    server.process.kill()
    server.process.wait()
    assert [row["provider_id"] for row in captured(tmp_path / "kept")] == answered


def test_a_unix_socket_is_private_and_a_stale_one_is_replaced(start: Any, linear: Any, tmp_path: Any) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = start(linear, "--uds", path)
    assert server.ready["address"] == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
        assert peer.recv(1000).startswith(b"HTTP/1.1 200 OK")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert not path.exists()


def test_vertex_containers_contract(start: Any, linear: Any) -> None:
    env = {"AIP_HTTP_PORT": "0", "AIP_HEALTH_ROUTE": "/alive", "AIP_PREDICT_ROUTE": "/score", "AIP_STORAGE_URI": str(linear)}
    at = start(**env).address
    assert at.get("/alive").status == 200
    for rows in ([[1, 2, 3]], [dict(zip(NAMES, [1, 2, 3], strict=True))], [["1", 2, 3]]):
        assert at.post({"instances": rows}, "/score").json["predictions"] == pytest.approx([30201.0])
    assert at.post({"instances": [[1, 2, 3]], "parameters": {"a": 1}}, "/score").status == 200
    assert at.post({"instances": []}, "/score").status == 400


def test_a_model_that_cannot_be_loaded_ends_with_a_reason(start: Any, tmp_path: Any) -> None:
    server = start(tmp_path, "--port", "0")
    assert server.process.wait(20) == 1
    assert server.ready["ready"] is False
    assert "no MLmodel file" in server.ready["error"]


def test_in_flight_requests_are_answered_before_the_end(start: Any, saved: Any, table: Any, until: Any) -> None:
    from sklearn.base import BaseEstimator

    class Slow(BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: Any) -> Any:
            values = np.asarray(rows)[:, 0]
            time.sleep(0.5 if values[0] == 77 else 0)
            return values

    server = start(saved("slow", Slow(), input_example=table.head(2)), "--port", "0")
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(server.address.post, {"dataframe_split": {"columns": NAMES, "data": [[77, 0, 0]]}})
        until(lambda: _established(server.address.port))
        server.process.send_signal(signal.SIGTERM)
        assert reply.result().json == {"predictions": [77.0]}
    assert server.process.wait(20) == 0


def _established(port: int) -> bool:
    import psutil

    return any(c.raddr and c.raddr.port == port and c.status == "ESTABLISHED" for c in psutil.Process().net_connections())
