"""`mlport cost what-if` and `mlport cost timeline`: one field at many values, and what of a search a budget buys by when."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.cost.compare import workload_in
from mlport.cli.options import limit_option, set_option
from mlport.cli.values import SPAN, literal

if TYPE_CHECKING:
    from mlport.costs.comparing.what_if import WhatIf

MOST_POINTS = 100_000


class Values(click.ParamType[tuple[Any, ...]]):
    """`1,2,4`, or `1:100:20` for 20 values from 1 to 100."""

    name = "values"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        text = str(value)
        if text.count(":") != 2:
            return tuple(literal(each.strip()) for each in text.split(",") if each.strip())
        try:
            low, high, count = float((parts := text.split(":"))[0]), float(parts[1]), int(parts[2])
        except ValueError:
            self.fail(f"{text!r} is not FROM:TO:COUNT, such as 1:100:20", param, ctx)
        if not 2 <= count <= MOST_POINTS:
            self.fail(f"{text!r}: the count must be from 2 to {MOST_POINTS:,}", param, ctx)
        return tuple(low + (high - low) * at / (count - 1) for at in range(count))


@command(
    "what-if",
    example="mlport cost what-if workload.toml online.max_replicas 1,2,5,10 --targets local,prod\n"
    "mlport cost what-if workload.toml nightly.hours 0.5:8:16 --targets staging,prod --json",
)
@click.argument("file")
@click.argument("field")
@click.argument("values", type=Values())
@click.option("--targets", required=True, help="Providers, names of the workload's [targets], profiles or URLs, with commas between.")
@set_option
@limit_option
@pass_cli
def what_if(
    cli: Cli, file: str, field: str, values: tuple[Any, ...], targets: str, sets: tuple[tuple[str, str], ...], limit: int | None
) -> None:
    """A workload's cost at other values of one field.

    FIELD is a part's name and its field (online.latency_ms, nightly.compute.cpus), or the way from the top (months,
    targets.prod.region). VALUES are 1,2,4, or 1:100:20 for 20 values from 1 to 100. Says where another target becomes the cheapest.
    """
    from mlport.costs import what_if as vary
    from mlport.costs.book import find

    names = [name.strip() for name in targets.split(",") if name.strip()]
    found = vary(workload_in(file, sets), names, field, values, discount=find(Path(cli.config) if cli.config else None))
    if cli.out.json:
        cli.out.document({"field": found.field, "points": list(_points(found)), "changes": _changes(found)})
        return
    cli.out.table(
        ({**row, "value": _shown(row["value"]), **{name: _total(row[name]) for name in names}} for row in _points(found)),
        ("value", *names, "cheapest"),
        empty="no values",
        limit=limit,
    )
    for change in _changes(found):
        click.echo(f"from {_shown(change['value'])} on: {change['cheapest'] or 'no target does all of it at known prices'}")


@command(
    "timeline",
    example="mlport cost timeline workload.toml --target local --budget 50\n"
    "mlport cost timeline workload.toml --target prod --budget 50 --measured 0.4 --measured 0.6 --within 2d --json",
)
@click.argument("file")
@click.option("--target", required=True, help="A provider, a name of the workload's [targets], a profile or a URL.")
@click.option("--budget", type=float, required=True, help="What the search may cost, in the currency of the prices.")
@click.option("--measured", type=float, multiple=True, help="Hours that a trial took; repeatable. [default: the workload's]")
@click.option("--within", type=SPAN, help="How long it may take, such as 2d.")
@click.option("--part", help="The sweep's name, where the workload has several.")
@set_option
@pass_cli
def timeline(
    cli: Cli,
    file: str,
    target: str,
    budget: float,
    measured: tuple[float, ...],
    within: timedelta | None,
    part: str | None,
    sets: tuple[tuple[str, str], ...],
) -> None:
    """How many trials of a sweep fit into a budget, by when.

    The trials run as many at a time as the workload says, from now on; each takes the mean of the measured hours.
    """
    from mlport.costs.book import find
    from mlport.costs.comparing.timeline import timeline as fitting

    start = datetime.now(UTC)
    found = fitting(
        workload_in(file, sets),
        target,
        budget=budget,
        start=start,
        measured=measured,
        deadline=start + within if within is not None else None,
        part=part,
        discount=find(Path(cli.config) if cli.config else None),
    )
    if cli.out.json:
        steps = [{**asdict(each), "cost": float(each.cost)} for each in found.milestones]
        cli.out.document({**asdict(found), "cost": float(found.cost), "milestones": steps})
        return
    click.echo(f"{found.trials} trials of {found.part} at {found.target} for {found.cost:,.2f}, done {_after(found.ends - start)}")
    click.echo(f"what ends it: {found.limit}; {found.hours_a_trial:g} h a trial")
    rows = [{"trials": each.trials, "cost": f"{each.cost:,.2f}", "done": _after(each.at - start)} for each in found.milestones]
    cli.out.table(rows, ("trials", "cost", "done"), empty="not one trial fits")


def _points(found: WhatIf) -> list[dict[str, Any]]:
    """A row a value: each target's total, None where not all of it has a price there."""
    cheapest = found.cheapest()
    return [
        {
            "value": value,
            **{name: totals[at] if found.complete[name][at] else None for name, totals in found.totals.items()},
            "cheapest": cheapest[at],
        }
        for at, value in enumerate(found.values)
    ]


def _changes(found: WhatIf) -> list[dict[str, Any]]:
    return [{"value": value, "cheapest": name} for value, name in found.changes()]


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _total(total: float | None) -> str:
    return "incomplete" if total is None else f"{total:,.2f}"


def _after(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"after {hours:,.1f} h" if hours < 48 else f"after {hours / 24:,.1f} days"
