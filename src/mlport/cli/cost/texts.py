"""Estimates and comparisons as tables, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.output import Output, Row
from mlport.cli.plain import cell
from mlport.costs.comparing.uncertainty import assumption
from mlport.costs.reporting.words import WAYS, briefly, missing, money, months, on_ways, small, summed, total, why_not

if TYPE_CHECKING:
    from mlport.costs.comparing.compare import Comparison, Standing
    from mlport.costs.comparing.purchases import Purchases
    from mlport.costs.records import Line

LARGEST_EFFECTS = 5
_NUMBER = re.compile(r"(at least )?-?[\d,]+(\.\d+)?(e-?\d+)?%?")
_NO_NUMBER = ("-", "never", "unknown", "unpriced", "free")
LINES = ("part", "category", "what", "quantity", "unit", "unit_price", "amount", "as_of")
Table = tuple[str, Sequence[Row], Sequence[str]]
"""A title, rows, and the columns to show."""


def estimate_json(found: Comparison) -> dict[str, Any]:
    """One target's part of a comparison, and its lines."""
    whole = found.to_json()
    return {**{name: whole[name] for name in ("workload", "months", "currency")}, **whole["targets"][0], "lines": whole["lines"]}


def print_estimate(out: Output, found: Comparison) -> None:
    """Lines, total and what to know of it."""
    each, estimate = found.standings[0], found.estimates[0]
    out.table([_line(line) for line in estimate.lines], LINES, empty="nothing is priced")
    click.echo(f"\ntotal  {total(each)} {found.currency} for {found.workload.months:g} months at {each.place}")
    if spread := found.spreads.get(each.target):
        click.echo(f"P10 {money(spread.p10)}, P50 {money(spread.p50)}, P90 {money(spread.p90)}")
    for name, words in (
        ("cannot", [f"{refusal.part}: {refusal.why}" for refusal in each.cannot]),
        ("no price", each.unpriced),
        ("assumed", [*estimate.assumptions, assumption(found.workload)]),
        ("left out", [", ".join(estimate.left_out)] if estimate.left_out else []),
        ("warning", estimate.warnings),
    ):
        for text in words:
            click.echo(f"{name:<9} {text}")


def print_comparison(out: Output, found: Comparison) -> None:
    """All tables, one after the other."""
    click.echo(found.verdict)
    for title, rows, columns in tables(found):
        click.echo(f"\n{title}")
        out.table(rows, columns, empty="nothing")
    for text in remarks(found):
        click.echo(text)


def written(found: Comparison, form: str) -> str:
    """A comparison as the text of a file."""
    if form == "json":
        return json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(line.to_json(estimate.target) for estimate in found.estimates for line in estimate.lines)
    if form == "markdown":
        return markdown(found)
    return "".join(f"{text}\n" for text in _plain(found))


def markdown(found: Comparison) -> str:
    """A page: the verdict, the tables, every line with its source."""
    parts = [f"# {found.workload.name}: what it costs", f"**{_escaped(found.verdict)}**"]
    for title, rows, columns in [*tables(found), _all_lines(found)]:
        marks = ["--:" if _is_numeric(rows, column) else "---" for column in columns]
        head = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'|'.join(marks)}|"]
        body = [f"| {' | '.join(_escaped(cell(row.get(column))) for column in columns)} |" for row in rows]
        parts.append("\n".join([*head, *body]))
    parts.append("\n".join(f"- {_escaped(text)}" for text in remarks(found)))
    return "\n\n".join(parts) + "\n"


def tables(found: Comparison) -> Iterator[Table]:
    """The tables of a comparison."""
    totals = [_standing(found, each) for each in found.standings]
    yield (
        f"Cost of {months(found.workload.months)}, {found.currency}",
        totals,
        ("target", "place", "total", "p10", "p50", "p90", "a useful hour", "1,000 predictions"),
    )
    yield "By part", list(_by_part(found)), ("part", *(each.target for each in found.standings))
    lacking = [each._asdict() for each in missing(found)]
    if lacking:
        yield "What is missing", lacking, ("target", "part", "why")
    ways = [_ways(each) for each in found.purchases]
    if ways:
        yield "Ways to pay for machines", ways, ("target", "part", *WAYS.values(), "best", "how")
    against = [
        {
            "own": each.own,
            "rented": each.cloud,
            **{name: briefly(getattr(each, name), name) for name in ("hours", "months", "utilization")},
            "why not": why_not(each) or None,
        }
        for each in found.break_even
    ]
    if against:
        yield "When own machines pay", against, ("own", "rented", "hours", "months", "utilization", "why not")
    effects = [
        {"target": name, "input": effect.name, "at its low": money(effect.at_low), "at its high": money(effect.at_high)}
        for name, largest in found.tornado.items()
        for effect in largest[:LARGEST_EFFECTS]
    ]
    if effects:
        yield "What matters most", effects, ("target", "input", "at its low", "at its high")
    yield "What money does not say", list(_beyond(found)), ("criterion", "weight", "target", "what is said", "source")


def remarks(found: Comparison) -> Iterator[str]:
    """What was assumed, left out, or should be looked at, of each target."""
    yield assumption(found.workload)
    if said := on_ways(found):
        yield f"ways to pay: {said}"
    for estimate in found.estimates:
        yield from (f"{estimate.target}: assumed: {text}" for text in estimate.assumptions)
        if estimate.left_out:
            yield f"{estimate.target}: left out: {', '.join(estimate.left_out)}"
        yield from (f"{estimate.target}: {text}" for text in estimate.warnings)


def _standing(found: Comparison, each: Standing) -> Row:
    spread = found.spreads.get(each.target)
    return {
        "target": each.target,
        "place": each.place,
        "total": total(each),
        "p10": money(spread.p10) if spread else None,
        "p50": money(spread.p50) if spread else None,
        "p90": money(spread.p90) if spread else None,
        "a useful hour": small(each.per_useful_hour),
        "1,000 predictions": small(each.per_1k_predictions),
    }


def _by_part(found: Comparison) -> Iterator[Row]:
    parts = dict.fromkeys(line.part for estimate in found.estimates for line in estimate.lines)
    for part in parts:
        row: dict[str, Any] = {"part": part}
        for estimate in found.estimates:
            lines = [line for line in estimate.lines if line.part == part]
            row[estimate.target] = summed(lines) if lines else None
        yield row


def _ways(each: Purchases) -> Row:
    costs = {WAYS[option.purchase]: None if option.cost is None else money(option.cost) for option in each.options}
    best = each.best
    return {
        "target": each.target,
        "part": each.part,
        **costs,
        "best": WAYS[best.purchase] if best else "unknown",
        "how": best.words if best else each.options[0].words,
    }


def _beyond(found: Comparison) -> Iterator[Row]:
    for row in found.beyond_money:
        for name, note in row.notes.items():
            yield {"criterion": row.title, "weight": row.weight, "target": name, "what is said": note.words, "source": note.source}
    for name, score in found.scores.items():
        if score is not None:
            yield {"criterion": "Your scores, weighted", "target": name, "what is said": f"{score:.3g} of 10"}


def _line(line: Line) -> Row:
    said = line.to_json("")
    price = line.price
    return {
        **said,
        "unit_price": "unknown" if price is None else "free" if price.free else f"{price.value.normalize():f}",
        "amount": "unpriced" if line.cost is None else money(line.cost),
    }


def _all_lines(found: Comparison) -> Table:
    rows = [
        {**_line(line), "target": estimate.target, "source": line.price.source if line.price else line.unknown}
        for estimate in found.estimates
        for line in estimate.lines
    ]
    return "Every line", rows, ("target", *LINES, "formula", "source")


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return stream.getvalue()


def _plain(found: Comparison) -> Iterator[str]:
    yield found.verdict
    for title, rows, columns in tables(found):
        cells = [list(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
        widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
        signs = [">" if _is_numeric(rows, column) else "<" for column in columns]
        yield from ("", title)
        for line in cells:
            yield "  ".join(f"{text:{sign}{width}}" for text, sign, width in zip(line, signs, widths, strict=True)).rstrip()
    yield from ("", *remarks(found))


def _is_numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether a column has numbers, and nothing else but what stands for none."""
    told = [cell(row.get(column)) for row in rows]
    return any(_NUMBER.fullmatch(text) for text in told) and all(_NUMBER.fullmatch(text) or text in _NO_NUMBER for text in told)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
