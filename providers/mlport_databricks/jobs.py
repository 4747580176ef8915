"""Jobs on Databricks: one-time runs of mlport's runner. What they leave lies in the volume under their token."""

from __future__ import annotations

import json
import logging
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import AmbiguousError, ConflictError, InvalidRequestError, MlportError, NotFoundError, stamped
from mlport.spi import TOKEN, JobResult, JobStatus, Json, LogPage, MetricPoint, Models, Page, Plan, Query
from mlport.transfer import is_url
from mlport_databricks.labels import KIND_LABEL, clean
from mlport_databricks.names import job_folder, model_folder, of_run_name, volume_path
from mlport_databricks.running.job_records import (
    attempt_of,
    id_of,
    is_scheduled,
    job_status,
    moment,
    run_folder,
    run_number,
    state_of,
    tags_of,
    together,
    token_of,
)
from mlport_databricks.running.job_request import RUNNER, SUBMIT_PATH, entry_path, wheels_of
from mlport_databricks.running.manifest import asked_in, manifest_path, work_in
from mlport_databricks.running.package import ENTRY, program, program_digest
from mlport_databricks.running.states import run_state
from mlport_databricks.workspace.secret_scope import SecretScope, key_of

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

RUNS = "/api/2.2/jobs/runs"
PAGE = 24  # jobs/runs/list takes less than 25
CLOCKS = timedelta(minutes=10)  # what clocks may differ, and a submit may take
LOOKS_AT_ONCE = 8
log = logging.getLogger("mlport.databricks")
BUNDLE, MARK = "bundle.tar.gz", "submitted"
STAGED = (BUNDLE, MARK, "manifest.json")
"""One of these is in a job's folder before it is submitted: the mark where there is nothing else to stage."""


@stamped("databricks", "jobs")
class DatabricksJobs:
    """The runs of one workspace that mlport made. Safe to use from several threads."""

    def __init__(self, connection: Connection, models: Callable[[], Models]) -> None:
        self._models = models
        self._connection, self._config, self._files = connection, connection.config, connection.files
        self._ended: dict[str, Json | None] = {}  # what never changes any more
        self._manifests: dict[str, Json] = {}
        self._program_is_there = False
        self._forgotten: set[str] = set()  # runs whose secrets are gone

    # ---------------------------------------------------------------- making

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Stage what the job needs, and submit it: the token makes Databricks do that once, so a lost answer is asked for again."""
        body = self.settled(plan.requests[-1].body, token)
        if not secrets:
            return self._submit(plan, body, token, bundle)
        scope, key = self._scope(), key_of(token)
        is_new = scope.put(key, secrets)
        try:
            return self._submit(plan, body, token, bundle)
        except AmbiguousError:
            raise
        except MlportError:
            if is_new:  # or an earlier submit may have made a run that reads them
                scope.delete(key)
            raise

    def _submit(self, plan: Plan, body: Json, token: str, bundle: Path | None) -> str:
        self.stage(plan, token, bundle)
        if bundle is None and work_in(body) is not None:
            self._files.put(f"{job_folder(self._config, token)}/{MARK}", b"")
        try:
            return self._send(body)
        except AmbiguousError as first:
            try:
                return self._send(body)
            except (AmbiguousError, InvalidRequestError):  # the latter was no better the first time
                raise
            except MlportError as error:  # that nothing was done holds for the second request only
                raise AmbiguousError(first.message, native_code=first.native_code, request_id=first.request_id) from error

    def _send(self, body: Json) -> str:
        return id_of(self._connection.call("POST", SUBMIT_PATH, operation="jobs.submit", body=body))

    def settled(self, body: Json, token: str) -> Json:
        """A plan's body with token and runner in place of what stands for them."""
        found: Json = json.loads(json.dumps(body).replace(TOKEN, token).replace(RUNNER, program_digest()))
        return found

    def stage(self, plan: Plan, token: str, bundle: Path | None) -> None:
        """Have everything in its place that the run reads. Done again, nothing changes."""
        self.place_program()
        folder = job_folder(self._config, token)
        given = work_in(self.settled(plan.requests[-1].body, token))
        work = given or self.settled(plan.requests[-2].body, token)
        asked = plan.spec.get("job") or plan.spec
        for path in map(Path, wheels_of(asked.get("requirements", ()))):
            if path.is_file():
                self._files.put(f"{folder}/wheels/{path.name}", path)
        if bundle is not None:
            self._files.put(f"{folder}/{BUNDLE}", bundle)
        self._stage_inputs(plan, work)
        if plan.facts.model and "model" in work["inputs"]:
            self._stage_model(plan.facts.model)
        output = plan.spec.get("output")
        if plan.kind == "batch" and output and not is_url(output) and volume_path(output) is None:
            self._files.put(f"{folder}/deliver.json", json.dumps({"host": socket.gethostname(), "path": output}).encode())
        if given is None:
            self._files.put(manifest_path(self._config, token), json.dumps(work, ensure_ascii=False, allow_nan=False).encode())

    def place_program(self) -> None:
        """The first program of every run and what goes with it, in the workspace once for each content."""
        if self._program_is_there:
            return
        folder = entry_path(self._config).replace(RUNNER, program_digest()).removesuffix(f"/{ENTRY}")
        if self._files.workspace_status(f"{folder}/{ENTRY}") is None:
            self._files.import_once(folder, program())
        self._program_is_there = True

    def _stage_inputs(self, plan: Plan, work: Json) -> None:
        """Upload the inputs that are of this machine, each content once; the runner checks that they are as planned."""
        for name, fact in plan.facts.inputs.items():
            if is_url(fact.uri) or volume_path(fact.uri):
                continue
            whole = f"{self._config.staging}/inputs/{fact.digest}.whole"
            if self._files.head(whole) is None:
                self._files.upload(Path(fact.uri), work["inputs"][name]["uri"])
                self._files.put(whole, b"whole")

    def _stage_model(self, model: Json) -> None:
        """Copy a version's files into the volume, each content once: jobs cannot read Unity Catalog's storage."""
        folder = model_folder(self._config, str(model["digest"]))
        if self._files.head(f"{folder}.whole") is None:
            with tempfile.TemporaryDirectory(prefix="mlport-") as scratch:
                found = self._models().download(model["name"], model["version"], Path(scratch, "model"))
                self._files.upload(found, folder)
            self._files.put(f"{folder}.whole", b"whole")

    # ---------------------------------------------------------------- looking

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        """By the name of the runs since the job was staged: if nothing was, there is none. Who may send again does that instead."""
        folder = job_folder(self._config, token)
        staged = [moment(entry["last_modified"]) for entry in self._files.list(folder) if entry["name"] in STAGED]
        if not staged:
            return None
        begin = (since or min(staged)) - CLOCKS
        page: str | None = None
        while True:
            answer = self._list(page, PAGE, {"run_type": "SUBMIT_RUN", "start_time_from": int(begin.timestamp() * 1000)})
            for run in answer.get("runs", ()):
                if token_of(run) == token:
                    return id_of(run)
            page = answer.get("next_page_token")
            if not page:
                return None

    def status(self, job_id: str) -> JobStatus:
        run = self._get(job_id)
        found = self._status(run)
        if run_state(run).terminal:
            self._forget_secrets(run)
            if found.state == "SUCCEEDED":
                self._deliver(run)
        return found

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        if not query.newest_first:
            return self._oldest_first(query, page)
        runs, following = self._page(query, page)
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            shown = list(pool.map(self._status, runs))
        return Page([status for status in shown if not query.states or status.state in query.states], following)

    def _page(self, query: Query, page: str | None) -> tuple[Sequence[Json], str | None]:
        """A page of our runs, the newest first; Databricks filters by neither name nor label."""
        answer = self._list(page, min(PAGE, query.page_size), {"expand_tasks": True})
        ours = [
            run for run in answer.get("runs", ()) if (own := of_run_name(str(run.get("run_name", "")))) and query.name in (None, own[0])
        ]
        wanted = {name: clean(value) for name, value in query.labels.items()}
        fitting = [run for run in ours if wanted.items() <= self._labels(run).items()] if wanted else ours
        return fitting, answer.get("next_page_token") or None

    def _list(self, page: str | None, limit: int, query: Mapping[str, str | int | bool]) -> Json:
        return self._connection.call("GET", f"{RUNS}/list", operation="jobs.list_runs", query={**query, "limit": limit, "page_token": page})

    def _oldest_first(self, query: Query, page: str | None) -> Page[JobStatus]:
        """Databricks lists the newest first only, so all are read; a page's token is the id of the last job on it."""
        from mlport.paging import each

        newest: list[Json] = list(each(lambda token: Page(*self._page(query, token))))
        oldest = newest[::-1]
        begin = next((index + 1 for index, run in enumerate(oldest) if id_of(run) == page), 0) if page else 0
        shown = oldest[begin : begin + query.page_size]
        following = id_of(shown[-1]) if begin + query.page_size < len(oldest) else None
        told = [self._status(run) for run in shown]
        return Page([status for status in told if not query.states or status.state in query.states], following)

    def result(self, job_id: str) -> JobResult:
        run = self._get(job_id)
        if not run_state(run).terminal:
            raise ConflictError(f"job {job_id} is {run_state(run)} and has no result yet", hint="wait for it")
        return JobResult.read(self._end_of(run) or {})

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        from mlport.metrics import points

        folder = run_folder(self._config, self._get(job_id))
        content = self._files.get(f"{folder}/metrics.jsonl") if folder else None
        return points((content or b"").split(b"\n"))

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        from mlport_databricks.running.logs import read_page

        run = self._get(job_id)
        nodes = self._nodes(run)
        return read_page(self._connection, run, run_folder(self._config, run), nodes, after, ended=run_state(run).terminal)

    def asked(self, job_id: str) -> Json | None:
        """Kind, spec and facts of the job as it was asked for, by its manifest."""
        return asked_in(self._manifest(self._get(job_id)))

    # ---------------------------------------------------------------- ending

    def cancel(self, job_id: str) -> None:
        run = self._get(job_id)
        if run_state(run).terminal:
            return
        if (folder := run_folder(self._config, run)) is not None:
            self._files.put(f"{folder}/cancel", b"cancel")  # the program looks at it: Databricks ends clusters, not programs
        self._connection.call("POST", f"{RUNS}/cancel", operation="jobs.cancel_run", body={"run_id": run_number(job_id)}, repeatable=True)

    def delete(self, job_id: str) -> None:
        try:
            run = self._get(job_id)
        except NotFoundError:
            return
        if not run_state(run).terminal:
            raise ConflictError(f"job {job_id} is {run_state(run)}", hint="cancel it and wait for its end first")
        if named := self._secrets_of(run):
            self._scope(named["scope"]).delete(named["key"])
        self._connection.call("POST", f"{RUNS}/delete", operation="jobs.delete_run", body={"run_id": run_number(job_id)}, repeatable=True)
        if (folder := run_folder(self._config, run)) is not None:
            self._files.delete_below(folder)

    # ---------------------------------------------------------------- secrets

    def _scope(self, name: str = "") -> SecretScope:
        return SecretScope(self._connection, name or str(self._config.secret_scope))

    def _secrets_of(self, run: Json) -> Json:
        """Scope and key of a run's secrets; empty for one without any, or where the profile has nothing to do with such."""
        found: Json = self._manifest(run).get("secrets", {}) if self._config.secret_scope else {}
        return found

    def _forget_secrets(self, run: Json) -> None:
        """Nobody reads the secrets of an ended run. Whoever looks and may not remove them leaves that to others."""
        named = self._secrets_of(run)
        if not named or id_of(run) in self._forgotten:
            return
        try:
            self._scope(named["scope"]).delete(named["key"])
        except MlportError as error:
            log.warning("the secrets of job %s could not be removed from %s: %s", id_of(run), named["scope"], error.message)
        else:
            self._forgotten.add(id_of(run))

    # ---------------------------------------------------------------- what the nodes wrote

    def _get(self, job_id: str) -> Json:
        return self._connection.call("GET", f"{RUNS}/get", operation="jobs.get_run", query={"run_id": run_number(job_id)})

    def _status(self, run: Json) -> JobStatus:
        ended = self._end_of(run) if _has_more_to_tell(run) else None
        return job_status(run, ended, self._labels(run))

    def _labels(self, run: Json) -> dict[str, str]:
        """The labels: tags of the run's own cluster, or else those of its manifest."""
        tags = tags_of(run)
        if tags is not None:
            return tags
        work = self._manifest(run)
        return {**work.get("labels", {}), **({KIND_LABEL: "batch"} if work.get("kind") == "batch" else {})}

    def _manifest(self, run: Json) -> Json:
        """The manifest that the run carries, or that lies in the volume; empty for a run that mlport did not make."""
        token = token_of(run)
        if token and (given := work_in(run)) is not None:
            return given
        if token and token not in self._manifests:
            content = self._files.get(manifest_path(self._config, token))
            if content is None:
                return {}
            self._manifests[token] = json.loads(content)
        return self._manifests.get(token, {})

    def _nodes(self, run: Json) -> int:
        return int(self._manifest(run).get("nodes") or 1) if any("for_each_task" in task for task in run.get("tasks") or ()) else 1

    def _end_of(self, run: Json) -> Json | None:
        """What tells how an ended run ended: of several nodes the first that failed. None where no node wrote anything."""
        job_id, folder = id_of(run), run_folder(self._config, run)
        if job_id not in self._ended:
            told = [content for rank in range(self._nodes(run)) if folder and (content := self._files.get(f"{folder}/nodes/{rank}.json"))]
            nodes = [json.loads(content) for content in told]
            self._ended[job_id] = together(nodes)
        return self._ended[job_id]

    def _deliver(self, run: Json) -> None:
        """Copy a batch's scores to the folder that was asked for, if it is one of this machine and empty."""
        folder = run_folder(self._config, run)
        if folder is None or is_scheduled(run) or self._labels(run).get(KIND_LABEL) != "batch":
            return
        note = self._files.get(f"{folder}/deliver.json")
        wanted = json.loads(note) if note else {}
        ended = self._end_of(run)
        if wanted.get("host") != socket.gethostname() or not ended or _holds_files(Path(wanted["path"])):
            return
        uri = volume_path(ended["outputs"]["predictions"]["uri"])
        if uri is not None:
            self._files.download(uri, Path(wanted["path"]))


def _holds_files(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _has_more_to_tell(run: Json) -> bool:
    """Whether the nodes know more of the end than Databricks does: why it failed, or how many attempts it took."""
    state = state_of(run)
    return state.terminal and (state != "SUCCEEDED" or attempt_of(run) > 1)
