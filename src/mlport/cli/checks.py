"""What the commands share that check something: their exit statuses, lists of names, and a report that is refused before the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mlport.cli.failures import FAILED
from mlport.cli.values import scalar
from mlport.errors import MissingExtraError, UsageError

FOUND = 3
STATUS = {"found": FOUND, "nothing found": 0, "unknown": FAILED}
"""Exit statuses by what a check says; what could not be told is never taken for fine."""


class Names(click.ParamType[list[str]]):
    """Names with commas between."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        found = [each.strip() for each in str(value).split(",") if each.strip()]
        if not found:
            self.fail(f"{value!r} names nothing", param, ctx)
        return found


class Scalars(click.ParamType[list[Any]]):
    """Values with commas between; what reads as a number or boolean is one."""

    name = "values"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        return value if isinstance(value, list) else [scalar(each) for each in NAMES.convert(value, param, ctx)]


class Scalar(click.ParamType[Any]):
    """A number or boolean where the text reads as one, else the text."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return scalar(value) if isinstance(value, str) else value


NAMES, SCALARS, SCALAR = Names(), Scalars(), Scalar()
report_option = click.option("--report", "page", metavar="FILE.html", help="Write an HTML report too, one file with charts.")
confidence_option = click.option("--confidence", type=float, default=0.95, show_default=True, help="Of the intervals.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Of all that is random: the same seed, the same answer.")


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """A package that is not installed becomes an error with the line that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{what} needs {error.name}, which is not installed", hint=f"pip install 'mlport[{extra}]'") from error


def check_file(option: str, file: str | None, ending: str) -> None:
    """Refuse a file to write by its name or folder: before the work, not after it."""
    if file is None:
        return
    if Path(file).suffix != ending:
        raise UsageError(f"{option} {file}: its name must end with {ending}")
    if not Path(file).parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {str(Path(file).parent)!r}")


def write(option: str, file: str, text: str) -> None:
    """Raises UsageError where the file cannot be written."""
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {file}: {error.strerror}") from error
