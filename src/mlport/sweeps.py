"""Sweeps: run one job many times with different parameters, and find the best.

On one of two roads, the same to the user. Composed: trials are jobs of mlport's own, of jobs, metrics and the StateStore, so it
works wherever those do. Native: the vendor's own tuner chooses and starts them, where a provider has one and it can do all that
the spec asks for; what it cannot goes the other road, and the plan says which and why.
"""

from __future__ import annotations

import heapq
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from mlport.bundle import Bundle
from mlport.capabilities import Capability, Level, composed
from mlport.errors import ConflictError, JobFailedError, NotFoundError, SpecError, UnsupportedError
from mlport.jobs import Job, located, secrets_of
from mlport.journal import token_for
from mlport.paging import each
from mlport.spi import TOKEN, Plan, Query, State, SweepStatus, Trial, TrialState, Tunes
from mlport.spi import Sweeps as Tuner
from mlport.sweeping.driving import LABEL, driving, now
from mlport.sweeping.ledger import Ledger, SweepRecord, status_of
from mlport.sweeping.suggesting import require
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.specs import SweepSpec

__all__ = ["LABEL", "Sweep", "SweepStatus", "Sweeps", "Trial", "TrialState"]
ID_LENGTH = 63  # of a label's value, wherever labels are shortest
Road = Literal["native", "composed"]


@dataclass(frozen=True)
class Sweep:
    """A sweep that exists. Trials are jobs; those of a composed sweep have the label `mlport_sweep`."""

    id: str
    client: Client
    road: Road = "composed"

    def __repr__(self) -> str:
        return f"<mlport.Sweep {self.id}>"

    def status(self) -> SweepStatus:
        """As it is, or was last left: a composed one goes forward only with `wait` or `mlport agent`."""
        if self.road == "native":
            return _tuner(self.client).status(self.id)
        ledger = Ledger(self.client.session.state)
        record, _ = ledger.get(self.id)
        trials = ledger.trials(self.id)
        return status_of(record, (trials[number][0] for number in sorted(trials)))

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
        """Take or follow it to its end, and return it. Killed, a composed one goes on as soon as somebody waits again.

        Raises:
            JobFailedError: too many trials failed, none succeeded, or it was cancelled.
            ConflictError: source or inputs are no longer what it began with.
            DeadlineError: `timeout` seconds passed; what runs, runs on.
        """
        status = self._followed(timeout, on_look) if self.road == "native" else self._driven(timeout, on_look)
        if status.state is not State.SUCCEEDED:
            raise JobFailedError(
                f"sweep {self.id} ended {status.state}{f': {status.reason}' if status.reason else ''}",
                job_id=self.id,
                state=status.state.value,
                hint=f"`mlport sweeps trials {self.id}` shows what became of each trial",
            )
        return self

    def _followed(self, timeout: float | None, on_look: Callable[[SweepStatus], None] | None) -> SweepStatus:
        pauses = delays(first=0.05, factor=1.15, ceiling=5.0)
        return wait_until(
            self.status, lambda seen: seen.state.terminal, pauses=pauses, timeout=timeout, what=f"sweep {self.id}", on_look=on_look
        )

    def _driven(self, timeout: float | None, on_look: Callable[[SweepStatus], None] | None) -> SweepStatus:
        pauses = _Pauses()

        def looked(seen: SweepStatus) -> None:
            pauses.saw(seen)
            if on_look:
                on_look(seen)

        with driving(self.client, self.id) as driver:
            return wait_until(
                driver.step, lambda seen: seen.state.terminal, pauses=pauses, timeout=timeout, what=f"sweep {self.id}", on_look=looked
            )

    def cancel(self) -> None:
        """End it, and the trials that run. One that has ended stays as it is. `wait` tells when all is done."""
        if self.road == "native":
            _tuner(self.client).cancel(self.id)
            return
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
        """What `run` would do: what the vendor's tuner is asked for, or the first trial's job without the parameters searched.

        The support of `sweep` in it says which of the two, and why.
        """
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            return self._prepare(spec, Path(folder))[0]

    def run(
        self, spec: SweepSpec, *, key: str | None = None, timeout: float | None = None, on_look: Callable[[SweepStatus], None] | None = None
    ) -> Sweep:
        """Start a sweep and take it to its end. With a `key`, a rerun goes on with the trials that there are.

        >>> sweep = ml.sweeps.run(SweepSpec(...), key="depths")             # doctest: +SKIP
        >>> sweep.best.params, sweep.job(sweep.best).outputs["model"]       # doctest: +SKIP
        """
        return self.start(spec, key=key).wait(timeout, on_look)

    def start(self, spec: SweepSpec, *, key: str | None = None) -> Sweep:
        """Start it at the vendor, or store it for `wait` or `mlport agent` to take forward. With a `key`, once.

        Raises:
            SpecError, UnsupportedError: as for a job.
            ConflictError: the key was used for other work.
            AmbiguousError: no answer came from the vendor; ask again with the same key.
        """
        token = token_for(self._client.config.target, "sweep", key)
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            plan, bundle = self._prepare(spec, Path(folder))
            road: Road = "native" if plan.support[Capability.SWEEP.value].level is Level.NATIVE else "composed"
            stored_as = f"{spec.name[: ID_LENGTH - 9].rstrip('-')}-{token[:8]}"
            if key is not None:
                self._refuse_other_road(key, token, stored_as, road)
            if road == "composed":
                self._client.admit(plan)
                return self._store(spec, plan, stored_as, token, key)
            sweep_id = self._client.jobs.send(
                plan,
                token=token,
                bundle=bundle.path if bundle else None,
                secrets=secrets_of(spec.job),
                key=key,
                to=_tuner(self._client),
            )
        return Sweep(sweep_id, self._client, road)

    def _store(self, spec: SweepSpec, plan: Plan, sweep_id: str, token: str, key: str | None) -> Sweep:
        require(spec)
        absolute = spec.model_copy(update={"job": located(spec.job)})
        seed = secrets.randbelow(2**32) if spec.seed is None else spec.seed
        stamps = self._client.stamps(spec.labels, spec.job.ttl)
        labels = {name: value.replace(TOKEN, token) for name, value in stamps.items()}
        ledger = Ledger(self._client.session.state)
        try:
            ledger.begin(SweepRecord(sweep_id, token, plan.digest, absolute, seed, replace(plan.facts, labels={}), now(), labels=labels))
        except ConflictError as error:
            if ledger.get(sweep_id)[0].digest != plan.digest:
                raise _used(key, sweep_id) from error
        return Sweep(sweep_id, self._client)

    def _refuse_other_road(self, key: str, token: str, stored_as: str, road: Road) -> None:
        """One key is one sweep: what went one road must not start again on the other."""
        if road == "composed":
            entry = self._client.journal.get(token)
            if entry is not None:
                raise _used(key, entry.id or "one that was asked for")
            return
        with suppress(NotFoundError):  # as it should be
            raise _used(key, Ledger(self._client.session.state).get(stored_as)[0].id)

    def get(self, sweep_id: str) -> Sweep:
        """The sweep of that id. Raises NotFoundError."""
        session = self._client.session
        try:
            Ledger(session.state).get(sweep_id)
        except NotFoundError:
            if not isinstance(session, Tunes):
                raise
            session.sweeps.status(sweep_id)
            return Sweep(sweep_id, self._client, "native")
        return Sweep(sweep_id, self._client)

    def list(self) -> Iterator[SweepStatus]:
        """All sweeps, newest first, without their trials."""
        session = self._client.session
        stored = sorted(map(status_of, Ledger(session.state).list()), key=_age)
        if not isinstance(session, Tunes):
            return iter(stored)
        ours, tuner = Query(labels={"mlport": "1"}), session.sweeps
        return heapq.merge(stored, each(lambda page: tuner.list(ours, page)), key=_age)

    def delete(self, sweep_id: str) -> None:
        """Forget an ended sweep and what became of its trials; an absent one is fine.

        Trials that were jobs of mlport's own stay, as jobs: started again with its key, the sweep finds them. Those that the
        vendor's tuner made go, with what they left; registered models stay.

        Raises:
            ConflictError: it goes on.
        """
        session = self._client.session
        ledger = Ledger(session.state)
        try:
            record, _ = ledger.get(sweep_id)
        except NotFoundError:
            if isinstance(session, Tunes):
                self._delete_native(session.sweeps, sweep_id)
            return
        if not record.state.terminal:
            raise ConflictError(f"sweep {sweep_id} is {record.state}", hint="cancel it and wait for its end first")
        ledger.remove(sweep_id)

    def _delete_native(self, tuner: Tuner, sweep_id: str) -> None:
        with suppress(NotFoundError):
            token = tuner.status(sweep_id).token
            tuner.delete(sweep_id)
            if token is not None:
                self._client.journal.forget(token)

    def _prepare(self, spec: SweepSpec, folder: Path) -> tuple[Plan, Bundle | None]:
        """The plan, and the job's packed source, which lies in `folder`; nothing is sent."""
        client = self._client
        met = client.require(*spec.requires())
        job, bundle = client.jobs.prepare(spec.job, folder)
        plan, why = self._native(spec, job) if met[Capability.SWEEP.value].level is Level.NATIVE else (None, _no_options(client, spec))
        if plan is None:
            how = f"up to {spec.trials} trials ({spec.algorithm}), {spec.parallel} at a time, each this job with its own parameters"
            plan = replace(job, notes=(*job.notes, how))
        if why:
            met = {**met, Capability.SWEEP.value: composed(f"trials are jobs; mlport chooses their parameters, for {why}")}
        body: dict[str, Any] = spec.to_json()
        body["job"].pop("source", None)  # the bundle says what it holds
        return replace(plan, kind="sweep", name=spec.name, spec=body, support=met), bundle

    def _native(self, spec: SweepSpec, job: Plan) -> tuple[Plan | None, str]:
        """The plan for the vendor's tuner; or none, and why it cannot do this search."""
        client = self._client
        facts = replace(job.facts, labels=client.stamps({**spec.job.labels, **spec.labels}, spec.job.ttl))
        absolute = spec.model_copy(update={"job": located(spec.job)})
        try:
            return client.provider.plan(client.config, absolute, facts), ""
        except UnsupportedError as error:
            return None, "; ".join(f"{field}: {gap}" for field, gap in error.gaps.items())


def _tuner(client: Client) -> Tuner:
    session = client.session
    if not isinstance(session, Tunes):
        raise UnsupportedError(client.provider.name, [(Capability.SWEEP.value, "it has no tuner of its own")])
    return session.sweeps


def _no_options(client: Client, spec: SweepSpec) -> str:
    """Refuse settings that nobody would read; says nothing otherwise."""
    name = client.provider.name
    if spec.options.get(name):
        raise SpecError(
            f"SweepSpec.options.{name}: {name} has no tuner of its own, so its sweeps have no options",
            hint="options of the trials go in job",
        )
    return ""


def _used(key: str | None, sweep_id: str) -> ConflictError:
    return ConflictError(f"the key {key!r} was used for another sweep, {sweep_id}", hint="use a new key, or none")


def _age(status: SweepStatus) -> float:
    return -status.began.timestamp()
