"""A comparison as one HTML file that can be forwarded: what it costs, why, how sure that is, and what every line stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlport.costs.comparing.uncertainty import assumption
from mlport.costs.records import Price
from mlport.costs.reporting import charts
from mlport.costs.reporting.words import NEVER, WAYS, briefly, missing, money, months, on_ways, small, whole, why_not
from mlport.reports.blocks import Amount, Block, Cell, Fold, Page, Points, Section, Side, Table, Text

if TYPE_CHECKING:
    from mlport.costs.comparing.break_even import Answer
    from mlport.costs.comparing.compare import Comparison, Standing
    from mlport.costs.parts import Part
    from mlport.costs.records import Estimate, Line

UNITS = {"gib": "GiB", "kb": "kB", "cpus": "CPUs", "gpus": "GPUs", "gpu": "GPU"}
PHRASES = {
    "compute": "{}",
    "cpus": "{} CPUs",
    "memory_gib": "{} GiB of memory",
    "gpus": "{} GPUs",
    "gpu": "of kind {}",
    "nodes": "{} nodes",
    "disk_gib": "{} GiB of disk",
    "hours": "{} hours",
    "runs": "{} runs a month",
    "trials": "{} trials",
    "parallel": "{} at a time",
    "retries": "a share of {} run again",
    "warm_up": "{} minutes of warm-up",
    "rows": "{} rows",
    "rows_per_second": "{} rows a second",
    "requests": "{} requests a month",
    "requests_per_second": "{} requests a second",
    "latency_ms": "{} ms a request",
    "concurrency": "{} requests at once in a replica",
    "min_replicas": "at least {} replicas",
    "max_replicas": "at most {} replicas",
    "request_kb": "{} kB a request",
    "response_kb": "{} kB an answer",
    "gib": "{} GiB",
    "writes": "{} writes",
    "reads": "{} reads",
    "kind": "{}",
    "to": "to the {}",
}
"""Fields with their values in words; others are told by their names."""
FLAGS = {"spot": "on spot", "serverless": "serverless"}
READING = (
    "Unknown is never zero: what nobody said the price of is named, and a total with such a line is “at least”.",
    "Free is only what a source says is free.",
    "P10 to P90: in one sample of ten the total is below P10, in nine below P90.",
    "The total is at the most likely quantities. P50 is another number where a quantity may go further up than down.",
    "The cost of a useful hour is that of training and searches, over their machine hours without interruptions, retries and warm-up.",
    "The cost of 1,000 predictions is that of endpoints and batches.",
    "Hours and months to earn own machines back are simple payback, without interest; a year's capital is with interest.",
)


def html(found: Comparison) -> str:
    """The file's text. Raises MissingExtraError without Jinja2."""
    from mlport.reports.page import render

    return render(page(found))


def page(found: Comparison) -> Page:
    """What the report holds."""
    from mlport import __version__

    days = [day for estimate in found.estimates for line in estimate.lines if line.price and (day := line.price.as_of)]
    dated = f" Prices of {min(days)} to {max(days)}." if days else ""
    about = f"{months(found.workload.months)}, in {found.currency}. Computed on {found.today} with mlport {__version__}.{dated}"
    found_sections = (
        ("In short", _summary(found)),
        ("What is priced", _workload(found)),
        ("Cost by part and provider", charts.by_part(found)),
        ("Cost against hours, and when own machines pay", _break_even(found)),
        ("What matters most", _sensitivity(found)),
        ("Ways to pay for machines", _ways(found)),
        ("What money does not say", _beyond(found)),
        ("Assumptions and warnings", _assumptions(found)),
        ("Left out", _left_out(found)),
        ("Every line, with its source", (_lines(found, estimate) for estimate in found.estimates)),
        ("How to read this", [Points(READING)]),
    )
    sections = [Section(title, blocks) for title, made in found_sections if (blocks := list(made))]
    return Page(f"{found.workload.name}: what it costs", f"{found.verdict}.", about, sections)


def _summary(found: Comparison) -> Iterator[Block]:
    yield Points(list(_sentences(found)))
    yield from (Text(f"{each.target}, {each.part}: {each.why}", "warning") for each in missing(found))
    columns = ["target", "place", "total", "P10", "P50", "P90", "a useful hour", "1,000 predictions"]
    rows = [_standing(found, each) for each in found.standings]
    yield Table(f"Cost of {months(found.workload.months)}, {found.currency}", columns, rows, frozenset(columns[2:]), stack=True)


def _sentences(found: Comparison) -> Iterator[str]:
    """What a reader with one minute should know beside the verdict."""
    complete = sorted((each for each in found.standings if each.complete), key=lambda each: (each.total, each.target))
    if complete:
        best = complete[0]
        spread = found.spreads.get(best.target)
        sure = f", in eight samples of ten between {money(spread.p10)} and {money(spread.p90)}" if spread else ""
        yield f"{best.target}: {money(best.total / Decimal(str(found.workload.months)))} {found.currency} a month, {money(best.total)} in all{sure}."
    for each in complete[1:]:
        more = each.total - complete[0].total
        yield f"{each.target} costs {money(more)} {found.currency} more{_times(each.total, complete[0].total)}."
    rented = next((each.target for each in complete if not _is_own(found, each.target)), None)
    for answer in found.break_even:
        if answer.cloud == rented:
            after = briefly(answer.months, "months")
            if answer.months.value is not None:
                yield f"Own machines ({answer.own}) are earned back against renting at {answer.cloud} after {after} months."
            else:
                reason = answer.months.reason.removeprefix(NEVER)
                yield f"Own machines ({answer.own}) against renting at {answer.cloud}: {after} earned back; {reason}."
    if warned := [estimate.target for estimate in found.estimates if estimate.warnings]:
        yield f"To be looked at, such as old prices: {', '.join(warned)} (under Assumptions and warnings)."


def _times(amount: Decimal, least: Decimal) -> str:
    """How much more that is.

    >>> _times(Decimal(125), Decimal(100)), _times(Decimal(1600), Decimal(100))
    (' (25 %)', ' (16.0 times as much)')
    """
    if not least:
        return ""
    return f" ({amount / least:.1f} times as much)" if amount >= 2 * least else f" ({(amount / least - 1) * 100:.0f} %)"


def _is_own(found: Comparison, name: str) -> bool:
    return any(each.target == name and "capital" in each.facts for each in found.estimates)


def _standing(found: Comparison, each: Standing) -> list[Cell]:
    spread = found.spreads.get(each.target)
    percentiles = [Amount(value, money(value)) for value in (spread.p10, spread.p50, spread.p90)] if spread else [None] * 3
    units = [None if value is None else Amount(value, small(value) or "") for value in (each.per_useful_hour, each.per_1k_predictions)]
    return [each.target, each.place, Amount(each.total, whole(each)), *percentiles, *units]


def _workload(found: Comparison) -> Iterator[Block]:
    rows = [[part.name, type(part).__name__.lower(), described(part)] for part in found.workload.parts()]
    yield Table(f"{found.workload.name}, quantities of a month", ["part", "kind", "asked for"], rows, stack=True)


def described(part: Part) -> str:
    """What was said of a part, in words."""
    told = {name: getattr(part, name) for name in type(part).model_fields if name in part.model_fields_set and name != "name"}
    return "; ".join(_phrase(name, value) for name, value in told.items())


def _phrase(name: str, value: Any) -> str:
    """One field with its value.

    >>> _phrase("memory_gib", 16.0), _phrase("spot", True), _phrase("tier", "premium")
    ('16 GiB of memory', 'on spot', 'tier premium')
    """
    if isinstance(value, bool):
        return f"{'' if value else 'not '}{FLAGS.get(name, _name(name))}"
    return PHRASES.get(name, f"{_name(name)} {{}}").format(_value(value))


def _name(field: str) -> str:
    """A field's name in words.

    >>> _name("memory_gib")
    'memory GiB'
    """
    return " ".join(UNITS.get(word, word) for word in field.split("_"))


def _value(value: Any) -> str:
    """A field's value in words."""
    from mlport.costs.parts import Uncertain
    from mlport.fields import Spec

    match value:
        case Uncertain():
            return f"{_number(value.low)} to {_number(value.high)}, most likely {_number(value.mid)}"
        case Spec():
            return ", ".join(_phrase(name, getattr(value, name)) for name in type(value).model_fields if name in value.model_fields_set)
        case tuple():
            return f"by the hour: {len(value)} values from {_number(min(value))} to {_number(max(value))}, mean {_number(sum(value) / len(value))}"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(value)
    return str(value)


def _number(value: Any) -> str:
    """Six digits, or all before the point, without an exponent where it can be avoided.

    >>> _number(20_000_000), _number(Decimal("0.125")), _number(4099.68)
    ('20,000,000', '0.125', '4,099.68')
    """
    return f"{value:,.2f}".removesuffix(".00") if abs(value) >= 1000 else f"{float(value):.6g}"


def _break_even(found: Comparison) -> Iterator[Block]:
    if not found.break_even:
        yield Text(
            "No own machines stand against rented ones here: a target with a hardware book would be compared with each cloud.", "quiet"
        )
        return
    yield from charts.against_hours(found)
    rows: list[list[Cell]] = [
        [each.own, each.cloud, *(_answer(getattr(each, name), name) for name in ("hours", "months", "utilization")), why_not(each) or None]
        for each in found.break_even
    ]
    columns = ["own", "rented", "hours to earn it back", "months to earn it back", "pays from a utilization of", "why not"]
    yield Table("When own machines pay", columns, rows, frozenset(columns[2:5]), stack=True)


def _answer(answer: Answer, name: str) -> Amount:
    return Amount(answer.value, briefly(answer, name))


def _sensitivity(found: Comparison) -> Iterator[Block]:
    drawn = list(charts.sensitivity(found))
    if drawn:
        yield Text("The total with one input at its low or its high and all others at their middle.", "quiet")
        yield Side(drawn)
    yield Text(assumption(found.workload), "quiet")


def _ways(found: Comparison) -> Iterator[Block]:
    rows: list[list[Cell]] = []
    unknown: dict[str, list[str]] = {}
    for each in found.purchases:
        known = {option.purchase: option.cost for option in each.options if option.cost is not None}
        costs = [Amount(known[way], money(known[way])) if way in known else None for way in WAYS]
        best = each.best
        rows.append([each.target, each.part, *costs, WAYS[best.purchase] if best else "unknown", best.words or None if best else None])
        for option in each.options:
            if option.cost is None:
                unknown.setdefault(f"{each.target}, {WAYS[option.purchase]}: {option.words}", []).append(each.part)
    if rows and (said := on_ways(found)):
        yield Text(said, "quiet")
    if rows:
        columns = ["target", "part", *WAYS.values(), "cheapest known", "how"]
        yield Table(
            f"Ways to pay, {found.currency} for {months(found.workload.months)}", columns, rows, frozenset(WAYS.values()), stack=True
        )
    if unknown:
        yield Fold("Why a way to pay has no amount", [Points([f"{why} ({', '.join(parts)})" for why, parts in unknown.items()])])


def _beyond(found: Comparison) -> Iterator[Block]:
    for row in found.beyond_money:
        weight = "no weight given" if row.weight is None else f"weight {row.weight:g}"
        rows: list[list[Cell]] = [[name, note.words, note.source or None] for name, note in row.notes.items()]
        yield Table(f"{row.title} ({weight})", ["target", "what is said", "source"], rows, stack=True)
    scores: list[list[Cell]] = [[name, Amount(score, f"{score:.3g} of 10")] for name, score in found.scores.items() if score is not None]
    if scores:
        yield Table("Your own scores, weighted", ["target", "score"], scores, frozenset({"score"}))


def _assumptions(found: Comparison) -> Iterator[Block]:
    yield Text("Prices are list prices of the dates given with each line, before tax, unless a line names a discount or is a tax.")
    for estimate in found.estimates:
        told = [*estimate.assumptions, *(f"Warning: {text}" for text in estimate.warnings)]
        if told:
            yield Points(told, estimate.target)


def _left_out(found: Comparison) -> Iterator[Block]:
    yield from (Points(estimate.left_out, estimate.target) for estimate in found.estimates if estimate.left_out)


def _lines(found: Comparison, estimate: Estimate) -> Fold:
    each = next(standing for standing in found.standings if standing.target == estimate.target)
    columns = ["what", "part", "quantity", "unit price", "amount", "formula", "source", "date"]
    sums: list[list[Cell]] = [
        [name, charts.amount_of([line for line in estimate.lines if line.category == name])]
        for name in dict.fromkeys(line.category for line in estimate.lines)
    ]
    return Fold(
        f"{estimate.target} ({estimate.place}): {whole(each)} {found.currency}, {len(estimate.lines)} lines",
        [
            Table(f"{estimate.target}, every line", columns, [_line(line) for line in estimate.lines], frozenset(columns[2:5]), stack=True),
            Table(f"{estimate.target}, by kind of cost", ["kind", "amount"], sums, frozenset({"amount"})),
        ],
    )


def _line(line: Line) -> Sequence[Cell]:
    quantity = Amount(Decimal(line.quantity), f"{_number(line.quantity)} {line.unit}")
    if line.price is None:
        return [line.what, line.part, quantity, Amount(None, "unknown"), Amount(None, "unpriced"), line.formula or None, line.unknown, None]
    price, cost = line.price, Decimal(line.cost or 0)
    unit_price = Amount(price.value, "free" if price.free else _small_price(price))
    day = price.as_of.isoformat() if price.as_of else None
    return [line.what, line.part, quantity, unit_price, Amount(cost, money(cost)), _how(line.formula, price), price.source, day]


def _small_price(price: Price) -> str:
    """All digits of a listed price; ten of a computed one."""
    exact = f"{price.value.normalize():f}"
    return f"{exact if len(exact) <= 12 else f'{price.value:.10g}'} {price.currency}"


def _how(formula: str, price: Price) -> str | None:
    """The formula, and how the unit price came where it is no list price."""
    told = [formula]
    if price.derived_from:
        told.append(f"unit price: {price.derived_from}")
    if price.listed is not None:
        told.append(f"list price {price.listed.normalize():f}{f', {price.discount}' if price.discount else ''}")
    return "; ".join(text for text in told if text) or None
