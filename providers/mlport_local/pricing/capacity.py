"""How the hours of a workload become machines: nodes and replicas share machines, machines are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor

from mlport.costs import demand
from mlport.costs.arithmetic import Number
from mlport.costs.catalogue import nearest
from mlport.costs.formulas import replicas
from mlport.costs.parts import Batch, Part, Serving, Sweep, Training
from mlport.costs.quote import Quote
from mlport.costs.records import Refusal
from mlport.errors import SpecError
from mlport.specs import Compute
from mlport_local.pricing.hardware import HardwareBook, Machine

Work = Training | Sweep | Batch
GRANULARITY = 1.0  # seconds; nobody bills one's own machines by the hour
_BITS = "1e-12"  # a ceiling forgives the last digits of a division


@dataclass(frozen=True, slots=True)
class Need:
    """What one part asks of one kind of machine, in machines: `held` all the time, `at_once` while work runs, and machine hours."""

    part: Part
    machine: Machine
    held: Number
    at_once: Number
    hours: Number


@dataclass(frozen=True, slots=True)
class Fleet:
    """The machines of one kind.

    `whole` stand there; `charged` are paid for by this workload; `used` are machine hours of the horizon that it works on them.
    """

    machine: Machine
    whole: Number
    charged: Number
    used: Number
    formula: str


def slots(machine: Machine, compute: Compute) -> int:
    """How many nodes or replicas of a Compute fit on one machine at once; 0 if none does.

    >>> from mlport_local.pricing.hardware import Machine
    >>> box = Machine(name="box", vcpus=64, memory_gib=256, years=5, purchase=[{"what": "box", "price": 1}])
    >>> slots(box, Compute(cpus=8, memory_gib=64))
    4
    """
    if compute.gpus and compute.gpu and compute.gpu.upper() != machine.gpu.upper():
        return 0
    fits = [machine.vcpus / compute.cpus, machine.memory_gib / compute.memory_gib]
    if compute.gpus:
        fits.append(machine.gpus / compute.gpus)
    return floor(min(fits) + 1e-9)


def needs(parts: Iterable[Part], quote: Quote, book: HardwareBook, yearly: Callable[[Machine], Decimal]) -> Iterator[Need | Refusal]:
    """What each part asks for, on the machine that costs least a year for each node or replica."""
    for part in parts:
        if not isinstance(part, Training | Sweep | Batch | Serving):
            continue
        fitting = [machine for machine in _allowed(part, quote, book) if slots(machine, part.compute)]
        if not fitting:
            yield _nowhere(part, book)
        elif isinstance(part, Serving) and part.serverless:
            yield Refusal(part.name, "machines of one's own have no endpoints that are paid by request")
        else:
            machine = min(fitting, key=lambda each: (yearly(each) / slots(each, part.compute), each.name))
            need = _need(part, machine, quote)
            gain = quote.gained[part.name]
            quote.achieved(part, hours=gain.useful_hours, predictions=gain.predictions, machine_hours=need.hours)
            yield need


def _allowed(part: Part, quote: Quote, book: HardwareBook) -> Sequence[Machine]:
    """All machines of the book, or the one that the settings name for the part."""
    name = quote.machine(part)
    found = [machine for machine in book.machines if name in ("", machine.name)]
    if not found:
        raise SpecError(f"machines: {name!r} is not in the hardware book", hint=nearest(name, [each.name for each in book.machines]))
    return found


def fleets(found: Sequence[Need], quote: Quote, book: HardwareBook, *, share: bool) -> list[Fleet]:
    """The machines of each kind: whole ones, as many as the endpoints' peak and the work beside it need, or as many as are owned."""
    kinds = {need.machine.name: need.machine for need in found}
    return [_fleet(machine, [need for need in found if need.machine is machine], quote, book, share) for machine in kinds.values()]


def _fleet(machine: Machine, found: Sequence[Need], quote: Quote, book: HardwareBook, share: bool) -> Fleet:
    math = quote.math
    busy = math.number(book.utilization.value)
    zero = math.number(0)
    held = sum((need.held for need in found), start=zero)
    used = sum((need.hours for need in found), start=zero)
    worked = sum((need.hours for need in found if not isinstance(need.part, Serving)), start=zero)
    steady = worked / (quote.months * quote.hours_a_month * busy)
    needed = held + math.most(steady, *(need.at_once for need in found))
    whole = math.most(math.ceil(needed - needed * math.number(_BITS)), math.number(machine.owned))
    charged = used / (quote.months * quote.hours_a_month * busy) if share else whole
    told = f"{demand.shown(held)} for endpoints at peak + {demand.shown(needed - held)} for work"
    if machine.owned:
        told += f", {machine.owned} owned"
    if share:
        told = f"{demand.shown(used)} h used / ({demand.shown(quote.hours_a_month)} h x months x utilisation {book.utilization.value:f})"
    return Fleet(machine, whole, charged, used, f"{demand.shown(charged)} machines ({told})")


def _need(part: Work | Serving, machine: Machine, quote: Quote) -> Need:
    math = quote.math
    many = math.number(slots(machine, part.compute))
    zero = math.number(0)
    if isinstance(part, Serving):
        hours = demand.serving(quote, part)
        return Need(part, machine, _peak(part, quote) / many, zero, hours.billed / many)
    nodes = math.number(part.compute.nodes)
    if isinstance(part, Sweep):
        hours = demand.sweep(quote, part, granularity=GRANULARITY)
        nodes = nodes * math.least(math.number(part.parallel), math.most(quote.number(part.trials), math.number(1)))
    elif isinstance(part, Batch):
        hours = demand.batch(quote, part, granularity=GRANULARITY)
    else:
        hours = demand.training(quote, part, granularity=GRANULARITY)
    return Need(part, machine, zero, math.where(hours.billed > 0, nodes, zero) / many, hours.billed / many)


def _peak(part: Serving, quote: Quote) -> Number:
    """Replicas in the busiest hour."""
    math = quote.math
    latency = quote.number(part.latency_ms) / 1000 / math.number(quote.settings.speed)
    rate = math.most(*demand.hourly(quote, part), math.number(0))
    bounds = math.number(part.min_replicas), math.number(part.max_replicas)
    return replicas(math, rate, latency, math.number(part.concurrency), math.number(part.target_utilization), *bounds)


def _nowhere(part: Work | Serving, book: HardwareBook) -> Refusal:
    asked = part.compute
    gpus = f", {asked.gpus} x {asked.gpu or 'GPU'}" if asked.gpus else ""
    known = "; ".join(
        f"{machine.name}: {machine.vcpus:g} vCPU, {machine.memory_gib:g} GiB"
        + (f", {machine.gpus} x {machine.gpu}" if machine.gpus else "")
        for machine in book.machines
    )
    return Refusal(part.name, f"no machine of the hardware book has {asked.cpus:g} vCPU, {asked.memory_gib:g} GiB{gpus} ({known})")
