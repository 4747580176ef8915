"""Databricks' errors in our words: once, from code, status and path, never from the prose. docs/spi/databricks.md, (e)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlport.errors import (
    AmbiguousError,
    AuthenticationError,
    BusyError,
    ConflictError,
    InvalidRequestError,
    MlportError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    ThrottledError,
    UnavailableError,
)

Json = dict[str, Any]

OF_STATUS: Mapping[int, str] = {  # databricks/sdk/errors/platform.py, STATUS_CODE_MAPPING, as the codes that mean the same
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "RESOURCE_CONFLICT",
    412: "ABORTED",
    413: "BAD_REQUEST",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    502: "TEMPORARILY_UNAVAILABLE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
OURS: Mapping[str, type[MlportError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ConflictError,
    "RESOURCE_ALREADY_EXISTS": ConflictError,
    "ABORTED": ConflictError,
    "INVALID_STATE": ConflictError,
    "BAD_REQUEST": InvalidRequestError,
    "INVALID_PARAMETER_VALUE": InvalidRequestError,
    "MALFORMED_REQUEST": InvalidRequestError,
    "NOT_IMPLEMENTED": InvalidRequestError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "UNAUTHENTICATED": AuthenticationError,
    "QUOTA_EXCEEDED": QuotaError,
    "RESOURCE_LIMIT_EXCEEDED": QuotaError,
    # a TooManyRequests of the SDK, which tries again: "RPC token bucket limit has been exceeded" (databricks-sdk-py, issue 274)
    "REQUEST_LIMIT_EXCEEDED": ThrottledError,
    "RESOURCE_EXHAUSTED": ThrottledError,
}
HINTS: Mapping[type[MlportError], str] = {
    PermissionDeniedError: "`mlport doctor` names what is missing; docs/databricks.md has the least grants",
    AuthenticationError: "set token, or client_id and client_secret, in the profile, or log in with `databricks auth login`",
    QuotaError: "ask for more in the workspace's limits, or remove what is not needed",
}
# databricks/sdk/errors/overrides.py: a GET whose only argument is an id calls an unknown id an invalid value
ABSENT_BY_VALUE = re.compile(r"/api/2\.\d/(clusters/get|jobs/get|jobs/runs/get|jobs/runs/get-output)")
ENDPOINTS = re.compile(r"/api/2\.0/serving-endpoints(/|$)")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Databricks said: its error code, its words, and the id to quote where it gives one."""

    status: int
    code: str
    message: str
    request_id: str | None = None

    @classmethod
    def of_answer(cls, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> Refusal:
        """From an HTTP answer; also one that Databricks did not write, such as a proxy's. SCIM has a shape of its own."""
        code = OF_STATUS.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        request_id = (headers or {}).get("x-databricks-request-id") or (headers or {}).get("x-request-id")
        plain = content[:500].decode("utf-8", "replace").strip() or f"HTTP status {status}"
        try:
            body = json.loads(content)
        except ValueError:
            return cls(status, code, plain, request_id)
        if not isinstance(body, dict):
            return cls(status, code, plain, request_id)
        said = body.get("message") or body.get("detail") or body.get("error")
        return cls(status, str(body.get("error_code") or code), str(said or plain), request_id)


def translated(refusal: Refusal, verb: str, path: str, operation: str, *, repeatable: bool) -> MlportError:
    """Our error. `repeatable`: the call reads, or may be made again without harm, so that no answer means no more than try again."""
    kind = _kind(refusal, verb, path) or (UnavailableError if repeatable else AmbiguousError)
    return kind(
        refusal.message,
        hint=HINTS.get(kind),
        provider="databricks",
        operation=operation,
        native_code=refusal.code,
        request_id=refusal.request_id,
    )


def _kind(refusal: Refusal, verb: str, path: str) -> type[MlportError] | None:
    """The class for what is certain; None where the work may have been done. An unknown code goes by its status."""
    if refusal.code == "INVALID_PARAMETER_VALUE" and verb == "GET" and ABSENT_BY_VALUE.fullmatch(path):
        return NotFoundError
    if refusal.code == "RESOURCE_CONFLICT":  # "currently updating" of an endpoint; elsewhere something that is there already
        return BusyError if ENDPOINTS.match(path) else ConflictError
    if refusal.code in OURS:
        return OURS[refusal.code]
    if refusal.status == 409:
        return ConflictError
    return OURS.get(OF_STATUS.get(refusal.status, "BAD_REQUEST" if refusal.status < 500 else ""))
