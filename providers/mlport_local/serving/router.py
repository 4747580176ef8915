"""The router of one endpoint: one process, one address, requests shared out over deployments.

    python -m mlport_local.serving.router --fd 3 --control PATH --observed FOLDER --endpoint NAME

It serves the listening socket that it inherits, so that a router that dies leaves the port and the callers who
wait there to the next one. Its keeper tells it the table through a unix socket, one JSON object a line:
`{"do": "table", ...}`, `{"do": "status"}`, `{"do": "quit"}`; each is answered by one line. It accepts nobody before
its first table, and ends after what is under way at `quit` and SIGTERM.

Its own pages: `/healthz` is open to all; `/metrics` is open from loopback and wants the key from elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from mlport_local.serving.observe import Observer
from mlport_local.serving.relay import Caller
from mlport_local.serving.switchboard import Switchboard
from mlport_local.serving.traffic import table_of

MOST_BODY = 64 * 2**20
ANSWER_SECONDS = 120.0
HEAD_SECONDS = 10.0
DRAIN_SECONDS = 30.0
BACKLOG = 1024


class Router:
    """Control, clock and end of the process; the traffic itself is the switchboard's."""

    def __init__(self, board: Switchboard, listener: socket.socket, observer: Observer) -> None:
        self._board, self._listener, self._observer = board, listener, observer
        self._serving: asyncio.Server | None = None
        self._quit = asyncio.Event()

    async def run(self, control: Path) -> None:
        """Serve until told to quit."""
        server = await asyncio.start_unix_server(self._controlled, control)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._board.loop.add_signal_handler(number, self._quit.set)
        ticking = asyncio.create_task(self._tick())
        await self._quit.wait()
        await self._drain()
        ticking.cancel()
        self._observer.flush(self._board.tallies, time.time())
        self._observer.close()
        server.close()

    async def _controlled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._obey(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the keeper is gone; the next one asks again
        finally:
            writer.close()

    async def _obey(self, line: bytes) -> dict[str, object]:
        try:
            message = json.loads(line)
            match message["do"]:
                case "table":
                    self._board.replace(table_of(message, self._board.table, self._board.tallies))
                    await self._listen()
                case "quit":
                    self._quit.set()
                case "status":
                    pass
                case other:
                    raise ValueError(f"do: {other!r} is none of table, status, quit")
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return {"ok": True, **self._board.status()}

    async def _listen(self) -> None:
        if self._serving is None:
            self._serving = await self._board.loop.create_server(lambda: Caller(self._board), sock=self._listener, backlog=BACKLOG)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            self._board.sweep()
            self._record()

    def _record(self) -> None:
        try:
            self._observer.flush(self._board.tallies, time.time())
        except OSError as error:  # a full disk costs the figures, never an answer
            print(f"cannot write observations: {error}", file=sys.stderr, flush=True)

    async def _drain(self) -> None:
        self._board.draining = True
        if self._serving is not None:
            self._serving.close()
        self._board.sweep()
        with contextlib.suppress(TimeoutError):  # who is not done by then is left
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._board.all_gone()


async def serve(options: argparse.Namespace) -> None:
    """Run a router until it is told to quit."""
    listener = socket.socket(fileno=options.fd)
    listener.setblocking(False)
    board = Switchboard(
        options.endpoint,
        asyncio.get_running_loop(),
        most_body=options.most_body,
        answer_seconds=options.answer_seconds,
        head_seconds=options.head_seconds,
    )
    await Router(board, listener, Observer(options.observed)).run(options.control)


def parse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m mlport_local.serving.router", description="The router of one endpoint.")
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--observed", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--most-body", type=int, default=MOST_BODY, help="bytes")
    parser.add_argument("--answer-seconds", type=float, default=ANSWER_SECONDS, help="for a worker to answer")
    parser.add_argument("--head-seconds", type=float, default=HEAD_SECONDS, help="for a caller's head to arrive")
    return parser.parse_args(arguments)


def main() -> None:
    os.umask(0o077)
    uvloop.run(serve(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
