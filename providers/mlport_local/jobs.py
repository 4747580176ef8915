"""Jobs on your own machine: the SPI's verbs over the queue. Supervisors do the work; any call notices when one is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

from mlport.errors import ConflictError, NotFoundError, UnavailableError, stamped
from mlport.masking import masked
from mlport.metrics import points
from mlport.spi import Collected, JobResult, JobStatus, Json, LogPage, MetricPoint, Page, Plan, Query
from mlport_local.config import LocalConfig
from mlport_local.engine import collecting, listing, logs, pool, process, queue, staffing
from mlport_local.engine.database import Connections, translated, writing
from mlport_local.engine.files import write_durably
from mlport_local.engine.manifest import settled
from mlport_local.engine.private import keep_private, secrets_path
from mlport_local.engine.queue import NewJob
from mlport_local.engine.reservation import Limits
from mlport_local.layout import Layout
from mlport_local.registry import mlflow_schema


@stamped("local", "jobs")
class LocalJobs:
    """The jobs of one root. Safe to use from several threads and processes."""

    def __init__(self, config: LocalConfig) -> None:
        self.config = config
        self.layout = config.layout
        self._connections = Connections(config.layout)

    @cached_property
    def _limits(self) -> Limits:
        return Limits.of_machine(self.config.max_jobs, self.config.gpus)

    @property
    def _start(self) -> partial[int]:
        return partial(pool.start_supervisor, self.layout, self._limits, self.config.mlflow)

    def submit(self, plan: Plan, *, token: str, bundle: Path | None = None, secrets: Mapping[str, str] | None = None) -> str:
        """Queue the job and see to it that somebody runs it; the same token gives the same id.

        Raises:
            ConflictError: the token belongs to another plan.
        """
        body = plan.requests[0].body
        keep_source = partial(kept_bundle, self.layout, bundle, body.get("source_digest"))
        keep_source()
        if "MLFLOW_TRACKING_URI" in body.get("env", {}) and self.config.mlflow is None:
            mlflow_schema.prepare(self.layout)  # or two first jobs that use MLflow would make it at once, and break it
        private = {**_needed(body), **_tracking(self.config, body), **(secrets or {})}
        new = NewJob(
            token=token,
            kind=plan.kind,
            name=plan.name,
            labels=settled(body.get("labels", {}), "", token),
            retries=body.get("retries", 0),
            cpus=body["cpus"] * body["nodes"],
            memory_gib=body["memory_gib"] * body["nodes"],
            gpus=body.get("gpus", 0) * body["nodes"],
            plan_digest=plan.digest,
            plan=plan.to_json(),
            request=lambda job_id: self._request(body, keep_source(), job_id, token),  # again: it may have been collected meanwhile
        )
        connection = self._connections.get()
        with writing(connection, "submit"):
            job_id = queue.insert(connection, new, lambda job_id: keep_private(self.layout, job_id, private))
            staffing.ensure(connection, self._limits, self._start)
        return job_id

    def _request(self, body: Json, source: Path | None, job_id: str, token: str) -> Json:
        """The plan's body with nothing left open: what a supervisor needs and no plan can know."""
        wanted = body.get("interpreter") or sys.executable
        interpreter = shutil.which(wanted) or wanted
        return {
            **settled(body, job_id, token),
            "source": str(source) if source else None,
            "metrics": str(self.layout.job(job_id) / "metrics.jsonl"),
            "interpreter": interpreter,
            "setup": environment_setup(body, interpreter),
            "environment": pool.plain_environment(os.environ),
            "transfer": [sys.executable, "-m", "mlport.transfer"],
        }

    def find(self, token: str, *, since: datetime | None = None) -> str | None:
        row = self._one("SELECT id FROM jobs WHERE token = ? AND created >= ?", token, since.timestamp() if since else 0.0)
        return row["id"] if row else None

    def status(self, job_id: str) -> JobStatus:
        self._look()
        return listing.job_status(self._row(job_id, listing.COLUMNS))

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        self._look()
        with translated():
            return listing.page_of_jobs(self._connections.get(), query, page)

    def result(self, job_id: str) -> JobResult:
        row = self._row(job_id, "state, result")
        if row["state"] not in queue.TERMINAL:
            raise ConflictError(f"job {job_id} is {row['state']} and has no result yet", hint="wait for it")
        return JobResult.read(json.loads(row["result"] or "{}"))

    def metrics(self, job_id: str) -> Sequence[MetricPoint]:
        self._row(job_id, "id")
        path = self.layout.job(job_id) / "metrics.jsonl"
        if not path.exists():
            return ()
        with path.open("rb") as lines:
            return points(lines)

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        self._look()
        ended = self._row(job_id, "state")["state"] in queue.TERMINAL
        return logs.read_page(self.layout.job(job_id) / "log", after, ended=ended)

    def cancel(self, job_id: str) -> None:
        self._row(job_id, "id")
        supervisor = queue.cancel(self._connections.get(), job_id)
        if supervisor is None:
            secrets_path(self.layout, job_id).unlink(missing_ok=True)
        if supervisor is None or not process.send(supervisor, signal.SIGUSR1):
            self.reconcile()  # its supervisor is dead, or others waited behind a job that was queued

    def preempt(self, job_id: str) -> None:
        """Take a running job's place back, as a cloud does with spot capacity: SIGTERM, its grace, SIGKILL.

        The job goes on from its checkpoint in another attempt, which uses no retry. For tests and emulators: no command
        says this. Nothing happens to a job that does not run.
        """
        self._row(job_id, "id")
        supervisor = queue.preempt(self._connections.get(), job_id)
        if supervisor is not None and not process.send(supervisor, signal.SIGUSR1):
            self.reconcile()

    def collect(self, unused_for: timedelta, *, dry_run: bool = False) -> Collected:
        """Remove bundles that no listed job has and environments that no unfinished job needs, unused for so long.

        Also what interrupted deletions left. Everything removed is made again when it is needed.
        """
        connection, seconds = self._connections.get(), unused_for.total_seconds()
        if not dry_run:
            return collecting.collect(self.layout, connection, seconds)
        with translated():
            found = collecting.collectable(self.layout, connection, seconds)
        return Collected(collecting.named(found), sum(collecting.size_of(path) for paths in found.values() for path in paths))

    def delete(self, job_id: str) -> None:
        row = self._one("SELECT state FROM jobs WHERE id = ?", job_id)
        if row is None:
            return
        if row["state"] not in queue.TERMINAL:
            raise ConflictError(f"job {job_id} is {row['state']}", hint="cancel it and wait for its end first")
        queue.delete(self._connections.get(), job_id)
        folder = self.layout.job(job_id)
        if folder.exists() and not collecting.removed(folder):
            raise UnavailableError(f"job {job_id} is forgotten, but {folder} could not be removed", hint="remove it by hand")

    def close(self) -> None:
        """Close the database; jobs run on."""
        self._connections.close()

    def reconcile(self) -> None:
        """See that somebody looks after every job."""
        with translated():
            staffing.reconcile(self._connections.get(), self._limits, self._start)

    def _look(self) -> None:
        """Reconcile if that can be done: on a disk that is full or read-only, what is known can still be read."""
        with suppress(UnavailableError):
            self.reconcile()

    def _one(self, sql: str, *values: str | float) -> sqlite3.Row | None:
        with translated():
            found: sqlite3.Row | None = self._connections.get().execute(sql, values).fetchone()
        return found

    def _row(self, job_id: str, columns: str) -> sqlite3.Row:
        row = self._one(f"SELECT {columns} FROM jobs WHERE id = ?", job_id)  # noqa: S608 - columns are our own
        if row is None:
            raise NotFoundError(f"no job {job_id!r} under {self.layout.root}", hint="`mlport jobs list` shows those that there are")
        return row


def environment_setup(body: Json, interpreter: str) -> Json | None:
    """What the job's own environment is to be made from; None when it needs none."""
    if not body.get("requirements") and not body.get("python"):
        return None
    from uv import find_uv_bin

    return {
        "requirements": list(body.get("requirements", ())),
        "python": body.get("python"),
        "base": interpreter,
        "wheelhouse": body.get("wheelhouse"),
        "offline": body.get("offline", False),
        "uv": find_uv_bin(),
    }


def _needed(body: Json) -> dict[str, str]:
    """The private variables of ours that the job cannot do without: for package indexes and object stores."""
    addresses = [entry.get("uri") or "" for field in ("inputs", "outputs") for entry in body.get(field, {}).values()]
    reaches_out = body.get("requirements") or body.get("python") or any("://" in uri and not uri.startswith("file://") for uri in addresses)
    return pool.private_environment(os.environ) if reaches_out else {}


def _tracking(config: LocalConfig, body: Json) -> dict[str, str]:
    """The address of MLflow, where the plan had to hide a password of it."""
    if config.mlflow is None or body.get("env", {}).get("MLFLOW_TRACKING_URI") != masked(config.mlflow):
        return {}
    from mlport_local.registry.tracking import private_environment

    return private_environment(config)


def kept_bundle(layout: Layout, bundle: Path | None, digest: str | None) -> Path | None:
    """The bundle's place under the root, copied there if it is not yet; None for a job without a source.

    Raises:
        NotFoundError: the plan names a bundle, and it is neither given nor kept.
    """
    if digest is None:
        return None
    target = layout.bundle(digest)
    if not target.exists():
        if bundle is None:
            raise NotFoundError(f"the bundle {digest} of this plan is neither given nor under {layout.root}")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, bundle.read_bytes(), "bundle")
    return target
