"""The APIs of a workspace: finds the method that a call means, holds call and answer to its description, and works."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from functools import cache
from typing import Any, Protocol
from urllib.parse import unquote

from mlport.emulation.calls import Call, Reply
from mlport_databricks.emulator.protocol import described
from mlport_databricks.emulator.protocol.checking import Problem, problems, value_problems
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.protocol.kinds import Field

Json = dict[str, Any]
log = logging.getLogger("mlport.emulation")
_PLACE = re.compile(r"(/?)\{(\w+)\}")
UNTOLD = {("GET /api/2.0/workspace/export", "direct_download")}
"""Query arguments that the SDK sends by hand: its generated methods do not name them."""
UNDESCRIBED = "* "  # before the key of a handler that no method of the SDK describes


@dataclass(frozen=True, slots=True)
class Request:
    """A call whose method is known: path and query in one with their types, and the body. `workspace` is its host."""

    arguments: Mapping[str, Any]
    body: Any
    call: Call
    workspace: str
    user: str

    def given(self, name: str, default: Any = None) -> Any:
        """A field of path or query, else of the body."""
        found = self.arguments.get(name)
        if found is None and isinstance(self.body, dict):
            found = self.body.get(name)
        return default if found is None else found


Handler = Callable[[Request], Any]


class Description(Protocol):
    """What a call takes and answers."""

    def request(self, call: Call, places: Mapping[str, str]) -> tuple[Json, Any]:
        """Arguments and body. Raises ApiError."""

    def reply(self, answer: Any) -> Sequence[str]:
        """What is wrong with an answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """A call and who answers it."""

    verb: str
    template: str
    description: Description
    handler: Handler | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """That of its path, percent-encoded; most are never asked for."""
        return _pattern(self.template)

    @property
    def prefix(self) -> str:
        """The part of the path before its first parameter."""
        return self.template.partition("{")[0]


def _route(key: str, description: Description, handler: Handler | None) -> Route:
    verb, _, template = key.partition(" ")
    return Route(verb, template, description, handler)


class Api:
    """All methods of the SDK, those with a handler at work. Handlers are keyed as in the SDK's source: `GET /api/2.0/serving-endpoints/{name}`.

    A key that begins with `* ` is of a call that no method of the SDK describes, or whose body is not held to it; its handler
    reads the call itself. A handler returns the answer as JSON, or a whole Reply, and raises ApiError to refuse. A method without a
    handler is answered with 501, so that nobody takes silence for success.
    """

    def __init__(self, handlers: Mapping[str, Handler], more: Mapping[str, Callable[[], Iterable[Route]]] | None = None) -> None:
        """`more` gives the routes of paths that begin with its keys, when one is first asked for."""
        self._lock, self._more = threading.Lock(), dict(more or {})
        index = described.index()
        if unknown := [key for key in handlers if not key.startswith(UNDESCRIBED) and key not in index]:
            raise ValueError(f"no such methods in the SDK: {', '.join(sorted(unknown))}")
        own = [_route(key.removeprefix(UNDESCRIBED), Raw(), work) for key, work in handlers.items() if key.startswith(UNDESCRIBED)]
        described_ones = [_route(key, Described(key), handlers.get(key)) for key in index]
        self._routes: dict[tuple[str, str], list[Route]] = {}
        self._add((*own, *described_ones))

    def _add(self, routes: Iterable[Route]) -> None:
        for route in routes:
            self._routes.setdefault((route.verb, route.prefix), []).append(route)

    def find(self, verb: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The method that a path, as sent, means, and the values of its places; fixed paths go before those with places."""
        path = path.rstrip("/") or "/"
        with self._lock:
            for prefix in [prefix for prefix in self._more if path.startswith(prefix)]:
                self._add(self._more.pop(prefix)())
        for prefix in _prefixes(path):
            for route in self._routes.get((verb, prefix), ()):
                if match := route.pattern.fullmatch(path):
                    return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None

    def answer(self, call: Call, workspace: str, user: str) -> Reply:
        """Do what the call asks, or say in Databricks' words why not."""
        try:
            return self._answer(call, workspace, user)
        except ApiError as error:
            return error.reply()

    def _answer(self, call: Call, workspace: str, user: str) -> Reply:
        found = self.find(call.method, call.path)
        if found is None:
            raise ApiError("ENDPOINT_NOT_FOUND", f"No API found for '{call.method} {unquote(call.path)}'")
        route, places = found
        if route.handler is None:
            raise ApiError("NOT_IMPLEMENTED", f"The emulator has no {route.verb} {route.template}")
        arguments, body = route.description.request(call, places)
        answer = route.handler(Request(arguments, body, call, workspace, user))
        if isinstance(answer, Reply):
            return answer
        if wrong := route.description.reply(answer):
            log.error("%s %s: our answer does not fit: %s", route.verb, route.template, wrong)
            raise ApiError("INTERNAL_ERROR", f"The emulator's own answer to {route.verb} {route.template} does not fit: {'; '.join(wrong)}")
        return Reply.of({} if answer is None else answer)


# ---------------------------------------------------------------- descriptions


class Raw:
    """A call whose handler reads it itself."""

    def request(self, call: Call, places: Mapping[str, str]) -> tuple[Json, Any]:
        return {**dict(call.query), **places}, None

    def reply(self, answer: Any) -> Sequence[str]:
        return ()


class Described:
    """A call that a method of the SDK describes."""

    def __init__(self, key: str) -> None:
        self._key = key

    def request(self, call: Call, places: Mapping[str, str]) -> tuple[Json, Any]:
        method = described.method(self._key)
        query = [pair for pair in call.query if (self._key, pair[0]) not in UNTOLD]
        arguments = {**dict(call.query), **_arguments(method.arguments, query, places)}
        return arguments, None if method.body is None else self.checked(read_json(call))

    def checked(self, body: Json) -> Json:
        """A body without what is null in it. Raises ApiError for one that does not fit."""
        if wrong := list(problems(described.method(self._key).body or {}, body)):
            raise refusal(wrong)
        return {name: value for name, value in body.items() if value is not None}

    def reply(self, answer: Any) -> Sequence[str]:
        kind = described.method(self._key).answer
        if kind is None:
            return () if not answer else (f"the SDK reads no answer, and this is one: {answer}",)
        return [f"{each.where}: {each.said}" for each in value_problems(kind, answer, "", is_answer=True)]


def form(call: Call) -> dict[str, bytes]:
    """The fields of a multipart form (RFC 7578). Raises ApiError."""
    head = f"content-type: {call.headers['content-type']}\r\n\r\n".encode()
    parsed = BytesParser(policy=HTTP).parsebytes(head + call.read())
    if not parsed.is_multipart():
        raise ApiError("MALFORMED_REQUEST", "The body is not the form that Content-Type says.")
    return {str(part.get_param("name", header="content-disposition")): _content(part) for part in parsed.iter_parts()}


def _content(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def read_json(call: Call) -> Json:
    """The body as an object, empty where there is none. Raises ApiError."""
    try:
        body = call.json()
    except ValueError as error:
        raise ApiError(
            "MALFORMED_REQUEST", f"Invalid JSON given in the body of the request - failed to parse given JSON: {error}"
        ) from error
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ApiError("MALFORMED_REQUEST", "Invalid JSON given in the body of the request - expected a map")
    return body


def refusal(wrong: Sequence[Problem]) -> ApiError:
    """A body that does not fit: what cannot be parsed is told before what is missing, as a server parses before it looks."""
    first = next((each for each in wrong if each.kind != "missing"), wrong[0])
    if first.kind == "missing":
        return invalid(f"Missing required field: {first.where}")
    if first.kind == "unknown":  # the real one drops most of what it does not know; here a spelling mistake is told
        return invalid(f"Could not parse request object: unknown field '{first.where}'")
    return ApiError("MALFORMED_REQUEST", f"Could not parse request object: {first.said} at '{first.where}'")


def _arguments(fields: Mapping[str, Field], query: Sequence[tuple[str, str]], places: Mapping[str, str]) -> Json:
    """Path and query with their types. Raises ApiError for what the method does not have."""
    found: Json = {}
    for key, text in (*places.items(), *query):
        spec = fields.get(key) or fields.get(key.partition(".")[0])  # an object's fields are sent as `filter_by.user_ids`
        if spec is None:
            raise invalid(f"Could not parse request object: unknown query parameter '{key}'")
        if spec.kind.what == "list":
            found.setdefault(key, []).append(_typed(spec.kind.item.what if spec.kind.item else "any", key, text))
        else:
            found[key] = _typed(spec.kind.what, key, text)
            if spec.kind.what == "named" and "." not in key and (wrong := list(value_problems(spec.kind, text, key))):
                raise refusal(wrong)
    if absent := [name for name, spec in fields.items() if spec.required and name not in found]:
        raise invalid(f"Missing required field: {absent[0]}")
    return found


def _typed(what: str, key: str, text: str) -> Any:
    if what == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if what == "int" and re.fullmatch(r"-?\d{1,19}", text):
        return int(text)
    if what == "float" and re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text):
        return float(text)
    if what in ("bool", "int", "float"):
        raise ApiError("MALFORMED_REQUEST", f"Could not parse request object: Expected {what}, got {json.dumps(text)} at '{key}'")
    return text


# ---------------------------------------------------------------- paths


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """`/a/{name}` takes one segment; `/files{path}`, without a slash between, takes all that follows."""
    text, end = "", 0
    for match in _PLACE.finditer(template):
        text += re.escape(template[end : match.start()]) + (f"/(?P<{match[2]}>[^/]+)" if match[1] else f"(?P<{match[2]}>(?:/.*)?)")
        end = match.end()
    return re.compile(text + re.escape(template[end:]))


def _prefixes(path: str) -> list[str]:
    """The path itself, then what stands before each of its slashes with and without the slash, longest first.

    >>> _prefixes("/a/b")
    ['/a/b', '/a/', '/a', '/', '']
    """
    found, end = [path], len(path)
    while (end := path.rfind("/", 0, end)) >= 0:
        found += [path[: end + 1], path[:end]]
    return found
