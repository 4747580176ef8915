"""`mlport monitors`: make, look, read what is due, train again, report, end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from mlport.cli import plans
from mlport.cli.agent import log, note_agent
from mlport.cli.checks import FOUND, check_file, needing, write
from mlport.cli.command import group
from mlport.cli.context import Cli, goes_on, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.options import file_options, limit_option
from mlport.cli.plain import cell, record
from mlport.errors import MlportError, UsageError

if TYPE_CHECKING:
    from mlport.monitoring.records import Reading, Retraining
    from mlport.monitoring.specs import MonitorSpec
    from mlport.monitors import Monitor, MonitorView

COLUMNS = ("name", "endpoint", "state", "road", "next", "window", "drift", "decay", "reason")
READING_COLUMNS = ("window", "rows", "drift", "severity", "columns", "decay", "metric", "retraining")
RETRAINING_COLUMNS = ("id", "decided", "trigger", "phase", "version", "gate", "reason")
NAMED = 3
"""Columns that a listing names."""
WINDOWS = 60
LOOKED_BACK = 100
"""Windows, the newest, of which a run says that labels have told of decay."""


@group(
    "monitors", example="mlport monitors create monitor.toml\nmlport monitors run --all\nmlport monitors report flights --out flights.html"
)
def monitors() -> None:
    """Drift and decay of endpoints, and training again."""


@monitors.command("create", example="mlport monitors create monitor.toml --set window=7d")
@file_options
@pass_cli
def create(cli: Cli, file: str, sets: tuple[tuple[str, str], ...], key: str | None, dry_run: bool) -> None:
    """Make the monitor that FILE describes.

    Its reference is read now, and kept as a profile. A MonitorSpec as TOML or JSON, at the top level or under [monitor]; the job of its [retrain] may be the name of a file.
    """
    from mlport.cli import specfile

    spec = cast("MonitorSpec", specfile.load(file, kinds=("monitor",), sets=sets))
    with needing("drift", "a monitor"):
        if dry_run:
            plans.show(cli.out, cli.client.monitors.plan(spec))
            return
        made = cli.client.monitors.create(spec, key=key)
    if cli.out.json:
        cli.out.document(_full(made))
    else:
        click.echo(made.name)
    note_agent(cli, f"no window is read yet; or let cron call `{cli.again(f'monitors run {made.name}')}`")


@monitors.command("list", example="mlport monitors list")
@limit_option
@pass_cli
def list_(cli: Cli, limit: int | None) -> None:
    """List monitors, with what each found last."""
    rows = (_view(each) for each in cli.client.monitors.list())
    cli.out.table(rows, COLUMNS, empty="no monitors yet", limit=limit)


@monitors.command("get", example="mlport monitors get flights")
@click.argument("name")
@pass_cli
def get(cli: Cli, name: str) -> None:
    """Show one monitor.

    Its state, its newest reading, and what it was asked to do.
    """
    cli.out.record(_full(cli.client.monitors.get(name)))


@monitors.command("run", example="mlport monitors run flights\nmlport monitors run --all --quiet")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every monitor of the profile.")
@pass_cli
def run(cli: Cli, names: tuple[str, ...], everything: bool) -> None:
    """Read every window that is due, and act on it.

    Tell those who are to be told, judge by the labels that came, go on with retraining. For cron, where no agent runs.

    Exit status 3 if drift lasts in a window that was read, or performance has decayed by labels that
    came since; else 1 if something is not known or failed; else 0. Nothing is due: 0.
    """
    if bool(names) == everything:
        raise UsageError("name the monitors to run, or say --all", hint=f"`{cli.again('monitors list')}` shows them")
    log(cli)
    wanted = [each.name for each in cli.client.monitors.list()] if everything else list(dict.fromkeys(names))
    found = [cli.client.monitors.get(name) for name in wanted]  # an unknown name, before any work
    done = [_run(cli, each) for each in found]
    rows = [row for each in done for row in each["readings"]]
    if cli.out.json:
        cli.out.document(done)
    else:
        shown = ({"monitor": each.monitor, **_reading(each)} for each in rows)
        cli.out.table(shown, ("monitor", *READING_COLUMNS), empty="nothing was due", limit=0)
    status = _status(rows, failed=any(each["error"] for each in done))
    if status:
        cli.ctx.exit(status)


def _run(cli: Cli, monitor: Monitor) -> dict[str, Any]:
    """One monitor's run: the windows read, and those that turned out decayed by labels that came since. An error ends none but its own."""
    before = {each.window.start: each.decay for each in monitor.readings(LOOKED_BACK)}
    new: dict[datetime, Reading] = {}
    error: dict[str, Any] | None = None
    stays = f"what was read of {monitor.name} is kept; `{cli.again(f'monitors run {monitor.name}')}` goes on"
    with goes_on(stays), needing("drift", "a monitor"), cli.out.progress(f"monitor {monitor.name}") as update:

        def read(each: Reading) -> None:
            new[each.window.start] = each
            update(_said(each))

        update("reading what is due")
        try:
            monitor.run(on_reading=read)
        except ModuleNotFoundError:
            raise
        except Exception as failure:  # noqa: BLE001 - a defect met with one must not end the watch of the others; it was logged
            error = failure.to_json() if isinstance(failure, MlportError) else {"error": type(failure).__name__, "message": str(failure)}
            cli.out.note(f"monitor {monitor.name}: {failure}")
    judged = {each.window.start: each for each in monitor.readings(LOOKED_BACK)}
    decayed = {start for start, each in judged.items() if each.decay == "decayed" and before.get(start) != "decayed"}
    told = [judged.get(start) or new[start] for start in sorted({*new, *decayed}, reverse=True)]
    return {"monitor": monitor.name, "readings": told, "error": error}


def _said(reading: Reading) -> str:
    from mlport.monitoring.telling.messages import span

    return f"{span(reading.window)}: {reading.words or reading.drift}"


def _status(readings: Sequence[Reading], *, failed: bool) -> int:
    """What was found outweighs what is not known, and that outweighs all being well."""
    if any(each.lasting == "drift" or each.decay == "decayed" for each in readings):
        return FOUND
    return FAILED if failed or any(each.error or each.drift == "unknown" for each in readings) else 0


@monitors.command("readings", example="mlport monitors readings flights --limit 10")
@click.argument("name")
@limit_option
@pass_cli
def readings(cli: Cli, name: str, limit: int | None) -> None:
    """List what a monitor found, newest window first.

    With --json, all of each reading: columns with their effects, notes, whom it was told to.
    """
    found = cli.client.monitors.get(name).readings()
    rows = (each.to_json() if cli.out.json else _reading(each) for each in found)
    cli.out.table(rows, READING_COLUMNS, empty="no window has been read yet", limit=limit)


@monitors.command("retrainings", example="mlport monitors retrainings flights")
@click.argument("name")
@limit_option
@pass_cli
def retrainings(cli: Cli, name: str, limit: int | None) -> None:
    """List a monitor's retrainings, newest first.

    Why each began, how far it is, and what the gate said.
    """
    found = cli.client.monitors.get(name).retrainings()
    rows = (each.to_json() if cli.out.json else _retraining(each) for each in found)
    cli.out.table(rows, RETRAINING_COLUMNS, empty="it has trained nothing yet", limit=limit)


@monitors.command("retrain", example="mlport monitors retrain flights --why 'a new season'")
@click.argument("name")
@click.option("--why", default="", help="What is kept and told as the reason.")
@pass_cli
def retrain(cli: Cli, name: str, why: str) -> None:
    """Train again now, by the monitor's policy.

    Whatever its cooldown says. It goes on in each run of the monitor: the job, the scores, the gate, the hand-over.
    """
    begun = cli.client.monitors.get(name).retrain(why)
    cli.out.done(f"retraining {begun.id} is {begun.phase}", **begun.to_json())
    note_agent(cli, f"it goes on with `{cli.again(f'monitors run {name}')}`")


@monitors.command("report", example="mlport monitors report flights --out flights.html")
@click.argument("name")
@click.option("--out", "file", metavar="FILE.html", required=True, help="Where to write it.")
@click.option("--windows", type=click.IntRange(1), default=WINDOWS, show_default=True, help="How many windows it holds, the newest.")
@pass_cli
def report(cli: Cli, name: str, file: str, windows: int) -> None:
    """Write what a monitor found over time as one HTML file.

    Drift by column and window, performance, the newest window against the reference, worst slices, retrainings. The newest window is compared again for it, and performance judged by the labels so far.
    """
    check_file("--out", file, ".html")
    monitor = cli.client.monitors.get(name)
    with needing("reports", "a report"), cli.out.progress(f"report of {name}") as update:
        from mlport.monitoring.reporting import report as pages

        found = pages.gathered(monitor, windows=windows, say=update)
        update("writing")
        text = pages.html(found)
    write("--out", file, text)
    cli.out.done(
        f"{file}: {pages.sentence(found.readings)}",
        file=file,
        bytes=len(text.encode()),
        windows=len(found.readings),
        failures=found.failures,
    )
    for failure in found.failures:
        cli.out.note(f"left out: {failure}")


@monitors.command("delete", example="mlport monitors delete flights")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_cli
def delete(cli: Cli, names: tuple[str, ...]) -> None:
    """Remove monitors with their readings.

    The models that they made stay. An absent one is fine.
    """
    for name in names:
        cli.client.monitors.delete(name)
    cli.out.done(f"deleted {', '.join(names)}", deleted=names)


# ---------------------------------------------------------------- rows


def _view(found: MonitorView) -> dict[str, Any]:
    last = found.last
    told = {"window": last.window.start, "drift": last.lasting, "decay": last.decay} if last else {}
    return {**record(found), "last": last.to_json() if last else None, **told}


def _full(monitor: Monitor) -> dict[str, Any]:
    view = monitor.view
    last = _reading(view.last) if view.last else None
    return {**record(view), "last": last, "spec": monitor.spec.to_json()}


def _reading(found: Reading) -> dict[str, Any]:
    judged = found.performance
    return {
        "window": found.window.start,
        "rows": found.rows,
        "drift": found.drift if found.drift == found.lasting else f"{found.drift} (lasting: {found.lasting})",
        "severity": found.severity,
        "columns": _named([each.name for each in found.drifted]) or found.error or (found.words if found.drift == "unknown" else ""),
        "decay": found.decay,
        "metric": f"{judged.metric} {cell(round(judged.value, 6))}" if judged and judged.value is not None else None,
        "retraining": found.retraining,
    }


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _retraining(found: Retraining) -> dict[str, Any]:
    verdict = found.verdict
    gate = f"{'passed' if verdict.passed else 'not passed'}: {verdict.metric} {cell(verdict.challenger)}" if verdict else None
    return {**record(found), "gate": gate, "reason": found.reason or found.why}
