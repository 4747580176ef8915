"""docs/cli.md, written from the commands themselves: `python -m mlport.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from mlport.cli.command import Command, GlobalOption, Group, global_options, walk
from mlport.cli.main import PROGRAM, root

HEAD = """\
# The command line

Written by `python -m mlport.cli.reference` from the commands themselves; a test keeps it so.

What every command does:

- **Where to run.** `--profile` (or `MLPORT_PROFILE`) names a profile of the nearest `mlport.toml`, or is a URL such as `local:///data/mlport`.
- **Output.** Results go to standard output, notes and progress to standard error. Tables are for people; `--json` prints exactly one
  JSON document (a listing is an array; a log is one object a line), with times in UTC. `--quiet` leaves notes and progress out.
- **Exit status.** 0 it is done; 1 the work failed; 2 you asked for something impossible or wrong; 3 a check found something;
  130 you pressed Ctrl-C (the message says what goes on); 141 the reader of the output left.
- **Errors.** One message on standard error, and with `--json` a document `{"error": ..., "message": ..., "hint": ...}`. `MLPORT_DEBUG=1` adds the traceback.
"""


def reference() -> str:
    """The whole page."""
    top = click.Context(root, info_name=PROGRAM)
    sections = [_section(ctx, node) for ctx, node in walk(root, top)]
    shared = _options([option for option in global_options() if isinstance(option, click.Option)], top)
    return "\n".join([HEAD, "Options of every command, anywhere on the line:\n", *shared, "", *sections])


def _section(ctx: click.Context, node: click.Command) -> str:
    level = "##" if isinstance(node, Group) else "###"
    return "\n".join([f"{level} {ctx.command_path}", "", *_body(ctx, node), ""])


def _body(ctx: click.Context, node: click.Command) -> Iterator[str]:
    usage = " ".join([ctx.command_path, *node.collect_usage_pieces(ctx)])
    yield from ("```text", usage, "```", "", *(" ".join(part.split()) + "\n" for part in (node.help or "").split("\n\n")))
    own = [param for param in node.params if isinstance(param, click.Option) and not isinstance(param, GlobalOption)]
    if own:
        yield from (*_options(own, ctx), "")
    if isinstance(node, Command | Group):
        yield from ("```sh", node.example, "```")


def _options(options: list[click.Option], ctx: click.Context) -> list[str]:
    records = [record for option in options if (record := option.get_help_record(ctx))]
    return [f"- `{names}`{f': {about}' if about else ''}" for names, about in records]


if __name__ == "__main__":
    click.echo(reference(), nl=False)
