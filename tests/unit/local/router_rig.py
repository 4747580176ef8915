"""A router over real sockets, in front of real workers (`router_peer.py`): what tests of the router share."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from mlport_local.serving import control, staff

KEY = "mlp_the-key-of-this-test"
OPEN = {"authorization": f"Bearer {KEY}"}
PEER = Path(__file__).with_name("router_peer.py")


def until(done: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


class Rig:
    """One router and its workers. `address` is the router's."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.peers: dict[str, subprocess.Popen[bytes]] = {}
        self.generation = 0
        self.percents: dict[str, int] = {}
        self.auth = True
        self.router = self.start_router()

    def start_router(self) -> subprocess.Popen[bytes]:
        self.listener.set_inheritable(True)
        command = staff.python(
            "mlport_local.serving.router", "--fd", str(self.listener.fileno()), "--control", str(self.folder / "control"),
            "--observed", str(self.folder / "observed"), "--endpoint", "e", *self.options,
        )  # fmt: skip
        return subprocess.Popen(command, env=staff.environment(self.folder, {}), pass_fds=[self.listener.fileno()])

    def start_peer(self, name: str) -> None:
        command = [sys.executable, str(PEER), str(self.folder / name), name]
        peer = self.peers[name] = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert peer.stdout is not None
        assert peer.stdout.readline() == b"ready\n"
        peer.stdout.close()

    def split(self, **percents: int) -> None:
        """Tell the router a table; workers that are new are started."""
        for name in percents:
            if name not in self.peers:
                self.start_peer(name)
        self.percents = percents
        self.generation += 1
        deployments = {
            name: {"socket": str(self.folder / name), "version": f"{name}1", "percent": share} for name, share in percents.items()
        }
        keys = [{"sha256": hashlib.sha256(KEY.encode()).hexdigest()}] if self.auth else None
        message = {"do": "table", "generation": self.generation, "deployments": deployments, "digests": keys}
        until(lambda: self.try_to_tell(message))

    def kill(self, name: str) -> None:
        self.peers[name].kill()
        self.peers[name].wait()

    def try_to_tell(self, message: dict[str, Any]) -> bool:
        try:
            return bool(control.tell(self.folder / "control", message))
        except OSError:
            return False

    def seen(self, name: str) -> dict[str, int]:
        with connected(str(self.folder / name)) as talk:
            talk.sendall(b"GET /seen HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            return dict(json.loads(read_answer(talk.makefile("rb"))[2]))

    def ask(self, target: str = "/echo", body: bytes | None = b"{}", method: str = "POST", **headers: str) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(retries=False) as pool:
            own = {name.replace("_", "-"): value for name, value in headers.items()}
            return pool.request(method, self.url(target), body=body, headers={**OPEN, **own}, timeout=20)

    def url(self, target: str) -> str:
        return f"http://127.0.0.1:{self.address[1]}{target}"

    def stop(self) -> None:
        for process_ in (self.router, *self.peers.values()):
            process_.kill()
            process_.wait()
        self.listener.close()


@contextmanager
def connected(where: str | tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as talk:
        talk.settimeout(20)
        talk.connect(where)
        yield talk


def read_answer(stream: Any, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    """One answer as it is on the wire: status, headers, raw body."""
    line = stream.readline()
    headers: dict[str, str] = {}
    while (field := stream.readline()) not in (b"\r\n", b""):
        name, _, value = field.decode().partition(":")
        headers[name.lower()] = value.strip()
    if head_only or int(line.split()[1]) == 100:
        body = b""
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read()
    return int(line.split()[1]), headers, body


@contextmanager
def running(*options: str) -> Iterator[Rig]:
    folder = Path(tempfile.mkdtemp(prefix="mlp-"))  # a unix socket's path must be short, and tmp_path may not be
    rig = Rig(folder, "--most-body", str(20 * 2**20), "--head-seconds", "1", *options)
    try:
        rig.split(a=100)
        yield rig
    finally:
        rig.stop()
        shutil.rmtree(folder)


HEAD = f"host: a\r\nauthorization: Bearer {KEY}\r\n".encode()
