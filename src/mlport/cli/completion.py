"""`mlport completion`: the script that completes commands, options and profiles in a shell."""

from __future__ import annotations

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli


@command("completion", example='eval "$(mlport completion bash)"\nmlport completion fish > ~/.config/fish/completions/mlport.fish')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_cli
def completion(cli: Cli, shell: str) -> None:
    """Print a shell's completion script."""
    from click.shell_completion import get_completion_class

    from mlport.cli.main import COMPLETE, PROGRAM, root

    made_for = get_completion_class(shell)
    assert made_for is not None  # noqa: S101 - the choice above lists what click has
    script = made_for(root, {}, PROGRAM, COMPLETE).source()
    if cli.out.json:
        cli.out.document({"shell": shell, "script": script})
    else:
        click.echo(script)
