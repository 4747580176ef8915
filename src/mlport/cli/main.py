"""The entry point: parse, run, and turn whatever happens into an exit status."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mlport import __version__
from mlport.cli.command import LazyGroup
from mlport.cli.failures import PIPE_CLOSED, report

PROGRAM = "mlport"
COMPLETE = "_MLPORT_COMPLETE"

HOMES = {
    "init": ("mlport.cli.init:init", "Write a commented mlport.toml."),
    "doctor": ("mlport.cli.doctor:doctor", "Check this machine, the configuration and the profile."),
    "demo": ("mlport.cli.demo:demo", "Train, register, serve and watch a model on real flights."),
    "jobs": ("mlport.cli.jobs:jobs", "Programs that run once."),
    "sweeps": ("mlport.cli.sweeps:sweeps", "Search for the best parameters of a job."),
    "schedules": ("mlport.cli.schedules:schedules", "Jobs started by the clock."),
    "agent": ("mlport.cli.agent:agent", "The process that fires schedules and drives sweeps."),
    "runs": ("mlport.cli.runs:runs", "What jobs were given and what they logged."),
    "models": ("mlport.cli.models:models", "The registry: versions, aliases, tags, lineage."),
    "endpoints": ("mlport.cli.endpoints:endpoints", "Addresses that answer predictions."),
    "monitors": ("mlport.cli.monitors:monitors", "Drift and decay of endpoints, and training again."),
    "cost": ("mlport.cli.cost:cost", "What a workload costs, anywhere."),
    "drift": ("mlport.cli.drift:drift", "Whether two tables differ, and whether that matters."),
    "decay": ("mlport.cli.decay:decay", "Whether a model still does what it did."),
    "audit": ("mlport.cli.audit:audit", "Data before training, a model's errors after it."),
    "explain": ("mlport.cli.explain:explain", "Say what a spec would become, without sending anything."),
    "emulate": ("mlport.cli.emulate:emulate", "A cloud on this machine, to develop without an account."),
    "providers": ("mlport.cli.providers:providers", "What each installed provider can do."),
    "ls": ("mlport.cli.inventory:ls", "List everything that mlport made."),
    "cleanup": ("mlport.cli.cleanup:cleanup", "Remove what has ended or expired, and what nobody uses."),
    "completion": ("mlport.cli.completion:completion", "Print a shell's completion script."),
}
SETTINGS = {"help_option_names": ["-h", "--help"]}


@click.group(PROGRAM, cls=LazyGroup, homes=HOMES, context_settings=SETTINGS, example="mlport init\nmlport doctor\nmlport jobs list --json")
@click.version_option(__version__, prog_name=PROGRAM)
def root() -> None:
    """One machine-learning lifecycle on any ML service, or on your own machines.

    Exit status: 0; 1 the work failed; 2 you asked for something impossible or wrong; 3 a check found something.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit status; never a traceback."""
    try:
        try:
            status = _invoke(list(args))
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                raise
            status = report(error, args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _close_stdout()
        return PIPE_CLOSED


def _invoke(args: list[str]) -> int:
    if COMPLETE in os.environ:
        root.main(args, prog_name=PROGRAM)
    try:
        with root.make_context(PROGRAM, args) as ctx:
            root.invoke(ctx)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    return 0


def _reader_left() -> bool:
    """Whether it is our own output that nobody reads, not some other pipe that broke."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _close_stdout() -> None:
    """The reader left, as `head` does: nothing more is written, not even by the interpreter's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
