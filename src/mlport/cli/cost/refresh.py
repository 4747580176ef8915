"""`mlport cost refresh`: newer prices from the official sources."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import Command
from mlport.cli.context import Cli, pass_cli

if TYPE_CHECKING:
    from mlport.cli.output import Output
    from mlport.costs.refreshing.refresh import Refreshed
    from mlport.costs.refreshing.sources import Access, PriceSource

REFUSED = 3
SHOWN = 20  # rows of a list of changes, as text
COLUMNS = ("sku", "region", "purchase", "before", "after", "factor")


class _Refresh(Command):
    """A command whose help says what there is to refresh."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from mlport.costs.refreshing import sources

        with formatter.section("Lists, and what their sources need"):
            formatter.write_dl([(name, sources.load(name).needs or "nothing") for name in sources.names()])
        super().format_options(ctx, formatter)


@click.command(
    "refresh",
    cls=_Refresh,
    example="mlport cost refresh\nmlport cost refresh aws --region eu-west-1 --dry-run\nmlport cost refresh aws --force --json",
)
@click.argument("names", metavar="[LIST]...", nargs=-1)
@click.option("--region", "regions", multiple=True, help="Only these; may be repeated. [default: those that the list has prices in]")
@click.option("--force", is_flag=True, help="Take a list that looks wrong, too.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@pass_cli
def refresh(cli: Cli, names: tuple[str, ...], regions: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Newer prices, from the official sources.

    LIST is a price list such as aws; without any, all whose sources have what they need. A new list that lacks prices in force, moves
    one more than 5 times, or is older, is refused with what it would change (exit status 3) unless forced. What a source does not speak
    of stays. A download that broke off is continued the next time.
    """
    from mlport.costs.refreshing.refresh import refresh as refreshed
    from mlport.costs.refreshing.sources import Access

    made = []
    access = Access(cli.profile, Path(cli.config) if cli.config else None)
    for name, source in _chosen(cli.out, names, access):
        with cli.out.progress(f"prices of {name}") as update:
            made.append(refreshed(name, source, regions=regions, force=force, dry_run=dry_run, progress=update, access=access))
        if not cli.out.json:
            _print(cli.out, made[-1], dry_run=dry_run)
    if cli.out.json:
        cli.out.document([each.to_json() for each in made])
    if not force and any(each.changes.doubts for each in made):
        cli.ctx.exit(REFUSED)


def _chosen(out: Output, names: Sequence[str], access: Access) -> list[tuple[str, PriceSource]]:
    """The lists that are named, all of which must have what they need; else those that have it, with a note of the others."""
    from mlport.costs.refreshing import sources

    found = [(name, sources.load(name)) for name in dict.fromkeys(names or sources.names())]
    lacking = {name: error for name, source in found if (error := source.lacks(access)) is not None}
    for name, error in lacking.items():
        if names:
            raise error
        out.note(f"{name} is left out: {error.message}")
    return [(name, source) for name, source in found if name not in lacking]


def _print(out: Output, made: Refreshed, *, dry_run: bool) -> None:
    from mlport.costs.refreshing.changes import largest_first

    changes = made.changes
    counts = (
        (len(changes.moved), "moved"),
        (len(changes.added), "added"),
        (len(changes.gone), "gone"),
        (changes.confirmed, "confirmed"),
        (changes.kept, "not asked for"),
    )
    out.line(f"{made.name}: {', '.join(f'{count} {word}' for count, word in counts if count) or 'nothing'}")
    rows: list[dict[str, Any]] = [
        {**_named(old), "before": f"{old.price:f}", "after": f"{new.price:f}", "factor": f"{factor:.3g}"}
        for old, new, factor in itertools.islice(largest_first(changes.moved), SHOWN)
    ]
    rows += [{**_named(fact), "before": f"{fact.price:f}"} for fact in changes.gone[:SHOWN]]
    if rows:
        out.table(rows, COLUMNS, empty="")
    for text in changes.contradictory:
        out.note(f"several prices, so the one in force stays: {text}")
    for text in changes.overtaken:
        out.note(f"no longer plausible, and the source has none: {text}")
    if changes.unknown:
        out.note(f"{len(changes.unknown)} machines or other things are not in the list, and left out")
    for reason, count in sorted(changes.left.items()):
        out.note(f"{count} prices stay: {reason}")
    for reason, count in sorted(changes.passed.items()):
        out.note(f"{count} rows passed over: {reason}")
    for text in changes.doubts[:SHOWN]:
        out.note(f"looks wrong: {text}")
    out.line(_verdict(made, dry_run=dry_run))


def _named(fact: Any) -> dict[str, Any]:
    return {"sku": fact.sku, "region": fact.region, "purchase": fact.purchase}


def _verdict(made: Refreshed, *, dry_run: bool) -> str:
    if made.path:
        return f"{made.name}: {len(made.changes.facts)} prices of {made.version} are in {made.path}"
    doubts = len(made.changes.doubts)
    if doubts:
        return f"{made.name}: not written, for {doubts} prices look wrong; look at them, then --force takes them"
    assert dry_run  # noqa: S101 - nothing else keeps a list that looks right from being written
    return f"{made.name}: not written (--dry-run)"
