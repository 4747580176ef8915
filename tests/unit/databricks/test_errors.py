"""Databricks' errors and states in our words: the whole tables, and answers that no Databricks server wrote."""

from __future__ import annotations

import pytest
from databricks.sdk.errors.platform import ERROR_CODE_MAPPING, STATUS_CODE_MAPPING, TooManyRequests
from databricks.sdk.service.jobs import RunLifeCycleState, RunLifecycleStateV2State, RunResultState, TerminationCodeCode

from mlport import errors as ours
from mlport.spi import Json, State
from mlport_databricks.running.states import CODES, ENDED, GOING, cause_of, native_state, run_state
from mlport_databricks.workspace.errors import OF_STATUS, OURS, Refusal, translated

SUBMIT, GET_RUN, ENDPOINT = "/api/2.2/jobs/runs/submit", "/api/2.2/jobs/runs/get", "/api/2.0/serving-endpoints/x/config"
IN_DOUBT = {"UNKNOWN", "DATA_LOSS", "CANCELLED", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_every_code_that_the_sdk_knows_is_ours_or_in_doubt() -> None:
    known = set(OURS) | IN_DOUBT | {"RESOURCE_CONFLICT"}
    assert set(ERROR_CODE_MAPPING) <= known
    assert set(STATUS_CODE_MAPPING) <= set(OF_STATUS)
    assert set(OF_STATUS.values()) <= known


@pytest.mark.parametrize(
    ("status", "code", "verb", "path", "kind"),
    [
        (404, "RESOURCE_DOES_NOT_EXIST", "GET", ENDPOINT, ours.NotFoundError),
        (404, "SCHEMA_DOES_NOT_EXIST", "GET", "/api/2.1/unity-catalog/models/a.b.c", ours.NotFoundError),
        (400, "INVALID_PARAMETER_VALUE", "GET", GET_RUN, ours.NotFoundError),
        (400, "INVALID_PARAMETER_VALUE", "GET", "/api/2.2/jobs/runs/get-output", ours.NotFoundError),
        (400, "INVALID_PARAMETER_VALUE", "POST", SUBMIT, ours.InvalidRequestError),
        (400, "INVALID_PARAMETER_VALUE", "GET", "/api/2.2/jobs/runs/list", ours.InvalidRequestError),
        (409, "RESOURCE_ALREADY_EXISTS", "POST", ENDPOINT, ours.ConflictError),
        (409, "RESOURCE_CONFLICT", "PUT", ENDPOINT, ours.BusyError),
        (409, "RESOURCE_CONFLICT", "PUT", "/api/2.0/fs/files/Volumes/a", ours.ConflictError),
        (409, "SOMETHING_NEW", "PUT", ENDPOINT, ours.ConflictError),
        (400, "INVALID_STATE", "POST", SUBMIT, ours.ConflictError),
        (400, "SOMETHING_NEW", "POST", SUBMIT, ours.InvalidRequestError),
        (403, "PERMISSION_DENIED", "GET", GET_RUN, ours.PermissionDeniedError),
        (401, "UNAUTHENTICATED", "GET", GET_RUN, ours.AuthenticationError),
        (429, "RESOURCE_EXHAUSTED", "POST", SUBMIT, ours.ThrottledError),
        (429, "REQUEST_LIMIT_EXCEEDED", "POST", SUBMIT, ours.ThrottledError),
        (429, "SOMETHING_NEW", "POST", SUBMIT, ours.ThrottledError),
        (400, "QUOTA_EXCEEDED", "POST", SUBMIT, ours.QuotaError),
        (429, "QUOTA_EXCEEDED", "POST", SUBMIT, ours.QuotaError),
        (400, "RESOURCE_LIMIT_EXCEEDED", "POST", ENDPOINT, ours.QuotaError),
        (501, "NOT_IMPLEMENTED", "POST", SUBMIT, ours.InvalidRequestError),
    ],
)
def test_what_is_certain(status: int, code: str, verb: str, path: str, kind: type[ours.MlportError]) -> None:
    for repeatable in (True, False):
        error = translated(Refusal(status, code, "said so"), verb, path, "x", repeatable=repeatable)
        assert (type(error), error.native_code, error.message) == (kind, code, "said so")


def test_what_the_sdk_calls_too_many_requests_may_be_tried_again() -> None:
    ours_of = {code: OURS[code] for code, kind in ERROR_CODE_MAPPING.items() if issubclass(kind, TooManyRequests)}
    assert len(ours_of) >= 2
    assert all(kind.retryable for kind in ours_of.values()), ours_of


@pytest.mark.parametrize("status", [500, 502, 503, 504, 499])
def test_what_may_have_been_done(status: int) -> None:
    refusal = Refusal.of_answer(status, b"<html>gateway</html>")
    assert type(translated(refusal, "POST", SUBMIT, "x", repeatable=False)) is ours.AmbiguousError
    assert type(translated(refusal, "GET", GET_RUN, "x", repeatable=True)) is ours.UnavailableError


def test_answers_of_each_shape_are_read() -> None:
    headers = {"x-databricks-request-id": "r1"}
    assert Refusal.of_answer(400, b'{"error_code": "BAD", "message": "no"}', headers) == Refusal(400, "BAD", "no", "r1")
    assert Refusal.of_answer(404, b'{"detail": "no such user", "status": "404"}').message == "no such user"
    for content in (b"[1]", b"not json", b"", b"\xff"):
        assert Refusal.of_answer(403, content).code == "PERMISSION_DENIED"
    assert Refusal.of_answer(418, b"").message == "HTTP status 418"


# ---------------------------------------------------------------- states


def run_of(state: str = "", code: str = "", life: str = "", result: str = "", **fields: object) -> Json:
    details = {"termination_details": {"code": code}} if code else {}
    v1 = {"life_cycle_state": life or state, **({"result_state": result} if result else {}), **fields}
    return {**({"status": {"state": state, **details}} if state else {}), "state": v1}


def test_every_word_of_the_sdk_is_in_a_table() -> None:
    both = {each.value for each in (*RunLifeCycleState, *RunLifecycleStateV2State)}
    assert both - set(GOING) == {"TERMINATING", "TERMINATED", "SKIPPED", "INTERNAL_ERROR"}
    assert {each.value for each in RunResultState} == set(ENDED)
    assert {each.value for each in TerminationCodeCode} - {"SUCCESS"} <= set(CODES)


@pytest.mark.parametrize(
    ("run", "state", "native"),
    [
        (run_of("QUEUED"), State.QUEUED, "QUEUED"),
        (run_of("WAITING", life="WAITING_FOR_RETRY"), State.QUEUED, "WAITING"),
        (run_of("PENDING"), State.STARTING, "PENDING"),
        (run_of("RUNNING"), State.RUNNING, "RUNNING"),
        (run_of("TERMINATING"), State.RUNNING, "TERMINATING"),
        (run_of("TERMINATING", user_cancelled_or_timedout=True), State.CANCELLING, "TERMINATING"),
        (run_of("TERMINATING", "USER_CANCELED"), State.CANCELLING, "TERMINATING USER_CANCELED"),
        (run_of("TERMINATED", "SUCCESS", result="SUCCESS"), State.SUCCEEDED, "TERMINATED SUCCESS"),
        (run_of("TERMINATED", "SUCCESS"), State.SUCCEEDED, "TERMINATED SUCCESS"),
        (run_of("TERMINATED", "USER_CANCELED", result="CANCELED"), State.CANCELLED, "TERMINATED USER_CANCELED"),
        (run_of("TERMINATED", "CANCELED", result="TIMEDOUT"), State.FAILED, "TERMINATED CANCELED"),
        (run_of("TERMINATED", "SUCCESS_WITH_FAILURES", result="SUCCESS_WITH_FAILURES"), State.FAILED, "TERMINATED SUCCESS_WITH_FAILURES"),
        (
            run_of("TERMINATED", "RUN_EXECUTION_ERROR", life="INTERNAL_ERROR", result="FAILED"),
            State.FAILED,
            "TERMINATED RUN_EXECUTION_ERROR",
        ),
        (run_of(life="INTERNAL_ERROR", result="FAILED"), State.FAILED, "INTERNAL_ERROR FAILED"),
        (run_of(life="INTERNAL_ERROR"), State.UNKNOWN, "INTERNAL_ERROR"),
        (run_of(life="SKIPPED"), State.FAILED, "SKIPPED"),
        (run_of("TERMINATED", "A_NEW_CODE"), State.UNKNOWN, "TERMINATED A_NEW_CODE"),
        (run_of("A_NEW_STATE"), State.UNKNOWN, "A_NEW_STATE"),
        ({}, State.UNKNOWN, ""),
    ],
)
def test_a_run_in_our_words(run: Json, state: State, native: str) -> None:
    assert (run_state(run), native_state(run)) == (state, native)


def test_a_timeout_of_databricks_own_is_one() -> None:
    assert cause_of(run_of("TERMINATED", "CANCELED", result="TIMEDOUT")) == "timeout"
    assert cause_of(run_of("TERMINATED", "LIBRARY_INSTALLATION_ERROR", result="FAILED")) == "environment"
    assert cause_of(run_of("TERMINATED", "A_NEW_CODE", result="FAILED")) == ""
