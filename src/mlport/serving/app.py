"""Every route of the model server, and the one way that an exchange ends: kept, then answered.

| route | protocol |
|---|---|
| `GET /v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models/M[/versions/V][/ready]` | Open Inference Protocol V2 |
| `POST /v2/models/M[/versions/V]/infer` | the same |
| `GET /ping`, `/health`, `/version`; `POST /invocations` | MLflow's scoring server, SageMaker's containers |
| `GET $AIP_HEALTH_ROUTE`; `POST $AIP_PREDICT_ROUTE` | Vertex AI's containers, when those variables are set; a route above keeps its protocol |

Errors are `{"error": "..."}`. Every answer carries `x-request-id`: the router's, else the caller's, else a new one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from mlport import __version__
from mlport.capture.frames import Form, Frame
from mlport.capture.spool import Spool, is_sampled
from mlport.serving import answers
from mlport.serving.batching import Batcher
from mlport.serving.flavors import Model
from mlport.serving.http1 import Request
from mlport.serving.openinference import MOST_ID, Echo, OpenInference
from mlport.serving.options import Options
from mlport.serving.refusals import CrashedError, RefusedError
from mlport.serving.scoring import Parsed, Scoring
from mlport.serving.signature import Row

_OVERLOADED = RefusedError(503, "too many requests wait already; try again", b"retry-after: 1\r\n")


class Dialect(Protocol):
    """How one protocol's requests are read and its answers written."""

    def read(self, body: bytes, content_type: str) -> Parsed: ...

    def write(self, predictions: Any, echo: Any) -> bytes: ...


class Exchange:
    """One inference request on its way to its answer; what `Batcher` works on."""

    __slots__ = ("call", "caller_id", "dialect", "echo", "request", "request_id", "rows")

    def __init__(self, request: Request, dialect: Dialect, request_id: str, caller_id: str | None) -> None:
        self.request, self.dialect, self.request_id, self.caller_id = request, dialect, request_id, caller_id
        self.rows: list[Row] = []
        self.call: Callable[[], Any] | None = None
        self.echo: Any = None


class App:
    """The application of one model: `handle` is given every request, on the event loop.

    Args:
        spool: Where exchanges are kept; None keeps nothing.
    """

    def __init__(self, model: Model, options: Options, spool: Spool | None, loop: asyncio.AbstractEventLoop) -> None:
        self._model, self._options, self._spool = model, options, spool
        self._v2 = OpenInference(model)
        self.batcher = Batcher(model.predict, self._settle, loop)
        self.in_flight = 0
        self._ids = (f"{prefix}{n:012x}" for prefix in (os.urandom(10).hex(),) for n in count())
        self._posts = self._post_routes()
        self._gets = self._get_routes()

    # -------------------------------------------------------------- routes

    def _post_routes(self) -> dict[bytes, Dialect]:
        scoring = Scoring(self._model)
        name, version = self._model.name, self._model.version
        routes: dict[bytes, Dialect] = {b"/invocations": scoring, f"/v2/models/{name}/infer".encode(): self._v2}
        if version is not None:
            routes[f"/v2/models/{name}/versions/{version}/infer".encode()] = self._v2
        if self._options.predict_route:
            routes.setdefault(self._options.predict_route.encode(), Scoring(self._model, positional=True))
        return routes

    def _get_routes(self) -> dict[bytes, bytes]:
        from mlflow.version import VERSION

        name, version = self._model.name, self._model.version
        model = f"/v2/models/{name}"
        ready, metadata = answers.encode({"name": name, "ready": True}), answers.encode(self._v2.metadata())
        routes = {
            "/v2": answers.encode({"name": "mlport", "version": __version__, "extensions": []}),
            "/v2/health/live": b'{"live":true}',
            "/v2/health/ready": b'{"live":true,"ready":true}',
            "/ping": b"\n",
            "/health": b"\n",
            "/version": VERSION.encode(),
            model: metadata,
            f"{model}/ready": ready,
        }
        if version is not None:
            routes |= {f"{model}/versions/{version}": metadata, f"{model}/versions/{version}/ready": ready}
        if self._options.health_route:
            routes[self._options.health_route] = b"{}"
        return {path.encode(): body for path, body in routes.items()}

    # -------------------------------------------------------------- requests

    def handle(self, request: Request) -> None:
        """Answer a request, or have it answered when its batch is done."""
        dialect = self._posts.get(request.target) or self._posts.get(_path(request))
        if dialect is not None and request.method == b"POST" and request.refusal is None:
            self._infer(request, dialect)
        else:
            self._other(request)

    def _infer(self, request: Request, dialect: Dialect) -> None:
        exchange = Exchange(request, dialect, self._request_id(request), _header(request, b"x-caller-id"))
        self.in_flight += 1
        try:
            parsed = dialect.read(request.body, request.headers.get(b"content-type", b"").decode("latin-1"))
        except RefusedError as refused:
            self._settle([(exchange, refused)])
            return
        exchange.rows, exchange.call, exchange.echo = parsed
        if isinstance(parsed.echo, Echo) and parsed.echo.id is not None:
            exchange.caller_id = parsed.echo.id
        if not self.batcher.submit(exchange):
            self._settle([(exchange, _OVERLOADED)])

    def _other(self, request: Request) -> None:
        lines = b"x-request-id: %b\r\n" % self._request_id(request).encode()
        try:
            request.answer(200, self._look_up(request), lines)
        except RefusedError as refused:
            request.answer(refused.status, answers.error(refused.message), lines + refused.headers)

    def _look_up(self, request: Request) -> bytes:
        if request.refusal is not None:
            raise RefusedError(*request.refusal)
        path = _path(request)
        if path in self._gets and request.method in (b"GET", b"HEAD"):
            return self._gets[path]
        right = "POST" if path in self._posts else "GET, HEAD" if path in self._gets else None
        shown, method = path.decode("latin-1"), request.method.decode("latin-1")
        if right is not None:
            raise RefusedError(405, f"{shown} takes {right}, not {method}", f"allow: {right}\r\n".encode())
        raise RefusedError(404, self._not_found(shown))

    def _not_found(self, path: str) -> str:
        parts = path.split("/")
        if parts[1:3] == ["v2", "models"] and len(parts) > 3:
            if parts[3] != self._model.name:
                return f"there is no model {parts[3]!r}; there is: {self._model.name}"
            if parts[4:5] == ["versions"] and len(parts) > 5 and parts[5] != self._model.version:
                return f"model {self._model.name!r} has no version {parts[5]!r}; there is: {self._model.version}"
        return f"there is nothing at {path}; post to /invocations or /v2/models/{self._model.name}/infer"

    def _request_id(self, request: Request) -> str:
        return _header(request, b"x-request-id") or next(self._ids)

    # -------------------------------------------------------------- answers

    def _settle(self, outcomes: Sequence[tuple[Exchange, Any]]) -> None:
        """End exchanges: write their answers, keep them with one write, and only then send them."""
        written = [(exchange, *self._written(exchange, outcome)) for exchange, outcome in outcomes]
        if self._spool is not None:
            self._keep(self._spool, written)
        for exchange, status, body, headers in written:
            exchange.request.answer(status, body, b"x-request-id: %b\r\n%b" % (exchange.request_id.encode(), headers))
        self.in_flight -= len(written)

    def _written(self, exchange: Exchange, outcome: Any) -> tuple[int, bytes, bytes]:
        """Status, body and further headers."""
        if isinstance(outcome, RefusedError):
            return outcome.status, answers.error(outcome.message), outcome.headers
        if not isinstance(outcome, CrashedError):
            try:
                return 200, exchange.dialect.write(outcome, exchange.echo), b""
            except Exception as error:  # noqa: BLE001 - an answer of the model's own making, without a JSON form
                outcome = CrashedError.of(error)
        print(f"request {exchange.request_id}:", *traceback.format_exception(outcome.__cause__), file=sys.stderr, flush=True)
        return 500, answers.error(f"the model failed: {outcome}", exchange.request_id), b""

    def _keep(self, spool: Spool, written: Sequence[tuple[Exchange, int, bytes, bytes]]) -> None:
        now, rate = time.monotonic(), self._options.capture_rate
        frames = [
            Frame(
                exchange.request_id,
                exchange.caller_id,
                int(exchange.request.time * 1e6),
                now - exchange.request.arrived,
                status,
                _form(exchange),
                exchange.request.body,
                body,
            )
            for exchange, status, body, _ in written
            if is_sampled(exchange.request_id, rate)
        ]
        if frames:
            spool.append(frames)


def _form(exchange: Exchange) -> Form:
    if isinstance(exchange.dialect, OpenInference):
        return Form.TENSORS
    content_type = exchange.request.headers.get(b"content-type", b"application/json").lower()
    if content_type.startswith(b"application/json"):
        return Form.ROWS
    return Form.CSV if content_type.startswith(b"text/csv") else Form.OTHER


def _header(request: Request, name: bytes) -> str | None:
    """A header's text, None when it is absent, empty, too long to keep or not printable."""
    value = request.headers.get(name, b"").decode("latin-1")
    return value if 0 < len(value) <= MOST_ID and value.isprintable() and value.isascii() else None


def _path(request: Request) -> bytes:
    """The path alone: no query, no escapes, no slash at the end."""
    path = unquote_to_bytes(request.target.split(b"?", 1)[0])
    return path.rstrip(b"/") or b"/"
