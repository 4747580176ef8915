"""A schedule's requests: what a run finds in its place, and jobs/create with Databricks' own clock. Pure."""

from __future__ import annotations

from mlport.errors import SpecError, UnsupportedError
from mlport.scheduling.firing import LABEL
from mlport.specs import BatchSpec, JobSpec, ScheduleSpec
from mlport.spi import Facts, InputFact, Json, PlanKind, Request
from mlport.transfer import is_url
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.labels import clean, machine_labels
from mlport_databricks.names import run_name, volume_path
from mlport_databricks.options import DatabricksJobOptions, options_of
from mlport_databricks.running.batch_request import batch_work
from mlport_databricks.running.job_request import FIRED_AT, Planned, job_work, staged, tasks_of
from mlport_databricks.running.quartz import quartz

CREATE, CREATE_PATH = "jobs.JobsAPI.create", "/api/2.2/jobs/create"
MOST_RUNS = 1000
"""Databricks' limit of runs of one job at a time: databricks/sdk/service/jobs.py, JobSettings.max_concurrent_runs."""


def schedule_plan(config: DatabricksConfig, spec: ScheduleSpec, facts: Facts) -> Planned:
    """What starts a ScheduleSpec's work by Databricks' clock."""
    _refuse_what_is_absent(spec)
    work = spec.work
    if isinstance(work, JobSpec) and work.secrets:
        raise SpecError(
            "JobSpec.secrets: Databricks' clock starts the runs, and has no environment to take them from",
            hint="let the program read a secret scope itself, with dbutils.secrets",
        )
    options = options_of(DatabricksJobOptions, work.options)
    marked = {**facts.labels, **work.labels, LABEL: clean(spec.name)}
    each = Facts(
        facts.bundle, facts.bundle_bytes, facts.git_commit, facts.git_dirty, inputs=_inputs(work), labels=marked, model=facts.model
    )
    kind: PlanKind = "job" if isinstance(work, JobSpec) else "batch"
    manifest = {**(job_work(config, work, each) if isinstance(work, JobSpec) else batch_work(config, work, each)), "scheduled": True}
    tasks, beside, resolved = tasks_of(config, work, options, each, kind, manifest, "--time", FIRED_AT)
    body: Json = {
        "name": run_name(spec.name),
        "max_concurrent_runs": spec.max_concurrent or MOST_RUNS,
        "queue": {"enabled": spec.max_concurrent is None},
        "schedule": clock(spec, paused=spec.paused),
        "tags": machine_labels({**facts.labels, LABEL: spec.name}),
        "tasks": tasks,
        **beside,
    }
    create = Request(CREATE, body, "POST", CREATE_PATH, after="what its runs read is there, and the name is taken in the state")
    notes = ("Databricks leaves out a firing that finds no place, and never catches up",) if spec.max_concurrent else ()
    return "schedule", spec.name, (*staged(config, manifest), create), resolved, notes


def clock(spec: ScheduleSpec, *, paused: bool) -> Json:
    """The schedule of a job of Databricks' own."""
    return {
        "quartz_cron_expression": quartz(spec.cron),
        "timezone_id": spec.time_zone,
        "pause_status": "PAUSED" if paused else "UNPAUSED",
    }


def _refuse_what_is_absent(spec: ScheduleSpec) -> None:
    gaps = {
        "jitter": (spec.jitter, "Databricks starts a job at the time that its schedule says"),
        "start": (spec.start, "a schedule of Databricks has no beginning: create it paused, and resume it"),
        "end": (spec.end, "a schedule of Databricks has no end: delete it then"),
    }
    if missing := [(f"ScheduleSpec.{name}", why) for name, (value, why) in gaps.items() if value is not None]:
        raise UnsupportedError("databricks", missing)


def _inputs(work: JobSpec | BatchSpec) -> dict[str, InputFact]:
    """The inputs as each firing will find them: what they are then is not known now."""
    if isinstance(work, BatchSpec) and volume_path(work.output) is None:
        raise SpecError(f"BatchSpec.output: {work.output!r} of a schedule must be in a volume (/Volumes/...)")
    uris = work.inputs if isinstance(work, JobSpec) else {"rows": work.input}
    here = sorted(name for name, uri in uris.items() if not is_url(uri) and volume_path(uri) is None)
    if here:
        raise SpecError(
            f"{type(work).__name__}: {', '.join(here)}: Databricks cannot read a path of this machine at each firing",
            hint="put it into a volume, and give its /Volumes/... path",
        )
    return {name: InputFact(uri, "unversioned", "", 0) for name, uri in uris.items()}
