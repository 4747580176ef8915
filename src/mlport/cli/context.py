"""What a command is given: the options of every command, the output, and the profile opened when first asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import META
from mlport.cli.output import Output
from mlport.errors import UsageError

if TYPE_CHECKING:
    from mlport.client import Client


@dataclass(frozen=True)
class Cli:
    """One invocation."""

    ctx: click.Context
    profile: str | None
    config: str | None
    out: Output

    @cached_property
    def client(self) -> Client:
        """The profile that was asked for; closed when the command ends."""
        return self.open(self.profile)

    def open(self, target: str | None) -> Client:
        """Any profile, closed when the command ends."""
        from mlport.client import connect

        return self.ctx.with_resource(connect(target, config=self.config))

    def again(self, command: str) -> str:
        """A command line that speaks to the same profile."""
        return f"mlport {f'-p {self.profile} ' if self.profile else ''}{f'--config {self.config} ' if self.config else ''}{command}"

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask, unless `yes`. Where nobody can answer it is an error."""
        if yes:
            return True
        if self.out.json or not sys.stdin.isatty():
            raise UsageError(f"{question} There is nobody to ask.", hint="say --yes, or look first with --dry-run")
        return click.confirm(question, err=True)


def pass_cli(function: Callable[..., None]) -> Callable[..., None]:
    """Call a command with its `Cli` first."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        ctx = click.get_current_context()
        found: dict[str, Any] = {name: ctx.meta.get(f"{META}{name}") for name in ("profile", "config", "json", "quiet")}
        out = Output(json=bool(found["json"]), quiet=bool(found["quiet"]))
        function(Cli(ctx, found["profile"], found["config"], out), *args, **kwargs)

    return wrapped


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Say on Ctrl-C what goes on without us; the innermost one speaks."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*(error.args or (what,))) from None
