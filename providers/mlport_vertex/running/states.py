"""Vertex AI's states of jobs in our words: docs/spi/vertex.md, (d)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlport.spi import State

JOB_STATES: Mapping[str, State] = {
    "JOB_STATE_QUEUED": State.QUEUED,
    "JOB_STATE_PENDING": State.STARTING,
    "JOB_STATE_RUNNING": State.RUNNING,
    "JOB_STATE_UPDATING": State.RUNNING,
    "JOB_STATE_CANCELLING": State.CANCELLING,
    "JOB_STATE_SUCCEEDED": State.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": State.FAILED,
    "JOB_STATE_FAILED": State.FAILED,
    "JOB_STATE_CANCELLED": State.CANCELLED,
    "JOB_STATE_EXPIRED": State.FAILED,
}


def job_state(native: str) -> State:
    """Ours; UNKNOWN for what is not in the table, `JOB_STATE_PAUSED` among it."""
    return JOB_STATES.get(native, State.UNKNOWN)


def natives(states: Iterable[State]) -> list[str] | None:
    """Theirs for some of ours, None where they cannot be listed: anything may be UNKNOWN."""
    wanted = set(states)
    return None if State.UNKNOWN in wanted else [native for native, state in JOB_STATES.items() if state in wanted]
