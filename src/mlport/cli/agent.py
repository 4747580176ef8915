"""`mlport agent`: run it, look at it, install it as a service."""

from __future__ import annotations

import getpass
import os
import signal
import sys
import threading
from pathlib import Path

import click

from mlport.cli.command import group
from mlport.cli.context import Cli, pass_cli
from mlport.errors import ConfigError

KEPT = ("PATH", "HOME", "LANG", "MLPORT_ROOT", "MLPORT_OWNER", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "SSL_CERT_FILE")
"""Variables of the installer's that a service does not have by itself."""
user_option = click.option("--user", is_flag=True, help="A service of your own instead of the machine's; needs no root.")


@group("agent", example="mlport agent install --user\nmlport agent status")
def agent() -> None:
    """The process that fires schedules and drives sweeps.

    It also brings jobs and endpoints back after a reboot. Any number may run; one of them leads.
    """


@agent.command("run", example="mlport agent run")
@click.option("--once", is_flag=True, help="Do what is due now, and leave.")
@pass_cli
def run(cli: Cli, once: bool) -> None:
    """Run the agent until it is told to end."""
    from mlport.agent import Agent
    from mlport.chores import rota

    log(cli)
    stop = threading.Event()
    with rota(cli.client) as chores:
        found = Agent(cli.client.session.state, chores, sleep=stop.wait)
        if once:
            leads = found.look()
            found.leave()
            cli.out.done("done" if leads else "another agent leads", leads=leads)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        found.run(stop.is_set)


@agent.command("status", example="mlport agent status --json")
@pass_cli
def status(cli: Cli) -> None:
    """Show the agent that leads, and what it does when."""
    from mlport.agent import status as look

    word = look(cli.client.session.state)
    if word is None:
        cli.out.note(f"no agent has run here yet: {cli.again('agent install --user')}")
        word = {"leads": False, "chores": []}
    cli.out.record(word)


@agent.command("install", example="mlport agent install --user")
@user_option
@click.option("--print", "print_only", is_flag=True, help="Print the unit; write nothing.")
@pass_cli
def install(cli: Cli, user: bool, print_only: bool) -> None:
    """Write a systemd unit that runs the agent.

    From the start of the machine on, or with --user from your login on.
    """
    from mlport import systemd

    name = systemd.unit_name(_profile(cli))
    text = systemd.unit(
        _command(cli),
        profile=_profile(cli),
        folder=Path.cwd(),
        environment={name: os.environ[name] for name in KEPT if name in os.environ},
        user=None if user else getpass.getuser(),
    )
    if print_only:
        cli.out.done(text.rstrip("\n"), unit=text, name=name)
        return
    path = _units(user) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="say --user for a service of your own, or run it as root") from error
    cli.out.done(f"wrote {path}", path=path)
    for line in _steps(user, f"enable --now {name}"):
        cli.out.note(f"now: {line}")
    if user:
        cli.out.note(f"to keep it while you are not logged in: loginctl enable-linger {getpass.getuser()}")


@agent.command("uninstall", example="mlport agent uninstall --user")
@user_option
@pass_cli
def uninstall(cli: Cli, user: bool) -> None:
    """Remove the systemd unit; an absent one is fine."""
    from mlport import systemd

    path = _units(user) / systemd.unit_name(_profile(cli))
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="say --user for a service of your own, or run it as root") from error
    cli.out.done(f"removed {path}", path=path)
    for line in _steps(user, f"stop {path.name}"):
        cli.out.note(f"now: {line}")


def _command(cli: Cli) -> list[str]:
    """What starts this agent from anywhere: the profile by its name in this very file, or by its URL."""
    from mlport.config import find_file

    words = [sys.executable, "-m", "mlport.cli.main"]
    if cli.profile:
        words += ["--profile", cli.profile]
    elif chosen := os.environ.get("MLPORT_PROFILE"):
        words += ["--profile", chosen]
    file = Path(cli.config) if cli.config else find_file()
    if file is not None:
        words += ["--config", str(file.absolute())]
    return [*words, "agent", "run"]


def _profile(cli: Cli) -> str:
    return cli.client.config.profile or cli.client.config.target


def _units(user: bool) -> Path:
    from mlport import systemd

    return systemd.user_units() if user else systemd.SYSTEM_UNITS


def _steps(user: bool, step: str) -> list[str]:
    manager = "systemctl --user" if user else "systemctl"
    return (
        [f"{manager} daemon-reload", f"{manager} {step}"]
        if step.startswith("enable")
        else [f"{manager} {step}", f"{manager} daemon-reload"]
    )


def log(cli: Cli) -> None:
    """The log on standard error, for programs that nobody watches; the journal adds the time."""
    import logging

    form = "%(levelname)s %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING if cli.out.quiet else logging.INFO, format=form, stream=sys.stderr)


def note_agent(cli: Cli, so: str) -> None:
    """Say so if no agent runs, and what follows of that."""
    from mlport.agent import status as look

    word = look(cli.client.session.state)
    if word is None or not word["leads"]:
        cli.out.note(f"no agent runs, so {so}: `{cli.again('agent install --user')}`, or `{cli.again('agent run')}` here")
