"""Sweeps: trials are jobs, each run once, the best is found, and an end ends them all. Composed or native, the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import mlport
from mlport import JobSpec, State, Sweep, SweepSpec
from mlport.capabilities import Capability as C
from mlport.errors import ConflictError, JobFailedError, NotFoundError
from mlport.sweeps import LABEL, SweepStatus, Trial, TrialState
from mlport.testing import needs, programs
from mlport.testing.waiting import eventually

pytestmark = needs(C.SWEEP, C.JOB_RUN, C.JOB_METRICS, C.JOB_CANCEL)
Start = Callable[..., Sweep]


@pytest.fixture
def start(client: mlport.Client, spec_of: Callable[..., JobSpec], unique: str, seconds: float) -> Iterator[Start]:
    """Stores a sweep over `x`, whose score is best where x is greatest; what still goes on at the end of the test is cancelled."""
    started: dict[str, Sweep] = {}

    def make(key: str | None = None, **fields: object) -> Sweep:
        search = {"space": {"x": [1, 3, 2]}, "metric": "score", "direction": "maximize", "algorithm": "grid"}
        spec = SweepSpec.model_validate({"name": unique, "job": spec_of(programs.SCORE), **search, **fields})
        sweep = client.sweeps.start(spec, key=key)
        return started.setdefault(sweep.id, sweep)

    yield make
    for sweep in started.values():
        with suppress(NotFoundError):  # the test deleted it
            if not sweep.state.terminal:
                sweep.cancel()
                with pytest.raises(JobFailedError):
                    sweep.wait(seconds)
            client.sweeps.delete(sweep.id)


def jobs_of(client: mlport.Client, sweep: Sweep) -> list[str]:
    """The ids of the jobs that its trials run as; those of mlport's own are found by their label."""
    if sweep.road == "composed":
        return [job.id for job in client.jobs.list(labels={LABEL: sweep.id})]
    return [trial.job_id for trial in sweep.trials if trial.job_id is not None]


def by_x(sweep: Sweep) -> dict[object, Trial]:
    """Its trials by the parameter that is searched: a vendor's tuner may try a grid in any order."""
    return {trial.params["x"]: trial for trial in sweep.trials}


def test_a_grid_is_run_whole_and_the_best_trial_is_a_job(start: Start, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    seen: list[SweepStatus] = []
    sweep = start(parallel=2).wait(4 * seconds, on_look=seen.append)
    assert (sweep.state, [trial.number for trial in sweep.trials]) == (State.SUCCEEDED, [0, 1, 2])
    if sweep.road == "composed":
        assert [dict(trial.params) for trial in sweep.trials] == [{"x": 1}, {"x": 3}, {"x": 2}]
    assert {x: (trial.state, trial.value) for x, trial in by_x(sweep).items()} == {x: (TrialState.SUCCEEDED, 3.0 * x) for x in (1, 2, 3)}
    assert all(isinstance(x, int) for x in by_x(sweep)), "a program gets values of the type that was asked for"
    assert max(status.counts.get("running", 0) for status in seen) <= 2, "no more at a time than `parallel`"
    best = sweep.best
    assert best is not None
    assert (dict(best.params), dict(sweep.job(best).metrics), sweep.job(best).state) == ({"x": 3}, {"score": 9.0}, State.SUCCEEDED)
    assert sorted(jobs_of(client, sweep)) == sorted(trial.job_id or "" for trial in sweep.trials)
    assert len(set(jobs_of(client, sweep))) == 3
    assert sweep.job(best).lineage["params"] == {"x": 3}
    assert again.sweeps.get(sweep.id).status() == sweep.status(), "another client sees the same"
    (listed,) = [status for status in again.sweeps.list() if status.id == sweep.id]
    assert (listed.state, listed.road, listed.best) == (State.SUCCEEDED, sweep.road, None)


def test_the_least_is_best_where_the_metric_is_to_be_small(start: Start, seconds: float) -> None:
    best = start(direction="minimize", space={"x": [2, 1]}, parallel=2).wait(3 * seconds).best
    assert best is not None
    assert (dict(best.params), best.value) == ({"x": 1}, 3.0)


def test_a_random_search_tries_different_points_of_its_space_and_can_be_repeated(start: Start, seconds: float) -> None:
    search = {"algorithm": "random", "space": {"x": {"low": 1, "high": 1000}}, "max_trials": 3, "parallel": 3, "seed": 5}
    first, second = (start(**search).wait(3 * seconds) for _ in range(2))
    points = [trial.params["x"] for trial in first.trials]
    assert (len(set(points)), first.id != second.id) == (3, True)
    assert all(isinstance(x, int) and 1 <= x <= 1000 for x in points)
    assert [trial.params["x"] for trial in second.trials] == points


def test_the_same_key_is_the_same_sweep_and_runs_no_trial_twice(start: Start, client: mlport.Client, unique: str, seconds: float) -> None:
    first = start(unique, space={"x": [1, 2]}, parallel=2).wait(3 * seconds)
    second = start(unique, space={"x": [1, 2]}, parallel=2).wait(seconds)
    assert (second.id, second.status()) == (first.id, first.status())
    assert len(jobs_of(client, first)) == 2
    with pytest.raises(ConflictError):
        start(unique, space={"x": [1, 5]}, parallel=2)


def test_another_client_goes_on_where_one_left_off(start: Start, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    sweep = start(space={"x": [1, 2]})
    with pytest.raises(mlport.errors.DeadlineError):
        sweep.wait(0)  # long enough to start the first
    theirs = again.sweeps.get(sweep.id).wait(3 * seconds)
    assert theirs.status() == sweep.status()
    assert sorted(jobs_of(client, sweep)) == sorted(trial.job_id or "" for trial in theirs.trials)
    assert len(theirs.trials) == 2


def test_a_failed_trial_is_told_and_is_never_the_best(start: Start, seconds: float) -> None:
    sweep = start(direction="minimize", space={"x": [0, 2]}, parallel=2).wait(3 * seconds)
    failed, succeeded = by_x(sweep)[0], by_x(sweep)[2]
    assert (failed.state, succeeded.state, sweep.best) == (TrialState.FAILED, TrialState.SUCCEEDED, succeeded)
    assert failed.reason
    assert sweep.job(failed).state is State.FAILED


def test_cancel_ends_the_trials_that_run(start: Start, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    sweep = start(space={"x": [-1, -2, 3]}, parallel=2)
    with pytest.raises(mlport.errors.DeadlineError):
        sweep.wait(0)
    running = eventually(lambda: jobs_of(client, sweep), lambda jobs: len(jobs) == 2, seconds)
    again.sweeps.get(sweep.id).cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        sweep.wait(seconds)
    assert {client.jobs.get(job_id).state for job_id in running} == {State.CANCELLED}
    assert [trial.state for trial in sweep.trials] == [TrialState.CANCELLED] * 2, "none was started after the cancel"
    sweep.cancel()
    assert sweep.state is State.CANCELLED


@needs(C.JOB_METRICS_LIVE)
def test_a_trial_that_falls_behind_is_ended_early(start: Start, seconds: float) -> None:
    """It would go on for ever, were it not ended."""
    sweep = start(space={"x": [2, 3, -1]}, stopping={"min_trials": 2, "min_steps": 3}).wait(4 * seconds)
    assert [trial.state for trial in sweep.trials] == [TrialState.SUCCEEDED, TrialState.SUCCEEDED, TrialState.PRUNED]
    assert sweep.trials[2].reason
    assert sweep.job(sweep.trials[2]).state is State.CANCELLED
    assert sweep.best == sweep.trials[1]


def test_a_deleted_sweep_is_gone_and_jobs_of_our_own_stay(start: Start, client: mlport.Client, unique: str, seconds: float) -> None:
    sweep = start(space={"x": [1, -1]}, parallel=2)
    with pytest.raises(ConflictError):
        client.sweeps.delete(sweep.id)
    sweep.cancel()
    with pytest.raises(JobFailedError):
        sweep.wait(seconds)
    jobs = jobs_of(client, sweep)
    client.sweeps.delete(sweep.id)
    client.sweeps.delete(sweep.id)
    with pytest.raises(NotFoundError):
        client.sweeps.get(sweep.id)
    if sweep.road == "composed":
        assert jobs_of(client, sweep) == jobs
    else:
        assert not set(jobs) & {job.id for job in client.jobs.list(name=unique)}, "what the tuner made goes with it"
