"""How runs stand, in both of Databricks' forms: `state` (V1) and `status` (V2), from a phase and an outcome of our own.

Phases: QUEUED, BLOCKED, PENDING, RUNNING, TERMINATING, TERMINATED, WAITING_FOR_RETRY. Messages are those seen in public, with
where; what is marked as a guess is one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

FAILED_MESSAGE = "Workload failed, see run output for details"  # databricks/cli libs/testserver/jobs.go
CANCELED_MESSAGE = "Run cancelled."
SKIPPED_DOWNSTREAM = " This caused all downstream tasks to get skipped."  # seen after the message of the failed task
CLEAN = ("SUCCESS", "EXCLUDED", "DISABLED")
SKIPPED = ("UPSTREAM_FAILED", "UPSTREAM_CANCELED", "EXCLUDED", "DISABLED", "MAXIMUM_CONCURRENT_RUNS_REACHED")


def outcome(result: str, code: str, message: str = "", *, life: str = "TERMINATED", kind: str = "CLIENT_ERROR") -> Json:
    """How something ended: result_state and life_cycle_state of V1, code and type of V2, and the message of both."""
    return {"result": result, "code": code, "message": message, "life": life, "type": kind}


SUCCESS = outcome("SUCCESS", "SUCCESS", kind="SUCCESS")
FAILED = outcome("FAILED", "RUN_EXECUTION_ERROR", FAILED_MESSAGE)
CANCELED = outcome("CANCELED", "USER_CANCELED", CANCELED_MESSAGE)  # the type is a guess
TIMED_OUT = outcome("TIMEDOUT", "CANCELED", "Run timed out.")  # the SDK's text on the code: a maximum duration; words and type are guesses
UPSTREAM_FAILED = outcome("UPSTREAM_FAILED", "SKIPPED", "An upstream task failed.", life="SKIPPED")
UPSTREAM_CANCELED = outcome("UPSTREAM_CANCELED", "SKIPPED", "An upstream task was canceled.", life="SKIPPED")
EXCLUDED = outcome("EXCLUDED", "SKIPPED", "The run_if condition was not met.", life="SKIPPED", kind="SUCCESS")
DISABLED = outcome("DISABLED", "DISABLED", "The task is disabled.", life="SKIPPED", kind="SUCCESS")
MAX_CONCURRENT = outcome(
    "MAXIMUM_CONCURRENT_RUNS_REACHED",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
    "Skipped because the job has reached its maximum number of concurrent runs.",
    life="SKIPPED",
)
LOST = outcome("FAILED", "DRIVER_ERROR", "Could not reach driver of cluster.", life="INTERNAL_ERROR", kind="INTERNAL_ERROR")
BROKEN = outcome(
    "FAILED", "INTERNAL_ERROR", "The emulator failed at this run; its log says why.", life="INTERNAL_ERROR", kind="INTERNAL_ERROR"
)


def refused(code: str, message: str, kind: str = "CLIENT_ERROR") -> Json:
    """The attempt could not begin: INTERNAL_ERROR in V1, as Databricks shows it for a file or a library that is not there."""
    return outcome("FAILED", code, message, life="INTERNAL_ERROR", kind=kind)


def unsuccessful(ended: Json) -> bool:
    """What a retry is for: "FAILED result_state or INTERNAL_ERROR life_cycle_state" (SDK, max_retries)."""
    return bool(ended["result"] == "FAILED" or ended["life"] == "INTERNAL_ERROR")


def states(phase: str, ended: Json | None, queued: Json | None = None) -> Json:
    """`state` and `status` of a run or a task."""
    details = {"termination_details": {"code": ended["code"], "type": ended["type"], "message": ended["message"]}} if ended else {}
    terminal = phase == "TERMINATED" and ended is not None
    waiting = {"queue_details": queued} if queued and phase == "QUEUED" else {}
    return {
        "state": {
            "life_cycle_state": ended["life"] if terminal and ended else phase,
            **({"result_state": ended["result"]} if terminal and ended else {}),
            "state_message": ended["message"] if ended else _said(phase),
            "user_cancelled_or_timedout": bool(ended and ended["result"] in ("CANCELED", "TIMEDOUT")),
            **({"queue_reason": queued["message"]} if waiting and queued else {}),
        },
        "status": {"state": {"WAITING_FOR_RETRY": "WAITING"}.get(phase, phase), **details, **waiting},
    }


def _said(phase: str) -> str:
    return {"PENDING": "Waiting for cluster", "RUNNING": "In run", "WAITING_FOR_RETRY": "Waiting for retry"}.get(phase, "")


def verdict(run_if: str, upstream: Collection[Json]) -> Json | None:
    """Why a task whose dependencies have ended is not run; None if it is.

    >>> verdict("ALL_SUCCESS", [SUCCESS]), verdict("AT_LEAST_ONE_SUCCESS", [FAILED, SUCCESS]), verdict("ALL_SUCCESS", [FAILED])["result"]
    (None, None, 'UPSTREAM_FAILED')
    """
    results = [ended["result"] for ended in upstream]
    failed = [result for result in results if result in ("FAILED", "TIMEDOUT", "UPSTREAM_FAILED")]
    canceled = [result for result in results if result in ("CANCELED", "UPSTREAM_CANCELED")]
    succeeded = [result for result in results if result == "SUCCESS"]
    bad = len(failed) + len(canceled)
    met = {
        "ALL_SUCCESS": len(succeeded) == len(results),
        "AT_LEAST_ONE_SUCCESS": bool(succeeded),
        "NONE_FAILED": not bad and (bool(succeeded) or not results),
        "ALL_DONE": True,
        "AT_LEAST_ONE_FAILED": bool(failed),
        "ALL_FAILED": bool(results) and len(failed) == len(results),
    }[run_if]
    if met:
        return None
    if run_if in ("AT_LEAST_ONE_FAILED", "ALL_FAILED") or not bad:
        return EXCLUDED
    return UPSTREAM_FAILED if failed else UPSTREAM_CANCELED


def of_tasks(ended: Mapping[str, Json], leaves: Collection[str]) -> Json:
    """How a run ended whose tasks ended so: by its leaf tasks, and clean only if all were (SDK, RunResultState).

    That the run is INTERNAL_ERROR where a task failed: databricks/cli libs/testserver/jobs.go, terminateRun.
    """
    if all(each["result"] in CLEAN for each in ended.values()):
        return SUCCESS
    if all(ended[key]["result"] in CLEAN for key in leaves):
        return outcome("SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "Some tasks failed; leaf tasks were successful.", kind="SUCCESS")
    bad = {key: each for key, each in ended.items() if each["result"] not in (*CLEAN, "UPSTREAM_FAILED", "UPSTREAM_CANCELED")}
    failed = {key: each for key, each in bad.items() if each["result"] != "CANCELED"}
    if not failed:
        return CANCELED
    key, first = next(iter(failed.items()))
    skipped = SKIPPED_DOWNSTREAM if any(each["result"] == "UPSTREAM_FAILED" for each in ended.values()) else ""
    message = f"Task {key} failed with message: {first['message'].rstrip('.')}.{skipped}"
    return outcome(first["result"], first["code"], message, life="INTERNAL_ERROR", kind=first["type"])


def of_iterations(ended: Sequence[Json]) -> Json:
    """How a for-each task ended whose iterations ended so; the words are a guess."""
    bad = [each for each in ended if each["result"] != "SUCCESS"]
    if not bad:
        return SUCCESS
    if all(each["result"] == "CANCELED" for each in bad):
        return CANCELED
    failed = [each for each in bad if each["result"] != "CANCELED"]
    return outcome("FAILED", "RUN_EXECUTION_ERROR", f"{len(bad)} of {len(ended)} iterations failed: {failed[0]['message']}")
