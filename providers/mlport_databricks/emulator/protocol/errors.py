"""Errors as Databricks words them: a code, a message and details, with the HTTP status that belongs to the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlport.emulation.calls import Reply

Json = dict[str, Any]

# databricks-sdk 0.156.0, databricks/sdk/errors/platform.py and private_link.py; the codes without a class of their own there are
# those that databricks/cli's libs/testserver answers with.
STATUS: Mapping[str, int] = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "MALFORMED_REQUEST": 400,
    "INVALID_STATE": 400,
    "FAILED_PRECONDITION": 400,
    "DIRECTORY_NOT_EMPTY": 400,
    "MAX_NOTEBOOK_SIZE_EXCEEDED": 400,
    "LIBRARY_INSTALLATION_ERROR": 400,
    "RESOURCE_LIMIT_EXCEEDED": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "QUOTA_EXCEEDED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "FEATURE_DISABLED": 404,
    "CATALOG_DOES_NOT_EXIST": 404,
    "SCHEMA_DOES_NOT_EXIST": 404,
    "TABLE_DOES_NOT_EXIST": 404,
    "PRINCIPAL_DOES_NOT_EXIST": 404,
    "RESOURCE_CONFLICT": 409,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_ALREADY_EXISTS": 409,
    "CATALOG_ALREADY_EXISTS": 409,
    "SCHEMA_ALREADY_EXISTS": 409,
    "PRECONDITION_FAILED": 412,
    "REQUEST_TOO_LARGE": 413,
    "REQUESTED_RANGE_NOT_SATISFIABLE": 416,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "TOO_MANY_REQUESTS": 429,
    "CANCELLED": 499,
    "INTERNAL_ERROR": 500,
    "UNKNOWN": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
OF_STATUS: Mapping[int, tuple[str, str]] = {
    400: ("BAD_REQUEST", "The request is invalid."),
    401: ("UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."),
    403: ("PERMISSION_DENIED", "User does not have the permission that is needed."),
    404: ("RESOURCE_DOES_NOT_EXIST", "The resource does not exist."),
    409: ("RESOURCE_CONFLICT", "The request conflicts with another."),
    429: ("REQUEST_LIMIT_EXCEEDED", "Current rate limit exceeded. Please retry after some time."),
    500: ("INTERNAL_ERROR", "An internal error occurred. Please contact Databricks support."),
    501: ("NOT_IMPLEMENTED", "This API is not implemented."),
    503: ("TEMPORARILY_UNAVAILABLE", "The service at this path is taking too long to process your request. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The deadline of the request has passed."),
}


class ApiError(Exception):
    """What a handler raises to refuse. `error_code` is a key of STATUS; `status` only where the same code comes with another."""

    def __init__(self, error_code: str, message: str, *, status: int = 0, details: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.error_code, self.message, self.details = error_code, message, tuple(details)
        self.status = status or STATUS[error_code]

    def reply(self) -> Reply:
        details = {"details": list(self.details)} if self.details else {}
        return Reply.of({"error_code": self.error_code, "message": self.message, **details}, self.status)


def invalid(message: str) -> ApiError:
    """INVALID_PARAMETER_VALUE, 400."""
    return ApiError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> ApiError:
    """RESOURCE_DOES_NOT_EXIST, 404."""
    return ApiError("RESOURCE_DOES_NOT_EXIST", message)


def failure(status: int) -> Reply:
    """A fault on demand; 429 and 503 say when to come again, as Databricks does."""
    code, message = OF_STATUS.get(status, ("INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST", f"The request was refused ({status})."))
    reply = ApiError(code, message, status=status).reply()
    return Reply(status, reply.body, {**reply.headers, **({"retry-after": "1"} if status in (429, 503) else {})})
