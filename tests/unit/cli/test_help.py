"""Every command explains itself, quickly, with nothing heavy loaded."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mlport.cli import reference
from mlport.cli.command import Command, Group, walk
from mlport.cli.main import HOMES, root

COMMANDS = list(walk(root, click.Context(root, info_name="mlport")))
HEAVY = ("pydantic", "rich", "pandas", "pyarrow", "mlflow", "sklearn", "numpy", "obstore", "psutil", "tenacity")


@pytest.mark.parametrize(("ctx", "node"), COMMANDS, ids=[ctx.command_path for ctx, _ in COMMANDS])
def test_help_has_a_summary_that_fits_and_an_example_that_parses(ctx, node):
    assert isinstance(node, Command | Group)
    assert node is root or not node.get_short_help_str(59).endswith("..."), "the first sentence is too long for the list of commands"
    assert node.example in node.get_help(ctx).replace("\n  ", "\n")
    for option in node.params:
        assert isinstance(option, click.Argument) or option.help, option.name
    for line in node.example.splitlines():
        _parse(shlex.split(line))


def _parse(words):
    if words[0] == "eval":
        words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
    words = words[: words.index(">")] if ">" in words else words
    assert words[0] == "mlport"
    node, ctx, rest = root, click.Context(root, info_name="mlport"), words[1:]
    while isinstance(node, click.Group):
        name, node, rest = node.resolve_command(ctx, rest)
        ctx = click.Context(node, info_name=name, parent=ctx)
    node.make_context(node.name, rest, parent=ctx.parent)


def test_the_list_of_commands_says_what_the_commands_say():
    for name, (_, summary) in HOMES.items():
        assert root.get_command(click.Context(root), name).get_short_help_str(100) == summary.removesuffix(".").rstrip() + "."


def test_nothing_heavy_is_loaded_for_help(environment):
    for args in (["--help"], ["--version"], ["jobs", "--help"], ["endpoints", "predict", "--help"]):
        script = f"import sys\nfrom mlport.cli.main import run\nassert run({args}) == 0\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]", args


def test_help_takes_little_cpu(process):
    def seconds():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    spent = []
    for _ in range(3):
        before = seconds()
        assert process("--help").status == 0
        spent.append(seconds() - before)
    assert min(spent) <= 0.25


def test_no_command_shows_the_help(mlport):
    ran = mlport()
    assert ran.status == 2
    assert "Commands:" in ran.err


def test_version(mlport):
    assert mlport("--version").out.startswith("mlport, version ")


def test_the_reference_is_what_the_commands_say():
    written = Path(__file__).parents[3] / "docs" / "cli.md"
    assert written.read_text(encoding="utf-8") == reference.reference(), "run: python -m mlport.cli.reference > docs/cli.md"
