"""Who alerts are for: an HTTP server and a mail server on loopback, which keep what they are sent and answer as they are told."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One answer over HTTP; a status of 0 breaks the connection instead."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)


class Hook(ThreadingHTTPServer):
    """Gives its answers in turn, and 200 after the last; `got` are path, headers and body of each request."""

    daemon_threads = True

    def __init__(self, answers: list[Answer], tls: ssl.SSLContext | None = None) -> None:
        self.answers, self.got = answers, list[tuple[str, dict[str, str], bytes]]()
        super().__init__(("127.0.0.1", 0), _Hooked)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that does not trust the certificate is what is tested."""


class _Hooked(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        answer = self.server.answers.pop(0) if self.server.answers else Answer()
        if not answer.status:
            self.connection.close()
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def do_GET(self) -> None:
        raise AssertionError("a redirect was followed")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@dataclass
class Letter:
    """What a mail server took."""

    sender: str
    addresses: list[str]
    content: EmailMessage
    encrypted: bool
    login: tuple[str, str] | None


class Post(socketserver.ThreadingTCPServer):
    """A mail server. `refuse` maps the beginning of a command to the replies it gets in turn, before it is obeyed."""

    allow_reuse_address = daemon_threads = True

    def __init__(
        self, refuse: dict[str, list[str]], tls: ssl.SSLContext | None, *, from_start: bool, login: tuple[str, str] | None
    ) -> None:
        self.refuse, self.tls, self.from_start, self.login = refuse, tls, from_start, login
        self.letters: list[Letter] = []
        self.commands: list[str] = []
        super().__init__(("127.0.0.1", 0), _Posted)
        self.port = self.server_address[1]

    def handle_error(self, *_: Any) -> None:
        """A client that does not trust the certificate is what is tested."""


class _Posted(socketserver.StreamRequestHandler):
    server: Post

    def setup(self) -> None:
        if self.server.from_start and self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()
        self.encrypted, self.login = self.server.from_start, None
        self.sender, self.addresses = "", list[str]()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def hear(self) -> str:
        return self.rfile.readline().decode().strip()

    def handle(self) -> None:
        self.say("220 post.test ready")
        while line := self.hear():
            self.server.commands.append(line)
            replies = next((found for start, found in self.server.refuse.items() if line.upper().startswith(start.upper()) and found), None)
            if replies:
                self.say(replies.pop(0))
            elif line.upper() == "QUIT":
                return self.say("221 bye")
            else:
                self.obey(line)
        return None

    def obey(self, line: str) -> None:
        match line.split(maxsplit=1)[0].upper():
            case "EHLO":
                more = ["250-STARTTLS"] if self.server.tls and not self.encrypted else []
                self.say("\r\n".join(["250-post.test", *more, *(["250-AUTH PLAIN"] if self.server.login else []), "250 SIZE"]))
            case "STARTTLS":
                assert self.server.tls
                self.say("220 go on")
                self.rfile.close()
                self.wfile.close()
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile, self.encrypted = self.request.makefile("rb"), self.request.makefile("wb", 0), True
            case "AUTH":
                _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                self.login = (user, password)
                self.say("235 in" if self.login == self.server.login else "535 5.7.8 no such login")
            case "MAIL":
                self.sender, self.addresses = line.partition(":")[2].partition(">")[0].strip("<"), []
                self.say("250 ok")
            case "RCPT":
                self.addresses.append(line.partition(":")[2].strip("<>"))
                self.say("250 ok")
            case "DATA":
                self.say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                content = message_from_bytes(b"".join(each[1:] if each.startswith(b".") else each for each in lines), policy=policy.default)
                assert isinstance(content, EmailMessage)
                self.server.letters.append(Letter(self.sender, self.addresses, content, self.encrypted, self.login))
                self.say("250 taken")
            case _:
                self.say("250 ok")


@contextmanager
def hook(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Hook]:
    """A receiver of webhooks."""
    with _serving(Hook(list(answers), tls)) as server:
        yield server


@contextmanager
def post(
    *,
    tls: ssl.SSLContext | None = None,
    from_start: bool = False,
    login: tuple[str, str] | None = None,
    refuse: dict[str, list[str]] | None = None,
) -> Iterator[Post]:
    """A mail server."""
    with _serving(Post(refuse or {}, tls, from_start=from_start, login=login)) as server:
        yield server


@contextmanager
def _serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
