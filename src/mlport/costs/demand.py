"""What a workload asks of any place, in machine hours: the arithmetic that all pricings share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mlport.costs.arithmetic import Number
from mlport.costs.catalogue import nearest
from mlport.costs.facts import Fact
from mlport.costs.formulas import billed, interruptions, replicas, spot_hours
from mlport.costs.offers import described as machine_words
from mlport.costs.offers import kinds, order, satisfies, shortage
from mlport.costs.offers import machine as machine_of
from mlport.costs.parts import Batch, Serving, Sweep, Training
from mlport.costs.quote import Quote
from mlport.costs.records import Category, Line, Refusal
from mlport.errors import SpecError

Work = Training | Sweep | Batch
CATEGORIES: dict[type[Work], Category] = {Training: "training", Sweep: "sweep", Batch: "batch"}


class Hours(NamedTuple):
    """Machine hours over the horizon, how they came about, and of them those that were useful."""

    billed: Number
    useful: Number
    formula: str


def training(
    quote: Quote, part: Training, *, granularity: float, least: float = 0, rate: Number | None = None, extra_nodes: int = 0
) -> Hours:
    """Node hours of training runs. `rate`: interruptions an hour on spot, None on demand; `extra_nodes` are billed and do no work."""
    useful = quote.number(part.hours)
    work = useful / quote.math.number(quote.settings.speed) * (1 + quote.number(part.retries) / 2)
    text = f"{shown(useful)} h"
    if quote.settings.speed != 1:
        text += f" / speed {quote.settings.speed:g}"
    if part.retries:
        text += f" x (1 + {shown(quote.number(part.retries))} retries / 2)"
    if rate is not None:
        factor = spot_factor(quote, part, rate)
        work = work * factor
        text += f" x {shown(factor)} for interruptions"
    hours = _of_runs(quote, work, part.warm_up, part.runs, useful, part.compute.nodes, extra_nodes, text, granularity, least)
    quote.achieved(part, hours=hours.useful, machine_hours=hours.billed)
    return hours


def sweep(quote: Quote, part: Sweep, *, granularity: float, least: float = 0, extra_nodes: int = 0) -> Hours:
    """Node hours of all trials."""
    useful = quote.number(part.hours)
    trials = quote.number(part.trials)
    work = useful / quote.math.number(quote.settings.speed)
    text = f"{shown(trials)} trials x {shown(useful)} h" + (f" / speed {quote.settings.speed:g}" if quote.settings.speed != 1 else "")
    one = _of_runs(quote, work, part.warm_up, part.runs, useful, part.compute.nodes, extra_nodes, text, granularity, least)
    whole = Hours(one.billed * trials, one.useful * trials, one.formula)
    quote.achieved(part, hours=whole.useful, machine_hours=whole.billed)
    return whole


def batch(quote: Quote, part: Batch, *, granularity: float, least: float = 0, extra_nodes: int = 0) -> Hours:
    """Node hours of batch runs: rows over what the nodes score together."""
    rows, pace = quote.number(part.rows), quote.number(part.rows_per_second) * quote.math.number(quote.settings.speed)
    hours = rows / (pace * part.compute.nodes) / 3600
    text = f"{shown(rows)} rows / ({shown(pace)} rows/s x {part.compute.nodes} nodes)"
    found = _of_runs(quote, hours, part.warm_up, part.runs, hours, part.compute.nodes, extra_nodes, text, granularity, least)
    quote.achieved(part, predictions=rows * quote.number(part.runs) * quote.months, machine_hours=found.billed)
    return found


def serving(quote: Quote, part: Serving, *, least: int | None = None) -> Hours:
    """Replica hours of a month of demand, times the months. `least`: the fewest replicas that the place runs."""
    rates, counts = hourly(quote, part), running(quote, part, least)
    latency = service_time(quote, part)
    up = hours_up(quote, part)
    hours = sum(counts[1:], start=counts[0]) * up / len(rates) * quote.months
    asked = sum(rates[1:], start=rates[0]) / len(rates) * 3600 * up * quote.months
    quote.achieved(part, predictions=asked, machine_hours=hours)
    aimed = f"{shown(latency)} s / ({part.concurrency} at once x {part.target_utilization:g})"
    over = f"each of {len(rates)} hours" if len(rates) > 1 else "all hours"
    text = f"replicas = ceil(requests/s x {aimed}), {max(part.min_replicas, least or 0)} to {part.max_replicas}, {over} of {shown(up)} h a month"
    return Hours(hours, hours, text)


def running(quote: Quote, part: Serving, least: int | None = None) -> Sequence[Number]:
    """Replicas in each hour of the demand's day or week; one number where it is always the same."""
    latency = service_time(quote, part)
    concurrency, aim = quote.number(part.concurrency), quote.number(part.target_utilization)
    floor, most = quote.number(max(part.min_replicas, least or 0)), quote.number(part.max_replicas)
    return [replicas(quote.math, rate, latency, concurrency, aim, floor, most) for rate in hourly(quote, part)]


def service_time(quote: Quote, part: Serving) -> Number:
    """Seconds that one request keeps a replica busy for."""
    return quote.number(part.latency_ms) / 1000 / quote.math.number(quote.settings.speed)


def hours_up(quote: Quote, part: Serving) -> Number:
    """Hours a month that an endpoint is up."""
    return quote.hours_a_month if part.hours is None else quote.number(part.hours)


def hourly(quote: Quote, part: Serving) -> Sequence[Number]:
    """Requests a second in each hour of the demand's day or week; one where it is always the same."""
    demand = part.requests_per_second
    if demand is None:
        return [quote.number(part.requests) / 3600 / quote.math.most(hours_up(quote, part), quote.math.number("1e-9"))]
    return [quote.number(rate) for rate in demand] if isinstance(demand, tuple) else [quote.number(demand)]


def requests(quote: Quote, part: Serving) -> Number:
    """Requests a month."""
    if part.requests is not None:
        return quote.number(part.requests)
    rates = hourly(quote, part)
    return sum(rates[1:], start=rates[0]) / len(rates) * 3600 * hours_up(quote, part)


def spot_factor(quote: Quote, part: Training, rate: Number) -> Number:
    """Hours of spot machines for each useful hour. Without an interval: the best one, sqrt(2 x writing / rate) (Young, 1974)."""
    math = quote.math
    writing = math.number(part.checkpoint_takes.total_seconds()) / 3600
    restart = math.number(part.restart_takes.total_seconds()) / 3600
    if part.checkpoint_every is not None:
        every = math.number(part.checkpoint_every.total_seconds()) / 3600
    else:
        every = _root(2 * writing / math.most(rate, math.number("1e-9")))
        quote.assume("spot: checkpoints at the best interval, sqrt(2 x seconds to write one / interruption rate)")
    every = math.least(every, math.most(quote.number(part.hours), math.number("1e-6")))
    return spot_hours(math, rate * part.compute.nodes, every, writing, restart)


def interruption_rate(quote: Quote, part: Training, share: float | None) -> Number:
    """Interruptions an hour of one machine: the workload's share a month, or the region's published one."""
    told = part.interrupted if part.interrupted is not None else share
    if told is None:
        told = 0.1
        quote.assume("spot: no interruption rate is published for it; 10 % of machines a month were assumed")
    return interruptions(quote.math, min(told, 0.999999))


def _of_runs(
    quote: Quote,
    work: Number,
    warm_up: object,
    runs: object,
    useful: Number,
    nodes: int,
    extra: int,
    text: str,
    granularity: float,
    least: float,
) -> Hours:
    quote.facts["billed"] = (granularity, least)
    minutes, count = quote.number(warm_up), quote.number(runs)
    whole = billed(quote.math, work + minutes / 60, granularity, least)
    if warm_up:
        text = f"({text} + {shown(minutes)} min)"
    many = count * quote.months
    node_words = f"{nodes}{f' + {extra}' if extra else ''}"
    formula = f"{text} x {node_words} nodes x {shown(count)} runs a month x {shown(quote.months)} months"
    return Hours(whole * (nodes + extra) * many, useful * nodes * many, formula)


def _root(value: Number) -> Number:
    return value.sqrt() if hasattr(value, "sqrt") else value**0.5


def shown(value: Number) -> str:
    """A number in a formula's words; the middle of many samples."""
    return f"{_middle(value):.6g}"


# ---------------------------------------------------------------- machines


class Rented(NamedTuple):
    """The machine chosen for a part, and its hours. `unknown` says why there is no price where there is none."""

    fact: Fact
    hours: Hours
    unknown: str = ""

    def line(self, quote: Quote, part: Work | Serving, category: Category) -> Line:
        """The line of the machine hours."""
        what = described(self.fact)
        fact = None if self.unknown else self.fact
        return quote.line(part, category, what, self.hours.billed, "hour", fact, self.hours.formula, unknown=self.unknown)

    def disk(self, quote: Quote, part: Work | Serving, category: Category, gib: Number, fact: Fact | None, what: str) -> Line:
        """The line of a disk of `gib` a machine, billed by GiB-month for as long as the machine is."""
        quantity = self.hours.billed * quote.math.number(gib) / quote.hours_a_month
        return quote.line(
            part,
            category,
            what,
            quantity,
            "gib_month",
            fact,
            f"{shown(quote.math.number(gib))} GiB x machine hours / {shown(quote.hours_a_month)}",
        )


def offered(quote: Quote, part: Work | Serving, prices: str, purchase: str, service: str = "compute") -> Sequence[Fact]:
    """The machines of a price list for a part, cheapest first: those that satisfy its Compute, or the one that the settings name.

    Raises SpecError for a named machine that has no price here.
    """
    found, name = quote.catalogue.list(prices), quote.machine(part)
    if not name:
        return found.offers(part.compute, quote.region, purchase, service, _work_of(part))
    here = [fact for fact in found.of(service, quote.region) if name in (fact.sku, machine_of(fact))]
    if not here:
        known = sorted({fact.sku for fact in found.of(service, quote.region)})
        raise SpecError(f"machines: no price of {name!r} is known in {quote.region}", hint=nearest(name, known))
    fitting = [fact for fact in here if satisfies(fact, part.compute)] or [fact for fact in here if fact.sku == name]
    return [fact for fact in fitting if fact.purchase == purchase]


def _work_of(part: Work | Serving) -> str:
    """What price lists that exclude machines from some work call it: whatever ends runs as training does."""
    return "" if isinstance(part, Serving) else "training"


def timed(quote: Quote, part: Work, *, granularity: float, least: float = 0, extra_nodes: int = 0, rate: Number | None = None) -> Hours:
    """Node hours of work that ends, of whatever kind. `rate`: interruptions an hour, for training on spot."""
    if isinstance(part, Sweep):
        return sweep(quote, part, granularity=granularity, least=least, extra_nodes=extra_nodes)
    if isinstance(part, Batch):
        return batch(quote, part, granularity=granularity, least=least, extra_nodes=extra_nodes)
    return training(quote, part, granularity=granularity, least=least, rate=rate, extra_nodes=extra_nodes)


def rent(
    quote: Quote,
    part: Work,
    prices: str,
    *,
    granularity: float,
    least: float = 0,
    extra_nodes: int = 0,
    surcharge: Callable[[Fact], Number] | None = None,
    share: Callable[[Fact], float | None] = lambda _: None,
    allowed: Callable[[Fact], bool] = lambda _: True,
    interruptible: str = "spot",
) -> Rented | Refusal:
    """The cheapest machine of a price list for work that ends, on spot where that is asked for and cheaper with its interruptions.

    It is the cheapest by the hour, which is all that a plan of the same Compute knows of it.

    Args:
        surcharge: what an hour of the machine costs beside its own price, for the choice (DBU).
        share: the share of such machines that are interrupted within a month, None where nobody published it.
        allowed: which machines of the list the place has.
        interruptible: the list's word for machines that may be interrupted.
    """

    def hourly_price(fact: Fact) -> Number:
        price = quote.price(fact)
        return quote.math.number(price.value if price else fact.price) + quote.math.number(surcharge(fact) if surcharge else 0)

    def hours_on(fact: Fact, purchase: str) -> Hours:
        rate = interruption_rate(quote, part, share(fact)) if purchase == "spot" and isinstance(part, Training) else None
        return timed(quote, part, granularity=granularity, least=least, extra_nodes=extra_nodes, rate=rate)

    offers = [fact for fact in offered(quote, part, prices, "on_demand") if allowed(fact)]
    if not offers:
        return nothing(quote, part, prices)
    best = min(offers, key=order(hourly_price))
    if not part.compute.spot:
        return Rented(best, hours_on(best, "on_demand"))
    spot = [fact for fact in offered(quote, part, prices, interruptible) if allowed(fact)]
    if not spot:
        unknown = f"no spot price of {best.sku} in {quote.region} is known; on demand an hour is {best.price:f}"
        return Rented(best, hours_on(best, "spot"), unknown)
    fact = min(spot, key=order(hourly_price))
    cost = quote.math.middle(hours_on(fact, "spot").billed * hourly_price(fact))
    regular = hours_on(best, "on_demand")
    if quote.math.middle(regular.billed * hourly_price(best)) <= cost:
        quote.assume(f"{part.name}: on demand, for spot with its interruptions is not cheaper")
        return Rented(best, regular)
    return Rented(fact, hours_on(fact, "spot"))  # said last, so that the part's machine hours are those of the chosen machine


def host(quote: Quote, part: Serving, prices: str, *, least: int | None = None, service: str = "compute") -> Rented | Refusal:
    """The cheapest machine of a price list for replicas, under the part's purchase option."""
    offers = offered(quote, part, prices, part.purchase, service)
    if offers:
        return Rented(offers[0], serving(quote, part, least=least))
    regular = offered(quote, part, prices, "on_demand", service)
    if not regular:
        return nothing(quote, part, prices)
    unknown = f"no {part.purchase} price of {regular[0].sku} in {quote.region} is known; on demand an hour is {regular[0].price:f}"
    return Rented(regular[0], serving(quote, part, least=least), unknown)


def without_disk(quote: Quote, part: Work | Serving) -> None:
    """Say that a disk which is asked for is not counted, where none can be chosen."""
    if part.compute.disk_gib:
        quote.assume(f"{part.name}: no disk of {part.compute.disk_gib:g} GiB is counted, for machines come with theirs here")


def nothing(quote: Quote, part: Work | Serving, prices: str) -> Refusal:
    """What to say where no machine satisfies a Compute: what was asked, which GPUs there are, and what comes nearest."""
    compute, here = part.compute, quote.catalogue.list(prices).machines(quote.region, _work_of(part))
    asked = f"{compute.cpus:g} vCPU, {compute.memory_gib:g} GiB" + (f", {compute.gpus} x {compute.gpu or 'GPU'}" if compute.gpus else "")
    known = f"; GPUs with a price there: {kinds(here)}" if compute.gpus else ""
    found = shortage((fact for fact in here if fact.purchase == "on_demand"), compute)
    near = f"; the nearest by {found[0]} is {machine_words(found[1])}" if found and found[0] != "gpu" else ""
    return Refusal(part.name, f"no machine with {asked} has a price in {quote.region}{known}{near}")


def described(fact: Fact) -> str:
    """A machine in words, and how it is paid."""
    paid = fact.purchase.replace("_", " ")
    return f"{machine_words(fact) if fact.vcpus else fact.sku}, {paid}"


def _middle(value: Number) -> float:
    return float(value.mean()) if hasattr(value, "mean") else float(value)
