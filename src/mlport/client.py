"""The client: one profile opened, with jobs, runs, models, endpoints and monitors behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mlport import registry
from mlport.capabilities import Capability, check
from mlport.config import Config, Objective, choose
from mlport.journal import Journal
from mlport.spi import TOKEN, Facts, Plan, Provider, Session

if TYPE_CHECKING:
    from mlport.capabilities import Support
    from mlport.costs.at_work.costs import Costs
    from mlport.endpoints import Endpoints
    from mlport.explain import Explanation
    from mlport.jobs import Jobs
    from mlport.models import Models
    from mlport.monitors import Monitors
    from mlport.runs import Runs
    from mlport.schedules import Schedules
    from mlport.specs import Spec
    from mlport.sweeps import Sweeps

LABEL = "mlport"
EXPIRES = "%Y%m%dt%H%M%Sz"


def connect(target: str | None = None, *, config: str | Path | None = None) -> Client:
    """Open a profile: a name of mlport.toml, a URL such as `local:///data/mlport`, or the default.

    Nothing is contacted yet. `config` names the file; otherwise it is searched from the working directory upward.

    Raises:
        ConfigError: no such profile or provider, or a field of it is wrong.
    """
    name, table, path, objective = choose(target, Path(config) if config else None)
    provider = registry.load(name)
    where = f"{path}: profiles.{table.get('profile')}" if path and "profile" in table else str(target)
    loaded = (
        provider.config.from_url(table["url"], profile=table.get("profile"))
        if "url" in table
        else provider.config.load(table, where=where, base=path.parent if path else None)
    )
    return Client(provider, loaded, objective, path)


class Client:
    """A profile opened. Use it as a context manager, or `close` it. Two clients share nothing."""

    def __init__(self, provider: Provider, config: Config, objective: Objective | None = None, file: Path | None = None) -> None:
        self.provider, self.config, self.file = provider, config, file
        self.objective = objective or Objective()

    def __repr__(self) -> str:
        return f"<mlport.Client {self.config.profile or self.config.target}: {self.config.target}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections. Jobs and endpoints go on."""
        session = self.__dict__.pop("session", None)
        if session is not None:
            session.close()

    @cached_property
    def session(self) -> Session:
        """The provider's session; the vendor's SDK is imported here."""
        try:
            return self.provider.open(self.config)
        except ModuleNotFoundError as error:
            raise registry.missing_extra(self.provider, error) from error

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.session.state)

    @cached_property
    def jobs(self) -> Jobs:
        """Programs that run once: submit, get, list, wait, logs, cancel."""
        from mlport.jobs import Jobs

        return Jobs(self)

    @cached_property
    def runs(self) -> Runs:
        """What jobs logged: list, compare, reproduce."""
        from mlport.runs import Runs

        return Runs(self)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Searches for the best parameters: run, start, get, list."""
        from mlport.sweeps import Sweeps

        return Sweeps(self)

    @cached_property
    def schedules(self) -> Schedules:
        """Jobs started by the clock: create, get, list, delete."""
        from mlport.schedules import Schedules

        return Schedules(self)

    @cached_property
    def models(self) -> Models:
        """The registry: register, get, list, alias, tag, download, copy, delete."""
        from mlport.models import Models

        return Models(self)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Addresses that answer: create, get, list."""
        from mlport.endpoints import Endpoints

        return Endpoints(self)

    @cached_property
    def monitors(self) -> Monitors:
        """Watches over endpoints: create, run, readings, list, delete."""
        from mlport.monitors import Monitors

        return Monitors(self)

    @cached_property
    def costs(self) -> Costs:
        """What work costs here: prices, actual costs, the month's budget."""
        from mlport.costs.at_work.costs import Costs

        return Costs(self)

    def explain(self, spec: Spec) -> Explanation:
        """Say what would be native, composed or refused, and the exact request, without sending anything."""
        from mlport.explain import explain

        return explain(self, spec)

    # ---------------------------------------------------------------- for the nouns

    def can(self, capability: Capability) -> bool:
        """Whether the provider can, natively or composed."""
        return self.provider.supports(self.config)[capability].available

    def require(self, *capabilities: Capability) -> dict[str, Support]:
        """How the provider meets each of these. Raises one UnsupportedError that names every gap."""
        return check(self.provider.name, self.provider.supports(self.config), capabilities)

    def plan(self, spec: Spec, facts: Facts) -> Plan:
        """Check and plan: the pure part that every mutation passes through. The facts get the price of what was planned, if they have none."""
        met = self.require(*spec.requires())
        plan = self.provider.plan(self.config, spec, facts)
        if facts.price is None and self.config.priced and (price := self._price(spec, plan)):
            plan = self.provider.plan(self.config, spec, replace(facts, price=price))
        return replace(plan, support=met)

    def _price(self, spec: Spec, plan: Plan) -> dict[str, Any] | None:
        """What an hour of it costs by the prices of now, as a record to keep; None for what runs no machines."""
        from mlport.costs.at_work.freezing import price_of

        found = price_of(self.config, spec, plan, self.file)
        return found.to_json() if found else None

    def admit(self, plan: Plan) -> None:
        """Hold what is about to be sent to the month's budget. Raises BudgetError where it does not fit."""
        if self.config.monthly_budget or self.objective.monthly_budget:
            self.costs.admit(plan)

    def stamps(self, labels: Mapping[str, str], ttl: timedelta | None) -> dict[str, str]:
        """The labels of everything that mlport creates, over the profile's and the spec's own."""
        expires = {f"{LABEL}_expires": (datetime.now(UTC) + ttl).strftime(EXPIRES)} if ttl else {}
        own = {LABEL: "1", f"{LABEL}_profile": self.config.profile, f"{LABEL}_owner": self.config.owner, f"{LABEL}_token": TOKEN}
        return {**self.config.labels, **labels, **own, **expires}
