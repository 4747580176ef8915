"""The server's process: load, listen, say so, answer until told to stop, and end with nothing left undone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import TextIO

import uvloop

from mlport.capture.frames import Column, Origin
from mlport.capture.spool import Spool
from mlport.serving import flavors
from mlport.serving.app import App
from mlport.serving.flavors import Model
from mlport.serving.http1 import Server
from mlport.serving.options import Options

DRAIN_SECONDS = 30.0
_SWEEP_SECONDS = 5.0
_BACKLOG = 2048


def run(options: Options, announce: TextIO) -> None:
    """Serve until SIGTERM or SIGINT. One JSON line goes to `announce` when the server answers.

    Raises:
        UsageError: when the model cannot be loaded.
        OSError: when the address cannot be listened at.
    """
    started = time.monotonic()
    model = flavors.load(options.model_dir, name=options.model, version=options.model_version, threads=options.threads)
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # its warnings come once a request, and say what the answer says
    gc.collect()
    gc.freeze()  # the model and its libraries live as long as the process: no need to look at them again
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(model, options, announce, time.monotonic() - started))


async def _serve(model: Model, options: Options, announce: TextIO, load_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    spool = Spool(options.capture, origin(model, options)) if options.capture else None
    app = App(model, options, spool, loop)
    server = Server(app.handle, options.most_body)
    with _listen(options) as listening:
        listener = await loop.create_server(server.connect, sock=listening, backlog=_BACKLOG)
        _announce(announce, model, listening, load_seconds)
        sweeping = loop.create_task(_sweep(server, spool))
        await stop.wait()
        listener.close()
        await _drain(server, app)
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    app.batcher.close()
    if spool is not None:
        spool.close()
    if options.uds is not None:
        options.uds.unlink(missing_ok=True)


def origin(model: Model, options: Options) -> Origin:
    """What capture says once of all that this server keeps."""
    columns = tuple(Column(name, kind) for name, kind in zip(model.signature.names, model.signature.kinds, strict=True))
    return Origin(options.endpoint, options.deployment, options.model, options.model_version, options.capture_rate, columns)


def _listen(options: Options) -> socket.socket:
    if options.uds is None:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        return listening
    _remove_stale(options.uds)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(options.uds))
    options.uds.chmod(0o600)
    return listening


def _remove_stale(path: Path) -> None:
    """A socket that a killed server left; one that is answered at is left to its owner, and binding will fail."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)


def _announce(out: TextIO, model: Model, listening: socket.socket, load_seconds: float) -> None:
    name = listening.getsockname()
    address = f"unix:{name}" if isinstance(name, str) else f"http://{name[0]}:{name[1]}"
    line = {
        "ready": True,
        "address": address,
        "pid": os.getpid(),
        "model": model.name,
        "version": model.version,
        "platform": model.platform,
        "path": model.path,
        "why": model.why,
        "load_seconds": round(load_seconds, 3),
    }
    print(json.dumps(line), file=out, flush=True)


async def _sweep(server: Server, spool: Spool | None) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        server.sweep()
        if spool is not None:
            spool.tick()


async def _drain(server: Server, app: App) -> None:
    """Until nothing is in flight and nobody is connected, at most DRAIN_SECONDS."""
    server.drain()
    deadline = time.monotonic() + DRAIN_SECONDS
    while (app.in_flight or server.connections) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        server.sweep()
    server.abort()
