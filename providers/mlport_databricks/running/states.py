"""Databricks' states of runs in our words: docs/spi/databricks.md, (d). Read from raw JSON, for the SDK drops words it does not know."""

from __future__ import annotations

from collections.abc import Mapping

from mlport.spi import Cause, Json, State

GOING: Mapping[str, State] = {
    "QUEUED": State.QUEUED,
    "BLOCKED": State.QUEUED,
    "WAITING": State.QUEUED,
    "WAITING_FOR_RETRY": State.QUEUED,
    "PENDING": State.STARTING,
    "RUNNING": State.RUNNING,
}
ENDED: Mapping[str, State] = {  # state.result_state
    "SUCCESS": State.SUCCEEDED,
    "CANCELED": State.CANCELLED,
    "SUCCESS_WITH_FAILURES": State.FAILED,
    "FAILED": State.FAILED,
    "TIMEDOUT": State.FAILED,
    "UPSTREAM_FAILED": State.FAILED,
    "UPSTREAM_CANCELED": State.FAILED,
    "EXCLUDED": State.FAILED,
    "DISABLED": State.FAILED,
    "MAXIMUM_CONCURRENT_RUNS_REACHED": State.FAILED,
}
CODES: Mapping[str, Cause] = {  # status.termination_details.code of a run that failed, and what it means
    "RUN_EXECUTION_ERROR": "exit",
    "USER_CANCELED": "cancelled",
    "CANCELED": "timeout",
    "DRIVER_ERROR": "lost",
    "CLUSTER_ERROR": "lost",
    "CLOUD_FAILURE": "lost",
    "INTERNAL_ERROR": "lost",
    "CLUSTER_TERMINATED_BY_USER": "lost",
    "LIBRARY_INSTALLATION_ERROR": "environment",
    "BUDGET_POLICY_LIMIT_EXCEEDED": "quota",
    "CLUSTER_REQUEST_LIMIT_EXCEEDED": "quota",
    "MAX_CONCURRENT_RUNS_EXCEEDED": "quota",
    "MAX_JOB_QUEUE_SIZE_EXCEEDED": "quota",
    "MAX_SPARK_CONTEXTS_EXCEEDED": "quota",
    "WORKSPACE_RUN_LIMIT_EXCEEDED": "quota",
    "SUCCESS_WITH_FAILURES": "",
    "STORAGE_ACCESS_ERROR": "",
    "UNAUTHORIZED_ERROR": "",
    "RESOURCE_NOT_FOUND": "",
    "REPOSITORY_CHECKOUT_FAILED": "",
    "INVALID_CLUSTER_REQUEST": "",
    "INVALID_RUN_CONFIGURATION": "",
    "FEATURE_DISABLED": "",
    "BREAKING_CHANGE": "",
    "SKIPPED": "",
    "DISABLED": "",
}


def words(run: Json) -> tuple[str, str, str, str]:
    """The run's state and termination code (V2), and its life cycle and result (V1); empty where it does not say."""
    status, state = run.get("status") or {}, run.get("state") or {}
    details = status.get("termination_details") or {}
    return status.get("state") or "", details.get("code") or "", state.get("life_cycle_state") or "", state.get("result_state") or ""


def run_state(run: Json) -> State:
    """Ours; UNKNOWN for a word that is not known, or none."""
    now, code, life, result = words(run)
    if (now or life) == "TERMINATING":
        is_asked = (run.get("state") or {}).get("user_cancelled_or_timedout") or code == "USER_CANCELED"
        return State.CANCELLING if is_asked else State.RUNNING
    if now == "TERMINATED" or (not now and life in ("TERMINATED", "SKIPPED")) or (life == "INTERNAL_ERROR" and result):
        return _ended(code, life, result)
    return GOING.get(now or life, State.UNKNOWN)


def _ended(code: str, life: str, result: str) -> State:
    if life == "SKIPPED":
        return State.FAILED
    if result in ENDED:
        return ENDED[result]
    if code == "SUCCESS":
        return State.SUCCEEDED
    if code == "USER_CANCELED":
        return State.CANCELLED
    return State.FAILED if code in CODES or life == "INTERNAL_ERROR" else State.UNKNOWN


def native_state(run: Json) -> str:
    """Databricks' own words, the newer ones where there are both."""
    now, code, life, result = words(run)
    return " ".join(word for word in ((now, code) if now else (life, result)) if word)


def cause_of(run: Json) -> Cause:
    """Why a run failed, as far as Databricks itself tells."""
    _, code, _, result = words(run)
    if result == "TIMEDOUT":
        return "timeout"
    return CODES.get(code, "")
