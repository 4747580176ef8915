"""`mlport jobs`: submit, follow, list, end."""

from __future__ import annotations

import secrets
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import click

from mlport.cli import plans, waiting
from mlport.cli.command import group
from mlport.cli.context import Cli, goes_on, pass_cli
from mlport.cli.inline import job_spec
from mlport.cli.options import compute_options, env_option, label_option, limit_option, set_option, start_options, ttl_option
from mlport.cli.plain import record
from mlport.cli.values import PAIR, SPAN, TYPED_PAIR
from mlport.errors import AmbiguousError, NotFoundError, UsageError

if TYPE_CHECKING:
    from mlport.specs import BatchSpec, JobSpec

COLUMNS = ("id", "name", "state", "created", "ended", "reason")
STATES = ("QUEUED", "STARTING", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN")


@group("jobs", example="mlport jobs submit job.toml --wait\nmlport jobs list --state FAILED")
def jobs() -> None:
    """Programs that run once."""


@jobs.command("submit", example="mlport jobs submit job.toml --set params.max_depth=8 --wait --follow")
@click.argument("file")
@set_option
@start_options
@pass_cli
def submit(cli: Cli, file: str, sets: tuple[tuple[str, str], ...], **start: Any) -> None:
    """Start the job that FILE describes.

    A JobSpec or BatchSpec as TOML or JSON, at the top level or under [job] or [batch]. A relative source and relative
    inputs are relative to the file's folder.
    """
    from mlport.cli import specfile

    _start(cli, cast("JobSpec | BatchSpec", specfile.load(file, kinds=("job", "batch"), sets=sets)), **start)


@jobs.command(
    "run",
    context_settings={"allow_interspersed_args": False},
    example="mlport jobs run --param max_depth=6 --input flights=data/q1.parquet --wait -- python train.py",
)
@click.argument("entrypoint", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", help="The job's name. [default: after the program]")
@click.option("--source", help="The folder or file that becomes the working directory. [default: here, if the script is here]")
@click.option("--param", "params", type=TYPED_PAIR, multiple=True, help="A parameter, handed over as --name value; repeatable.")
@click.option("--input", "inputs", type=PAIR, multiple=True, metavar="NAME=PATH_OR_URL", help="Found at MLPORT_INPUT_<NAME>; repeatable.")
@click.option("--output", "outputs", multiple=True, help="A folder to keep besides model, at MLPORT_OUTPUT_<NAME>; repeatable.")
@click.option("--requirement", "-r", "requirements", multiple=True, help="A Python requirement, such as scikit-learn; repeatable.")
@click.option("--python", help="The Python version of its environment, such as 3.12.")
@click.option("--image", help="A container image to run in.")
@env_option
@click.option(
    "--secret", "secrets", multiple=True, metavar="VARIABLE", help="A variable of your environment that no plan shows; repeatable."
)
@compute_options
@click.option("--nodes", type=int, help="How many nodes.")
@click.option("--spot", is_flag=True, help="Use interruptible capacity where it is cheaper.")
@click.option("--timeout", type=SPAN, help="The longest that one attempt may run.")
@click.option("--expected", type=SPAN, help="How long it is expected to take: budgets count with it.")
@click.option("--retries", type=int, help="How often a failed attempt is run again.")
@label_option
@ttl_option
@start_options
@pass_cli
def run(cli: Cli, key: str | None, dry_run: bool, wait: bool, follow: bool, **fields: Any) -> None:
    """Start a command as a job, without a file."""
    _start(cli, job_spec(**fields), key=key, dry_run=dry_run, wait=wait, follow=follow)


@jobs.command("list", example="mlport jobs list --state RUNNING --name delays")
@click.option("--name", help="Only jobs of this name.")
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only jobs in this state.")
@label_option
@limit_option
@pass_cli
def list_(cli: Cli, name: str | None, state: str | None, labels: tuple[tuple[str, str], ...], limit: int | None) -> None:
    """List jobs, newest first."""
    found = cli.client.jobs.list(name=name, state=state, labels=dict(labels))
    cli.out.table(
        (record(status) for status in found), COLUMNS, empty="no such jobs" if name or state or labels else "no jobs yet", limit=limit
    )


@jobs.command("get", example="mlport jobs get delays-20260301-101502-4f2a --json")
@click.argument("job_id", metavar="ID")
@pass_cli
def get(cli: Cli, job_id: str) -> None:
    """Show one job, and what it left."""
    cli.out.record(waiting.view(cli.client.jobs.get(job_id)))


@jobs.command("logs", example="mlport jobs logs --follow delays-20260301-101502-4f2a")
@click.argument("job_id", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", type=click.IntRange(0), help="Only the last lines.")
@pass_cli
def logs(cli: Cli, job_id: str, follow: bool, tail: int | None) -> None:
    """Print what a job printed.

    With --json one object a line.
    """
    if follow and tail is not None:
        raise UsageError("--follow and --tail do not go together", hint="leave one of them out")
    job = cli.client.jobs.get(job_id)
    with goes_on(f"job {job_id} goes on: `{cli.again(f'jobs logs -f {job_id}')}` reads on"):
        for line in job.logs(follow=follow) if tail is None else deque(job.logs(), maxlen=tail):
            cli.out.line(line)


@jobs.command("wait", example="mlport jobs wait delays-20260301-101502-4f2a --timeout 1h")
@click.argument("job_id", metavar="ID")
@click.option("--timeout", type=SPAN, help="Give up waiting after this long; the job goes on.")
@pass_cli
def wait(cli: Cli, job_id: str, timeout: timedelta | None) -> None:
    """Wait until a job has ended; fail if it failed."""
    waiting.until_end(cli, cli.client.jobs.get(job_id), timeout=timeout)


@jobs.command("cancel", example="mlport jobs cancel delays-20260301-101502-4f2a")
@click.argument("job_id", metavar="ID")
@pass_cli
def cancel(cli: Cli, job_id: str) -> None:
    """End a job and all that it started.

    One that has ended stays as it is.
    """
    waiting.cancel(cli, "job", cli.client.jobs.get(job_id))


@jobs.command("delete", example="mlport jobs delete delays-20260301-101502-4f2a")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@pass_cli
def delete(cli: Cli, job_ids: tuple[str, ...]) -> None:
    """Remove ended jobs and what they left.

    Registered models stay, and an absent job is fine.
    """
    from mlport.jobs import Job

    for job_id in job_ids:
        try:
            Job(job_id, cli.client).delete()
        except NotFoundError:
            continue  # already gone, which is what was asked for
    cli.out.done(f"deleted {', '.join(job_ids)}", deleted=job_ids)


def _start(cli: Cli, spec: JobSpec | BatchSpec, *, key: str | None, dry_run: bool, wait: bool, follow: bool) -> None:
    if dry_run:
        plans.show(cli.out, cli.client.jobs.plan(spec))
        return
    own_key = key or f"cli-{secrets.token_hex(6)}"
    again = f"the same command with `--key {own_key}` finds out, and starts it at most once"
    try:
        with goes_on(f"interrupted while submitting; {again}"):
            job = cli.client.jobs.submit(spec, key=own_key)
    except AmbiguousError as error:
        error.hint = again
        raise
    waiting.started(cli, job, wait=wait, follow=follow, key=own_key)
