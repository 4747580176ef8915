"""A BatchPredictionJob as Vertex AI tells it, as the SPI's records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlport.spi import Artifact, Cause, JobResult, JobStatus, Json, MetricPoint, State, Usage
from mlport_vertex.google.errors import NUMBERS
from mlport_vertex.labels import KIND_LABEL, TOKEN_LABEL
from mlport_vertex.running.job_records import moment, number_of
from mlport_vertex.running.states import job_state, natives

COLLECTION = "batchPredictionJobs"
PARTLY = "JOB_STATE_PARTIALLY_SUCCEEDED"
COUNTS = {"successfulCount": "rows_scored", "failedCount": "rows_failed", "incompleteCount": "rows_left"}
"""CompletionStats' fields as our metrics."""


def id_of(job: Json) -> str:
    """Our id of a batch: its collection and Vertex AI's number."""
    return f"{COLLECTION}/{number_of(job)}"


def is_batch(job_id: str) -> bool:
    """Whether an id is one of a BatchPredictionJob."""
    return job_id.startswith(f"{COLLECTION}/")


def state_of(job: Json) -> State:
    """A batch of which some rows failed has ended well; how many failed is told beside it."""
    native = job.get("state", "")
    return State.SUCCEEDED if native == PARTLY else job_state(native)


def natives_of(states: Iterable[State]) -> list[str] | None:
    """`states.natives` for a batch."""
    wanted = set(states)
    found = natives(wanted)
    return None if found is None else [*(each for each in found if each != PARTLY), *([PARTLY] if State.SUCCEEDED in wanted else [])]


def batch_status(job: Json) -> JobStatus:
    state, labels = state_of(job), dict(job.get("labels", {}))
    return JobStatus(
        id=id_of(job),
        name=job["displayName"],
        state=state,
        native_state=job.get("state", ""),
        kind="batch",
        cause=_cause(job, state),
        reason=_reason(job, state),
        created=moment(job["createTime"]),
        started=moment(job["startTime"]) if "startTime" in job else None,
        ended=moment(job["endTime"]) if state.terminal and "endTime" in job else None,
        token=labels.get(TOKEN_LABEL),
        labels={name: value for name, value in labels.items() if name != KIND_LABEL},
    )


def _cause(job: Json, state: State) -> Cause:
    if state is State.CANCELLED:
        return "cancelled"
    if state is State.FAILED and NUMBERS.get(job.get("error", {}).get("code", 0)) == "RESOURCE_EXHAUSTED":
        return "quota"
    return "timeout" if job.get("state") == "JOB_STATE_EXPIRED" else ""


def _reason(job: Json, state: State) -> str:
    if state is State.UNKNOWN:
        return f"Vertex AI calls its state {job.get('state', 'nothing')}"
    if state is not State.SUCCEEDED:
        return str(job.get("error", {}).get("message", ""))
    failed = counts(job).get("rows_failed", 0.0)
    return f"{failed:.0f} rows failed; what they were and why stands beside the predictions" if failed else ""


def counts(job: Json) -> dict[str, float]:
    """Rows scored, failed and left; none before Vertex AI tells them. It leaves out 0, and says -1 for what it does not know."""
    if "completionStats" not in job:
        return {}
    told = {ours: float(job["completionStats"].get(theirs, 0)) for theirs, ours in COUNTS.items()}
    return {name: value for name, value in told.items() if value >= 0}


def batch_result(job: Json) -> JobResult:
    """What a batch left: the new directory, or table, that Vertex AI made below the output that was asked for."""
    started, ended = job.get("startTime"), job.get("endTime")
    wall = (moment(ended) - moment(started)).total_seconds() if started and ended else None
    uri = _output(job.get("outputInfo", {}))
    machine = job.get("dedicatedResources", {}).get("machineSpec", {})
    return JobResult(
        exit_code=None,
        metrics=counts(job),
        outputs={"predictions": Artifact(uri)} if uri else {},
        usage=Usage(wall_seconds=wall),
        resolved={"machine": machine.get("machineType"), "model": job.get("model"), "version": job.get("modelVersionId")},
    )


def _output(info: Json) -> str:
    if info.get("gcsOutputDirectory"):
        return str(info["gcsOutputDirectory"])
    parts = [info.get("bigqueryOutputDataset"), info.get("bigqueryOutputTable")]
    return ".".join(part for part in parts if part)


def batch_metrics(job: Json) -> Sequence[MetricPoint]:
    at = moment(job["updateTime"]) if "updateTime" in job else None
    return [MetricPoint(name, value, 0, at) for name, value in counts(job).items()]


def told_lines(job: Json) -> list[str]:
    """What Vertex AI says of an ended batch, as lines of a log."""
    said = [str(each.get("message", "")) for each in job.get("partialFailures", ())]
    error = str(job.get("error", {}).get("message", ""))
    lines = [*said, *([error] if error and error not in said else [])]
    return [line for text in lines for line in text.splitlines()] + [f"{name}: {value:.0f}" for name, value in counts(job).items()]
