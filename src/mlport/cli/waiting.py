"""Following a job to its end, on the terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.context import Cli, goes_on
from mlport.cli.plain import plain, record
from mlport.errors import JobFailedError

if TYPE_CHECKING:
    from mlport.jobs import Job
    from mlport.spi import JobStatus, OperationStatus
    from mlport.sweeps import Sweep


def describe(status: JobStatus | OperationStatus) -> str:
    """One look, in a few words: the state, the provider's own word where it says more, and why."""
    native = "" if status.native_state.upper() == status.state.value else status.native_state
    return " ".join(word for word in (status.state.value, native and f"({native})", getattr(status, "progress", ""), status.reason) if word)


def view(job: Job) -> dict[str, Any]:
    """A job as one record, with what it left once it has ended."""
    status = job.status()
    return {**record(status), "result": plain(job.result) if status.state.terminal else None}


def started(cli: Cli, job: Job, *, wait: bool, follow: bool = False, **more: Any) -> None:
    """Say which job was started, and see it to its end if asked to; `more` goes beside it in the JSON document."""
    if wait or follow:
        cli.out.note(f"submitted {job.id}")
        until_end(cli, job, follow=follow)
    elif cli.out.json:
        cli.out.document({**view(job), **more})
    else:
        click.echo(job.id)
        cli.out.note(f"follow it: {cli.again(f'jobs logs -f {job.id}')}")


def cancel(cli: Cli, noun: str, found: Job | Sweep) -> None:
    """Ask for the end of a job or a sweep, and say how far that is."""
    found.cancel()
    state = found.state
    said = f"{noun} {found.id} is {state}" if state.terminal else f"{noun} {found.id} was asked to end"
    cli.out.done(said, id=found.id, state=state)


def until_end(cli: Cli, job: Job, *, follow: bool = False, timeout: timedelta | None = None) -> None:
    """Wait for a job with progress, print its log with `follow`, and then what it left.

    Raises:
        JobFailedError: it ended without success.
    """
    with goes_on(f"job {job.id} goes on: `{cli.again(f'jobs wait {job.id}')}` waits again, `{cli.again(f'jobs cancel {job.id}')}` ends it"):
        if follow:
            _print_log(cli, job)
        with cli.out.progress(f"job {job.id}") as update:
            try:
                job.wait(timeout.total_seconds() if timeout is not None else None, on_look=lambda status: update(describe(status)))
            except JobFailedError as error:
                if follow:
                    error.hint = None  # the end of the log, which was just printed
                raise
    cli.out.record(view(job))


def _print_log(cli: Cli, job: Job) -> None:
    from mlport.spi import State
    from mlport.waiting import wait_until

    with cli.out.progress(f"job {job.id}") as update:
        wait_until(
            job.status, lambda seen: seen.state not in (State.QUEUED, State.STARTING), on_look=lambda status: update(describe(status))
        )
    for line in job.logs(follow=True):
        click.echo(line, err=cli.out.json)  # with --json, standard output is for the one document
