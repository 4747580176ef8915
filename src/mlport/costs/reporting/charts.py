"""A comparison's charts: cost by part and target, cost against hours with break-even points, and what matters most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from mlport.costs.comparing.uncertainty import AGE, SPOT
from mlport.costs.reporting.words import answered, money, months, small, summed, whole
from mlport.reports.blocks import Amount, Cell, Chart, Table
from mlport.reports.charts import Bar, Curve, Mark, Swing, colours_of, lines, stacked_bars, tornado

if TYPE_CHECKING:
    from mlport.costs.comparing.break_even import BreakEven
    from mlport.costs.comparing.compare import Comparison
    from mlport.costs.comparing.uncertainty import Effect
    from mlport.costs.records import Estimate, Line

LARGEST_EFFECTS = 6
DWARFED = 3
"""From how many times the cost of the dearest rented target on own machines are left out of a second drawing."""


def amount_of(lines_of_it: Sequence[Line]) -> Amount | None:
    """What some lines come to together; None where there are none."""
    if not lines_of_it:
        return None
    known = [line.cost for line in lines_of_it if line.cost is not None]
    return Amount(sum(known, start=Decimal(0)) if known else None, summed(lines_of_it))


def by_part(found: Comparison) -> Iterator[Chart]:
    """All targets; and once more without one's own machines, where they cost so much more that nothing is seen of the others."""
    bars = {each.target: _bar(found, each) for each in found.estimates}
    colours = colours_of(list(bars.values()))
    yield _stacked(found, found.estimates, bars, colours, "Cost by part")
    owned = [float(each.total) for each in found.estimates if "capital" in each.facts]
    rented = [each for each in found.estimates if "capital" not in each.facts]
    if owned and len(rented) > 1 and max(owned) > DWARFED * max(float(each.total) for each in rented):
        yield _stacked(found, rented, bars, colours, "Cost by part, rented alone, on a scale of its own")


def _bar(found: Comparison, estimate: Estimate) -> Bar:
    amounts: dict[str, float] = {}
    for line in estimate.lines:
        if line.cost is not None:
            amounts[line.part] = amounts.get(line.part, 0.0) + float(line.cost)
    spread = found.spreads.get(estimate.target)
    said = next(whole(each) for each in found.standings if each.target == estimate.target)
    return Bar(estimate.target, amounts, said, (spread.p10, spread.p90) if spread else None)


def _stacked(found: Comparison, estimates: Sequence[Estimate], bars: Mapping[str, Bar], colours: Mapping[str, int], title: str) -> Chart:
    drawn = [bars[each.target] for each in estimates]
    parts = dict.fromkeys(line.part for each in estimates for line in each.lines)
    names = [each.target for each in estimates]
    rows = [[part, *(amount_of([line for line in each.lines if line.part == part]) for each in estimates)] for part in parts]
    heading = f"{title}: {found.currency} for {months(found.workload.months)}"
    text = f"{found.currency}: {'; '.join(_largest(bar) for bar in drawn)}."
    table = Table(heading, ["part", *names], rows, frozenset(names))
    return stacked_bars(heading, text, drawn, colours, table, span="P10 to P90 of the total")


def _largest(bar: Bar) -> str:
    """A bar in words: what it comes to, and what most of that is for."""
    if not bar.amounts:
        return f"{bar.name} {bar.label}"
    name, amount = max(bar.amounts.items(), key=lambda pair: pair[1])
    return f"{bar.name} {bar.label}, the largest part {name} ({money(amount)})"


def against_hours(found: Comparison) -> Iterator[Chart]:
    """For each target of one's own: a year of its machines against renting them by the hour, and what was paid since they were bought."""
    estimates = {each.target: each for each in found.estimates}
    for own in (each for each in found.estimates if "capital" in each.facts and each.complete and each.facts["used_hours"]):
        answers = [each for each in found.break_even if each.own == own.target and estimates[each.cloud].complete]
        if answers:
            rates = {each.cloud: estimates[each.cloud].total / own.facts["used_hours"] for each in answers}
            yield _year(found, own, answers, rates)
            yield _payback(found, own, answers, rates)


def _year(found: Comparison, own: Estimate, answers: Sequence[BreakEven], rates: dict[str, Decimal]) -> Chart:
    """What is owned costs the same whether it works or not; what is rented grows with the hours."""
    a_year = 12 / own.months
    most, used, annual = own.facts["capacity_hours"] * a_year, own.facts["used_hours"] * a_year, own.total * a_year
    curves = [Curve(own.target, [(0.0, float(annual)), (float(most), float(annual))])]
    curves += [Curve(name, [(0.0, 0.0), (float(most), float(most * rate))]) for name, rate in rates.items()]
    marks = [Mark(float(used), float(annual), f"{own.target} at this workload: {used:,.0f} hours a year ({used / most:.1%} of all)")]
    marks += [
        Mark(
            float(each.utilization.value * most),
            float(annual),
            f"{each.cloud} costs more from {each.utilization.value * most:,.0f} hours on",
        )
        for each in answers
        if each.utilization.value is not None
    ]
    text = (
        f"A year of {own.target} costs {money(annual)} {found.currency}, at work or idle, with up to {most:,.0f} machine hours. "
        f"Renting them: {_each(answers, 'utilization')}."
    )
    table = _table(f"{own.target} against renting, a year", found, answers, rates, "pays from a utilization of", "utilization")
    title = f"A year of {own.target} against renting by the hour"
    return lines(title, text, curves, marks, table, across="machine hours worked in a year", up=f"{found.currency} a year")


def _payback(found: Comparison, own: Estimate, answers: Sequence[BreakEven], rates: dict[str, Decimal]) -> Chart:
    """From the purchase to the end of the machines' life, at this workload's hours a month."""
    capital, used = own.facts["capital"], own.facts["used_hours"]
    running = (own.total - own.facts["capital_cost"]) / used
    most = used / own.months * own.facts["life_years"] * 12
    curves = [Curve(own.target, [(0.0, float(capital)), (float(most), float(capital + most * running))])]
    curves += [Curve(name, [(0.0, 0.0), (float(most), float(most * rate))]) for name, rate in rates.items()]
    marks = [
        Mark(
            float(each.hours.value),
            float(each.hours.value * rates[each.cloud]),
            f"{each.cloud}: earned back after {each.hours.value:,.0f} hours",
        )
        for each in answers
        if each.hours.value is not None and each.hours.value <= most
    ]
    text = (
        f"{own.target} costs {money(capital)} {found.currency} to buy and {small(running)} an hour worked at this workload, for the "
        f"{own.facts['life_years']:g} years that its machines last. Renting: {_each(answers, 'hours')}."
    )
    table = _table(f"{own.target} against renting, since the purchase", found, answers, rates, "hours to earn it back", "hours")
    title = f"All paid since the purchase of {own.target}, to the end of its machines' life"
    return lines(title, text, curves, marks, table, across="machine hours worked since the purchase", up=found.currency)


def _each(answers: Sequence[BreakEven], name: str) -> str:
    return "; ".join(f"{each.cloud}: {answered(getattr(each, name), name)}" for each in answers)


def _table(
    caption: str,
    found: Comparison,
    answers: Sequence[BreakEven],
    rates: dict[str, Decimal],
    column: str,
    name: str,
) -> Table:
    rate = f"{found.currency} an hour rented"
    rows: list[list[Cell]] = [
        [
            each.cloud,
            Amount(rates[each.cloud], money(rates[each.cloud])),
            Amount(getattr(each, name).value, answered(getattr(each, name), name)),
        ]
        for each in answers
    ]
    return Table(caption, ["rented at", rate, column], rows, frozenset({rate}))


def sensitivity(found: Comparison) -> Iterator[Chart]:
    """What matters most for each target."""
    for each in found.standings:
        effects = found.tornado.get(each.target, ())
        if not effects:
            continue
        swings = [
            Swing(effect.name, effect.at_low, effect.at_high, f"{money(effect.at_low)} to {money(effect.at_high)}")
            for effect in effects[:LARGEST_EFFECTS]
        ]
        first = effects[0]
        text = (
            f"{each.target}, {whole(each)} {found.currency}: most of all {first.name}, "
            f"{money(first.at_low)} at its low and {money(first.at_high)} at its high."
        )
        rows: list[list[Cell]] = [
            [effect.name, *_ends(effect), *(Amount(end, money(end)) for end in (effect.at_low, effect.at_high))] for effect in effects
        ]
        columns = ["input", "its low", "its high", "total at its low", "total at its high"]
        table = Table(f"What matters most for {each.target}, {found.currency}", columns, rows, frozenset(columns[1:]))
        yield tornado(f"{each.target}: {whole(each)} {found.currency}", text, float(each.total), swings, table)


def _ends(effect: Effect) -> list[Cell]:
    """What the input's low and high are; of prices, that all are moved."""
    if effect.name in (SPOT, AGE):
        return [Amount(effect.low, "all lower"), Amount(effect.high, "all higher")]
    return [Amount(end, f"{end:,.6g}") for end in (effect.low, effect.high)]
