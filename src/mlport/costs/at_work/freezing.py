"""Freezing: what an hour of some work costs by the prices of now, as a record that keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlport.costs import pricing
from mlport.costs.at_work.frozen import Component, Frozen, Kind, hours_of, unpriced
from mlport.costs.catalogue import Catalogue, default
from mlport.costs.estimate import Target, of_parts
from mlport.costs.parts import LARGEST, Part, Serving, Training
from mlport.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from mlport.config import Config
    from mlport.costs.book import PriceBook
    from mlport.costs.quote import Discount
    from mlport.costs.records import Estimate, Line
    from mlport.specs import Compute, Spec
    from mlport.spi import Plan


def price_of(config: Config, spec: Spec, plan: Plan, file: Path | None = None) -> Frozen | None:
    """What an hour of what was planned costs by the prices of now; None for what runs no machines. Nothing is asked of the provider.

    What nobody knows the price of is a gap in it, with the reason. `file` is the mlport.toml that may name a price book.

    Raises:
        SpecError, ConfigError: the profile's hardware book or the price book is wrong.
    """
    found = _machines_of(spec)
    if found is None:
        return None
    kind, compute, expected = found
    now = datetime.now(UTC)
    if plan.provider not in pricing.names():
        return unpriced(kind, config.target, f"no prices of {plan.provider!r} are known", now)
    rules, book = pricing.load(plan.provider), _book(file)
    settings = _settings(rules, rules.settings_of(config))  # what is wrong there is an error, and no gap
    try:
        if isinstance(rules, pricing.PricesWork):
            settings = _settings(rules, rules.settings_for(config, plan))
        hours = None if expected is None else hours_of(expected)
        return freeze_work(kind, compute, Target(plan.provider, rules, settings), at=now, expected_hours=hours, discount=book)
    except SpecError as error:
        return unpriced(kind, config.target, error.message, now)


def _settings(rules: pricing.Pricing, told: Mapping[str, Any]) -> pricing.Settings:
    return rules.settings.model_validate({name: value for name, value in told.items() if value is not None})


def _book(file: Path | None) -> PriceBook | None:
    """The project's price book; without commitments, which are paid used or not, and are no price of one job."""
    if file is None:
        return None
    from mlport.config import read_file

    if read_file(file).prices.book is None:
        return None
    from mlport.costs.book import find

    found = find(file)
    return None if found is None else found.without_commitments()


def _machines_of(spec: Spec) -> tuple[Kind, Compute, timedelta | None] | None:
    """What of a spec runs on machines: its kind, one of them, and how long it is expected to take."""
    from mlport import specs

    match spec:
        case specs.JobSpec():
            return "job", spec.compute, spec.expected
        case specs.BatchSpec():
            return "batch", spec.compute, spec.expected
        case specs.EndpointSpec():
            return "endpoint", spec.deployment.compute, None
        case specs.DeploymentSpec():
            return "endpoint", spec.compute, None
    return None


def freeze_work(
    kind: Kind,
    compute: Compute,
    where: Target,
    *,
    at: datetime,
    expected_hours: Decimal | None = None,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
) -> Frozen:
    """The price now of work on some machines: that of one hour of all its nodes, or of one replica of an endpoint.

    As it is, without what interruptions would add, and without what is billed by the request.

    Raises:
        SpecError: the place cannot do it, or needs a setting such as its region.
    """
    prices = catalogue or default()
    as_it_is = where._replace(settings=where.settings.model_copy(update={"speed": 1.0}))

    def found(of: Compute) -> Estimate:
        return of_parts([_hour(kind, of)], as_it_is, prices, discount=discount)

    told = found(compute)
    hours = machines = Decimal(1)
    if kind == "endpoint" and kind in told.gains:
        hours = told.gains[kind].machine_hours
    elif compute.spot and kind in told.gains:  # what checkpoints add to the hour is taken out again
        hours = told.gains[kind].machine_hours
        machines = found(compute.model_copy(update={"spot": False})).gains[kind].machine_hours
    price = freeze(told, kind=kind, hours=hours, machines=machines, at=at, expected_hours=expected_hours)
    lists = {each.offer["provider"] for each in price.components if each.offer}
    versions = {name: version for name in sorted(lists) if (version := _version(prices, name))}
    granularity, least = told.facts.get("billed", (1, 0))
    return price._replace(versions=versions, granularity=Decimal(str(granularity)), least=Decimal(str(least)))


def _hour(kind: Kind, compute: Compute) -> Part:
    """An hour of work, or a month of one replica that nobody asks. Nothing of it needs to be checked, which takes longer than all else."""
    if kind == "endpoint":
        return Serving.model_construct(name=kind, compute=compute, requests_per_second=0.0, max_replicas=1)
    return Training.model_construct(name=kind, compute=compute, hours=1.0, interrupted=0.0, checkpoint_every=timedelta(days=365))


def _version(prices: Catalogue, name: str) -> str:
    """The version of a price list; empty for a hardware book, which has none."""
    try:
        return prices.list(name).version
    except SpecError:
        return ""


def freeze(
    estimate: Estimate, *, kind: Kind, hours: Decimal, at: datetime, machines: Decimal = Decimal(1), expected_hours: Decimal | None = None
) -> Frozen:
    """An estimate of `hours` of machines as the frozen price of a thing that runs on as many `machines`: every line by its hour.

    For an endpoint, `hours` are those of one replica. Raises SpecError: hours, a refusal, or a commitment that is paid used or not.
    """
    if hours <= 0 or (expected_hours is not None and not 0 <= expected_hours <= LARGEST):
        raise SpecError(f"frozen price: {hours} hours, {expected_hours} expected: must be more than 0")
    if estimate.refused:
        raise SpecError(f"frozen price: {estimate.target} cannot: {'; '.join(refusal.why for refusal in estimate.refused)}")
    if any(line.part == "commitments" for line in estimate.lines):
        raise SpecError(
            "frozen price: a commitment is paid used or not, and is no price of one job", hint="give the book's discount() alone"
        )
    components = [_by_the_hour(line, hours, machines) for line in estimate.lines if line.quantity or line.price is None]
    return Frozen(kind, estimate.place, estimate.currency, at, components, expected_hours=expected_hours)


def _by_the_hour(line: Line, hours: Decimal, machines: Decimal) -> Component:
    price = line.price
    if price is not None and line.amount is not None and line.amount != line.quantity * price.value:
        price = price._replace(value=line.amount / line.quantity, derived_from="the average over marginal tiers")
    fact = line.fact
    named = ("provider", "service", "sku", "region", "purchase")
    offer = {name: str(getattr(fact, name)) for name in named} if fact else {}
    return Component(line.what, line.unit, line.quantity * machines / hours, price, line.unknown, offer)
