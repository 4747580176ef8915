"""`mlport demo`: the whole lifecycle on real flights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, goes_on, pass_cli


@command("demo", example="mlport demo\nmlport demo --keep")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where everything goes. [default: .mlport-demo]")
@click.option("--keep", is_flag=True, help="Leave the endpoint up.")
@pass_cli
def demo(cli: Cli, folder: Path | None, keep: bool) -> None:
    """Train, register, serve and watch a model on real flights."""
    from mlport.demo.main import run

    say = cli.out.note if cli.out.json else partial(click.echo)
    with goes_on(f"interrupted: run `{cli.again('demo')}` again, or remove the folder {folder or '.mlport-demo'}"):
        summary = run(cli.profile, folder=folder, keep=keep, say=say)
    if cli.out.json:
        cli.out.document(summary)
