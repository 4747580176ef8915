"""The front door, the authority and the faults, with a small emulator behind them and unmodified clients before them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import FaultFile, Faults
from mlport.emulation.server import Ready, serve
from mlport.emulation.spi import Access
from mlport.errors import ConfigError

HOST = "api.echo.example"


class Echo:
    """Answers with what it was asked; keeps a file that it can send."""

    name = "echo"
    effects = ("lag",)

    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self, folder: Path, faults: Faults) -> Echo:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "large"
        self.file.write_bytes(bytes(range(256)) * 20_000)
        return self

    def answers_for(self, host: str) -> bool:
        return host.endswith(".echo.example")

    def answer(self, call: Call) -> Reply:
        self.calls.append(call.path)
        if call.path == "/large":
            return Reply(200, self.file, {"content-type": "application/octet-stream"}, start=10, end=5_000_000)
        if call.path == "/parts":
            return Reply(200, iter([b"one ", b"two"]))
        if call.path == "/defect":
            raise ZeroDivisionError
        return Reply.of({"host": call.host, "path": call.path, "query": call.query, "bytes": len(call.read())})

    def failure(self, call: Call, status: int) -> Reply:
        return Reply.of({"error": {"code": status}}, status)

    def grpc_handlers(self, answer: Callable[[Call], Reply]) -> Sequence[Any]:
        import grpc

        def say(request: bytes, context: Any) -> bytes:
            return json.dumps({"said": request.decode()}).encode()

        return [grpc.method_handlers_generic_handler("echo.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)})]

    def environment(self, folder: Path) -> Mapping[str, str]:
        return {"ECHO_KEY": str(folder / "key")}

    def target(self, access: Access, account: int = 0) -> str:
        return f"echo://{HOST}/{account}?proxy={access.proxy}"

    def started(self, url: str, environment: Mapping[str, str]) -> None:
        self.url = url

    def end_work(self) -> None:
        self.calls.append("end_work")

    def close(self) -> None:
        self.file.unlink()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def ready(echo: Echo, tmp_path: Path) -> Iterator[Ready]:
    with serve({"echo": echo}, tmp_path / "state") as served:
        yield served


def run(ready: Ready, program: str) -> str:
    """What a program prints that knows nothing of the emulator but its environment."""
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **ready.environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_requests_reach_the_vendors_name_by_the_environment_alone(ready: Ready) -> None:
    program = f"import requests\nprint(requests.post('https://{HOST}/a%2Fb?x=1&x=2', data=b'z' * 9_000_000).text)"
    assert json.loads(run(ready, program)) == {"host": HOST, "path": "/a%2Fb", "query": [["x", "1"], ["x", "2"]], "bytes": 9_000_000}


def test_grpc_comes_through_the_same_door(ready: Ready) -> None:
    program = f"""
import grpc
channel = grpc.secure_channel("{HOST}:443", grpc.ssl_channel_credentials())
print(channel.unary_unary("/echo.Echo/Say")(b"hello", timeout=20).decode())
"""
    assert json.loads(run(ready, program)) == {"said": "hello"}


def test_every_other_host_is_refused(ready: Ready) -> None:
    program = """
import requests
try:
    requests.get("https://elsewhere.example/", timeout=20)
except requests.exceptions.ProxyError as error:
    print(error)
"""
    assert "403 Forbidden" in run(ready, program)


def test_another_port_and_another_method_are_refused(ready: Ready) -> None:
    for head, status in ((f"CONNECT {HOST}:22 HTTP/1.1", b"403"), ("GET http://x/ HTTP/1.1", b"405"), ("x" * 20_000, b"431")):
        with socket.create_connection(("127.0.0.1", int(ready.proxy.rpartition(":")[2])), timeout=10) as caller:
            caller.sendall(f"{head}\r\n\r\n".encode())
            assert caller.recv(100).split()[1] == status


def test_files_and_parts_are_streamed(ready: Ready, echo: Echo) -> None:
    program = f"""
import hashlib, requests
with requests.Session() as session:
    print(session.get("https://{HOST}/parts").text, hashlib.sha256(session.get("https://{HOST}/large").content).hexdigest())
"""
    import hashlib

    assert run(ready, program) == f"one two {hashlib.sha256(echo.file.read_bytes()[10:5_000_000]).hexdigest()}"


def test_the_certificate_holds_for_its_host_only(ready: Ready) -> None:
    context = ssl.create_default_context(cafile=str(ready.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_connection(("127.0.0.1", int(ready.proxy.rpartition(":")[2])), timeout=10) as caller:
        caller.sendall(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(caller, server_hostname=HOST) as tls:
            assert list(tls.getpeercert()["subjectAltName"]) == [("DNS", HOST)]  # type: ignore[index]


def test_a_defect_is_a_500_and_the_emulator_goes_on(ready: Ready) -> None:
    import requests

    with requests.Session() as session:
        assert session.get(f"{ready.urls['echo']}/defect").status_code == 500
        assert session.get(f"{ready.urls['echo']}/fine").status_code == 200


def test_the_authority_survives_a_restart(tmp_path: Path) -> None:
    with serve({"echo": Echo()}, tmp_path) as first:
        trusted = first.ca.read_bytes()
    with serve({"echo": Echo()}, tmp_path) as second:
        assert second.ca.read_bytes() == trusted
        assert second.ca.with_suffix(".key").stat().st_mode & 0o777 == 0o600


def test_work_is_ended_only_where_nothing_is_kept(tmp_path: Path) -> None:
    kept, thrown_away = Echo(), Echo()
    with serve({"echo": kept}, tmp_path / "kept"):
        pass
    with serve({"echo": thrown_away}, tmp_path / "other", keep=False):
        pass
    assert (kept.calls, thrown_away.calls) == ([], ["end_work"])


def test_a_folder_and_a_port_are_for_one_at_a_time(ready: Ready, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=f"another emulator runs in this folder: process {os.getpid()} since 20"),
        serve({"echo": Echo()}, tmp_path / "state"),
    ):
        pass
    port = int(ready.proxy.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"--port {port}"), serve({"echo": Echo()}, tmp_path / "other", port=port):
        pass


def test_the_ports_of_the_last_run_are_taken_again_where_they_are_free(tmp_path: Path) -> None:
    def addresses(ready: Ready) -> tuple[str, str, str]:
        return ready.proxy, ready.urls["echo"], ready.grpc["echo"]

    with serve({"echo": Echo()}, tmp_path) as first:
        before = addresses(first)
    with serve({"echo": Echo()}, tmp_path) as second:
        assert addresses(second) == before
    with contextlib.ExitStack() as stack:
        for address in before:
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            taken.listen()
        with serve({"echo": Echo()}, tmp_path) as third:
            assert not set(addresses(third)) & set(before)
            after = addresses(third)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ports.json").write_text('{"front door": "x"')
    with serve({"echo": Echo()}, tmp_path) as fourth, serve({"echo": Echo()}, tmp_path / "elsewhere"):
        assert addresses(fourth) == after


# ---------------------------------------------------------------- faults


def put_faults(ready: Ready, *rules: dict[str, Any]) -> None:
    import requests

    with requests.Session() as session:
        answer = session.put(f"{ready.urls['echo']}/_emulator/faults", json={"fault": rules})
    assert answer.status_code == 200, answer.text


def test_how_often_each_fault_struck_is_told(ready: Ready) -> None:
    import requests

    put_faults(ready, {"match": "GET /cut", "effect": "error", "times": 1}, {"match": "GET /nobody", "effect": "reset"})
    with requests.Session() as session:
        for _ in range(2):
            session.get(f"{ready.urls['echo']}/cut")
        told = session.get(f"{ready.urls['echo']}/_emulator/faults").json()["fault"]
    assert [(rule["match"], rule["matched"], rule["done"]) for rule in told] == [("GET /cut", 2, 1), ("GET /nobody", 0, 0)]


def test_faults_strike_before_and_after_the_work(ready: Ready, echo: Echo) -> None:
    import requests

    put_faults(
        ready,
        {"match": "GET /refused", "effect": "error", "status": 429},
        {"match": "GET /done", "effect": "error", "when": "after"},
        {"match": "GET /cut", "effect": "reset"},
        {"match": "GET /lost", "effect": "reset", "when": "after", "times": 1},
        {"match": "GET /slow", "effect": "delay", "seconds": 0.3},
    )
    url = ready.urls["echo"]
    with requests.Session() as session:
        assert session.get(f"{url}/refused").status_code == 429
        assert session.get(f"{url}/done").status_code == 503
        for path in ("cut", "lost"):
            with pytest.raises(requests.ConnectionError):
                session.get(f"{url}/{path}")
        assert session.get(f"{url}/lost").status_code == 200
        before = time.monotonic()
        assert session.get(f"{url}/slow").status_code == 200
        assert time.monotonic() - before >= 0.3
    assert echo.calls == ["/done", "/lost", "/lost", "/slow"]


def test_a_reset_is_seen_through_the_front_door(ready: Ready) -> None:
    put_faults(ready, {"match": "GET /cut", "effect": "reset"})
    program = f"""
import requests
try:
    requests.get("https://{HOST}/cut", timeout=20)
except requests.exceptions.ConnectionError as error:
    print("broken")
"""
    assert run(ready, program) == "broken"


def test_chance_is_repeatable_and_counted() -> None:
    rules = FaultFile.model_validate({"seed": 3, "fault": [{"effect": "error", "probability": 0.3, "skip": 5, "times": 4}]})

    def struck() -> list[bool]:
        faults = Faults(rules)
        return [bool(faults.befall("GET", f"/{number}")) for number in range(100)]

    first = struck()
    assert first == struck()
    assert sum(first) == 4
    assert not any(first[:5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[fault]]\neffect = "err"', "'err' is unknown"),
        ('[[fault]]\neffect = "error"\nstatus = 200', "status"),
        ('[[fault]]\neffect = "error"\nprobabilty = 1', "probability"),
        ("[[fault", "faults.toml"),
    ],
)
def test_a_wrong_faults_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said), serve({"echo": Echo()}, tmp_path / "state", FaultFile.read(file)):
        pass
