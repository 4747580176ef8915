"""Emulators at work: an HTTP port and, where the vendor speaks it, a gRPC port for each, and one front door for all."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from aiohttp import web
from yarl import URL

from mlport.emulation.answering import Answering, ResetConnection
from mlport.emulation.authority import Authority
from mlport.emulation.background import LOCK
from mlport.emulation.calls import Call, Reply
from mlport.emulation.faults import FaultFile, Faults
from mlport.emulation.front_door import Backend, FrontDoor
from mlport.emulation.ports import Ports, listening
from mlport.emulation.spi import Emulator
from mlport.errors import ConfigError

THREADS = 48  # calls answered at once; more wait
IN_MEMORY = 4 << 20  # bytes of a body that are not written to disk
CHUNK = 1 << 20
LAST_ROUNDS = (
    3  # of the event loop after all was closed: a connection that was cut, TLS within it, and what it was passed on to, each end in one
)
FAULTS_PATH = "/_emulator/faults"  # GET tells the rules and how often each struck, PUT sets them; on the direct address only
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ready:
    """How to reach what runs. `environment` alone brings an unmodified program of the vendor's SDK here."""

    provider: str
    urls: Mapping[str, str]
    grpc: Mapping[str, str]
    proxy: str
    ca: Path
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    other_targets: Mapping[str, str] = field(default_factory=dict)
    idle: Callable[[], float] = field(default=lambda: 0.0, compare=False)
    """Seconds since it was last asked anything."""

    def to_json(self) -> dict[str, Any]:
        """The one line that `mlport emulate` prints. With several emulators `url` and `connect` are objects by name."""
        one = len(self.urls) == 1
        name = next(iter(self.urls))
        return {
            "provider": self.provider,
            "url": self.urls[name] if one else dict(self.urls),
            "connect": self.targets[name] if one else dict(self.targets),
            "connect_other": self.other_targets[name] if one else dict(self.other_targets),
            "env": dict(self.environment),
            "proxy": self.proxy,
            "ca": str(self.ca),
            "pid": os.getpid(),
            **({"grpc": self.grpc[name] if one else dict(self.grpc)} if self.grpc else {}),
        }


@contextmanager
def serve(
    emulators: Mapping[str, Emulator], folder: Path, faults: FaultFile | None = None, *, port: int = 0, keep: bool = True
) -> Iterator[Ready]:
    """Run emulators in this process until the block ends. `port` is that of the front door.

    0 takes that of the last run in the folder, or a free one; the other ports are chosen in the same way. What they do goes on
    after the block and is found again by the next run in that folder, unless `keep` is False.

    Raises:
        ConfigError: the port is taken, another process has the folder, or an emulator has no such fault.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder), contextlib.ExitStack() as stack:
        running: dict[str, Answering] = {}
        for name, emulator in emulators.items():
            rules = Faults(faults, known=emulator.effects)
            opened = emulator.open(folder / name, rules)
            stack.callback(opened.close)
            if not keep:
                stack.callback(opened.end_work)
            running[name] = Answering(opened, rules)
        loop = _Loop()
        stack.callback(loop.stop)
        try:
            ready = loop.enter(_house(running, folder, port))
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror or error}", hint="choose another, or 0 for a free one") from error
        yield ready


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Two processes that answered from one folder would each undo what the other did."""
    with (folder / LOCK).open("a+", encoding="utf-8") as held:
        for pause in (0.05, 0.2, 0.5, None):  # who only looks whether anyone is here lets go at once
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if pause is None:
                    raise ConfigError(
                        f"{folder}: another emulator runs in this folder{_holder(held)}", hint="stop it, or choose another with --state"
                    ) from error
                time.sleep(pause)
        held.truncate(0)
        held.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        held.flush()
        yield


def _holder(held: IO[str]) -> str:
    """Who has the folder, as that process says itself."""
    held.seek(0)
    said = held.read().strip()
    return f": {said}" if said else ""


class _Loop:
    """An event loop in a thread of its own, and what was entered in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulators", daemon=True)
        self._thread.start()

    def enter(self, manager: contextlib.AbstractAsyncContextManager[Ready]) -> Ready:
        return asyncio.run_coroutine_threadsafe(self._stack.enter_async_context(manager), self._loop).result()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        await self._stack.aclose()
        for _ in range(LAST_ROUNDS):
            await asyncio.sleep(0)


@asynccontextmanager
async def _house(running: Mapping[str, Answering], folder: Path, port: int) -> AsyncIterator[Ready]:
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="emulator"))
        backends: dict[str, Backend] = {}
        ports = Ports(folder)
        for name, answering in running.items():
            http = ports.keep(f"{name} http", await stack.enter_async_context(_http(answering, pool, ports.last(f"{name} http"))))
            grpc = await stack.enter_async_context(_grpc(answering, ports.last(f"{name} grpc")))
            backends[name] = Backend(http, ports.keep(f"{name} grpc", grpc) if grpc else None)
        authority = Authority(folder / "authority")

        def route(host: str) -> Backend | None:
            return next((backends[name] for name, answering in running.items() if answering.emulator.answers_for(host)), None)

        door = FrontDoor(authority, route)
        number = await door.start(port=port) if port else await listening(lambda free: door.start(port=free), ports.last("front door"))
        proxy = f"http://127.0.0.1:{ports.keep('front door', number)}"
        stack.push_async_callback(door.close)
        ready = Ready(
            next(iter(running)) if len(running) == 1 else "all",
            {name: f"http://127.0.0.1:{backend.http}" for name, backend in backends.items()},
            {name: f"127.0.0.1:{backend.grpc}" for name, backend in backends.items() if backend.grpc},
            proxy,
            authority.certificate,
            folder,
            _environment(running, proxy, authority.certificate, folder),
            idle=lambda: time.monotonic() - max(answering.asked for answering in running.values()),
        )
        for name, answering in running.items():
            await _in(pool, answering.emulator.started, ready.urls[name], ready.environment)
        yield _with_targets(ready, running)


def _with_targets(ready: Ready, running: Mapping[str, Answering]) -> Ready:
    targets, others = ({name: each.emulator.target(ready, account) for name, each in running.items()} for account in (0, 1))
    return replace(ready, targets=targets, other_targets=others)


def _environment(running: Mapping[str, Answering], proxy: str, ca: Path, folder: Path) -> dict[str, str]:
    """Proxy and authority as the HTTP and gRPC libraries read them, then each vendor's credentials."""
    trust = {name: str(ca) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")}
    common = {"https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost", **trust}
    for name, answering in running.items():
        place = folder / name / "credentials"
        place.mkdir(parents=True, exist_ok=True)
        common.update(answering.emulator.environment(place))
    return common


# ---------------------------------------------------------------- HTTP


@asynccontextmanager
async def _http(answering: Answering, pool: ThreadPoolExecutor, last: int) -> AsyncIterator[int]:
    """The emulator on a port of loopback: the last run's, or a free one."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await _expected(request)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
            async for chunk in request.content.iter_chunked(CHUNK):
                body.write(chunk)
            body.seek(0)
            call = _call(request, body)
            try:
                reply = _faults(call, answering.faults) if call.path == FAULTS_PATH else await _in(pool, answering, call)
            except ResetConnection:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            return await _send(request, reply, pool)

    runner = web.ServerRunner(web.Server(handle, access_log=None, auto_decompress=False), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await listening(lambda port: web.TCPSite(runner, "127.0.0.1", port).start(), last)
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _expected(request: web.BaseRequest) -> None:
    """Let a caller go on that asks first whether its body is wanted (RFC 9110, 10.1.1)."""
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _in(pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


async def _send(request: web.BaseRequest, reply: Reply, pool: ThreadPoolExecutor) -> web.StreamResponse:
    if isinstance(reply.body, bytes):
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    parts = _file_parts(reply) if isinstance(reply.body, Path) else reply.body
    await response.prepare(request)
    while part := await _in(pool, next, parts, b""):
        await response.write(part)
    await response.write_eof()
    return response


def _call(request: web.BaseRequest, body: IO[bytes]) -> Call:
    raw = URL(request.raw_path, encoded=True) if request.raw_path.startswith("/") else request.rel_url
    headers = {name.lower(): value for name, value in request.headers.items()}
    host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
    return Call(request.method, host.lower(), raw.raw_path, tuple(raw.query.items()), headers, body)


def _file_parts(reply: Reply) -> Iterator[bytes]:
    assert isinstance(reply.body, Path)  # noqa: S101 - the caller has looked
    end = reply.body.stat().st_size if reply.end is None else reply.end
    with reply.body.open("rb") as stream:
        stream.seek(reply.start)
        left = end - reply.start
        while left > 0 and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _faults(call: Call, faults: Faults) -> Reply:
    """Rules are read and set over HTTP too, so that a test can change them while the emulator runs."""
    if call.method == "GET":
        return Reply.of({"fault": faults.told()})
    if call.method != "PUT":
        return Reply.of({"error": 'PUT a JSON object such as {"fault": []}'}, 405)
    try:
        faults.load(FaultFile.model_validate(call.json()))
    except (ConfigError, ValueError) as error:
        return Reply.of({"error": str(error)}, 400)
    return Reply.of({})


# ---------------------------------------------------------------- gRPC


@asynccontextmanager
async def _grpc(answering: Answering, last: int) -> AsyncIterator[int | None]:
    """The emulator's gRPC services on a port of loopback, the last run's or a free one; None where it has none."""
    handlers = answering.emulator.grpc_handlers(answering)
    if not handlers:
        yield None
        return
    import grpc

    server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="grpc"), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(tuple(handlers))

    async def begin(port: int) -> int:
        try:
            return int(server.add_insecure_port(f"127.0.0.1:{port}"))
        except RuntimeError as error:  # what gRPC says of a port that is taken
            raise OSError(str(error)) from error

    port = await listening(begin, last)
    server.start()
    try:
        yield port
    finally:
        server.stop(0.5).wait()
