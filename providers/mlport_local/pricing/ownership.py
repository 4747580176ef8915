"""What machines of one's own cost, line by line: capital with interest, power, space, people, and all that is paid beside them.

annual = price x capital recovery factor - salvage x sinking fund factor + kW x load x PUE x 8760 x price of a kWh + maintenance + space
+ staff + software + network + ...; each for the months of the workload. What belongs in follows J. Koomey et al., "A Simple Model for
Determining True Total Cost of Ownership for Data Centers" (Uptime Institute, 2008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from mlport.costs.arithmetic import EXACT, Number
from mlport.costs.demand import shown
from mlport.costs.formulas import HOURS_A_YEAR, recovery_factor, sinking_factor
from mlport.costs.parts import Part
from mlport.costs.quote import Quote
from mlport.costs.records import Line
from mlport_local.pricing.capacity import Fleet
from mlport_local.pricing.hardware import CATEGORIES, WORDS, Cost, HardwareBook, Machine, Said

MACHINES = Part(name="own_machines")
SITE = Part(name="own_site")
GAP = "the hardware book says nothing of it: add it to [[costs]], or to [not_counted] with the reason"
_NOTHING: Number = 0  # of either arithmetic


def recovery(book: HardwareBook, years: Decimal) -> Decimal:
    """What of a sum is paid a year to repay it with interest within `years`, in the book's number of payments a year."""
    many = Decimal(book.payments)
    factor: Decimal = recovery_factor(EXACT, book.interest.value / many, years * many) * many
    return factor


def sinking(book: HardwareBook, years: Decimal) -> Decimal:
    """What must be laid by a year to have 1 after `years`."""
    many = Decimal(book.payments)
    factor: Decimal = sinking_factor(EXACT, book.interest.value / many, years * many) * many
    return factor


def capital(machine: Machine, book: HardwareBook) -> Decimal:
    """What the capital of one machine costs a year: its price recovered over its life with interest, less what it is worth at the end."""
    years = machine.years.value
    worth = machine.salvage.value if machine.salvage else Decimal(0)
    return machine.price * (recovery(book, years) - worth * sinking(book, years))


def yearly(machine: Machine, book: HardwareBook) -> Decimal:
    """What one machine costs a year by itself: its capital and its power. By this the machine for a part is chosen."""
    power = _kwh(machine, book)
    price = book.electricity.value if book.electricity else Decimal(0)
    return capital(machine, book) + (power or Decimal(0)) * price


def lines(fleets: Sequence[Fleet], quote: Quote, book: HardwareBook, *, share: bool) -> Iterator[Line]:
    """All lines of the machines and their site, for the horizon."""
    years = quote.months / 12
    for fleet in fleets:
        yield from _capital(fleet, quote, book, years)
        yield from _power(fleet, quote, book, years)
    for cost in book.costs:
        yield from _cost(cost, fleets, quote, book, years, share)
    for kind in book.unsaid():
        yield quote.line(SITE, CATEGORIES[kind], WORDS[kind], years, "year", None, "years", unknown=GAP)
    for left, why in book.not_counted.items():
        quote.left_out[f"{WORDS[left]}: {why}" if why else WORDS[left]] = None


def _capital(fleet: Fleet, quote: Quote, book: HardwareBook, years: Number) -> Iterator[Line]:
    machine, life = fleet.machine, fleet.machine.years.value
    factor, terms = recovery(book, life), _terms(book, life)
    formula = f"{fleet.formula} x {shown(years)} years"
    for item in machine.purchase:
        derived = f"{item.price.value:f} x capital recovery factor {factor:.6f} ({terms})"
        fact = book.fact(item.price, "capital", f"{machine.name}: {item.what}", "machine_year", item.price.value * factor, derived)
        yield quote.line(MACHINES, "capital", fact.sku, fleet.charged * years, fact.unit, fact, formula)
    if machine.salvage is None:
        quote.assume(f"{machine.name}: worth nothing at the end of its life, for the hardware book says no salvage")
    elif machine.salvage.value:
        worth = machine.price * machine.salvage.value
        laid_by = sinking(book, life)
        derived = f"-{worth.normalize():f} x sinking fund factor {laid_by:.6f} ({terms})"
        fact = book.fact(machine.salvage, "capital", f"{machine.name}: salvage", "machine_year", -worth * laid_by, derived)
        yield quote.line(MACHINES, "capital", fact.sku, fleet.charged * years, fact.unit, fact, formula)


def _terms(book: HardwareBook, years: Decimal) -> str:
    payments = f", {book.payments} payments a year" if book.payments > 1 else ""
    return f"{years.normalize():f} years at {book.interest.value * 100:.4g} %{payments}"


def _kwh(machine: Machine, book: HardwareBook) -> Decimal | None:
    """KWh of one machine a year, with cooling and losses."""
    if machine.kw is None or book.pue is None:
        return None
    return machine.kw.value * (book.load.value if book.load else 1) * book.pue.value * HOURS_A_YEAR


def _power(fleet: Fleet, quote: Quote, book: HardwareBook, years: Number) -> Iterator[Line]:
    machine, kwh = fleet.machine, _kwh(fleet.machine, book)
    what = f"{machine.name}: power"
    if "power" in book.not_counted:
        return
    if kwh is None or book.electricity is None or machine.kw is None or book.pue is None:
        told = {"kw": machine.kw, "pue": book.pue, "electricity": book.electricity}
        missing = " and ".join(name for name, said in told.items() if said is None)
        quantity = fleet.charged * years
        yield quote.line(MACHINES, "power", what, quantity, "machine_year", None, "machines x years", unknown=f"{missing}: {GAP}")
        return
    for name, said in (("PUE", book.pue), (f"{machine.name}: kW", machine.kw), ("load", book.load)):
        if said is not None:
            quote.assume(book.words(name, said))
    if book.load is None:
        quote.assume("load 1: machines draw their full power at all hours, for the hardware book says no average load")
    load = f" x load {book.load.value:f}" if book.load else ""
    formula = f"{fleet.formula} x {machine.kw.value:f} kW{load} x PUE {book.pue.value:f} x {HOURS_A_YEAR} h x {shown(years)} years"
    quantity = fleet.charged * quote.math.number(kwh) * years
    yield quote.line(MACHINES, "power", what, quantity, "kwh", book.fact(book.electricity, "power", "electricity", "kwh"), formula)


def _cost(cost: Cost, fleets: Sequence[Fleet], quote: Quote, book: HardwareBook, years: Number, share: bool) -> Iterator[Line]:
    """The lines of one entry of the book."""
    if cost.share_of_purchase is not None:
        yield from _by_price(cost, cost.share_of_purchase, fleets, quote, book, years)
    elif cost.per_kw_month is not None:
        yield from _by_kw(cost, cost.per_kw_month, fleets, quote, book)
    else:
        yield _by_count(cost, fleets, quote, book, years, share)


def _by_price(cost: Cost, said: Said, fleets: Sequence[Fleet], quote: Quote, book: HardwareBook, years: Number) -> Iterator[Line]:
    for fleet in fleets:
        price = fleet.machine.price
        derived = f"{said.value.normalize():f} of the purchase price {price:f} a year"
        fact = book.fact(said, cost.kind, f"{fleet.machine.name}: {_what(cost)}", "machine_year", price * said.value, derived)
        formula = f"{fleet.formula} x {shown(years)} years"
        yield quote.line(MACHINES, CATEGORIES[cost.kind], fact.sku, fleet.charged * years, fact.unit, fact, formula)


def _by_kw(cost: Cost, said: Said, fleets: Sequence[Fleet], quote: Quote, book: HardwareBook) -> Iterator[Line]:
    for fleet in fleets:
        machine, what = fleet.machine, f"{fleet.machine.name}: {_what(cost)}"
        kw = quote.math.number(_kw(machine))
        fact = book.fact(said, cost.kind, what, "kw_month") if machine.kw else None
        formula = f"{fleet.formula} x {f'{machine.kw.value:f} kW' if machine.kw else 'kW'} x {shown(quote.months)} months"
        quantity = fleet.charged * kw * quote.months
        unknown = f"machines.{machine.name}.kw: {GAP}"
        yield quote.line(MACHINES, CATEGORIES[cost.kind], what, quantity, "kw_month", fact, formula, unknown=unknown)


def _by_count(cost: Cost, fleets: Sequence[Fleet], quote: Quote, book: HardwareBook, years: Number, share: bool) -> Line:
    many, counted = _many(cost, fleets, quote, share)
    said, unit, times, price, derived = _rate(cost, book)
    silent = [fleet.machine.name for fleet in fleets if fleet.machine.kw is None] if cost.per == "kw" else []
    fact = None if silent else book.fact(said, cost.kind, _what(cost), unit, price, derived)
    each = f"{times.normalize():f} {'FTE' if unit == 'fte_year' else 'h a year'} x " if unit != "year" else ""
    quantity = many * quote.math.number(times) * years
    place = SITE if cost.per == "site" else MACHINES
    unknown = f"machines.{silent[0]}.kw: {GAP}" if silent else ""
    formula = f"{each}{counted} x {shown(years)} years"
    return quote.line(place, CATEGORIES[cost.kind], _what(cost), quantity, unit, fact, formula, unknown=unknown)


def _rate(cost: Cost, book: HardwareBook) -> tuple[Said, str, Decimal, Decimal | None, str]:
    """Whose number, the unit, how many units a year, and the price of one with its derivation where it is not the number itself."""
    one = Decimal(1)
    if cost.once is not None and cost.every is not None:
        factor = recovery(book, cost.every.value)
        derived = f"{cost.once.value:f} x capital recovery factor {factor:.6f} (every {_terms(book, cost.every.value)})"
        return cost.once, "year", one, cost.once.value * factor, derived
    if cost.salary is not None and cost.fte is not None:
        return cost.salary, "fte_year", cost.fte.value, None, ""
    if cost.per_hour is not None and cost.hours is not None:
        return cost.per_hour, "hour", cost.hours.value, None, ""
    assert cost.per_year is not None  # noqa: S101 - the book's own check: exactly one way
    return cost.per_year, "year", one, None, ""


def _many(cost: Cost, fleets: Sequence[Fleet], quote: Quote, share: bool) -> tuple[Number, str]:
    """How many times a cost is paid: for the site, or for each machine or GPU."""
    one = quote.math.number(1)
    machines = sum((fleet.charged for fleet in fleets), start=_NOTHING)
    if cost.per == "machine":
        return machines, f"{shown(machines)} machines"
    if cost.per == "gpu":
        gpus = sum((fleet.charged * quote.math.number(fleet.machine.gpus) for fleet in fleets), start=_NOTHING)
        return gpus, f"{shown(gpus)} GPUs"
    if cost.per == "kw":
        kws = sum((fleet.charged * quote.math.number(_kw(fleet.machine)) for fleet in fleets), start=_NOTHING)
        return kws, f"{shown(kws)} kW"
    if not share:
        return one, "the whole site"
    stand = quote.math.most(sum((fleet.whole for fleet in fleets), start=_NOTHING), quote.math.number("1e-9"))
    return machines / stand, f"{shown(machines)} of {shown(stand)} machines' share of the site"


def _kw(machine: Machine) -> Decimal:
    """Full load; 1 where the book does not say, for a line without a price."""
    return machine.kw.value if machine.kw else Decimal(1)


def _what(cost: Cost) -> str:
    return cost.what or WORDS[cost.kind]
