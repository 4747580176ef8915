"""`mlport cleanup`: remove ended jobs and endpoints that are past their time; never registered models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.plain import instant, record
from mlport.cli.values import SPAN
from mlport.errors import MlportError, NotFoundError

if TYPE_CHECKING:
    from mlport.cli.inventory import Thing
    from mlport.client import Client


@command("cleanup", example="mlport cleanup --dry-run\nmlport cleanup --older-than 7d --jobs --yes")
@click.option("--expired", is_flag=True, help="What is past its time to live. This is the default.")
@click.option("--older-than", type=SPAN, help="What you own and is older than this, such as 7d.")
@click.option("--jobs", "only_jobs", is_flag=True, help="Only jobs.")
@click.option("--endpoints", "only_endpoints", is_flag=True, help="Only endpoints.")
@click.option("--all-owners", is_flag=True, help="With --older-than, also what others own.")
@click.option("--dry-run", is_flag=True, help="List it; remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_cli
def cleanup(
    cli: Cli, expired: bool, older_than: timedelta | None, only_jobs: bool, only_endpoints: bool, all_owners: bool, dry_run: bool, yes: bool
) -> None:
    """Remove ended jobs and endpoints that are past their time.

    Never registered models, and never what mlport did not make. It lists them and asks first.
    """
    kinds = {"job": only_jobs or not only_endpoints, "endpoint": only_endpoints or not only_jobs}
    chosen = _choice(expired=expired or older_than is None, older_than=older_than, owner=None if all_owners else cli.client.config.owner)
    found = [(thing, why) for thing in _candidates(cli.client, kinds) if (why := chosen(thing))]
    if not cli.out.json or not found:
        _show(cli, [{**record(thing), "why": why} for thing, why in found])
    if not found:
        return
    confirmed = not dry_run and cli.confirm(f"Remove these {len(found)}?", yes=yes)
    rows = [{**record(thing), "why": why, **(_remove(cli.client, thing) if confirmed else {"removed": False})} for thing, why in found]
    _conclude(cli, rows, confirmed=confirmed)


def _candidates(client: Client, kinds: dict[str, bool]) -> Iterator[Thing]:
    from mlport.cli import inventory

    if kinds["job"]:
        yield from (thing for thing in inventory.jobs(client) if thing.over)
    if kinds["endpoint"]:
        yield from inventory.endpoints(client)


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


def _remove(client: Client, thing: Thing) -> dict[str, Any]:
    try:
        if thing.kind == "job":
            client.jobs.get(thing.id).delete()
        else:
            client.endpoints.delete(thing.id)
    except NotFoundError:
        return {"removed": True}  # by someone else meanwhile
    except MlportError as error:
        return {"removed": False, "error": error.message}
    return {"removed": True}


def _show(cli: Cli, rows: list[dict[str, Any]]) -> None:
    cli.out.table(rows, ("kind", "id", "state", "owner", "why"), empty="nothing is past its time")


def _conclude(cli: Cli, rows: list[dict[str, Any]], *, confirmed: bool) -> None:
    failed = [row for row in rows if "error" in row]
    if cli.out.json:
        cli.out.document(rows)
    for row in failed:
        cli.out.note(f"{row['kind']} {row['id']} stays: {row['error']}")
    cli.out.note(f"removed {len(rows) - len(failed)}" if confirmed else "removed nothing")
    if failed:
        cli.ctx.exit(FAILED)
