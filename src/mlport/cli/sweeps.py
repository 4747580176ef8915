"""`mlport sweeps`: search, follow, read what was found."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import click

from mlport.cli import plans, waiting
from mlport.cli.command import group
from mlport.cli.context import Cli, goes_on, pass_cli
from mlport.cli.options import file_options, limit_option
from mlport.cli.plain import cell, record
from mlport.cli.values import SPAN
from mlport.errors import NotFoundError

if TYPE_CHECKING:
    from mlport.specs import SweepSpec
    from mlport.sweeps import Sweep, SweepStatus, Trial

COLUMNS = ("id", "state", "trials", "metric", "best", "began", "road", "reason")
TRIAL_COLUMNS = ("number", "state", "value", "params", "job_id", "reason")


@group("sweeps", example="mlport sweeps run sweep.toml\nmlport sweeps best digits-4f2a9c01")
def sweeps() -> None:
    """Search for the best parameters of a job."""


@sweeps.command("run", example="mlport sweeps run sweep.toml --set max_trials=20 --set job.params.epochs=5 --json")
@file_options
@click.option(
    "--no-wait", is_flag=True, help="Only start it; where trials are mlport's own, `mlport agent` or `sweeps wait` takes it forward."
)
@pass_cli
def run(cli: Cli, file: str, sets: tuple[tuple[str, str], ...], key: str | None, dry_run: bool, no_wait: bool) -> None:
    """Run the sweep that FILE describes, to its end.

    A SweepSpec as TOML or JSON, at the top level or under [sweep]; its job may be the name of a job's file. Trials are jobs.
    Interrupted or killed, it goes on when it is waited for again; with a vendor's own tuner it goes on by itself.
    """
    from mlport.cli import specfile

    spec = cast("SweepSpec", specfile.load(file, kinds=("sweep",), sets=sets))
    if dry_run:
        plans.show(cli.out, cli.client.sweeps.plan(spec))
        return
    sweep = cli.client.sweeps.start(spec, key=key or f"cli-{secrets.token_hex(6)}")
    if not no_wait:
        cli.out.note(f"started {sweep.id}")
        _until_end(cli, sweep)
    elif cli.out.json:
        cli.out.document(_view(sweep.status()))
    else:
        click.echo(sweep.id)
        forward = "waits for its end" if sweep.road == "native" else "or `mlport agent` takes it forward"
        cli.out.note(f"`{cli.again(f'sweeps wait {sweep.id}')}` {forward}")


@sweeps.command("wait", example="mlport sweeps wait digits-4f2a9c01 --timeout 1h")
@click.argument("sweep_id", metavar="ID")
@click.option("--timeout", type=SPAN, help="Give up waiting after this long; what runs, runs on.")
@pass_cli
def wait(cli: Cli, sweep_id: str, timeout: timedelta | None) -> None:
    """Take or follow a sweep to its end."""
    _until_end(cli, cli.client.sweeps.get(sweep_id), timeout)


@sweeps.command("list", example="mlport sweeps list")
@limit_option
@pass_cli
def list_(cli: Cli, limit: int | None) -> None:
    """List sweeps, newest first."""
    from mlport.sweeps import Sweep

    found = (_row(Sweep(each.id, cli.client, each.road).status()) for each in cli.client.sweeps.list())
    cli.out.table(found, COLUMNS, empty="no sweeps yet", limit=limit)


@sweeps.command("get", example="mlport sweeps get digits-4f2a9c01 --json")
@click.argument("sweep_id", metavar="ID")
@pass_cli
def get(cli: Cli, sweep_id: str) -> None:
    """Show one sweep: how far it is, and the best so far."""
    cli.out.record(_view(cli.client.sweeps.get(sweep_id).status()))


@sweeps.command("trials", example="mlport sweeps trials digits-4f2a9c01")
@click.argument("sweep_id", metavar="ID")
@limit_option
@pass_cli
def trials(cli: Cli, sweep_id: str, limit: int | None) -> None:
    """List the trials of a sweep."""
    cli.out.table((record(trial) for trial in cli.client.sweeps.get(sweep_id).trials), TRIAL_COLUMNS, empty="no trials yet", limit=limit)


@sweeps.command("best", example="mlport sweeps best digits-4f2a9c01")
@click.argument("sweep_id", metavar="ID")
@pass_cli
def best(cli: Cli, sweep_id: str) -> None:
    """Show the best trial so far."""
    found = cli.client.sweeps.get(sweep_id).best
    if found is None:
        raise NotFoundError(f"no trial of sweep {sweep_id} has succeeded", hint=f"look at them: {cli.again(f'sweeps trials {sweep_id}')}")
    cli.out.record(_brief(found))


@sweeps.command("cancel", example="mlport sweeps cancel digits-4f2a9c01")
@click.argument("sweep_id", metavar="ID")
@pass_cli
def cancel(cli: Cli, sweep_id: str) -> None:
    """End a sweep and the trials that run.

    One that has ended stays as it is.
    """
    waiting.cancel(cli, "sweep", cli.client.sweeps.get(sweep_id))


@sweeps.command("delete", example="mlport sweeps delete digits-4f2a9c01")
@click.argument("sweep_ids", metavar="ID...", nargs=-1, required=True)
@pass_cli
def delete(cli: Cli, sweep_ids: tuple[str, ...]) -> None:
    """Forget ended sweeps.

    Trials that were mlport's own jobs stay; those of a vendor's tuner go, with what they left. An absent sweep is fine.
    """
    for sweep_id in sweep_ids:
        cli.client.sweeps.delete(sweep_id)
    cli.out.done(f"deleted {', '.join(sweep_ids)}", deleted=sweep_ids)


def _until_end(cli: Cli, sweep: Sweep, timeout: timedelta | None = None) -> None:
    again = f"sweep {sweep.id}: what runs, runs on; `{cli.again(f'sweeps wait {sweep.id}')}` goes on with it"
    with goes_on(again), cli.out.progress(f"sweep {sweep.id}") as update:
        sweep.wait(timeout.total_seconds() if timeout is not None else None, on_look=lambda status: update(_describe(status)))
    cli.out.record(_view(sweep.status()))


def _describe(status: SweepStatus) -> str:
    found = f"best {status.best.value:g} with {cell(status.best.params)}" if status.best else "no value yet"
    return f"{sum(status.counts.values())} of {status.planned} trials ({cell(status.counts)}), {found}"


def _brief(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in record(trial).items() if name not in ("curve", "behind")}


def _row(status: SweepStatus) -> dict[str, Any]:
    return {
        "id": status.id,
        "name": status.name,
        "state": status.state,
        "native_state": status.native_state,
        "road": status.road,
        "reason": status.reason,
        "began": status.began,
        "ended": status.ended,
        "algorithm": status.algorithm,
        "metric": f"{status.metric} ({status.direction})",
        "trials": status.counts,
        "best": status.best.value if status.best else None,
    }


def _view(status: SweepStatus) -> dict[str, Any]:
    return {**_row(status), "best": _brief(status.best) if status.best else None, "seed": status.seed}
