"""Sweeps over a real provider, the sample one; searching and stopping as functions, against Optuna's own."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlport
from mlport import JobSpec, Range, State, Stopping, SweepSpec
from mlport.errors import ConflictError, JobFailedError, NotFoundError, SpecError, UnavailableError
from mlport.spi import Facts, SweepStatus, Trial, TrialState
from mlport.sweeping.driving import Driver, verdict
from mlport.sweeping.ledger import Ledger, SweepRecord, status_of
from mlport.sweeping.space import draw, grid, same
from mlport.sweeping.stopping import behind, value_at
from mlport.sweeping.suggesting import suggest

MORNING = datetime(2026, 3, 2, 6, tzinfo=UTC)
PROGRAM = """
import json, os, signal, sys, time
params = json.loads(os.environ["MLPORT_PARAMS"])
def log(**entry):
    with open(os.environ["MLPORT_METRICS"], "a") as metrics:
        metrics.write(json.dumps(entry) + "\\n")
if params.get("fail"):
    sys.exit("as asked")
value = -((params.get("x", 0) - 3) ** 2)
for step in range(1, params.get("steps", 1) + 1):
    log(name="score", value=value, step=step)
while params.get("until") and value < -4 and not os.path.exists(params["until"]):
    time.sleep(0.01)
log(other=1)
"""
Make = Callable[..., SweepSpec]


@pytest.fixture
def sweep(tmp_path: Path) -> Make:
    """A sweep of a program whose score is best at x = 3."""
    source = tmp_path / "code"
    source.mkdir()
    (source / "train.py").write_text(PROGRAM)

    def make(params: dict[str, Any] | None = None, **fields: Any) -> SweepSpec:
        job = {"name": "tries", "source": str(source), "entrypoint": ["python", "train.py"], "params": params or {}}
        space = {"x": [1, 2, 3, 4]}
        return SweepSpec.model_validate(
            {"name": "search", "job": job, "space": space, "metric": "score", "direction": "maximize", "algorithm": "grid", **fields}
        )

    return make


def record(spec: SweepSpec, **fields: Any) -> SweepRecord:
    return SweepRecord(
        **{"id": "search-1", "token": "t", "digest": "d", "spec": spec, "seed": 7, "facts": Facts(), "began": MORNING, **fields}
    )


def trial(number: int, state: TrialState = TrialState.SUCCEEDED, value: float | None = None, **params: Any) -> Trial:
    return Trial(number, params, MORNING, state, value=value)


# ---------------------------------------------------------------- whole sweeps


def test_a_grid_is_run_whole_and_its_best_is_a_job(sample: mlport.Client, sweep: Make) -> None:
    seen: list[SweepStatus] = []
    found = sample.sweeps.run(sweep(parallel=2), on_look=seen.append)

    assert found.state is State.SUCCEEDED
    assert [dict(each.params) for each in found.trials] == [{"x": 1}, {"x": 2}, {"x": 3}, {"x": 4}]
    assert [each.value for each in found.trials] == [-4, -1, 0, -1]
    best = found.best
    assert best is not None
    assert best.params == {"x": 3}
    assert dict(found.job(best).metrics) == {"score": 0, "other": 1}
    assert max(look.counts.get("running", 0) for look in seen) <= 2
    labels = {"mlport_sweep": found.id}
    assert sorted(job.labels["mlport_trial"] for job in sample.jobs.list(labels=labels)) == ["0", "1", "2", "3"]
    assert sample.sweeps.get(found.id).status() == found.status()
    assert [each.id for each in sample.sweeps.list()] == [found.id]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_a_search_tries_as_many_different_points_as_asked_and_can_be_repeated(sample: mlport.Client, sweep: Make, algorithm: str) -> None:
    spec = sweep(algorithm=algorithm, space={"x": {"low": -10, "high": 10}}, max_trials=6, seed=5)
    first, second = (sample.sweeps.run(spec) for _ in range(2))
    assert len({each.params["x"] for each in first.trials}) == 6
    assert [each.params for each in first.trials] == [each.params for each in second.trials]
    assert first.id != second.id


def test_a_key_gives_the_same_sweep_and_refuses_another(sample: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    spec = sweep()
    first = sample.sweeps.run(spec, key="k")
    moved = spec.model_copy(update={"job": spec.job.model_copy(update={"source": str((tmp_path / "code").rename(tmp_path / "moved"))})})
    assert sample.sweeps.run(moved, key="k").id == first.id
    assert len(list(sample.jobs.list())) == 4
    with pytest.raises(ConflictError, match="'k'"):
        sample.sweeps.start(moved.model_copy(update={"parallel": 2}), key="k")


def test_any_number_of_drivers_run_each_trial_once_and_no_more_at_a_time_than_asked(
    sample: mlport.Client, sweep: Make, tmp_path: Path
) -> None:
    spec = sweep(space={"x": {"low": 0, "high": 11}}, parallel=3)
    found = sample.sweeps.start(spec)
    drivers = [Driver(sample, found.id, tmp_path / f"driver-{number}") for number in range(3)]
    for number in range(3):
        (tmp_path / f"driver-{number}").mkdir()
    for driver in itertools.cycle(drivers):
        status = driver.step()
        assert status.counts.get("running", 0) <= 3
        if status.state.terminal:
            break
    assert Counter(job.labels["mlport_trial"] for job in sample.jobs.list()) == {str(number): 1 for number in range(12)}


KILLED = """
import os, signal, sys
import mlport
from mlport.spi import ABSENT
from mlport.state.sqlite import SqliteStateStore
from mlport_sample.jobs import SampleJobs

countdown = int(sys.argv[3])
def mortal(call):
    def wrapped(*args, **options):
        global countdown
        for when in ("before", "after"):
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if when == "before":
                result = call(*args, **options)
        return result
    return wrapped
SqliteStateStore.put, SampleJobs.submit, SampleJobs.cancel = map(mortal, (SqliteStateStore.put, SampleJobs.submit, SampleJobs.cancel))
spec = mlport.SweepSpec.model_validate_json(sys.argv[2])
sys.exit(0 if mlport.connect(sys.argv[1]).sweeps.run(spec, key="k").state == "SUCCEEDED" else 1)
"""


def test_killed_again_and_again_it_goes_on_and_runs_no_trial_twice(sample: mlport.Client, sweep: Make) -> None:
    spec = sweep(space={"x": [2, 3]})
    for life in range(40):
        command = [sys.executable, "-c", KILLED, sample.config.target, spec.model_dump_json(), str(3 + life)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != -signal.SIGKILL:
            break
    assert done.returncode == 0, done.stderr
    (found,) = sample.sweeps.list()
    assert [each.value for each in sample.sweeps.get(found.id).trials] == [-1, 0]
    assert len(list(sample.jobs.list())) == 2


class DiedError(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


def test_it_may_die_before_or_after_any_act(tmp_path: Path, sweep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, acts = sweep(space={"x": [2, 3]}), itertools.count(1)
    dies_at = 0

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if next(acts) == dies_at:
                raise DiedError
            made = call(*args, **options)
            if next(acts) == dies_at:
                raise DiedError
            return made

        return wrapped

    with mlport.connect(f"sample://{tmp_path}/none") as client:
        jobs, store = type(client.session.jobs), type(client.session.state)
    monkeypatch.setattr(jobs, "submit", mortal(jobs.submit))
    monkeypatch.setattr(store, "put", mortal(store.put))
    for dies_at in itertools.count(1):
        acts = itertools.count(1)
        with mlport.connect(f"sample://{tmp_path}/{dies_at}") as client:
            try:
                client.sweeps.run(spec, key="k")
                died = False
            except DiedError:
                died = True
            acts = itertools.count(10**6)
            assert client.sweeps.run(spec, key="k").state is State.SUCCEEDED
            assert len(list(client.jobs.list())) == 2
        if not died:
            break
    assert dies_at > 20


def test_what_falls_behind_is_cancelled_and_counts_as_pruned(sample: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    """x = 9 and later would run for ever, were they not ended."""
    spec = sweep({"steps": 3, "until": str(tmp_path / "never")}, space={"x": [2, 3, 4, 9, 10]}, parallel=1, stopping={"min_trials": 3})
    found = sample.sweeps.run(spec, timeout=60)
    assert [each.state for each in found.trials] == [TrialState.SUCCEEDED] * 3 + [TrialState.PRUNED] * 2
    assert "the median of 3 others is -1" in found.trials[3].reason
    assert found.trials[3].curve == ((1, -36.0), (2, -36.0), (3, -36.0))
    assert found.job(found.trials[3]).state is State.CANCELLED


def test_too_many_failed_trials_fail_the_sweep_and_cancel_the_rest(sample: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    spec = sweep({"until": str(tmp_path / "never")}, space={"x": [10], "fail": [0, 1, 2, 3]}, parallel=4, max_failures=1)
    with pytest.raises(JobFailedError, match=r"max_failures is 1.*trial") as caught:
        sample.sweeps.run(spec, timeout=60)
    states = Counter(each.state for each in sample.sweeps.get(caught.value.job_id).trials)
    assert states[TrialState.FAILED] >= 2
    assert states[TrialState.CANCELLED] == 4 - states[TrialState.FAILED] >= 1, "one never ends by itself; another may not have failed yet"


def test_a_trial_that_logs_no_such_metric_says_what_it_logged(sample: mlport.Client, sweep: Make) -> None:
    with pytest.raises(JobFailedError, match="no trial succeeded") as caught:
        sample.sweeps.run(sweep(metric="auc", space={"x": [1]}))
    assert sample.sweeps.get(caught.value.job_id).trials[0].reason == "it logged no 'auc', only: score, other"


def test_cancel_ends_what_runs(sample: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    found = sample.sweeps.start(sweep({"until": str(tmp_path / "never")}, space={"x": [10, 11]}, parallel=2))
    with pytest.raises(mlport.errors.DeadlineError):
        found.wait(0.01)
    found.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        found.wait(60)
    assert {job.state for job in sample.jobs.list()} == {State.CANCELLED}
    found.cancel()
    assert found.state is State.CANCELLED


def test_trials_of_other_code_are_refused(sample: mlport.Client, sweep: Make, tmp_path: Path) -> None:
    found = sample.sweeps.start(sweep())
    (tmp_path / "code" / "train.py").write_text("raise SystemExit(1)")
    with pytest.raises(ConflictError, match="changed since it began: the source"):
        found.wait(60)
    assert list(sample.jobs.list()) == []
    (tmp_path / "code" / "train.py").write_text(PROGRAM)
    assert found.wait(60).state is State.SUCCEEDED


def test_a_provider_that_does_not_answer_is_asked_again(sample: mlport.Client, sweep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = type(sample.session.jobs)
    submit, fails = jobs.submit, iter([True, True, False, True])

    def now_and_then(self: Any, *args: Any, **options: Any) -> str:
        if next(fails, False):
            raise UnavailableError("down")
        return submit(self, *args, **options)

    monkeypatch.setattr(jobs, "submit", now_and_then)
    assert sample.sweeps.run(sweep()).state is State.SUCCEEDED
    assert len(list(sample.jobs.list())) == 4


def test_a_dry_run_shows_the_job_and_sends_nothing(sample: mlport.Client, sweep: Make) -> None:
    plan = sample.sweeps.plan(sweep(parallel=2))
    assert (plan.kind, plan.name) == ("sweep", "search")
    assert plan.support["sweep"].level == "composed"
    assert "up to 4 trials (grid), 2 at a time" in plan.notes[-1]
    assert list(sample.sweeps.list()) == []
    with pytest.raises(NotFoundError, match="no sweep 'nobody'"):
        sample.sweeps.get("nobody")


# ---------------------------------------------------------------- specs


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"space": {"x": {"low": 3, "high": 1}}}, "low 3 is more than high 1"),
        ({"space": {"x": {"low": 0, "high": 1, "log": True}}}, "log needs low above 0"),
        ({"space": {"x": {"low": 0.0, "high": 1.0}}}, "a grid over x has no end"),
        ({"space": {"x": {"low": 1, "high": 9, "step": 0.5}}}, "step 0.5 must be above 0, and whole"),
        ({"space": {"x": []}}, "at least 1 item"),
        ({"space": {"x": {"low": 1, "hihg": 2}}}, "did you mean 'high'"),
        ({"algorithm": "random"}, "max_trials is required for a random search"),
        ({"space": {name: {"low": 1, "high": 100} for name in "abc"}}, "the grid has 1000000 trials"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(sweep: Make, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        sweep(**fields)


def test_a_list_of_values_may_be_written_as_a_table_too(sweep: Make) -> None:
    assert sweep(space={"x": {"values": [1, 2.5, True, "a"]}}).space == {"x": (1, 2.5, True, "a")}


# ---------------------------------------------------------------- searching


numbers = st.integers(-20, 20)
ranges = st.one_of(
    st.builds(
        lambda low, size, step: Range(low=low, high=low + size, step=step), numbers, st.integers(0, 30), st.none() | st.integers(1, 7)
    ),
    st.builds(lambda low, size: Range(low=float(low), high=low + float(size)), numbers, st.integers(0, 30)),
    st.builds(lambda low, size: Range(low=low, high=low + size, log=True), st.integers(1, 5), st.integers(0, 1000)),
    st.builds(
        lambda low, size, step: Range(low=float(low), high=float(low + size), step=step),
        numbers,
        st.integers(1, 9),
        st.sampled_from([0.1, 0.3, 1.0]),
    ),
)
choices = st.lists(st.one_of(st.booleans(), numbers, st.sampled_from(["a", "b", 0.5])), min_size=1, max_size=4).map(tuple)


@given(st.dictionaries(st.sampled_from("abc"), ranges | choices, min_size=1), st.integers(0, 2**32 - 1))
def test_what_is_drawn_lies_in_the_space_and_on_the_grid(space: dict[str, Any], seed: int) -> None:
    point = draw(space, Random(seed))
    for name, each in space.items():
        if isinstance(each, Range):
            assert each.low <= point[name] <= each.high
            assert isinstance(point[name], int) == each.whole
            if each.size is not None and each.size < 2000:
                assert point[name] in {next_[name] for next_ in grid({name: each})}
        else:
            assert any(point[name] is choice for choice in each)


@given(
    st.dictionaries(st.sampled_from("ab"), ranges | choices, min_size=1),
    st.sampled_from(["grid", "random", "bayesian"]),
    st.integers(0, 2**32 - 1),
)
def test_no_point_is_suggested_twice_until_none_is_left(space: dict[str, Any], algorithm: str, seed: int) -> None:
    job = JobSpec(name="j", entrypoint=("true",))
    try:
        spec = SweepSpec(name="s", job=job, space=space, metric="m", direction="minimize", algorithm=algorithm, max_trials=6)
    except SpecError:
        assert algorithm == "grid"
        return
    states = itertools.cycle([TrialState.SUCCEEDED, TrialState.RUNNING, TrialState.PRUNED, TrialState.FAILED])
    trials: list[Trial] = []
    while len(trials) < spec.trials:
        params = suggest(spec, seed, trials)
        assert params == suggest(spec, seed, trials)
        state = next(states)
        trials.append(
            Trial(
                len(trials), params, MORNING, state, value=float(len(trials)) if state is TrialState.SUCCEEDED else None, curve=((1, 2.0),)
            )
        )
    assert len({same(each.params) for each in trials}) == spec.trials


def test_a_bayesian_search_learns(sweep: Make) -> None:
    """Of 40 trials for x = 3 within -100 to 100, those after the first 10 come closer than chance would."""
    spec = sweep(algorithm="bayesian", space={"x": {"low": -100.0, "high": 100.0}}, max_trials=40)
    trials: list[Trial] = []
    for number in range(40):
        x = suggest(spec, 1, trials)["x"]
        trials.append(trial(number, value=-((float(x) - 3) ** 2), x=x))
    apart = [abs(float(each.params["x"]) - 3) for each in trials]
    assert sorted(apart[10:])[15] < 30 < sorted(apart[:10])[5]
    assert min(apart) < 2


def test_optunas_logging_is_left_as_it_was(sweep: Make, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    suggest(sweep(algorithm="bayesian", max_trials=3), 1, [])
    assert (optuna.logging.get_verbosity(), capfd.readouterr().err) == (before, "")


# ---------------------------------------------------------------- stopping


curves = st.lists(st.floats(-10, 10).map(lambda value: round(value, 2)), min_size=1, max_size=8)


@given(st.lists(curves, min_size=1, max_size=8), curves, st.booleans(), st.integers(1, 4), st.integers(1, 4))
def test_the_median_rule_is_optunas(done: list[list[float]], mine: list[float], maximize: bool, min_trials: int, min_steps: int) -> None:
    """Where each trial logs at every step, and as many got to this step as both demand."""
    there = [curve for curve in done if len(curve) >= len(mine)]
    if len(there) < min_trials:
        return
    ours = behind(Stopping(min_trials=min_trials, min_steps=min_steps), numbered(mine), list(map(numbered, there)), maximize=maximize)
    assert (ours is not None) == optunas_median(there, mine, maximize, min_trials, min_steps)


def numbered(curve: list[float]) -> list[tuple[int, float]]:
    return list(enumerate(curve, 1))


def optunas_median(done: list[list[float]], mine: list[float], maximize: bool, min_trials: int, min_steps: int) -> bool:
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=min_trials, n_warmup_steps=min_steps)
    study = optuna.create_study(direction="maximize" if maximize else "minimize", pruner=pruner)
    optuna.logging.set_verbosity(shown)
    for curve in done:
        study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=dict(numbered(curve))))
    asked = study.ask()
    for step, value in numbered(mine):
        asked.report(value, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asked.should_prune()


def test_halving_lets_the_best_third_go_on() -> None:
    rule = Stopping(rule="halving", min_steps=2, factor=3, min_trials=3)
    others = [[(step, float(level)) for step in range(1, 7)] for level in range(1, 6)]
    assert behind(rule, [(1, 0.0)], others, maximize=True) is None, "not there yet"
    assert behind(rule, [(2, 4.5)], others, maximize=True) is None, "second of six"
    assert behind(rule, [(2, 3.5)], others, maximize=True) == "at step 2 2 of 5 others are better, and 2 go on"
    assert behind(rule, [(2, 3.5), (6, 9.0)], others, maximize=True) is None, "judged anew at step 6"
    assert behind(rule, [(2, 3.5)], others[:2], maximize=True) is None, "too few to judge by"
    assert behind(rule, [(2, 1.5)], others, maximize=False) is None


def test_a_value_at_a_step_is_the_last_before_it() -> None:
    assert value_at([(1, 5.0), (4, 6.0)], 3) == 5.0
    assert value_at([(1, 5.0), (4, 6.0)], 5) is None
    assert value_at([(4, 6.0)], 3) is None


# ---------------------------------------------------------------- the verdict


def test_the_verdict(sweep: Make) -> None:
    spec = sweep(timeout="1h", max_failures=1)
    good, bad, running = trial(0, value=1.0), trial(1, TrialState.FAILED), trial(2, TrialState.RUNNING)
    late = MORNING + timedelta(hours=1)
    assert verdict(record(spec), [good, bad, running], MORNING) is None
    assert verdict(record(spec), [good] * 3, MORNING) is None
    assert verdict(record(spec), [good] * 4, MORNING) == (State.SUCCEEDED, "")
    assert verdict(record(spec), [good, running], late) == (State.SUCCEEDED, "its time of 1:00:00 was up")
    assert verdict(record(spec), [running], late) == (State.FAILED, "its time of 1:00:00 was up")
    assert verdict(record(spec), [replace(bad, state=TrialState.CANCELLED)] * 4, MORNING) == (State.FAILED, "no trial succeeded")
    failed = verdict(record(spec), [good, bad, bad], MORNING)
    assert failed is not None
    assert failed[0] is State.FAILED
    assert verdict(record(spec, state=State.CANCELLING), [good] * 4, MORNING) == (State.CANCELLED, "")


def test_what_is_stored_comes_back_as_it_was(sample: mlport.Client, sweep: Make) -> None:
    spec = sweep(space={"x": {"low": 1, "high": 9}, "y": [True, 1, 1.0, "1"]}, stopping={"rule": "halving"}, timeout="1h")
    ledger, kept = Ledger(sample.session.state), record(spec)
    ledger.begin(kept)
    assert ledger.get(kept.id)[0] == kept
    one = replace(trial(3, value=0.5, x=1, y=True), curve=((1, 0.5),), behind="so", job_id="j")
    ledger.put(kept.id, one)
    assert ledger.trials(kept.id)[3][0] == one
    assert status_of(kept, (trial(0, value=1.0), trial(1, value=2.0), trial(2, value=2.0))).best == trial(1, value=2.0)
