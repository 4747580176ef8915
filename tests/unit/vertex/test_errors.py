"""Google's errors in our words: the whole table, and answers that no Google server wrote."""

from __future__ import annotations

import json

import pytest

from mlport import errors as ours
from mlport_vertex.google.errors import NUMBERS, Refusal, translated

READ = {
    "NOT_FOUND": ours.NotFoundError,
    "ALREADY_EXISTS": ours.ConflictError,
    "ABORTED": ours.BusyError,
    "FAILED_PRECONDITION": ours.InvalidRequestError,
    "INVALID_ARGUMENT": ours.InvalidRequestError,
    "OUT_OF_RANGE": ours.InvalidRequestError,
    "UNIMPLEMENTED": ours.InvalidRequestError,
    "PERMISSION_DENIED": ours.PermissionDeniedError,
    "UNAUTHENTICATED": ours.AuthenticationError,
    "RESOURCE_EXHAUSTED": ours.ThrottledError,
    "UNAVAILABLE": ours.UnavailableError,
    "DEADLINE_EXCEEDED": ours.UnavailableError,
    "CANCELLED": ours.UnavailableError,
    "INTERNAL": ours.UnavailableError,
    "UNKNOWN": ours.UnavailableError,
    "DATA_LOSS": ours.UnavailableError,
}
MADE = {**READ, "RESOURCE_EXHAUSTED": ours.QuotaError} | dict.fromkeys(
    ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN", "DATA_LOSS"), ours.AmbiguousError
)


def test_the_table_is_whole() -> None:
    assert set(READ) == set(NUMBERS.values()) - {"OK"}


@pytest.mark.parametrize(("repeatable", "table"), [(True, READ), (False, MADE)])
def test_each_code_is_one_of_ours(repeatable: bool, table: dict[str, type[ours.MlportError]]) -> None:
    for code, kind in table.items():
        error = translated(Refusal(code, "said so"), "customJobs.get", repeatable=repeatable)
        assert (type(error), error.native_code, error.provider, error.operation) == (kind, code, "vertex", "customJobs.get")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("RATE_LIMIT_EXCEEDED", ours.ThrottledError),
        ("RESOURCE_QUOTA_EXCEEDED", ours.QuotaError),
        ("rateLimitExceeded", ours.ThrottledError),
    ],
)
def test_the_reason_tells_waiting_from_asking_for_more(reason: str, kind: type[Exception]) -> None:
    assert type(translated(Refusal("RESOURCE_EXHAUSTED", "", reason), "x", repeatable=False)) is kind


def test_an_answer_of_googles_is_read() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    content = json.dumps({"error": {"code": 429, "message": "too many", "status": "RESOURCE_EXHAUSTED", "details": [info]}}).encode()
    assert Refusal.of_answer(429, content) == Refusal("RESOURCE_EXHAUSTED", "too many", "RATE_LIMIT_EXCEEDED")
    old = json.dumps({"error": {"code": 403, "message": "slow down", "errors": [{"reason": "rateLimitExceeded"}]}}).encode()
    assert Refusal.of_answer(403, old) == Refusal("PERMISSION_DENIED", "slow down", "rateLimitExceeded")


@pytest.mark.parametrize("content", [b"", b"<html>Bad gateway</html>", b"[]", b'{"error": "x"}', b'"text"', b"null", b'{"error": null}'])
def test_an_answer_of_nobodys_is_told_by_its_status(content: bytes) -> None:
    refusal = Refusal.of_answer(502, content)
    assert refusal.code == "UNAVAILABLE"
    assert refusal.message


def test_a_jobs_error_goes_through_the_same_table() -> None:
    refusal = Refusal.of_status({"code": 8, "message": "no quota"})
    assert (refusal.code, refusal.message) == ("RESOURCE_EXHAUSTED", "no quota")
