"""Ended jobs as MLflow runs, each exactly once: `python -m mlport_local.registry.export ROOT`.

A run is looked for by its job tag before one is made, and the job is marked only after the run is complete,
so an export that was killed at any point is finished by the next. A run that the job's own MLflow code started
carries the tag too (see `tracking.environment`), and is completed instead of doubled.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import MlportError
from mlport_local.config import LocalConfig
from mlport_local.locks import held, held_if_free
from mlport_local.registry import ended_jobs, run_content, tracking
from mlport_local.registry.mlflow_errors import translated
from mlport_local.registry.model_search import search_filter
from mlport_local.registry.run_content import EndedJob

if TYPE_CHECKING:
    from mlflow.entities import Run

MODELS_EXPERIMENT = "mlport-models"
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
"""MLflow's limits for one `log_batch`."""


def export(config: LocalConfig) -> dict[str, str | MlportError]:
    """Export every job that ended and is not exported yet: the run of each job, or what went wrong with it.

    One job's failure does not keep the others back; it is tried again the next time.
    """
    done: dict[str, str | MlportError] = {}
    for job in ended_jobs.waiting(config.layout):
        try:
            done[job.id] = _once(config, job)
        except MlportError as error:
            done[job.id] = error
    return done


def drain(config: LocalConfig) -> dict[str, str | MlportError]:
    """As `export`, until nothing waits; nothing if another process is at it: once it has let go, it looks again.

    So a job that ended before anyone asked is exported by either, and processes that wait for each other do not pile up.
    """
    done: dict[str, str | MlportError] = {}
    while any(job.id not in done for job in ended_jobs.waiting(config.layout)):
        with held_if_free(config.layout.exporting) as alone:
            if not alone:
                return done
            done |= export(config)
    return done


def run_of(config: LocalConfig, job_id: str) -> str | None:
    """The MLflow run of an ended job, exported now if it was not; None for a job that is unknown here or still runs."""
    for job in ended_jobs.waiting(config.layout, job_id):
        return _once(config, job)
    return ended_jobs.run_of(config.layout, job_id)


def _once(config: LocalConfig, job: EndedJob) -> str:
    with held(config.layout.root / "locks" / "export"):
        return ended_jobs.run_of(config.layout, job.id) or _export(config, job)


def own_run(config: LocalConfig, name: str, token: str) -> str:
    """A run to hold the files of a version that no job made: a server keeps files under runs only."""
    client, experiment = tracking.client(config), tracking.experiment_id(config, MODELS_EXPERIMENT)
    with translated("own_run"):
        found = client.search_runs([experiment], search_filter(tags={"mlport.token": token}), max_results=1)
        if found:
            return str(found[0].info.run_id)
        run = client.create_run(experiment, tags={"mlport.token": token}, run_name=name)
        tracking.end_run(config, run.info.run_id, "FINISHED", run.info.start_time)
        return str(run.info.run_id)


def _export(config: LocalConfig, job: EndedJob) -> str:
    with translated("export"):
        run = next(iter(_runs(config, job)), None) or _create(config, job)
        run_id = str(run.info.run_id)
        _log_params_and_tags(config, job, run)
        _log_metrics(config, job, run)
        _end(config, job)
    ended_jobs.mark_exported(config.layout, job.id, run_id)
    return run_id


def _runs(config: LocalConfig, job: EndedJob) -> list[Run]:
    """The runs that carry the job's tag, oldest first: its own code's, or the one that a killed export left.

    They are in the experiment that the job is named after, unless its code chose another.
    """
    found = _tagged(config, job, [tracking.experiment_id(config, job.name)]) or _tagged(config, job, _experiments(config))
    return sorted(found, key=lambda run: int(run.info.start_time))


def _tagged(config: LocalConfig, job: EndedJob, experiments: list[str]) -> list[Run]:
    return list(tracking.client(config).search_runs(experiments, search_filter(tags={tracking.JOB_TAG: job.id})))


def _experiments(config: LocalConfig) -> list[str]:
    """The newest experiments, as many as MLflow gives at once: looking further back costs more than it finds."""
    return [str(experiment.experiment_id) for experiment in tracking.client(config).search_experiments(max_results=1000)]


def _create(config: LocalConfig, job: EndedJob) -> Run:
    return tracking.client(config).create_run(
        tracking.experiment_id(config, job.name),
        start_time=_milliseconds(job.started),
        tags={tracking.JOB_TAG: job.id},
        run_name=job.id,
    )


def _log_params_and_tags(config: LocalConfig, job: EndedJob, run: Run) -> None:
    """MLflow refuses a second value for a parameter, so what the job's own code logged stands."""
    from mlflow.entities import Param, RunTag

    client, run_id = tracking.client(config), run.info.run_id
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in run_content.tags(job).items()])
    missing = iter([Param(name, value) for name, value in run_content.params(job).items() if name not in run.data.params])
    while some := list(islice(missing, PARAMS_A_CALL)):
        client.log_batch(run_id, params=some)


def _log_metrics(config: LocalConfig, job: EndedJob, run: Run) -> None:
    """Values that a killed export left are not doubled: MLflow keeps one row for the same name, time, step and value."""
    from mlflow.entities import Metric

    theirs = _metrics_of_the_job_itself(job, run)
    metrics = (Metric(point.name, point.value, point.time, point.step) for point in _points(job) if point.name not in theirs)
    while some := list(islice(metrics, METRICS_A_CALL)):
        tracking.client(config).log_batch(run.info.run_id, metrics=some)


def _metrics_of_the_job_itself(job: EndedJob, run: Run) -> set[str]:
    """Metrics that the job's own MLflow code logged: the run's newest point of each is not one of the metrics file."""
    newest = {(metric.key, metric.step, metric.timestamp) for metric in run.data._metric_objs}
    ours = {point.name for point in _points(job) if (point.name, point.step, point.time) in newest} if newest else set()
    return {name for name, _, _ in newest} - ours


def _end(config: LocalConfig, job: EndedJob) -> None:
    """Give every run of the job the job's end, except those that its own code ended."""
    for run in _runs(config, job):
        if run.info.status == "RUNNING":
            tracking.end_run(config, run.info.run_id, run_content.STATUS[job.state], _milliseconds(job.ended))


def _points(job: EndedJob) -> Iterator[run_content.Point]:
    if job.metrics is None or not job.metrics.exists():
        return
    with job.metrics.open("rb") as lines:
        yield from run_content.points(lines, _milliseconds(job.ended))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def main(arguments: list[str]) -> int:
    """Export the jobs of one root, unless another process does; 1 if any of them failed."""
    if len(arguments) not in (1, 2):
        print("usage: python -m mlport_local.registry.export ROOT [MLFLOW_ADDRESS]", file=sys.stderr)
        return 2
    done = drain(LocalConfig(root=Path(arguments[0]), mlflow=arguments[1] if arguments[1:] else None))
    failed = {job_id: error for job_id, error in done.items() if isinstance(error, MlportError)}
    for job_id, error in failed.items():
        print(f"{job_id}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
