"""`mlport cost refresh`: newer prices from the official sources."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli

if TYPE_CHECKING:
    from mlport.cli.output import Output
    from mlport.costs.refreshing.refresh import Refreshed

REFUSED = 3
SHOWN = 20  # rows of a list of changes, as text
COLUMNS = ("sku", "region", "purchase", "before", "after", "factor")


@command(
    "refresh",
    example="mlport cost refresh\nmlport cost refresh aws --region eu-west-1 --dry-run\nmlport cost refresh aws --force --json",
)
@click.argument("names", metavar="[LIST]...", nargs=-1)
@click.option("--region", "regions", multiple=True, help="Only these; may be repeated. [default: those that the list has machines in]")
@click.option("--force", is_flag=True, help="Take a list that looks wrong, too.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@pass_cli
def refresh(cli: Cli, names: tuple[str, ...], regions: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Newer prices of machines, from the official sources.

    LIST is a price list such as aws; without any, all that have a source. A new list that lacks prices in force, moves one more than
    5 times, or is older, is refused with what it would change (exit status 3) unless forced. What a source does not speak of stays. A
    download that broke off is continued the next time.
    """
    from mlport.costs.refreshing import sources
    from mlport.costs.refreshing.refresh import refresh as refreshed

    made = []
    for name, source in [(name, sources.load(name)) for name in dict.fromkeys(names or sources.names())]:
        with cli.out.progress(f"prices of {name}") as update:
            made.append(refreshed(name, source, regions=regions, force=force, dry_run=dry_run, progress=update))
        if not cli.out.json:
            _print(cli.out, made[-1], dry_run=dry_run)
    if cli.out.json:
        cli.out.document([each.to_json() for each in made])
    if not force and any(each.changes.doubts for each in made):
        cli.ctx.exit(REFUSED)


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
        out.note(f"{len(changes.unknown)} machines are not in the list, and left out")
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
