"""Jobs on Vertex AI: custom jobs that run mlport's runner. What they leave lies in the staging folder under their token.

Vertex AI's own batch prediction jobs stand among them, with ids of their own, and are looked after by `batch_jobs`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, InvalidRequestError, NotFoundError, stamped
from mlport.metrics import points
from mlport.paging import each
from mlport.spi import TOKEN, JobResult, JobStatus, Json, LogPage, MetricPoint, Page, Plan, Query, State
from mlport.transfer import is_url
from mlport_vertex.labels import KIND_LABEL, TOKEN_LABEL, clean
from mlport_vertex.running import batch_records
from mlport_vertex.running.batch_jobs import Pages, VertexBatches, merged
from mlport_vertex.running.batch_records import is_batch
from mlport_vertex.running.job_records import (
    id_of,
    job_status,
    manifest_of,
    name_of,
    nodes_of,
    number_of,
    run_address,
    state_of,
)
from mlport_vertex.running.job_request import run_of, wheel_of
from mlport_vertex.running.logs import read_page
from mlport_vertex.running.package import PACKAGE, package
from mlport_vertex.running.states import natives

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

LONGEST_VARIABLE = 8000  # bytes; a longer manifest lies in the staging folder
LOOKS_AT_ONCE = 16


@stamped("vertex", "jobs")
class VertexJobs:
    """The jobs of one project and region. Safe to use from several threads."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api
        self._ended: dict[str, Json | None] = {}  # what never changes any more
        self._deleted: set[str] = set()  # Vertex AI takes a moment to forget a job
        self._batches = VertexBatches(api)

    # ---------------------------------------------------------------- making

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Stage what the job needs, and create it. Sent once for each token: the core looks for it before it sends again."""
        if plan.requests[-1].call.endswith("batchPredictionJobs.create"):
            return self._batches.submit(plan, token)
        body = self.staged(plan, token, bundle)
        self._deliver_here(plan, token)
        return id_of(self._api.call("customJobs.create", body=body))

    def staged(self, plan: Plan, token: str, bundle: Path | None) -> Json:
        """The body that creates what was planned, a job or a sweep of them, once all that it names is in the staging folder."""
        asked = plan.spec.get("job", plan.spec)
        wheels = [Path(path) for path in map(wheel_of, asked.get("requirements", ())) if path and Path(path).is_file()]
        content, digest = package(bundle, wheels)
        self._api.objects.put_once(f"{self._api.config.staging}/jobs/{digest}.zip", content)
        body = _settled(plan.requests[-1].body, token, digest)
        run = {"jobSpec": body["trialJobSpec"] if "trialJobSpec" in body else body["jobSpec"]}
        self._stage_inputs(plan, manifest_of(run))
        self._carry(run, token)
        return body

    def _stage_inputs(self, plan: Plan, work: Json) -> None:
        """Upload the inputs that are of this machine, each content once; the runner checks that they are as planned."""
        for name, fact in plan.facts.inputs.items():
            if is_url(fact.uri):
                continue
            uri = work["inputs"][name]["uri"]
            whole = f"{self._api.config.staging}/inputs/{fact.digest}.whole"
            if self._api.objects.head(whole) is None:
                self._api.objects.upload(Path(fact.uri), uri)
                self._api.objects.put(whole, b"")

    def _deliver_here(self, plan: Plan, token: str) -> None:
        """Note that a batch's scores go to a folder of this machine."""
        output = plan.spec.get("output")
        if plan.kind == "batch" and output and not is_url(output):
            note = json.dumps({"host": socket.gethostname(), "path": output}).encode()
            self._api.objects.put(f"{run_of(self._api.config, token)}/deliver.json", note)

    def _carry(self, body: Json, token: str) -> None:
        """Give the job its manifest: in a variable, where `$` must not stand, for $(NAME) is expanded; a long one by its address."""
        variables = [pool["containerSpec"]["env"][0] for pool in body["jobSpec"]["workerPoolSpecs"]]
        content = variables[0]["value"].replace("$", "\\u0024")
        if len(content.encode()) > LONGEST_VARIABLE:
            uri = f"{run_of(self._api.config, token)}/manifest.json"
            self._api.objects.put(uri, content.encode())
            content = uri
        for variable in variables:
            variable["value"] = content

    # ---------------------------------------------------------------- looking

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        wanted = f'labels.{TOKEN_LABEL}="{clean(token)}"'
        for collection in ("customJobs", batch_records.COLLECTION):
            for job in self._api.call(f"{collection}.list", filter=wanted, pageSize=1).get(collection, ()):
                if since is None or datetime.fromisoformat(job["createTime"]) >= since:
                    return _id_of(job)
        return None

    def status(self, job_id: str) -> JobStatus:
        if is_batch(job_id):
            return self._batches.status(job_id)
        job = self._get(job_id)
        if state_of(job) is State.SUCCEEDED:
            self._deliver(job)
        return self._status(job)

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        if not query.newest_first:
            return self._oldest_first(query, page)
        jobs, following = self._page(query, page)
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            return Page(list(pool.map(self._status, jobs)), following)

    def _page(self, query: Query, page: str | None) -> tuple[Sequence[Json], str | None]:
        """A page of jobs, the newest first: custom jobs and batch prediction jobs, which Vertex AI lists apart."""
        size, states = query.page_size, query.states
        lists: dict[str, Pages] = {"custom": lambda token: self._custom_page(filter_of(query), size, token)}
        if query.labels.get(KIND_LABEL, "batch") == "batch":
            lists["batch"] = lambda token: self._batches.page(filter_of(query, batch_records.natives_of), size, token)
        jobs, following = merged(lists, size, page)
        return [job for job in jobs if not states or _state_of(job) in states], following

    def _custom_page(self, filter: str, size: int, page: str | None) -> tuple[Sequence[Json], str | None]:
        answer = self._api.call("customJobs.list", filter=filter or None, pageSize=size, pageToken=page)
        there = [job for job in answer.get("customJobs", ()) if number_of(job) not in self._deleted]
        return there, answer.get("nextPageToken") or None

    def _oldest_first(self, query: Query, page: str | None) -> Page[JobStatus]:
        """Vertex AI lists the newest first only, so all are read; a page's token is the id of the last job on it."""
        newest: list[Json] = list(each(lambda token: Page(*self._page(query, token))))
        oldest = newest[::-1]
        begin = next((index + 1 for index, job in enumerate(oldest) if _id_of(job) == page), 0) if page else 0
        shown = oldest[begin : begin + query.page_size]
        following = _id_of(shown[-1]) if begin + query.page_size < len(oldest) else None
        return Page([self._status(job) for job in shown], following)

    def result(self, job_id: str) -> JobResult:
        if is_batch(job_id):
            return self._batches.result(job_id)
        job = self._get(job_id)
        if not state_of(job).terminal:
            raise ConflictError(f"job {job_id} is {state_of(job)} and has no result yet", hint="wait for it")
        return JobResult.read(self._end_of(job) or {})

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        if is_batch(job_id):
            return self._batches.metrics(job_id)
        run = run_address(self._get(job_id))
        content = self._api.objects.get(f"{run}/metrics.jsonl") if run else None
        return points((content or b"").split(b"\n"))

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        if is_batch(job_id):
            return self._batches.logs(job_id, after)
        return read_page(self._api, self._get(job_id), after, datetime.now(UTC))

    # ---------------------------------------------------------------- ending

    def cancel(self, job_id: str) -> None:
        if is_batch(job_id):
            self._batches.cancel(job_id)
            return
        job = self._get(job_id)
        if state_of(job).terminal:
            return
        if (run := run_address(job)) is not None:
            self._api.objects.put(f"{run}/cancel", b"")  # or the job would take SIGTERM for a preemption
        try:
            self._api.call("customJobs.cancel", name=job["name"])
        except InvalidRequestError:
            if not state_of(self._get(job_id)).terminal:  # it did not end meanwhile
                raise

    def delete(self, job_id: str) -> None:
        if is_batch(job_id):
            self._batches.delete(job_id)
            return
        try:
            job = self._get(job_id)
        except NotFoundError:
            return
        if not state_of(job).terminal:
            raise ConflictError(f"job {job_id} is {state_of(job)}", hint="cancel it and wait for its end first")
        self._api.call("customJobs.delete", name=job["name"])
        self._deleted.add(number_of(job))
        if (run := run_address(job)) is not None:
            self._api.objects.delete_below(run)

    # ---------------------------------------------------------------- what the nodes wrote

    def _get(self, job_id: str) -> Json:
        name = name_of(self._api.config.parent, job_id)
        if name.rpartition("/")[2] in self._deleted:
            raise NotFoundError(f"job {job_id} was deleted")
        return self._api.call("customJobs.get", name=name)

    def _status(self, job: Json) -> JobStatus:
        if _is_of_vertex(job):
            return batch_records.batch_status(job)
        ended = self._end_of(job) if state_of(job).terminal and _has_more_to_tell(job) else None
        return job_status(job, ended, self._attempt(job) if ended is None else 1)

    def _end_of(self, job: Json) -> Json | None:
        """What tells how an ended job ended: of several nodes the first that failed. None where no node wrote anything."""
        if job["name"] not in self._ended:
            told = list(self._nodes(job))
            self._ended[job["name"]] = next((node for node in told if node["state"] == "FAILED"), told[0] if told else None)
        return self._ended[job["name"]]

    def _nodes(self, job: Json) -> Iterator[Json]:
        run = run_address(job)
        for rank in range(nodes_of(job)) if run else ():
            content = self._api.objects.get(f"{run}/nodes/{rank}.json")
            if content is not None:
                yield json.loads(content)

    def _attempt(self, job: Json) -> int:
        """Which attempt runs: asked only where there may be more than one."""
        work, run = manifest_of(job), run_address(job)
        if run is None or "startTime" not in job or not (work.get("retries") or work.get("spot")):
            return 1
        begun = [uri for uri, _ in self._api.objects.list(f"{run}/attempts/0") if not uri.endswith(".failed")]
        return max(1, len(begun))

    def _deliver(self, job: Json) -> None:
        """Copy a batch's scores to the folder that was asked for, if it is one of this machine and empty."""
        run = run_address(job)
        if run is None or job["name"] in self._ended or job.get("labels", {}).get(KIND_LABEL) != "batch":
            return
        note = self._api.objects.get(f"{run}/deliver.json")
        wanted = json.loads(note) if note else {}
        ended = self._end_of(job)
        if wanted.get("host") == socket.gethostname() and ended and not _holds_files(Path(wanted["path"])):
            self._api.objects.download(ended["outputs"]["predictions"]["uri"], Path(wanted["path"]))


def _holds_files(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _has_more_to_tell(job: Json) -> bool:
    """Whether the nodes know more of the end than Vertex AI does: why it failed, or how many attempts it took."""
    work = manifest_of(job)
    return state_of(job) is not State.SUCCEEDED or not work or bool(work.get("retries") or work.get("spot"))


def _is_of_vertex(job: Json) -> bool:
    """Whether it is a batch prediction job, not a custom job."""
    return f"/{batch_records.COLLECTION}/" in job["name"]


def _id_of(job: Json) -> str:
    return batch_records.id_of(job) if _is_of_vertex(job) else id_of(job)


def _state_of(job: Json) -> State:
    return batch_records.state_of(job) if _is_of_vertex(job) else state_of(job)


def filter_of(query: Query, natives_of: Callable[[Iterable[State]], list[str] | None] = natives) -> str:
    """The query in Google's filter language; states are filtered here where they cannot all be named."""
    parts = [f'display_name="{query.name}"'] if query.name else []
    parts += [f'labels.{name}="{clean(value)}"' for name, value in query.labels.items()]
    states = natives_of(query.states) if query.states else None
    if states:
        parts.append("({})".format(" OR ".join(f'state="{state}"' for state in states)))
    return " AND ".join(parts)


def _settled(body: Json, token: str, digest: str) -> Json:
    """The body with token and package in place of what stands for them."""
    text = json.dumps(body).replace(TOKEN, token).replace(PACKAGE, digest)
    settled: Json = json.loads(text)
    return settled
