"""A custom job as Vertex AI tells it, and what its node wrote at the end, as the SPI's records."""

from __future__ import annotations

import json
from datetime import datetime

from mlport.errors import NotFoundError
from mlport.spi import Cause, JobStatus, Json, State
from mlport_vertex.google.errors import NUMBERS
from mlport_vertex.labels import KIND_LABEL, TOKEN_LABEL
from mlport_vertex.running.job_request import KINDS
from mlport_vertex.running.states import job_state

CUSTOM = "custom"


def id_of(job: Json) -> str:
    """Our id of a job: its kind and Vertex AI's number."""
    return f"{CUSTOM}/{number_of(job)}"


def number_of(job: Json) -> str:
    return str(job["name"]).rpartition("/")[2]


def name_of(parent: str, job_id: str) -> str:
    """Vertex AI's name of a job. Raises NotFoundError for an id that is none."""
    kind, slash, number = job_id.partition("/")
    if kind != CUSTOM or not slash or not number.isdigit():
        raise NotFoundError(
            f"no job {job_id!r} in {parent}", hint="ids look like custom/1234567890; `mlport jobs list` shows those that there are"
        )
    return f"{parent}/customJobs/{number}"


def state_of(job: Json) -> State:
    return job_state(job.get("state", ""))


def token_of(job: Json) -> str:
    """The token of the submit that made it, empty for a job that mlport did not make. A sweep's trials have the sweep's."""
    return str(job.get("labels", {}).get(TOKEN_LABEL) or _carried_token(_manifest_text(job)))


def _carried_token(text: str) -> str:
    """The token of a manifest, or of the address `.../runs/TOKEN/manifest.json` of one."""
    return str(json.loads(text)["token"]) if text.startswith("{") else text.rpartition("/")[0].rpartition("/")[2]


def run_address(job: Json) -> str | None:
    """Where the job keeps what it leaves, None for a job that mlport did not make."""
    prefix = job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix")
    return str(prefix).rstrip("/") if prefix and token_of(job) else None


def nodes_of(job: Json) -> int:
    return sum(int(pool.get("replicaCount", 1)) for pool in job["jobSpec"]["workerPoolSpecs"])


def manifest_of(job: Json) -> Json:
    """The work that the job carries; empty if it lies elsewhere, or mlport did not make the job."""
    text = _manifest_text(job)
    found: Json = json.loads(text) if text.startswith("{") else {}
    return found


def _manifest_text(job: Json) -> str:
    """The work as JSON or by its address, empty for a job that mlport did not make."""
    variables = job["jobSpec"]["workerPoolSpecs"][0].get("containerSpec", {}).get("env", ())
    return next((str(each["value"]) for each in variables if each["name"] == "MLPORT_MANIFEST"), "")


def moment(text: str) -> datetime:
    """A time as Google writes it."""
    return datetime.fromisoformat(text)


def job_status(job: Json, ended: Json | None, attempt: int) -> JobStatus:
    """The status; `ended` is what a node of it wrote at the end, None where there is nothing."""
    state = state_of(job)
    labels = dict(job.get("labels", {}))
    return JobStatus(
        id=id_of(job),
        name=job["displayName"],
        state=state,
        native_state=job.get("state", ""),
        kind=KINDS.get(labels.get(KIND_LABEL, "job"), "job"),
        cause=_cause(job, state, ended or {}),
        reason=_reason(job, state, ended or {}),
        created=moment(job["createTime"]),
        started=moment(job["startTime"]) if "startTime" in job else None,
        ended=moment(job["endTime"]) if state.terminal and "endTime" in job else None,
        attempt=int((ended or {}).get("attempt", attempt)),
        token=token_of(job) or None,
        labels={name: value for name, value in labels.items() if name != KIND_LABEL},
    )


def _cause(job: Json, state: State, ended: Json) -> Cause:
    if state is State.CANCELLED:
        return "cancelled"
    if state is not State.FAILED:
        return ""
    if ended.get("state") == "FAILED":
        told: Cause = ended.get("cause", "")
        return told
    if job["state"] == "JOB_STATE_EXPIRED":
        return "timeout"
    return "quota" if NUMBERS.get(job.get("error", {}).get("code", 0)) == "RESOURCE_EXHAUSTED" else ""


def _reason(job: Json, state: State, ended: Json) -> str:
    if state is State.FAILED and ended.get("state") == "FAILED" and ended.get("reason"):
        return str(ended["reason"])
    if state is State.UNKNOWN:
        return f"Vertex AI calls its state {job.get('state', 'nothing')}"
    return str(job.get("error", {}).get("message", ""))
