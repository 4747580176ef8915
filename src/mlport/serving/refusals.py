"""A request that is answered with an error, as an exception that carries the HTTP status."""

from __future__ import annotations


class RefusedError(Exception):
    """The request cannot be answered.

    Attributes:
        status: The HTTP status.
        message: Names the field and says what would be right.
        headers: Further header lines of the answer, each ended by CRLF.
    """

    def __init__(self, status: int, message: str, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class CrashedError(Exception):
    """The model raised while it predicted; the original is `__cause__`. Answered with status 500."""

    @classmethod
    def of(cls, error: Exception) -> CrashedError:
        crash = cls(f"{type(error).__name__}: {error}")
        crash.__cause__ = error
        return crash
