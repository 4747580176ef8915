"""The commands' base: options that every command takes, an example in every help, near names, nouns loaded late."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from mlport.errors import UsageError

META = "mlport."


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        ctx.meta[f"{META}{param.name}"] = value


def _profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names to complete `--profile` with. A completion has nobody to tell of a broken file."""
    import tomllib

    from mlport.config import find_file

    path = find_file()
    try:
        names = tomllib.loads(path.read_text(encoding="utf-8")).get("profiles", {}) if path else {}
    except (OSError, tomllib.TOMLDecodeError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class GlobalOption(click.Option):
    """An option of every command, accepted before the noun, between noun and verb, and after the verb."""

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__(names, expose_value=False, callback=_remember, **settings)


def global_options() -> list[click.Parameter]:
    """Fresh ones for each command: click binds them to it."""
    return [
        GlobalOption(
            "--profile",
            "-p",
            metavar="NAME_OR_URL",
            shell_complete=_profiles,
            help="Where to run: a profile of mlport.toml or a URL. [env: MLPORT_PROFILE; default: the file's, else local]",
        ),
        GlobalOption("--config", metavar="FILE", help="The mlport.toml to use. [default: the nearest, from here upward]"),
        GlobalOption("--json", is_flag=True, help="Print one JSON document on standard output."),
        GlobalOption("--quiet", "-q", is_flag=True, help="No notes and no progress."),
    ]


class _Common(click.Command):
    """What commands and groups share: global options and an example."""

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += global_options()
        self.example = example

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shared = [param for param in self.get_params(ctx) if isinstance(param, GlobalOption)]
        own = [param for param in self.get_params(ctx) if isinstance(param, click.Option) and param not in shared]
        _write_options("Options", own, ctx, formatter)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        _write_options("Options of every command", shared, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")


def _write_options(title: str, options: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    if records := [record for option in options if (record := option.get_help_record(ctx))]:
        with formatter.section(title):
            formatter.write_dl(records)


class Command(_Common):
    """A verb, or a noun that needs none."""


class Group(_Common, click.Group):
    """A noun with its verbs."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and name not in self.list_commands(ctx):
            unknown(name, self.list_commands(ctx), f"`{ctx.command_path}` has no command {name!r}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group whose commands are imported when they are used. `homes` maps a name to `module:attribute` and its summary."""

    def __init__(self, *args: Any, homes: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.homes:
            return None
        module, _, attribute = self.homes[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.homes.items()])


def unknown(name: str, known: list[str], message: str) -> NoReturn:
    """Refuse a name that is not known, with the nearest that is."""
    near = difflib.get_close_matches(name, known, n=1)
    raise UsageError(message, hint=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}")


def group(name: str, *, example: str) -> Callable[[Callable[..., None]], Group]:
    """A decorator that makes a noun; the function's docstring is its help."""
    return click.group(name, cls=Group, example=example)


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """A decorator that makes a command without a noun."""
    return click.command(name, cls=Command, example=example)


def walk(node: click.Command, ctx: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
    """Every command below `node`, itself first, each with a context that knows its whole path."""
    yield ctx, node
    if isinstance(node, click.Group):
        for name in node.list_commands(ctx):
            child = node.get_command(ctx, name)
            assert child is not None  # noqa: S101 - a listed command exists
            yield from walk(child, click.Context(child, info_name=name, parent=ctx))
