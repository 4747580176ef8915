"""The router of one endpoint: one process, one address, requests shared out over deployments.

    python -m mlport_local.serving.router --fd 3 --control PATH --observed FOLDER --endpoint NAME

It serves the listening socket that it inherits, so that a router that dies leaves the port and the callers who
wait there to the next one. Its keeper tells it the table through a unix socket, one JSON object a line:
`{"do": "table", ...}`, `{"do": "status"}`, `{"do": "listener"}`, `{"do": "quit"}`; each is answered by one line, that to
`listener` carries the listening socket, for a keeper that came later. It accepts nobody before its first table, and ends
after what is under way at `quit` and SIGTERM. Keeper and router look after each other: with `--root`, the router starts
a keeper when the last one died.

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

from mlport_local.layout import Layout
from mlport_local.serving import attendance
from mlport_local.serving.observe import Observer
from mlport_local.serving.relay import Caller
from mlport_local.serving.staff import pause_after
from mlport_local.serving.switchboard import Switchboard
from mlport_local.serving.tls import Certificate
from mlport_local.serving.traffic import table_of

MOST_BODY = 64 * 2**20
MOST_CALLERS = 1000
HANDSHAKE_SECONDS = 10.0
ANSWER_SECONDS = 120.0
HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
DRAIN_SECONDS = 30.0
BACKLOG = 1024


class Router:
    """Control, clock and end of the process; the traffic itself is the switchboard's."""

    def __init__(
        self, board: Switchboard, listener: socket.socket, observer: Observer, certificate: Certificate | None, layout: Layout | None
    ) -> None:
        self._board, self._listener, self._observer = board, listener, observer
        self._certificate, self._layout = certificate, layout
        self._revivals, self._next_revival = 0, 0.0
        self._said = ""
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
        self._record()
        self._observer.close()
        server.close()

    async def _controlled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self._obey(line)
                said = json.dumps(answer).encode() + b"\n"
                if answer.get("lends"):
                    self._lend(writer, said)
                else:
                    writer.write(said)
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
                case "listener":
                    return {"ok": True, "lends": True}
                case "status":
                    pass
                case other:
                    raise ValueError(f"do: {other!r} is none of table, status, listener, quit")
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return {"ok": True, **self._board.status()}

    def _lend(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as talk:
            socket.send_fds(talk, [answer], [self._listener.fileno()])

    async def _listen(self) -> None:
        if self._serving is not None:
            return
        self._serving = await self._board.loop.create_server(
            lambda: Caller(self._board),
            sock=self._listener,
            backlog=BACKLOG,
            ssl=self._certificate.context if self._certificate else None,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if self._certificate else None,
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            self._board.sweep()
            self._record()
            self._revive()
            self._renew()

    def _record(self) -> None:
        try:
            self._observer.flush(time.time())
            self._board.forget()
        except OSError as error:  # a full disk delays the figures, never an answer
            self._say(f"cannot write observations: {error}")

    def _revive(self) -> None:
        """See that there is a keeper; one that dies again and again is given more and more time between."""
        if self._layout is None or self._board.now < self._next_revival:
            return
        try:
            started = attendance.revive(self._layout, self._board.endpoint)
        except OSError as error:
            self._say(f"cannot start a keeper: {error}")
            started = True
        self._revivals = self._revivals + 1 if started else 0
        self._next_revival = self._board.now + 2 * pause_after(self._revivals)

    def _renew(self) -> None:
        try:
            if self._certificate is not None and self._certificate.renew():
                self._say("the certificate was renewed")
        except OSError as error:
            self._say(f"cannot renew the certificate, and go on with the last: {error}")

    def _say(self, what: str) -> None:
        """In the log, but not the same again each second."""
        if what != self._said:
            print(what, file=sys.stderr, flush=True)
            self._said = what

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
    listener.set_inheritable(False)
    listener.setblocking(False)
    certificate = Certificate(options.certificate, options.key) if options.certificate else None
    observer = Observer(options.observed)
    board = Switchboard(
        options.endpoint,
        asyncio.get_running_loop(),
        observer.tallies,
        most_body=options.most_body,
        most_callers=options.most_callers,
        answer_seconds=options.answer_seconds,
        head_seconds=options.head_seconds,
        body_seconds=options.body_seconds,
    )
    await Router(board, listener, observer, certificate, Layout(options.root) if options.root else None).run(options.control)


def parse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m mlport_local.serving.router", description="The router of one endpoint.")
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--observed", type=Path, required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--root", type=Path, help="start a keeper for the endpoint under this root when it has none")
    parser.add_argument("--certificate", type=Path, help="PEM; serve TLS")
    parser.add_argument("--key", type=Path, help="PEM, of the certificate")
    parser.add_argument("--most-callers", type=int, default=MOST_CALLERS, help="open connections")
    parser.add_argument("--most-body", type=int, default=MOST_BODY, help="bytes")
    parser.add_argument("--answer-seconds", type=float, default=ANSWER_SECONDS, help="for a worker to answer")
    parser.add_argument("--head-seconds", type=float, default=HEAD_SECONDS, help="for a caller's head to arrive")
    parser.add_argument("--body-seconds", type=float, default=BODY_SECONDS, help="for its body, besides one for each 4 KiB")
    return parser.parse_args(arguments)


def main() -> None:
    os.umask(0o077)
    uvloop.run(serve(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
