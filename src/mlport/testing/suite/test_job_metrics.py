"""What a job logged: every value in order, by its step, while it runs and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

import mlport
from mlport import Job
from mlport.capabilities import Capability as C
from mlport.errors import JobFailedError, NotFoundError
from mlport.spi import MetricPoint
from mlport.testing import needs, programs
from mlport.testing.waiting import eventually

pytestmark = needs(C.JOB_RUN, C.JOB_METRICS)
RunProgram = Callable[..., Job]
Value = tuple[str, float, int]

UNEVEN = """
import json, os
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    for entry in ({"name": "loss", "value": 3, "step": 10}, {"auc": 0.5}, {"name": "loss", "value": 2, "step": 20}, {"auc": 0.75}):
        metrics.write(json.dumps(entry) + "\\n")
"""
LOGGED = {"loss": [(10, 3.0), (20, 2.0)], "auc": [(0, 0.5), (1, 0.75)]}


def curve(points: Sequence[MetricPoint], name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in points if point.name == name]


def is_told(found: list[tuple[int, float]], logged: list[tuple[int, float]]) -> bool:
    """All of it; or, where a provider keeps only that, the last value."""
    return found == logged or [value for _, value in found] == [logged[-1][1]]


def test_every_value_is_there_afterwards_by_its_step_or_its_number(
    run: RunProgram, client: mlport.Client, again: mlport.Client, seconds: float
) -> None:
    job = run(UNEVEN).wait(seconds)
    points = client.session.jobs.metrics(job.id)
    assert {point.name for point in points} == set(LOGGED)
    for name, logged in LOGGED.items():
        assert is_told(curve(points, name), logged), f"{name}: {curve(points, name)}"
    assert dict(job.metrics) == {"loss": 2.0, "auc": 0.75}
    assert list(again.session.jobs.metrics(job.id)) == list(points)


def test_the_times_of_values_are_in_utc(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    points = client.session.jobs.metrics(run(programs.SCORE, params={"x": 1}).wait(seconds).id)
    times = [point.time for point in points if point.time is not None]
    assert all(time.utcoffset() == timedelta(0) for time in times)
    assert times == sorted(times), "oldest first"


def test_a_failed_job_keeps_what_it_logged(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    job = run(programs.SCORE, params={"x": 0})
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    assert is_told(curve(client.session.jobs.metrics(job.id), "score"), [(1, 0.0), (2, 0.0), (3, 0.0)])
    assert dict(job.metrics) == {"score": 0.0}


def test_a_job_that_logs_nothing_has_no_metrics(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    job = run("").wait(seconds)
    assert (list(client.session.jobs.metrics(job.id)), dict(job.metrics)) == ([], {})


def test_the_metrics_of_a_job_that_is_not_there_are_not_found(client: mlport.Client) -> None:
    with pytest.raises(NotFoundError):
        client.session.jobs.metrics("suite-nobody-has-this")


@needs(C.JOB_METRICS_LIVE, C.JOB_CANCEL)
def test_a_running_job_shows_what_it_logged_so_far(run: RunProgram, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    """The program's last line is half written at the time, and is left out."""
    job = run(programs.SCORE, params={"x": -1})
    logged = [(1, -1.0), (2, -2.0), (3, -3.0)]
    for opened in (client, again):
        eventually(lambda opened=opened: curve(opened.session.jobs.metrics(job.id), "score"), lambda found: is_told(found, logged), seconds)  # type: ignore[misc]
    assert not job.state.terminal, "it was to be seen while it runs"
    job.cancel()
    with pytest.raises(JobFailedError):
        job.wait(seconds)
    assert is_told(curve(client.session.jobs.metrics(job.id), "score"), logged)
