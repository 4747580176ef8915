"""Printing a plan: how each need is met, and the exact request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from mlport.cli.output import lines
from mlport.cli.plain import plain

if TYPE_CHECKING:
    from mlport.capabilities import Support
    from mlport.cli.output import Output
    from mlport.spi import Plan


def show(out: Output, plan: Plan) -> None:
    """A dry run's answer."""
    if out.json:
        out.document(plan.to_json())
    else:
        click.echo("\n".join([f"would make the {plan.kind} {plan.name} on {plan.target}", *needs(plan.support), *requests(plan)]))


def needs(support: Mapping[str, Support]) -> Iterator[str]:
    """A line for each need: native, composed, or refused and why."""
    yield "needs"
    width = max((len(name) for name in support), default=0)
    for name, met in support.items():
        yield f"  {name:<{width}}  {met.level.value if met.available else f'REFUSED ({met.level.value})'}: {met.detail or 'as it is'}"


def requests(plan: Plan) -> Iterator[str]:
    """What was chosen, what to know, and each request as it would be sent."""
    yield from lines({"resolved": plan.resolved})
    yield from (f"note: {note}" for note in plan.notes)
    for request in plan.requests:
        yield " ".join(word for word in ("request", request.call, request.method, request.path) if word)
        yield json.dumps(plain(request.body), indent=2, ensure_ascii=False)
