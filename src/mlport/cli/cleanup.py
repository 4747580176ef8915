"""`mlport cleanup`: remove what is past its time, and what is kept and nobody uses; never registered models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.options import together
from mlport.cli.plain import instant, record
from mlport.cli.values import SPAN
from mlport.errors import MlportError, NotFoundError, UsageError

if TYPE_CHECKING:
    from mlport.cli.inventory import Thing
    from mlport.client import Client

Row = dict[str, Any]
kind_options = together(
    *(
        click.option(f"--{kind}s", "kinds", flag_value=kind, multiple=True, type=str, help=f"Only {kind}s; may be said beside the like.")
        for kind in ("job", "endpoint", "sweep", "schedule")
    )
)


@command("cleanup", example="mlport cleanup --dry-run\nmlport cleanup --older-than 7d --jobs --yes\nmlport cleanup --unused 30d")
@click.option("--expired", is_flag=True, help="What is past its time to live, or its end. This is the default.")
@click.option("--older-than", type=SPAN, help="What you own and is older than this, such as 7d.")
@click.option("--unused", type=SPAN, help="Packed sources and environments that nothing needs and nobody has used for this long.")
@kind_options
@click.option("--all-owners", is_flag=True, help="With --older-than, also what others own.")
@click.option("--dry-run", is_flag=True, help="List it; remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_cli
def cleanup(
    cli: Cli,
    expired: bool,
    older_than: timedelta | None,
    unused: timedelta | None,
    kinds: tuple[str, ...],
    all_owners: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove what has ended or expired, and what nobody uses.

    Ended jobs, sweeps and schedules, and endpoints. Never registered models, never a job, sweep or schedule that goes on,
    and never what mlport did not make. It lists them and asks first.
    """
    by_default = older_than is None and unused is None
    chosen = _choice(expired=expired or by_default, older_than=older_than, owner=None if all_owners else cli.client.config.owner)
    found = [(thing, why) for thing in _candidates(cli.client, kinds) if (why := chosen(thing))]
    kept = _unused(cli.client, unused, dry_run=True) if unused else []
    listed = [*({**record(thing), "why": why} for thing, why in found), *kept]
    if not cli.out.json or not listed:
        _show(cli, listed)
    if not listed:
        return
    confirmed = not dry_run and cli.confirm(f"Remove these {len(listed)}?", yes=yes)
    rows = [{**record(thing), "why": why, **(_remove(cli.client, thing) if confirmed else {"removed": False})} for thing, why in found]
    _conclude(cli, [*rows, *(_unused(cli.client, unused, dry_run=False) if confirmed and unused else kept)], confirmed=confirmed)


def _candidates(client: Client, kinds: tuple[str, ...]) -> Iterator[Thing]:
    from mlport.cli import inventory

    for kind, things in inventory.KINDS.items():
        if not kinds or kind in kinds:
            yield from (thing for thing in things(client) if thing.over or kind == "endpoint")


def _choice(*, expired: bool, older_than: timedelta | None, owner: str | None) -> Callable[[Thing], str | None]:
    """A function that says why a thing goes, or None when it stays."""
    now = datetime.now(UTC)

    def why(thing: Thing) -> str | None:
        if expired and thing.expires is not None and thing.expires <= now:
            return f"expired {instant(thing.expires)}"
        is_ours = owner is None or thing.owner in (owner, None)
        if older_than is not None and is_ours and thing.created is not None and thing.created <= now - older_than:
            return f"made {instant(thing.created.replace(microsecond=0))}"
        return None

    return why


def _remove(client: Client, thing: Thing) -> Row:
    remove: dict[str, Callable[[str], None]] = {
        "job": lambda job_id: client.jobs.get(job_id).delete(),
        "endpoint": client.endpoints.delete,
        "sweep": client.sweeps.delete,
        "schedule": client.schedules.delete,
    }
    try:
        remove[thing.kind](thing.id)
    except NotFoundError:
        return {"removed": True}  # by someone else meanwhile
    except MlportError as error:
        return {"removed": False, "error": error.message}
    return {"removed": True}


def _unused(client: Client, unused: timedelta, *, dry_run: bool) -> list[Row]:
    """A row for each thing that the provider keeps and nobody has used for so long; removed, unless it is a dry run."""
    from mlport.spi import Collects

    if not isinstance(client.session, Collects):
        raise UsageError(f"--unused: the {client.provider.name} provider keeps nothing to use again", hint="leave it out")
    found = client.session.collect(unused, dry_run=dry_run)
    rows: list[Row] = [
        {"kind": kind, "id": name, "why": f"unused for {unused}", "removed": not dry_run}
        for kind, names in found.items.items()
        for name in names
    ]
    stays: list[Row] = [{"kind": "path", "id": path, "removed": False, "error": "it could not be removed"} for path in found.failed]
    return [*rows, *stays]


def _show(cli: Cli, rows: list[Row]) -> None:
    cli.out.table(rows, ("kind", "id", "state", "owner", "why"), empty="nothing is past its time")


def _conclude(cli: Cli, rows: list[Row], *, confirmed: bool) -> None:
    failed = [row for row in rows if "error" in row]
    if cli.out.json:
        cli.out.document(rows)
    for row in failed:
        cli.out.note(f"{row['kind']} {row['id']} stays: {row['error']}")
    cli.out.note(f"removed {sum(row['removed'] for row in rows)}" if confirmed else "removed nothing")
    if failed:
        cli.ctx.exit(FAILED)
