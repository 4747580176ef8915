"""Sweeps by Vertex AI's own tuner: hyperparameter tuning jobs. Each trial is a custom job in a folder of its own under the token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, InvalidRequestError, NotFoundError, stamped
from mlport.paging import each
from mlport.spi import Json, Page, Plan, Query, State, SweepStatus
from mlport_vertex.jobs import LOOKS_AT_ONCE, filter_of
from mlport_vertex.labels import TOKEN_LABEL, clean
from mlport_vertex.running.job_records import manifest_of, number_of, run_address, state_of
from mlport_vertex.running.sweep_records import may_be_cut_short, sweep_id, sweep_name, sweep_status, trial_job, trials_of

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi
    from mlport_vertex.jobs import VertexJobs


@stamped("vertex", "sweeps")
class VertexSweeps:
    """The sweeps of one project and region. Safe to use from several threads."""

    def __init__(self, api: VertexApi, jobs: VertexJobs) -> None:
        self._api, self._jobs = api, jobs
        self._spaces: dict[str, Mapping[str, Json]] = {}  # these three never change any more
        self._cut: dict[str, bool] = {}
        self._deleted: set[str] = set()

    # ---------------------------------------------------------------- making

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Stage what the trials need, and create it. Sent once for each token: the core looks for it before it sends again."""
        return sweep_id(self._api.call("hyperparameterTuningJobs.create", body=self._jobs.staged(plan, token, bundle)))

    # ---------------------------------------------------------------- looking

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        wanted = f'labels.{TOKEN_LABEL}="{clean(token)}"'
        found = self._api.call("hyperparameterTuningJobs.list", filter=wanted, pageSize=1).get("hyperparameterTuningJobs", ())
        return next((sweep_id(job) for job in found if since is None or datetime.fromisoformat(job["createTime"]) >= since), None)

    def status(self, sweep_id: str) -> SweepStatus:
        job = self._get(sweep_id)
        doubtful = [trial["customJob"] for trial in trials_of(job) if may_be_cut_short(job, trial) and "customJob" in trial]
        unknown = [name for name in doubtful if name not in self._cut]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            self._cut.update(zip(unknown, pool.map(self._was_cut_short, unknown), strict=True))
        return sweep_status(job, self._space(job), {name for name in doubtful if self._cut[name]})

    def list(self, query: Query, page: str | None = None) -> Page[SweepStatus]:
        if not query.newest_first:  # Vertex AI lists the newest first only
            return Page(list(each(lambda token: self._page(query, token)))[::-1])
        return self._page(query, page)

    def _page(self, query: Query, page: str | None) -> Page[SweepStatus]:
        wanted = filter_of(replace(query, states=frozenset()))  # a success there may be none here
        answer = self._api.call("hyperparameterTuningJobs.list", filter=wanted or None, pageSize=query.page_size, pageToken=page)
        jobs = [job for job in answer.get("hyperparameterTuningJobs", ()) if number_of(job) not in self._deleted]
        listed = [replace(sweep_status(job, {}), trials=()) for job in jobs]
        return Page([status for status in listed if not query.states or status.state in query.states], answer.get("nextPageToken") or None)

    # ---------------------------------------------------------------- ending

    def cancel(self, sweep_id: str) -> None:
        job = self._get(sweep_id)
        if state_of(job).terminal:
            return
        if (run := run_address(trial_job(job))) is not None:
            self._api.objects.put(f"{run}/cancel", b"")  # or its trials would take SIGTERM for a preemption
        try:
            self._api.call("hyperparameterTuningJobs.cancel", name=job["name"])
        except InvalidRequestError:
            if not state_of(self._get(sweep_id)).terminal:  # it did not end meanwhile
                raise

    def delete(self, sweep_id: str) -> None:
        try:
            job = self._get(sweep_id)
        except NotFoundError:
            return
        if not state_of(job).terminal:
            raise ConflictError(f"sweep {sweep_id} is {state_of(job)}", hint="cancel it and wait for its end first")
        run = run_address(trial_job(job))
        if run is not None:
            self._api.objects.delete_below(run)
        self._api.call("hyperparameterTuningJobs.delete", name=job["name"])
        self._deleted.add(number_of(job))
        for trial in trials_of(job) if run is not None else ():
            if "customJob" in trial:
                self._jobs.delete(f"custom/{number_of({'name': trial['customJob']})}")

    # ---------------------------------------------------------------- what lies elsewhere

    def _get(self, sweep_id: str) -> Json:
        name = sweep_name(self._api.config.parent, sweep_id)
        if name.rpartition("/")[2] in self._deleted:
            raise NotFoundError(f"sweep {sweep_id} was deleted")
        return self._api.call("hyperparameterTuningJobs.get", name=name)

    def _space(self, job: Json) -> Mapping[str, Json]:
        """The types of the parameters: from the manifest of the trials, which lies in the staging folder if it is long."""
        if job["name"] not in self._spaces:
            run = trial_job(job)
            work = manifest_of(run)
            if not work and (address := run_address(run)) is not None:
                work = json.loads(self._api.objects.get(f"{address}/manifest.json") or b"{}")
            self._spaces[job["name"]] = work.get("sweep", {}).get("space", {})
        return self._spaces[job["name"]]

    def _was_cut_short(self, custom: str) -> bool:
        """Whether the custom job of an ended trial was cancelled; not known any more of one that was deleted."""
        try:
            return state_of(self._api.call("customJobs.get", name=custom)) is State.CANCELLED
        except NotFoundError:
            return False
