"""`mlport explain`: what a spec would become, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mlport.cli import plans
from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import WRONG
from mlport.cli.options import set_option

if TYPE_CHECKING:
    from mlport.costs.at_work.frozen import Frozen
    from mlport.explain import Explanation


@command("explain", example="mlport explain job.toml\nmlport explain job.toml -p prod --json")
@click.argument("file")
@set_option
@pass_cli
def explain(cli: Cli, file: str, sets: tuple[tuple[str, str], ...]) -> None:
    """Say what a spec would become, without sending anything.

    What it needs, what would be native, composed or refused and why, the exact request, and its price. FILE is a job,
    batch, model or endpoint as TOML or JSON. Exit status 2 if the profile must refuse it.
    """
    from mlport.cli import specfile

    found = cli.client.explain(specfile.load(file, sets=sets))
    if cli.out.json:
        cli.out.document(found.to_json())
    else:
        click.echo(_text(found))
    if not found.possible:
        cli.ctx.exit(WRONG)


def _text(found: Explanation) -> str:
    head = f"{found.plan.kind} {found.plan.name} on {found.target}" if found.plan else f"refused by {found.target}: {found.refused}"
    request = plans.requests(found.plan) if found.plan else ()
    return "\n".join([head, *plans.needs(found.needs), *_price(found.price), *request])


def _price(price: Frozen | None) -> Iterator[str]:
    """What an hour costs, each thing with the day of its price; what has none is named."""
    if price is None:
        yield "price  unknown: nothing says what machines cost here"
        return
    if price.unknown and not price.hourly:
        yield "price  unknown"
        yield from (f"  {text}" for text in price.unknown)
        return
    of = "a replica" if price.kind == "endpoint" else "it"
    yield f"price  {'at least ' if price.unknown else ''}{price.hourly:.4f} {price.currency} for an hour of {of}, {price.place}"
    for each in price.components:
        if each.price is None:
            yield f"  {each.what}: unknown: {each.unknown}"
        else:
            yield f"  {each.what}: {each.per_hour:.4g} {each.unit} an hour at {each.price.value.normalize():f}, of {each.price.as_of}"
    if price.expected is not None:
        yield f"  expected: {price.expected:,.2f} {price.currency}"
