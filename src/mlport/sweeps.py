"""Sweeps: run one job many times with different parameters, and find the best.

Composed by the core of jobs, metrics and the StateStore, so it works wherever those do. A provider whose own tuner is used
instead declares SWEEP as native, plans a SweepSpec as kind "sweep" and submits it as a job; until one does, trials are ours.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mlport.errors import ConflictError, JobFailedError, NotFoundError
from mlport.jobs import Job, located
from mlport.journal import token_for
from mlport.spi import TOKEN, Plan, State
from mlport.sweeping.driving import LABEL, driving, now
from mlport.sweeping.ledger import Ledger, SweepRecord, SweepStatus, Trial, TrialState
from mlport.sweeping.suggesting import require
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.specs import SweepSpec

__all__ = ["LABEL", "Sweep", "SweepStatus", "Sweeps", "Trial", "TrialState"]
ID_LENGTH = 63  # of a label's value, wherever labels are shortest


@dataclass(frozen=True)
class Sweep:
    """A sweep that exists. Trials are jobs with the label `mlport_sweep`."""

    id: str
    client: Client

    def __repr__(self) -> str:
        return f"<mlport.Sweep {self.id}>"

    def status(self) -> SweepStatus:
        """As it was last left; only `wait` and `mlport agent` take a sweep forward."""
        ledger = Ledger(self.client.session.state)
        record, _ = ledger.get(self.id)
        trials = ledger.trials(self.id)
        return SweepStatus(record, tuple(trials[number][0] for number in sorted(trials)))

    @property
    def state(self) -> State:
        return self.status().state

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials begun so far, in order."""
        return self.status().trials

    @property
    def best(self) -> Trial | None:
        """The trial with the best value so far, None while there is none."""
        return self.status().best

    def job(self, trial: Trial) -> Job:
        """The job that a trial ran as: its outputs, its log. Raises NotFoundError for one that never got a job."""
        if trial.job_id is None:
            raise NotFoundError(f"trial {trial.number} of sweep {self.id} has no job: {trial.reason or trial.state}")
        return Job(trial.job_id, self.client)

    def wait(self, timeout: float | None = None, on_look: Callable[[SweepStatus], None] | None = None) -> Self:
        """Take it forward to its end, and return it. Killed, it goes on from where it was as soon as somebody waits again.

        Raises:
            JobFailedError: too many trials failed, none succeeded, or it was cancelled.
            ConflictError: source or inputs are no longer what it began with.
            DeadlineError: `timeout` seconds passed; what runs, runs on.
        """
        pauses = _Pauses()

        def looked(seen: SweepStatus) -> None:
            pauses.saw(seen)
            if on_look:
                on_look(seen)

        with driving(self.client, self.id) as driver:
            status = wait_until(
                driver.step, lambda seen: seen.state.terminal, pauses=pauses, timeout=timeout, what=f"sweep {self.id}", on_look=looked
            )
        if status.state is not State.SUCCEEDED:
            raise JobFailedError(
                f"sweep {self.id} ended {status.state}{f': {status.record.reason}' if status.record.reason else ''}",
                job_id=self.id,
                state=status.state.value,
                hint=f"`mlport sweeps trials {self.id}` shows what became of each trial",
            )
        return self

    def cancel(self) -> None:
        """End it, and the trials that run. One that has ended stays as it is. `wait` tells when all is done."""
        ledger = Ledger(self.client.session.state)
        while not (found := ledger.get(self.id))[0].state.terminal and found[0].state is not State.CANCELLING:
            try:
                ledger.settle(*found, State.CANCELLING, "")
            except ConflictError:
                continue  # it changed under us: look again
        with driving(self.client, self.id) as driver:
            driver.step()


class _Pauses(Iterator[float]):
    """Seconds between looks: longer and longer while nothing changes."""

    def __init__(self) -> None:
        self._last: SweepStatus | None = None
        self._pauses = delays()

    def saw(self, status: SweepStatus) -> None:
        if status != self._last:
            self._last, self._pauses = status, delays(first=0.02, ceiling=1.0)

    def __next__(self) -> float:
        return next(self._pauses)


class Sweeps:
    """The sweeps of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, spec: SweepSpec) -> Plan:
        """What `run` would do: the plan of the first trial's job, without the parameters that are searched."""
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            return self._prepare(spec, Path(folder))

    def run(
        self, spec: SweepSpec, *, key: str | None = None, timeout: float | None = None, on_look: Callable[[SweepStatus], None] | None = None
    ) -> Sweep:
        """Start a sweep and take it to its end. With a `key`, a rerun goes on with the trials that there are.

        >>> sweep = ml.sweeps.run(SweepSpec(...), key="depths")             # doctest: +SKIP
        >>> sweep.best.params, sweep.job(sweep.best).outputs["model"]       # doctest: +SKIP
        """
        return self.start(spec, key=key).wait(timeout, on_look)

    def start(self, spec: SweepSpec, *, key: str | None = None) -> Sweep:
        """Store a sweep, for `wait` or `mlport agent` to take forward. With a `key`, however often it is asked, once.

        Raises:
            SpecError, UnsupportedError: as for a job.
            ConflictError: the key was used for other work.
        """
        require(spec)
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            plan = self._prepare(spec, Path(folder))
        token = token_for(self._client.config.target, "sweep", key)
        sweep_id = f"{spec.name[: ID_LENGTH - 9].rstrip('-')}-{token[:8]}"
        absolute = spec.model_copy(update={"job": located(spec.job)})
        seed = secrets.randbelow(2**32) if spec.seed is None else spec.seed
        stamps = self._client.stamps(spec.labels, spec.job.ttl)
        labels = {name: value.replace(TOKEN, token) for name, value in stamps.items()}
        ledger = Ledger(self._client.session.state)
        try:
            ledger.begin(SweepRecord(sweep_id, token, plan.digest, absolute, seed, replace(plan.facts, labels={}), now(), labels=labels))
        except ConflictError as error:
            if ledger.get(sweep_id)[0].digest != plan.digest:
                raise ConflictError(f"the key {key!r} was used for another sweep, {sweep_id}", hint="use a new key, or none") from error
        return Sweep(sweep_id, self._client)

    def get(self, sweep_id: str) -> Sweep:
        """The sweep of that id. Raises NotFoundError."""
        Ledger(self._client.session.state).get(sweep_id)
        return Sweep(sweep_id, self._client)

    def list(self) -> Iterator[SweepRecord]:
        """All sweeps, newest first."""
        return iter(sorted(Ledger(self._client.session.state).list(), key=lambda record: record.began, reverse=True))

    def delete(self, sweep_id: str) -> None:
        """Forget an ended sweep and what became of its trials; an absent one is fine.

        The jobs stay, as jobs; started again with its key, the sweep finds them.

        Raises:
            ConflictError: it goes on.
        """
        ledger = Ledger(self._client.session.state)
        with suppress(NotFoundError):
            record, _ = ledger.get(sweep_id)
            if not record.state.terminal:
                raise ConflictError(f"sweep {sweep_id} is {record.state}", hint="cancel it and wait for its end first")
            ledger.remove(sweep_id)

    def _prepare(self, spec: SweepSpec, folder: Path) -> Plan:
        client = self._client
        met = client.require(*spec.requires())
        plan, _ = client.jobs.prepare(spec.job, folder)
        body: dict[str, Any] = spec.to_json()
        body["job"].pop("source", None)  # the bundle says what it holds
        how = f"up to {spec.trials} trials ({spec.algorithm}), {spec.parallel} at a time, each this job with its own parameters"
        return replace(plan, kind="sweep", name=spec.name, spec=body, support=met, notes=(*plan.notes, how))
