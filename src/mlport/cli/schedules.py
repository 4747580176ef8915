"""`mlport schedules`: make, look, pause, end."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import click

from mlport.cli import plans
from mlport.cli.agent import note_agent
from mlport.cli.command import group
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import file_options, limit_option
from mlport.cli.plain import record

if TYPE_CHECKING:
    from mlport.specs import ScheduleSpec
    from mlport.spi import ScheduleRecord

COLUMNS = ("name", "state", "cron", "time_zone", "next", "last", "reason")
FIRING_COLUMNS = ("scheduled", "fired", "job_id", "merged", "error", "reason")


@group("schedules", example="mlport schedules create nightly.toml\nmlport schedules firings nightly")
def schedules() -> None:
    """Jobs started by the clock."""


@schedules.command("create", example="mlport schedules create nightly.toml --set time_zone=Europe/Berlin")
@file_options
@pass_cli
def create(cli: Cli, file: str, sets: tuple[tuple[str, str], ...], key: str | None, dry_run: bool) -> None:
    """Make the schedule that FILE describes.

    The code is kept as it is now. A ScheduleSpec as TOML or JSON, at the top level or under [schedule]; its job or batch may be the name of a file.
    """
    from mlport.cli import specfile

    spec = cast("ScheduleSpec", specfile.load(file, kinds=("schedule",), sets=sets))
    if dry_run:
        plans.show(cli.out, cli.client.schedules.plan(spec))
        return
    made = cli.client.schedules.create(spec, key=key)
    if cli.out.json:
        cli.out.document(_view(made.record))
    else:
        click.echo(made.name)
    _note_agent(cli)


@schedules.command("list", example="mlport schedules list")
@limit_option
@pass_cli
def list_(cli: Cli, limit: int | None) -> None:
    """List schedules, newest first."""
    cli.out.table((_view(each) for each in cli.client.schedules.list()), COLUMNS, empty="no schedules yet", limit=limit)


@schedules.command("get", example="mlport schedules get nightly")
@click.argument("name")
@pass_cli
def get(cli: Cli, name: str) -> None:
    """Show one schedule."""
    cli.out.record(_view(cli.client.schedules.get(name).record))


@schedules.command("firings", example="mlport schedules firings nightly --limit 10")
@click.argument("name")
@limit_option
@pass_cli
def firings(cli: Cli, name: str, limit: int | None) -> None:
    """List what a schedule started and left out, newest first."""
    found = cli.client.schedules.get(name).firings()
    cli.out.table((record(firing) for firing in found), FIRING_COLUMNS, empty="it has not fired yet", limit=limit)


@schedules.command("next", example="mlport schedules next nightly --count 5")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many.")
@pass_cli
def next_(cli: Cli, name: str, count: int) -> None:
    """Show when a schedule will start next, as its cron says."""
    schedule = cli.client.schedules.get(name)
    zone = ZoneInfo(schedule.record.time_zone)
    rows = (
        {"start": start.astimezone(UTC), "there": f"{start.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}"} for start in schedule.next(count)
    )
    cli.out.table(rows, ("start", "there"), empty="never again")


@schedules.command("pause", example="mlport schedules pause nightly")
@click.argument("name")
@pass_cli
def pause(cli: Cli, name: str) -> None:
    """Start nothing more until it is resumed."""
    cli.client.schedules.get(name).pause()
    cli.out.done(f"schedule {name} is paused", name=name, state="PAUSED")


@schedules.command("resume", example="mlport schedules resume nightly")
@click.argument("name")
@pass_cli
def resume(cli: Cli, name: str) -> None:
    """Go on with the next time.

    What a pause left out stays left out.
    """
    schedule = cli.client.schedules.get(name)
    schedule.resume()
    cli.out.done(f"schedule {name} goes on", name=name, state=schedule.state)


@schedules.command("delete", example="mlport schedules delete nightly")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_cli
def delete(cli: Cli, names: tuple[str, ...]) -> None:
    """Remove schedules; the jobs that they started stay.

    An absent one is fine.
    """
    for name in names:
        cli.client.schedules.delete(name)
    cli.out.done(f"deleted {', '.join(names)}", deleted=names)


def _view(found: ScheduleRecord) -> dict[str, Any]:
    return {name: value for name, value in record(found).items() if name not in ("native_name", "native_state", "token")}


def _note_agent(cli: Cli) -> None:
    """Say so if nobody is there to fire it."""
    from mlport.scheduling.stored import StoredSchedules

    if isinstance(cli.client.session.schedules, StoredSchedules):
        note_agent(cli, "nothing fires yet")
