"""Google's errors in our words: once, from the code and the reason, never from the prose. docs/spi/vertex.md, (e)."""

from __future__ import annotations

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

# google/rpc/code.proto: number, name; and the HTTP status of those that an HTTP error without a code can only mean
NUMBERS: Mapping[int, str] = dict(
    enumerate(
        (
            "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
            "DATA_LOSS", "UNAUTHENTICATED",
        )
    )
)  # fmt: skip
OF_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
OURS: Mapping[str, type[MlportError]] = {
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ConflictError,
    "ABORTED": BusyError,
    "FAILED_PRECONDITION": InvalidRequestError,
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "UNIMPLEMENTED": InvalidRequestError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "UNAUTHENTICATED": AuthenticationError,
}
OF_REASON: Mapping[str, type[MlportError]] = {  # google/api/error_reason.proto; BigQuery's and Cloud Storage's reasons
    "RATE_LIMIT_EXCEEDED": ThrottledError,
    "RESOURCE_QUOTA_EXCEEDED": QuotaError,
    "rateLimitExceeded": ThrottledError,
    "userRateLimitExceeded": ThrottledError,
    "quotaExceeded": QuotaError,
}
HINTS: Mapping[type[MlportError], str] = {
    PermissionDeniedError: "`mlport doctor` names the permissions that are missing; docs/vertex.md has the least roles",
    AuthenticationError: "log in with `gcloud auth application-default login`, or set credentials in the profile",
    QuotaError: "ask for more in the project's quotas page, or choose another region or machine",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Google said: a name of google.rpc.Code, its words, and the reason where it gives one."""

    code: str
    message: str
    reason: str = ""

    @classmethod
    def of_answer(cls, status: int, content: bytes) -> Refusal:
        """From an HTTP answer; also one that no Google server wrote, such as a proxy's."""
        import json

        code = OF_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        try:
            error = json.loads(content)
            error = error[0] if isinstance(error, list) else error
            error = error["error"]
            return cls(error.get("status") or code, str(error["message"]), reason_of(error))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return cls(code, content[:500].decode("utf-8", "replace").strip() or f"HTTP status {status}")

    @classmethod
    def of_status(cls, status: Json) -> Refusal:
        """From a google.rpc.Status: the error of a job or an operation."""
        return cls(NUMBERS.get(status.get("code", 2), "UNKNOWN"), str(status.get("message", "")), reason_of(status))


def reason_of(error: Json) -> str:
    """The reason in an error's ErrorInfo, or in the older `errors` list; empty if there is none."""
    found = [each.get("reason") for field in ("details", "errors") for each in error.get(field, ()) if isinstance(each, dict)]
    return next((str(reason) for reason in found if reason), "")


def translated(refusal: Refusal, operation: str, *, repeatable: bool) -> MlportError:
    """Our error. `repeatable`: the call reads, or may be made again without harm, so that no answer means no more than try again."""
    kind = OF_REASON.get(refusal.reason) or OURS.get(refusal.code)
    if kind is None and refusal.code == "RESOURCE_EXHAUSTED":
        kind = ThrottledError if repeatable else QuotaError
    kind = kind or (UnavailableError if repeatable else AmbiguousError)
    return kind(refusal.message, hint=HINTS.get(kind), provider="vertex", operation=operation, native_code=refusal.code)
