"""Taking a sweep forward, one look at a time. Nothing that matters is kept in memory: kill it anywhere, and any process goes on.

A trial is stored before its job is submitted, and the job's token is made of the sweep's and the trial's number; so however
many processes drive one sweep at once, no trial is run twice, and no more run at a time than may.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, MlportError, NotFoundError
from mlport.jobs import again_later, secrets_of
from mlport.journal import token_for
from mlport.specs import JobSpec
from mlport.spi import ABSENT, JobStatus, Plan, State, SweepStatus, Trial, TrialState
from mlport.sweeping.ledger import Ledger, SweepRecord, status_of
from mlport.sweeping.stopping import behind, curve_of
from mlport.sweeping.suggesting import suggest

if TYPE_CHECKING:
    from mlport.client import Client

LABEL = "mlport_sweep"
TRIAL_LABEL = "mlport_trial"
Entry = tuple[Trial, str]  # a trial and its version


def now() -> datetime:
    return datetime.now(UTC)


def verdict(record: SweepRecord, trials: list[Trial], at: datetime) -> tuple[State, str] | None:
    """How the sweep ends, None while it should go on. What still runs then is cancelled first."""
    spec = record.spec
    failed = [trial for trial in trials if trial.state is TrialState.FAILED]
    if record.state is State.CANCELLING:
        return State.CANCELLED, ""
    if len(failed) > spec.max_failures:
        return (
            State.FAILED,
            f"{len(failed)} trials failed, and max_failures is {spec.max_failures}; trial {failed[-1].number}: {failed[-1].reason}",
        )
    is_late = spec.timeout is not None and at >= record.began + spec.timeout
    if not is_late and (len(trials) < spec.trials or any(trial.state is TrialState.RUNNING for trial in trials)):
        return None
    reason = f"its time of {spec.timeout} was up" if is_late else ""
    if any(trial.state is TrialState.SUCCEEDED for trial in trials):
        return State.SUCCEEDED, reason
    return State.FAILED, reason or "no trial succeeded"


@contextmanager
def driving(client: Client, sweep_id: str, clock: Callable[[], datetime] = now) -> Iterator[Driver]:
    """A driver, with a place for the packed source as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        yield Driver(client, sweep_id, Path(folder), clock)


class Driver:
    """Takes one sweep forward."""

    def __init__(self, client: Client, sweep_id: str, folder: Path, clock: Callable[[], datetime] = now) -> None:
        self._client, self._id, self._folder, self._clock = client, sweep_id, folder, clock
        self._ledger = Ledger(client.session.state)

    def step(self) -> SweepStatus:
        """Look at what runs, end what falls behind, start what may be started; never waits.

        Raises:
            ConflictError: the source or the inputs are no longer what the sweep began with.
        """
        record, version = self._ledger.get(self._id)
        entries = self._ledger.trials(self._id)
        if not record.state.terminal:
            over = verdict(record, _trials(entries), self._clock()) is not None
            for number, entry in entries.items():
                if entry[0].state is TrialState.RUNNING:
                    entries[number] = self._look(record, *entry, over=over)
            self._end_some(record, entries, everyone=over)
            if not over:
                self._start_more(record, entries)
            record = self._settle(record, version, _trials(entries))
        return status_of(record, _trials(entries))

    # -------------------------------------------------------------- one trial

    def _look(self, record: SweepRecord, trial: Trial, version: str, *, over: bool) -> Entry:
        if trial.job_id is None:
            return self._give_up(record, trial, version) if over else self._submit(record, trial, version)
        try:
            status = self._client.session.jobs.status(trial.job_id)
        except NotFoundError:
            return self._save(replace(trial, state=TrialState.FAILED, reason=f"its job {trial.job_id} is gone"), version)
        return self._save(self._ended(record, trial, status), version) if status.state.terminal else (trial, version)

    def _ended(self, record: SweepRecord, trial: Trial, status: JobStatus) -> Trial:
        spec, jobs = record.spec, self._client.session.jobs
        curve = curve_of(jobs.metrics(status.id), spec.metric) if spec.stopping else trial.curve
        if status.state is State.SUCCEEDED:
            metrics = jobs.result(status.id).metrics
            if spec.metric in metrics:
                return replace(trial, state=TrialState.SUCCEEDED, value=metrics[spec.metric], curve=curve)
            return replace(trial, state=TrialState.FAILED, reason=f"it logged no {spec.metric!r}, only: {', '.join(metrics) or 'nothing'}")
        if trial.behind:
            return replace(trial, state=TrialState.PRUNED, value=curve[-1][1] if curve else None, reason=trial.behind, curve=curve)
        state = TrialState.CANCELLED if status.state is State.CANCELLED else TrialState.FAILED
        return replace(trial, state=state, reason=status.reason or status.native_state, curve=curve)

    def _submit(self, record: SweepRecord, trial: Trial, version: str) -> Entry:
        plan, bundle = self._prepared
        _require_unchanged(record, plan)
        job = _job_of(record, trial)
        try:
            job_id = self._client.jobs.send(
                self._client.plan(job, replace(plan.facts, labels=self._client.stamps(job.labels, job.ttl))),
                token=self._token(record, trial),
                bundle=bundle,
                secrets=secrets_of(job),
            )
        except MlportError as error:
            if again_later(error):
                return trial, version
            return self._save(replace(trial, state=TrialState.FAILED, reason=error.message), version)
        return self._save(replace(trial, job_id=job_id), version)

    def _give_up(self, record: SweepRecord, trial: Trial, version: str) -> Entry:
        """A trial that was decided on when the sweep ended: it has a job to cancel, or never will."""
        found = self._client.session.jobs.find(self._token(record, trial))
        if found is None and (self._clock() - trial.began).total_seconds() < self._client.session.find_lag:
            return trial, version
        return self._save(replace(trial, job_id=found) if found else replace(trial, state=TrialState.CANCELLED), version)

    def _token(self, record: SweepRecord, trial: Trial) -> str:
        return token_for(self._client.config.target, "job", f"{record.token}/{trial.number}")

    def _save(self, trial: Trial, version: str) -> Entry:
        """Store it, or take what another process stored first."""
        try:
            return trial, self._ledger.put(self._id, trial, version)
        except ConflictError:
            return self._ledger.trial(self._id, trial.number)

    # -------------------------------------------------------------- all of them

    def _end_some(self, record: SweepRecord, entries: dict[int, Entry], *, everyone: bool) -> None:
        """Cancel what fell behind, or everyone. Asked for at each look: what was decided and not done yet is done."""
        if record.spec.stopping and not everyone:
            self._judge(record, entries)
        for trial in _trials(entries):
            if trial.state is TrialState.RUNNING and trial.job_id and (everyone or trial.behind):
                self._client.session.jobs.cancel(trial.job_id)

    def _judge(self, record: SweepRecord, entries: dict[int, Entry]) -> None:
        assert record.spec.stopping is not None  # noqa: S101 - asked by the caller
        jobs, running = (
            self._client.session.jobs,
            [trial for trial in _trials(entries) if trial.state is TrialState.RUNNING and trial.job_id],
        )
        curves = {trial.number: trial.curve for trial in _trials(entries) if trial.state in (TrialState.SUCCEEDED, TrialState.PRUNED)}
        curves |= {trial.number: curve_of(jobs.metrics(trial.job_id or ""), record.spec.metric) for trial in running}
        for trial in running:
            others = [curve for number, curve in curves.items() if number != trial.number]
            why = behind(record.spec.stopping, curves[trial.number], others, maximize=record.spec.direction == "maximize")
            if why and not trial.behind:
                entries[trial.number] = self._save(replace(trial, behind=why), entries[trial.number][1])

    def _start_more(self, record: SweepRecord, entries: dict[int, Entry]) -> None:
        while len(entries) < record.spec.trials and _running(entries) < record.spec.parallel:
            if verdict(record, _trials(entries), self._clock()) is not None:
                return
            trial = Trial(len(entries), suggest(record.spec, record.seed, _trials(entries)), self._clock())
            entry = self._save(trial, ABSENT)
            entries[trial.number] = self._submit(record, *entry) if entry[0] is trial else entry

    def _settle(self, record: SweepRecord, version: str, trials: list[Trial]) -> SweepRecord:
        ending = verdict(record, trials, self._clock())
        if ending is None or any(trial.state is TrialState.RUNNING for trial in trials):
            return record
        try:
            return self._ledger.settle(record, version, *ending, ended=self._clock())
        except ConflictError:
            return self._ledger.get(self._id)[0]

    @cached_property
    def _prepared(self) -> tuple[Plan, Path | None]:
        """The job's plan, with facts for all trials, and its packed source; made when the first trial needs it."""
        record, _ = self._ledger.get(self._id)
        plan, bundle = self._client.jobs.prepare(record.spec.job, self._folder)
        return plan, bundle.path if bundle else None


def _trials(entries: Mapping[int, Entry]) -> list[Trial]:
    return [entries[number][0] for number in sorted(entries)]


def _running(entries: Mapping[int, Entry]) -> int:
    return sum(trial.state is TrialState.RUNNING for trial, _ in entries.values())


def _job_of(record: SweepRecord, trial: Trial) -> JobSpec:
    job = record.spec.job
    labels = {**record.spec.labels, **job.labels, LABEL: record.id, TRIAL_LABEL: str(trial.number)}
    return job.model_copy(update={"params": {**job.params, **trial.params}, "labels": labels})


def _require_unchanged(record: SweepRecord, plan: Plan) -> None:
    """Trials of different code or data could not be compared."""
    changed = [name for name, fact in plan.facts.inputs.items() if fact != record.facts.inputs.get(name)]
    if plan.facts.bundle != record.facts.bundle:
        changed.insert(0, "the source")
    if changed:
        raise ConflictError(
            f"sweep {record.id}: changed since it began: {', '.join(changed)}", hint="put it back as it was, or start another sweep"
        )
