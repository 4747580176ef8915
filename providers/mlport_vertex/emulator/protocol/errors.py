"""Errors as Google words them: a code of google.rpc, a message, and details; over HTTP and over gRPC alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlport.emulation.calls import Reply
from mlport_vertex.emulator.protocol.discovery import Problem, snake

Json = dict[str, Any]

# google/rpc/code.proto: name, number, HTTP status
CODES: Mapping[str, tuple[int, int]] = {
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
OF_STATUS = {400: "INVALID_ARGUMENT", 409: "ABORTED", 500: "INTERNAL", **{
    http: name for name, (_, http) in CODES.items() if http not in (400, 409, 500)
}}  # fmt: skip


class ApiError(Exception):
    """What a handler raises to refuse. `code` is a name of google.rpc.Code."""

    def __init__(self, code: str, message: str, details: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, tuple(details)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code][1]

    def rpc(self) -> Json:
        """As google.rpc.Status: the error of an operation or a job."""
        return {"code": CODES[self.code][0], "message": self.message, **({"details": list(self.details)} if self.details else {})}

    def reply(self) -> Reply:
        """As the HTTP APIs that came after 2015 answer it."""
        details = {"details": list(self.details)} if self.details else {}
        return Reply.of({"error": {"code": self.status, "message": self.message, "status": self.code, **details}}, self.status)


def not_found(kind: str, name: str) -> ApiError:
    """`kind` is the singular noun, such as CustomJob."""
    return ApiError("NOT_FOUND", f"The {kind} does not exist: {name}")


def violations(pairs: Sequence[tuple[str, str]]) -> Json:
    """google.rpc.BadRequest: (field, description) pairs."""
    found = [{**({"field": field} if field else {}), "description": said} for field, said in pairs]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": found}


def refusal(problems: Sequence[Problem], root: str) -> ApiError:
    """A body that does not fit. `root` is the field of the request that the body is, such as `custom_job`; empty for the whole.

    What cannot be parsed is told before what is missing, as a server parses before it looks. The sentences are those of
    Google's JSON transcoder and of Vertex AI's validation (docs/emulators.md cites where each was seen).
    """
    parsing = [problem for problem in problems if problem.kind != "required"]
    if parsing:
        said = [(_under(root, problem.field), _sentence(problem, root)) for problem in parsing]
        return ApiError("INVALID_ARGUMENT", "\n".join(sentence for _, sentence in said), [violations(said)])
    missing = [(_under(root, problem.field), "Required field is not set.") for problem in problems]
    listed = "".join(f"{number}.Field: {field}; Message: {said}\t" for number, (field, said) in enumerate(missing, 1))
    return ApiError("INVALID_ARGUMENT", f"List of found errors:\t{listed}", [violations(missing)])


def _under(root: str, field: str) -> str:
    return f"{root}.{field}".strip(".") if field else root


def _sentence(problem: Problem, root: str) -> str:
    where = _under(root, problem.field)
    if problem.kind == "unknown":
        at = f" at '{where}'" if where else ""
        return f'Invalid JSON payload received. Unknown name "{problem.name}"{at}: Cannot find field.'
    return f"Invalid value at '{where}' ({snake(problem.name)}), {problem.said}"
