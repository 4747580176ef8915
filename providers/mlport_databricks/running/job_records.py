"""A run as Databricks tells it, and what its nodes wrote at the end, as the SPI's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from mlport.errors import NotFoundError
from mlport.spi import Cause, JobStatus, Json, PlanKind, State
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.labels import KIND_LABEL
from mlport_databricks.names import job_folder, of_run_name
from mlport_databricks.running.states import cause_of, native_state, run_state, words

KINDS: Mapping[str, PlanKind] = {"job": "job", "batch": "batch"}


def run_number(job_id: str) -> int:
    """The run's number. Raises NotFoundError for an id that is none."""
    if not job_id.isascii() or not job_id.isdigit():
        raise NotFoundError(f"no job {job_id!r} here", hint="ids are numbers of runs; `mlport jobs list` shows those that there are")
    return int(job_id)


def id_of(run: Json) -> str:
    return str(run["run_id"])


def token_of(run: Json) -> str:
    """The token in the run's name, empty for a run that mlport did not make. A schedule's runs have the schedule's."""
    found = of_run_name(str(run.get("run_name", "")))
    return found[1] if found else ""


def is_scheduled(run: Json) -> bool:
    """Whether a job of Databricks' own started it."""
    return run.get("run_type") == "JOB_RUN" or run.get("trigger") not in (None, "ONE_TIME", "RETRY")


def run_folder(config: DatabricksConfig, run: Json) -> str | None:
    """Where the run keeps what it leaves, None for a run that mlport did not make."""
    token = token_of(run)
    if not token:
        return None
    return f"{job_folder(config, token)}/runs/{id_of(run)}" if is_scheduled(run) else job_folder(config, token)


def tags_of(run: Json) -> dict[str, str] | None:
    """The tags of the run's own cluster, None where it has none: serverless, or a cluster that was there."""
    for task in run.get("tasks") or ():
        inner = (task.get("for_each_task") or {}).get("task") or task
        if "custom_tags" in (inner.get("new_cluster") or {}):
            return dict(inner["new_cluster"]["custom_tags"])
    return None


def attempt_of(run: Json) -> int:
    """Which attempt runs, or was the last; counted from 1."""
    numbers = [int(task.get("attempt_number") or 0) for task in run.get("tasks") or ()]
    return 1 + max(numbers, default=int(run.get("attempt_number") or 0))


def last_task(run: Json) -> Json | None:
    """The run of the task itself, the latest attempt; its id is what get-output takes."""
    return max(run.get("tasks") or (), key=lambda task: int(task.get("attempt_number") or 0), default=None)


def moment(milliseconds: int) -> datetime:
    """A time as Databricks writes it."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def state_of(run: Json, ended: Json | None = None) -> State:
    """The run's state. One that was cancelled by our mark alone failed, as Databricks sees it."""
    state = run_state(run)
    return State.CANCELLED if state is State.FAILED and (ended or {}).get("state") == "CANCELLED" else state


def job_status(run: Json, ended: Json | None, labels: Mapping[str, str]) -> JobStatus:
    """The status; `ended` is what a node of it wrote at the end, None where there is nothing."""
    state, told, own = state_of(run, ended), ended or {}, of_run_name(str(run.get("run_name", "")))
    return JobStatus(
        id=id_of(run),
        name=own[0] if own else str(run.get("run_name", "")),
        state=state,
        native_state=native_state(run),
        kind=KINDS.get(labels.get(KIND_LABEL, "job"), "job"),
        cause=_cause(run, state, told),
        reason=_reason(run, state, told),
        created=moment(run["start_time"]),
        started=_started(run, state),
        ended=moment(run["end_time"]) if state.terminal and run.get("end_time") else None,
        attempt=max(attempt_of(run), int(told.get("attempt") or 1)),
        token=(token_of(run) or None) if not is_scheduled(run) else None,
        labels={name: value for name, value in labels.items() if name != KIND_LABEL},
    )


def _started(run: Json, state: State) -> datetime | None:
    """When the program could begin: the cluster was there. A run's own figure is 0 where it has tasks."""
    task = last_task(run) or run
    if not task.get("start_time") or state in (State.QUEUED, State.STARTING, State.UNKNOWN):
        return None
    if state.terminal and not task.get("execution_duration"):
        return None
    began = moment(int(task["start_time"]) + int(task.get("setup_duration") or 0))
    return max(began, moment(run["start_time"]))


def _cause(run: Json, state: State, told: Json) -> Cause:
    if state is State.CANCELLED:
        return "cancelled"
    if state is not State.FAILED:
        return ""
    if told.get("state") == "FAILED":
        cause: Cause = told.get("cause", "")
        return cause
    return cause_of(run)


def _reason(run: Json, state: State, told: Json) -> str:
    if state is State.FAILED and told.get("state") == "FAILED" and told.get("reason"):
        return str(told["reason"])
    details = (run.get("status") or {}).get("termination_details") or {}
    message = str(details.get("message") or (run.get("state") or {}).get("state_message") or "")
    if state is State.UNKNOWN:
        return f"Databricks calls its state {' '.join(filter(None, words(run))) or 'nothing'}"
    if state is State.SUCCEEDED:
        return ""
    queued = ((run.get("status") or {}).get("queue_details") or {}).get("message")
    return message or str(queued or "")


def together(nodes: Sequence[Json]) -> Json | None:
    """What the nodes of a run wrote at their end as one: the first that failed, else the first, with the outputs of all."""
    if not nodes:
        return None
    told = next((node for node in nodes if node["state"] == "FAILED"), nodes[0])
    shards = [
        node["outputs"]
        for node in nodes
        if node.get("outputs") and any(entry["uri"].startswith("dbfs:") for entry in node["outputs"].values())
    ]
    if len(shards) < 2:
        return told
    outputs = {
        name: {"uri": entry["uri"], "digest": None, "bytes": None, "files": sum(shard[name]["files"] for shard in shards)}
        for name, entry in shards[0].items()
    }
    return {**told, "outputs": outputs}
