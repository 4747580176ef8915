"""What real work in one profile costs: measured by the provider's own times at the price that it was submitted at, held to a budget.

That price travels with the facts of a plan (`mlport.costs.at_work.freezing`), so that the journal, or the job itself, keeps it. An
endpoint's is kept in the profile's state beside the times of its deployments. What was spent on jobs that have ended is kept there
for each month, too: a budget need not ask for them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlport.costs.at_work.budgets import Budget, Decision, Run, Spent, budget, decide, month_of, spent
from mlport.costs.at_work.frozen import Actual, Frozen, Kind, actual, hours_of, unpriced
from mlport.costs.at_work.served import Ledger, Served
from mlport.errors import BudgetError, ConflictError, NotFoundError
from mlport.lineage import asked_for

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.specs import DeploymentSpec
    from mlport.spi import JobStatus, Plan

LOOK_BACK = timedelta(days=31)
"""Jobs made so long before a month began are not looked at: no service lets one run for longer."""
NOT_FROZEN = "no price was kept when it was submitted"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one job, batch or deployment came to, or comes to so far."""

    id: str
    name: str
    state: str
    began: datetime | None
    ended: datetime | None
    actual: Actual

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        times = {name: time.isoformat() if time else None for name, time in (("began", self.began), ("ended", self.ended))}
        return {"id": self.id, "name": self.name, "state": self.state, **times, **self.actual.to_json()}


class Costs:
    """Costs and the budget of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # ---------------------------------------------------------------- what it came to

    def of(self, status: JobStatus) -> Cost:
        """What a job came to by the provider's times, at the price that it was submitted at."""
        frozen = self.frozen(status)
        now = datetime.now(UTC)
        began, ended = status.started, status.ended or (now if not status.state.terminal else None)
        spans = [max(ended - began, timedelta())] if began and ended else []
        known = [] if spans else ["it never ran"] if status.state.terminal else ["it does not run yet"]
        if spans and not status.state.terminal:
            known.append("it runs still")
        if status.attempt > 1:
            known.append(f"{status.attempt} attempts, from the first one's start to the last one's end")
        found = actual(frozen, spans, known, over=status.state.terminal)
        return Cost(status.id, status.name, status.state.value, began, status.ended, found)

    def frozen(self, status: JobStatus) -> Frozen:
        """The price that a job was submitted at; one with a gap where none was kept."""
        asked = asked_for(self._client, status) if status.token else None
        kept = (asked or {}).get("facts", {}).get("price")
        kind: Kind = "batch" if status.kind == "batch" else "job"
        if kept is None:
            why = NOT_FROZEN if asked else "it was not submitted by mlport, or its record is gone"
            return unpriced(kind, self._client.config.target, why, datetime.now(UTC))
        return Frozen.from_json(kept)

    def list(self, since: datetime) -> Iterator[Cost]:
        """Jobs of mlport's that ran since, newest first, then deployments."""
        for status in self._jobs(since):
            yield self.of(status)
        now = datetime.now(UTC)
        for served in self.deployments():
            if (served.ended or now) >= since:
                yield self._of_deployment(served, now)

    def deployments(self) -> Iterator[Served]:
        """Every deployment with a price, whether it serves still or not."""
        return self._ledger.all(self._is_there)

    def _of_deployment(self, served: Served, now: datetime) -> Cost:
        until = served.ended or now
        spans = [max(until - served.began, timedelta())] * served.replicas
        found = actual(served.frozen, spans, served.reasons)
        state = "ENDED" if served.ended else "SERVING"
        return Cost(f"{served.endpoint}/{served.deployment}", served.endpoint, state, served.began, served.ended, found)

    def _jobs(self, since: datetime) -> Iterator[JobStatus]:
        """This profile's jobs that ran since, newest first."""
        from mlport.client import LABEL

        for status in self._client.jobs.list(labels={LABEL: "1", f"{LABEL}_profile": self._client.config.profile}):
            if status.created is not None and status.created < since - LOOK_BACK:
                return
            if status.ended is None or status.ended >= since:
                yield status

    def _is_there(self, endpoint: str, deployment: str) -> bool:
        try:
            record = self._client.session.endpoints.get(endpoint)
        except NotFoundError:
            return False
        return any(found.name == deployment for found in record.deployments)

    # ---------------------------------------------------------------- the budget

    @cached_property
    def budget(self) -> Budget | None:
        """What the profile may spend in a month: its own budget, else the objective's. An emulator, which bills nothing, has only its own.

        Raises ConfigError: it is not an amount and a currency.
        """
        from mlport.emulation import emulator_of

        config = self._client.config
        if config.monthly_budget is not None:
            return budget(config.monthly_budget, f"{config.profile or config.target}: monthly_budget")
        general = self._client.objective.monthly_budget
        if general is None or emulator_of(config.profile)[0]:
            return None
        return budget(general, "objective.monthly_budget")

    def spent(self) -> Spent:
        """What this month came to so far (UTC), and what still runs will come to as far as it was said."""
        now = datetime.now(UTC)
        month = _Month(self._client, now)
        going_on = [*self._runs(month), *self._served(now)]
        with suppress(ConflictError):  # another process has kept its own; both are right
            month.keep()
        return month.sum(going_on)

    def _runs(self, month: _Month) -> Iterator[Run]:
        for status in self._jobs(month.began):
            if status.id in month.ended or status.started is None:
                if status.started is None and not status.state.terminal:
                    yield Run(self.frozen(status), month.now)
                continue
            run = Run(self.frozen(status), status.started, status.ended if status.state.terminal else None)
            if status.state.terminal and status.ended is not None:
                month.add(status.id, run)
            else:
                yield run

    def _served(self, now: datetime) -> Iterator[Run]:
        for served in self.deployments():
            yield Run(served.frozen, served.began, served.ended, served.replicas)

    def decide(self, price: Frozen | None = None) -> Decision | None:
        """Whether it fits into the budget; None where there is none. Without a price: how the month stands."""
        if self.budget is None:
            return None
        return decide(self.budget, self.spent(), price, over=self._client.config.over_budget)

    def admit(self, plan: Plan) -> None:
        """Say so where what is about to be sent nears the budget.

        Raises BudgetError: it does not fit, and the profile refuses such work.
        """
        if self.budget is None or plan.facts.price is None:
            return
        import logging

        price = Frozen.from_json(plan.facts.price)
        found = self.decide(price._replace(expected_hours=_expected(plan, price)))
        assert found is not None  # noqa: S101 - there is a budget
        if found.verdict == "refuse":
            hint = 'raise monthly_budget of the profile, or set over_budget = "warn"'
            raise BudgetError(f"over the budget of {self._client.config.profile}: {found.words}", decision=found.to_json(), hint=hint)
        if found.verdict == "warn":
            logging.getLogger("mlport.costs").warning("budget of %s: %s", self._client.config.profile, found.words)

    # ---------------------------------------------------------------- endpoints

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._client.session.state)

    def begin_serving(self, endpoint: str, spec: DeploymentSpec, price: Mapping[str, Any]) -> None:
        """A deployment begins: keep its price and the time."""
        self._ledger.begin(endpoint, spec.deployment_name, Frozen.from_json(price), (spec.replicas.min, spec.replicas.max))

    def end_serving(self, endpoint: str, deployment: str | None = None) -> None:
        """A deployment, or all of an endpoint's, ended."""
        self._ledger.end(endpoint, deployment)


@dataclass(slots=True)
class _Month:
    """What this month came to for jobs that have ended, as it is kept in the profile's state."""

    client: Client
    now: datetime
    ended: dict[str, list[Any]] = field(default_factory=dict)
    """By job: amount, currency, and what is not in it."""
    version: str | None = None
    changed: bool = False

    def __post_init__(self) -> None:
        found = self.client.session.state.get(self._key)
        if found is not None:
            self.ended, self.version = json.loads(found.value), found.version

    @property
    def began(self) -> datetime:
        return month_of(self.now)[0]

    @property
    def _key(self) -> str:
        return f"costs/{self.now.astimezone(UTC):%Y-%m}"

    def add(self, job_id: str, run: Run) -> None:
        """A job that has ended: nothing about it will change."""
        found = spent([run], self.now)
        (currency, amount), *_ = found.amounts.items() or [(run.frozen.currency, Decimal(0))]
        self.ended[job_id] = [format(amount, "f"), currency, list(found.unknown)]
        self.changed = True

    def keep(self) -> None:
        """Store what is new. Raises ConflictError where another process has stored the month meanwhile."""
        if self.changed:
            from mlport.spi import ABSENT

            self.client.session.state.put(self._key, json.dumps(self.ended).encode(), expect=self.version or ABSENT)

    def sum(self, open_runs: list[Run]) -> Spent:
        """With what runs still."""
        found = spent(open_runs, self.now)
        amounts = dict(found.amounts)
        gaps = dict.fromkeys(found.unknown)
        for amount, currency, unknown in self.ended.values():
            amounts[currency] = amounts.get(currency, Decimal(0)) + Decimal(amount)
            gaps.update(dict.fromkeys(unknown))
        return replace(found, amounts=amounts, unknown=list(gaps))


def _expected(plan: Plan, price: Frozen) -> Decimal | None:
    """How long all of a plan will take this month: each trial of a sweep, each replica of a deployment until the month ends."""
    if price.kind == "endpoint":
        now = datetime.now(UTC)
        replicas: int = plan.spec.get("deployment", plan.spec)["replicas"]["min"]
        return hours_of(month_of(now)[1] - now) * max(1, replicas)
    trials: int = plan.spec["trials"] if plan.kind == "sweep" else 1
    return None if price.expected_hours is None else price.expected_hours * trials
