"""`mlport cost estimate` and `mlport cost compare`: a workload's price at one target, or at several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import set_option
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.comparing.compare import Comparison
    from mlport.costs.workload import Workload

FORMATS = ("table", "markdown", "csv", "json", "html")
ENDINGS = {"": "table", ".txt": "table", ".md": "markdown", ".csv": "csv", ".json": "json", ".html": "html", ".htm": "html"}


@command("estimate", example="mlport cost estimate workload.toml --target local\nmlport cost estimate workload.toml --target prod --json")
@click.argument("file")
@click.option("--target", required=True, help="A provider, a name of the workload's [targets], a profile or a URL.")
@set_option
@pass_cli
def estimate(cli: Cli, file: str, target: str, sets: tuple[tuple[str, str], ...]) -> None:
    """The price of a workload at one target, line by line.

    FILE is a workload as TOML or JSON. Each line has quantity, unit, unit price, formula, source and date (--json has them all).
    What nobody knows the price of is named, and the total is then "at least".
    """
    from mlport.cli.cost import texts

    found = _compared(cli, workload_in(file, sets), [target])
    if cli.out.json:
        cli.out.document(texts.estimate_json(found))
    else:
        texts.print_estimate(cli.out, found)


@command(
    "compare",
    example="mlport cost compare workload.toml --targets local,prod\n"
    "mlport cost compare workload.toml --targets local,staging,prod --format markdown --out costs.md\n"
    "mlport cost compare workload.toml --targets local,prod --format html --out report.html",
)
@click.argument("file")
@click.option("--targets", required=True, help="Providers, names of the workload's [targets], profiles or URLs, with commas between.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How to say it. [default: by the name of --out, else table]")
@click.option("--out", help="A file to write to instead of standard output.")
@set_option
@pass_cli
def compare(cli: Cli, file: str, targets: str, form: str | None, out: str | None, sets: tuple[tuple[str, str], ...]) -> None:
    """One workload at several targets, side by side.

    Totals with P10 to P90, cost of a useful hour and of 1,000 predictions, what each target cannot do or has no price for, the best
    way to pay, which input matters most, and what money does not say. FILE is a workload as TOML or JSON. As csv: every line. As html: one file with charts,
    to forward.
    """
    from mlport.cli.cost import texts

    names = [name.strip() for name in targets.split(",") if name.strip()]
    found = _compared(cli, workload_in(file, sets), names)
    form = "json" if cli.out.json else form or _form(Path(out or ""))
    if form == "table" and out is None:
        texts.print_comparison(cli.out, found)
        return
    text = _html(found) if form == "html" else texts.written(found, form)
    if out is None:
        click.echo(text, nl=False)
    else:
        _write(Path(out), text)
        cli.out.note(f"{out}: {found.verdict}")


def _compared(cli: Cli, workload: Workload, targets: list[str]) -> Comparison:
    """At the prices of the book that mlport.toml names, if it names one."""
    from mlport.costs import compare
    from mlport.costs.book import find

    config = Path(cli.config) if cli.config else None
    return compare(workload, targets, discount=find(config), file=config)


def _html(found: Comparison) -> str:
    from mlport.costs.reporting import page

    return page.html(found)


def workload_in(file: str, sets: tuple[tuple[str, str], ...]) -> Workload:
    """The workload that a file describes. Raises SpecError."""
    from mlport.cli import specfile
    from mlport.costs.workload import Workload

    found = specfile.load(file, kinds=("workload",), sets=sets)
    assert isinstance(found, Workload)  # noqa: S101 - no other kind was asked for
    return found


def _form(path: Path) -> str:
    """How to say it, by the name of a file."""
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise SpecError(
            f"--out {path}: no format ends in {ending}", hint=f"there are {', '.join(filter(None, ENDINGS))}; or say it with --format"
        )
    return ENDINGS[ending]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}", hint="--out names a file in a folder that exists") from error
