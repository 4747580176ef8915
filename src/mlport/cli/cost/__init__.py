"""`mlport cost`: what a workload would cost, anywhere."""

from __future__ import annotations

import click

from mlport.cli.command import LazyGroup

HOMES = {
    "estimate": ("mlport.cli.cost.compare:estimate", "The price of a workload at one target, line by line."),
    "compare": ("mlport.cli.cost.compare:compare", "One workload at several targets, side by side."),
    "what-if": ("mlport.cli.cost.asking:what_if", "A workload's cost at other values of one field."),
    "timeline": ("mlport.cli.cost.asking:timeline", "How many trials of a sweep fit into a budget, by when."),
    "prices": ("mlport.cli.cost.prices:prices", "Look prices up in the catalogue."),
    "actual": ("mlport.cli.cost.actual:actual", "What real work came to, against what was expected."),
    "budget": ("mlport.cli.cost.actual:budget", "How the month stands against the profile's budget."),
    "bill": ("mlport.cli.cost.bill:bill", "What was billed (FOCUS), by service, sku, tag or another dimension."),
    "reconcile": ("mlport.cli.cost.bill:reconcile", "A bill against a workload's estimate, line by line."),
    "refresh": ("mlport.cli.cost.refresh:refresh", "Newer prices, from the official sources."),
}


@click.group(
    "cost",
    cls=LazyGroup,
    homes=HOMES,
    example="mlport cost compare workload.toml --targets local,prod\nmlport cost prices gcp --region europe-west4",
)
def cost() -> None:
    """What a workload costs, anywhere.

    On each provider and on your own machines; every amount with source and date, and unknown is never zero.
    """
