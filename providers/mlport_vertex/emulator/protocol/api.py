"""One Google API: finds the method that a call means, holds call and answer to the published description, and works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.protocol.discovery import Document, Method, Problem, document, snake
from mlport_vertex.emulator.protocol.enums import with_names
from mlport_vertex.emulator.protocol.errors import ApiError, refusal

Json = dict[str, Any]
log = logging.getLogger("mlport.emulation")
UNDESCRIBED = {("bigquery.v2", "projection")}  # google-cloud-bigquery sends it with each jobs.get, and the real one takes it


@dataclass(frozen=True, slots=True)
class Request:
    """A call whose method is known: path and query in one, by the document's names, and the body as it spells it."""

    method: Method
    arguments: Mapping[str, Any]
    body: Any
    call: Call

    @property
    def name(self) -> str:
        """The resource that it is about."""
        return str(self.arguments["name"])

    @property
    def parent(self) -> str:
        return str(self.arguments["parent"])


Handler = Callable[[Request], Any]


class Api:
    """Methods of one or more documents by their ids, such as `aiplatform.projects.locations.customJobs.create`.

    A handler returns the answer as JSON, or a whole Reply; it raises ApiError to refuse. A method without a handler is
    answered with 501, so that nobody takes silence for success.
    """

    def __init__(self, names: tuple[str, ...], handlers: Mapping[str, Handler]) -> None:
        self.documents: tuple[Document, ...] = tuple(document(name) for name in names)
        self.handlers = handlers
        known = {method for each in self.documents for method in each.methods}
        if unknown := handlers.keys() - known:
            raise ValueError(f"no such methods in {', '.join(names)}: {', '.join(sorted(unknown))}")

    def claims(self, path: str) -> bool:
        """Whether a path, as sent, is one of this API's."""
        return any(each.has_path(_published(path)) for each in self.documents)

    def answer(self, call: Call) -> Reply:
        """Do what the call asks, or say in Google's words why not."""
        try:
            return self._answer(call)
        except ApiError as error:
            return error.reply()

    def _answer(self, call: Call) -> Reply:
        path = _published(call.path)
        found = next(((each, match) for each in self.documents if (match := each.match(call.method, path))), None)
        if found is None:
            raise ApiError("NOT_FOUND", f"Method not found: {call.method} {unquote(call.path)}")
        described, (method, arguments) = found
        handler = self.handlers.get(method.id)
        if handler is None:
            raise ApiError("UNIMPLEMENTED", f"The emulator has no {method.id}.")
        query = _query(described, method, call)
        if (method.request or "").endswith(("RawPredictRequest", "InvokeRequest")):  # its body is the container's, of whatever kind
            return self._replied(described, method, handler(Request(method, {**query, **arguments}, None, call)))
        checked = described.request(method, self._body(described, method, call))
        if checked.problems:
            raise refusal(checked.problems, _root(method))
        return self._replied(described, method, handler(Request(method, {**query, **arguments}, checked.value, call)))

    @staticmethod
    def _replied(described: Document, method: Method, answer: Any) -> Reply:
        if isinstance(answer, Reply):
            return answer
        if problems := described.reply(method, answer):
            log.error("%s: our answer does not fit: %s", method.id, problems)
            raise ApiError("INTERNAL", f"The emulator's own answer to {method.id} does not fit its description: {problems}")
        return Reply.of(answer)

    @staticmethod
    def _body(described: Document, method: Method, call: Call) -> Any:
        try:
            body = call.json()
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
        if "enum-encoding=int" in call.argument("$alt") and method.request and body:
            return with_names(described, method.request, body)
        return body


def _published(path: str) -> str:
    """The path as the description has it. Google's REST clients ask after operations under /ui/, which it does not name."""
    if not path.startswith("/ui/projects/"):
        return path.lstrip("/")
    return f"{'v1beta1' if '/modelMonitors/' in path else 'v1'}/{path.removeprefix('/ui/')}"


def _root(method: Method) -> str:
    """The request's field that the body is: `custom_job` for a CustomJob; nothing for a whole request."""
    name = (method.request or "").removeprefix("GoogleCloudAiplatformV1").removeprefix("beta1")
    return "" if name.endswith("Request") else snake(name)


def _query(described: Document, method: Method, call: Call) -> Json:
    """The query as the method's parameters have it, with their types. Raises ApiError for what they do not have."""
    found: Json = {}
    problems: list[Problem] = []
    for key, text in call.query:
        if key.lstrip("$") in described.parameters or (described.name, key) in UNDESCRIBED:  # Google's clients may write alt as $alt
            continue
        spec = method.parameters.get(key)
        if spec is None:
            problems.append(Problem("unknown", "", key))
        elif spec.get("repeated"):
            found.setdefault(key, []).append(text)
        else:
            found[key] = _typed(spec, key, text, problems)
    if problems:
        said = "\n".join(
            f'Invalid JSON payload received. Unknown name "{problem.name}": Cannot bind query parameter. '
            f"Field '{problem.name}' could not be found in request message."
            if problem.kind == "unknown"
            else f"Invalid value at '{snake(problem.name)}', {problem.said}"
            for problem in problems
        )
        raise ApiError("INVALID_ARGUMENT", said)
    return found


def _typed(spec: Json, key: str, text: str, problems: list[Problem]) -> Any:
    kind = spec.get("type")
    if kind == "boolean":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif kind == "integer" or spec.get("format") == "int64":
        if text.lstrip("-").isdigit():
            return int(text)
    else:
        return text
    problems.append(Problem("value", key, key, f'"{text}" is not {kind}'))
    return None
