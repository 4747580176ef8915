"""Vertex AI's own batch prediction jobs, and lists in which they stand among the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, InvalidRequestError, NotFoundError, SpecError
from mlport.spi import JobResult, JobStatus, Json, LogPage, MetricPoint, Plan
from mlport_vertex.names import settled
from mlport_vertex.running import batch_records as records
from mlport_vertex.running.job_records import number_of

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

PAUSE_SECONDS = 2.0
END = "end"
Pages = Callable[[str | None], tuple[Sequence[Json], str | None]]


class VertexBatches:
    """The batch prediction jobs of one project and region."""

    def __init__(self, api: VertexApi) -> None:
        self._api = api
        self._deleted: set[str] = set()  # Vertex AI takes a moment to forget a job

    def submit(self, plan: Plan, token: str) -> str:
        return records.id_of(self._api.call("batchPredictionJobs.create", body=settled(plan.requests[-1].body, token)))

    def page(self, filter: str, size: int, page: str | None) -> tuple[Sequence[Json], str | None]:
        """A page of batches as Vertex AI gives them, the newest first."""
        answer = self._api.call("batchPredictionJobs.list", filter=filter or None, pageSize=size, pageToken=page)
        there = [job for job in answer.get("batchPredictionJobs", ()) if number_of(job) not in self._deleted]
        return there, answer.get("nextPageToken") or None

    def status(self, job_id: str) -> JobStatus:
        return records.batch_status(self._get(job_id))

    def result(self, job_id: str) -> JobResult:
        job = self._get(job_id)
        if not records.state_of(job).terminal:
            raise ConflictError(f"job {job_id} is {records.state_of(job)} and has no result yet", hint="wait for it")
        return records.batch_result(job)

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        return records.batch_metrics(self._get(job_id))

    def logs(self, job_id: str, after: str | None) -> LogPage:
        """What Vertex AI says of the end. What the model's containers print is not read: no public source says where it lies."""
        if after not in (None, "", END):
            raise SpecError(f"after: {after!r} is no cursor of a log")
        job = self._get(job_id)
        if not records.state_of(job).terminal:
            return LogPage((), "", False, PAUSE_SECONDS)
        return LogPage((), END, True) if after == END else LogPage(records.told_lines(job), END, True)

    def cancel(self, job_id: str) -> None:
        job = self._get(job_id)
        if records.state_of(job).terminal:
            return
        try:
            self._api.call("batchPredictionJobs.cancel", name=job["name"])
        except InvalidRequestError:
            if not records.state_of(self._get(job_id)).terminal:  # it did not end meanwhile
                raise

    def delete(self, job_id: str) -> None:
        """Remove the job; its predictions stay where they were asked for."""
        try:
            job = self._get(job_id)
        except NotFoundError:
            return
        if not records.state_of(job).terminal:
            raise ConflictError(f"job {job_id} is {records.state_of(job)}", hint="cancel it and wait for its end first")
        self._api.call("batchPredictionJobs.delete", name=job["name"])
        self._deleted.add(number_of(job))

    def _get(self, job_id: str) -> Json:
        number = job_id.removeprefix(f"{records.COLLECTION}/")
        if not number.isdigit() or number in self._deleted:
            raise NotFoundError(f"no job {job_id!r} in {self._api.config.parent}", hint="`mlport jobs list` shows those that there are")
        return self._api.call("batchPredictionJobs.get", name=f"{self._api.config.parent}/{records.COLLECTION}/{number}")


# ---------------------------------------------------------------- one list of two


@dataclass(frozen=True, slots=True)
class _At:
    """How far a list was read: the token of the page, None for the first; name and time of creation of the last job taken."""

    page: str | None = None
    last: str | None = None
    time: str = ""

    def left(self, jobs: Sequence[Json]) -> list[Json]:
        """What of the page comes after the last job taken, or is older if that one is gone."""
        names = [job["name"] for job in jobs]
        if self.last in names:
            return list(jobs[names.index(self.last) + 1 :])
        return [job for job in jobs if self.last is None or str(job["createTime"]) < self.time]


def merged(lists: Mapping[str, Pages], size: int, cursor: str | None) -> tuple[list[Json], str | None]:
    """A page of several lists in one, by the time of creation, newest first, and the cursor of the next.

    A page of a list that was not used up is asked for again. A list that has ended is asked no more.

    Raises:
        SpecError: the cursor is none.
    """
    begun = _parsed(cursor, lists)
    with ThreadPoolExecutor(len(lists)) as pool:
        pages = dict(zip(begun, pool.map(lambda name: lists[name](begun[name].page), begun), strict=True))
    found = {name: begun[name].left(jobs) for name, (jobs, _) in pages.items()}
    following = {name: token for name, (_, token) in pages.items()}
    ahead = {name: _At(following[name], *((at.last, at.time) if pages[name][0] else ())) for name, at in begun.items() if not found[name]}
    taken: list[Json] = []
    while len(taken) < size and (name := _newest(found, following)) is not None:
        job = found[name].pop(0)
        taken.append(job)
        ahead[name] = _At(begun[name].page, job["name"], job["createTime"]) if found[name] else _At(following[name])
    left = {name: ahead.get(name, begun[name]) for name in begun if found[name] or following[name]}
    return taken, json.dumps({name: astuple(at) for name, at in left.items()}, separators=(",", ":")) if left else None


def _newest(found: Mapping[str, Sequence[Json]], following: Mapping[str, str | None]) -> str | None:
    """The list whose next job is the newest; None if there is none, or one of them must be read on before it is known."""
    if any(not jobs and following[name] for name, jobs in found.items()):
        return None
    there = [name for name, jobs in found.items() if jobs]
    return max(there, key=lambda name: str(found[name][0]["createTime"])) if there else None


def _parsed(cursor: str | None, lists: Mapping[str, Pages]) -> dict[str, _At]:
    if cursor is None:
        return {name: _At() for name in lists}
    try:
        return {name: _At(*at) for name, at in json.loads(cursor).items() if name in lists}
    except (ValueError, TypeError, AttributeError) as error:
        raise SpecError(f"page: {cursor!r} is no token of a page") from error
