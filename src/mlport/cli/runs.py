"""`mlport runs`: what jobs were given and what they logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import group
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import key_option, limit_option
from mlport.cli.output import Row
from mlport.cli.plain import record
from mlport.cli.waiting import started

if TYPE_CHECKING:
    from mlport.runs import RunComparison


@group("runs", example="mlport runs list --name delays\nmlport runs compare delays-a delays-b")
def runs() -> None:
    """What jobs were given and what they logged."""


@runs.command("list", example="mlport runs list --name delays --limit 20")
@click.option("--name", help="Only runs of jobs of this name.")
@limit_option
@pass_cli
def list_(cli: Cli, name: str | None, limit: int | None) -> None:
    """List ended jobs with parameters and metrics."""
    found = cli.client.runs.list(name=name)
    cli.out.table((record(run) for run in found), ("id", "name", "state", "started", "params", "metrics"), empty="no runs yet", limit=limit)


@runs.command("compare", example="mlport runs compare delays-a delays-b delays-c")
@click.argument("job_ids", metavar="ID ID...", nargs=-1, required=True)
@pass_cli
def compare(cli: Cli, job_ids: tuple[str, ...]) -> None:
    """Show what differs between runs, and all metrics."""
    comparison = cli.client.runs.compare(job_ids)
    if cli.out.json:
        cli.out.document(comparison)
        return
    cli.out.table(_rows(comparison), ("what", *job_ids), empty="nothing differs, and no metric was logged")


@runs.command("reproduce", example="mlport runs reproduce delays-20260301-101502-4f2a --wait")
@click.argument("job_id", metavar="ID")
@key_option
@click.option("--wait/--no-wait", default=False, help="Wait for the end; fail if the job fails.")
@pass_cli
def reproduce(cli: Cli, job_id: str, key: str | None, wait: bool) -> None:
    """Run a job again.

    After making sure that its code and inputs are still the same.
    """
    job = cli.client.runs.reproduce(job_id, key=key)
    started(cli, job, wait=wait)


def _rows(comparison: RunComparison) -> Iterator[Row]:
    sections: dict[str, Any] = {"metric": comparison.metrics, "param": comparison.params, "lineage": comparison.lineage}
    for section, table in sections.items():
        for name, values in table.items():
            yield {"what": f"{section} {name}", **dict(zip(comparison.runs, values, strict=True))}
