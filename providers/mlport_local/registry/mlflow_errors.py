"""MLflow's error codes as our errors, in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlport.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    MlportError,
    NotFoundError,
    PermissionDeniedError,
    ProviderError,
    ThrottledError,
    UnavailableError,
)

ERRORS: dict[str, type[MlportError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_ALREADY_EXISTS": ConflictError,
    "RESOURCE_CONFLICT": ConflictError,
    "INVALID_STATE": ConflictError,
    "INVALID_PARAMETER_VALUE": InvalidRequestError,
    "BAD_REQUEST": InvalidRequestError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "REQUEST_LIMIT_EXCEEDED": ThrottledError,
    "RESOURCE_EXHAUSTED": ThrottledError,
    "TEMPORARILY_UNAVAILABLE": UnavailableError,
}


@contextmanager
def translated(operation: str, **special: type[MlportError]) -> Iterator[None]:
    """Raise MLflow's errors, and those of the disk below it, as ours; `special` overrides the table for this operation."""
    try:
        yield
    except MlportError:
        raise
    except Exception as error:
        ours = _translate(error, operation, {**ERRORS, **special})
        if ours is None:
            raise
        raise ours from error


def _translate(error: Exception, operation: str, table: dict[str, type[MlportError]]) -> MlportError | None:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        code = str(error.error_code)
        kind = UnavailableError if _never_answered(error) else table.get(code, ProviderError)
        return kind(str(error.message), provider="local", operation=operation, native_code=code)
    if isinstance(error, OSError | SQLAlchemyError):  # a full disk, a folder that is read-only, a database that will not open
        return UnavailableError(str(error), provider="local", operation=operation, native_code=type(error).__name__)
    return None


def _never_answered(error: BaseException) -> bool:
    """MLflow says INTERNAL_ERROR for a server that is not there; what it was raised from knows better."""
    from requests.exceptions import ConnectionError as NotConnected
    from requests.exceptions import Timeout

    return isinstance(error.__cause__ or error.__context__, NotConnected | Timeout)
