"""The way to a workspace: one attempt a call whatever the answer, credentials by each way, errors in our words."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aids.databricks.place import call

from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, AuthenticationError, MlportError, PermissionDeniedError, ThrottledError, UnavailableError
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.emulator.accounts import HOST, PLAIN, PRINCIPAL, token_of
from mlport_databricks.workspace.connection import Connection

BODY = json.dumps({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}).encode()
ANSWERS: dict[str, bytes | None] = {
    "drop": None,
    "429": b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "503": b"HTTP/1.1 503 Unavailable\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(BODY), BODY),
}


class Server:
    """A workspace that counts the requests which it gets, each on a connection of its own, and answers all the same way."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer, self.requests = answer, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                head = b""
                while b"\r\n\r\n" not in head and (more := peer.recv(65536)):
                    head += more
                self.requests += head.count(b" HTTP/1.1\r\n")
                if self._answer is None:  # a reset, not an end
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    peer.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def serving() -> Iterator[Callable[[str], Server]]:
    opened: list[Server] = []

    def start(kind: str) -> Server:
        opened.append(Server(ANSWERS[kind]))
        return opened[-1]

    yield start
    for server in opened:
        server.close()


class Plain(Connection):
    """A connection whose workspace is a plain socket of this machine."""

    def __init__(self, port: int) -> None:
        config = DatabricksConfig.from_url("databricks://x.cloud.databricks.com/main/ml?state=s3://bucket/a&region=us-east-1&token=dapi1")
        super().__init__(config)
        object.__setattr__(self, "config", _At(config, port))


class _At:
    def __init__(self, config: DatabricksConfig, port: int) -> None:
        self._config, self.url = config, f"http://127.0.0.1:{port}"

    def __getattr__(self, name: str) -> object:
        return getattr(self._config, name)


@pytest.mark.parametrize(
    ("kind", "verb", "error"),
    [
        ("drop", "POST", AmbiguousError),
        ("drop", "GET", UnavailableError),
        ("429", "POST", ThrottledError),
        ("429", "GET", ThrottledError),
        ("503", "POST", AmbiguousError),
        ("503", "GET", UnavailableError),
    ],
)
def test_exactly_one_request_arrives(serving: Callable[[str], Server], kind: str, verb: str, error: type[MlportError]) -> None:
    server, connection = serving(kind), None
    connection = Plain(server.port)
    with pytest.raises(error) as caught:
        connection.call(verb, "/api/2.2/jobs/runs/submit", operation="jobs.submit", body={} if verb == "POST" else None)
    connection.close()
    assert server.requests == 1
    assert (caught.value.provider, caught.value.operation) == ("databricks", "jobs.submit")


def test_nobody_there_is_never_ambiguous() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match="could not be reached"):
        Plain(port).call("POST", "/api/2.2/jobs/runs/submit", operation="jobs.submit", body={})


# ---------------------------------------------------------------- credentials


def config_of(emulator: Ready, **fields: object) -> DatabricksConfig:
    return DatabricksConfig.from_url(emulator.targets["databricks"]).model_copy(update=fields)


def me(config: DatabricksConfig) -> str:
    connection = Connection(config)
    try:
        return str(connection.call("GET", "/api/2.0/preview/scim/v2/Me", operation="me")["userName"])
    finally:
        connection.close()


def test_a_token_of_the_profile_needs_no_sdk(emulator: Ready) -> None:
    connection = Connection(config_of(emulator))
    assert connection.token() == {"token": connection.config.token, "expires_at": None}
    connection.call("GET", "/api/2.0/preview/scim/v2/Me", operation="me")
    assert "_sdk" not in vars(connection)


def test_the_sdks_own_chain_signs_in(emulator: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABRICKS_TOKEN", token_of(HOST, PLAIN))
    assert me(config_of(emulator, token=None)) == PLAIN.name


def test_a_profile_of_the_sdks_own_file(emulator: Ready, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in emulator.environment.items():
        if not name.startswith("DATABRICKS"):
            monkeypatch.setenv(name, value)
    file = tmp_path / "databrickscfg"
    file.write_text(f"[plain]\nhost = https://{HOST}\ntoken = {token_of(HOST, PLAIN)}\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    monkeypatch.delenv("DATABRICKS_TOKEN", raising=False)
    assert me(config_of(emulator, token=None, sdk_profile="plain")) == PLAIN.name
    with pytest.raises(AuthenticationError, match="absent"):
        me(config_of(emulator, token=None, sdk_profile="absent"))


def test_a_service_principal_signs_in_once_for_many_calls(emulator: Ready) -> None:
    connection = Connection(config_of(emulator, token=None, client_id=PRINCIPAL.name, client_secret=PRINCIPAL.secret))
    first = connection.token()
    assert first["expires_at"] > datetime.now(UTC)
    for _ in range(2):
        found = connection.call("GET", "/api/2.0/preview/scim/v2/Me", operation="me")
        assert found["userName"] == PRINCIPAL.name
    assert connection.token() == first
    connection.close()


def test_what_cannot_sign_in_says_so(emulator: Ready) -> None:
    with pytest.raises((AuthenticationError, PermissionDeniedError)) as caught:
        me(config_of(emulator, token="dapi-nobody"))
    assert caught.value.native_code
    with pytest.raises(AuthenticationError, match="service principal"):
        me(config_of(emulator, token=None, client_id="nobody", client_secret="nothing"))
    status, _ = call(emulator, "GET", "/api/2.0/preview/scim/v2/Me", token="")
    assert status == 401
