"""What a command prints: results on standard output, notes and progress on standard error.

Text for people, aligned; rich's tables and spinners only on a terminal; with `--json` exactly one JSON document.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from mlport.cli.plain import cell, plain

Row = Mapping[str, Any]
SHOWN = 100  # rows of a listing, as text
Update = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go. `json` and `quiet` are the options of the same name."""

    json: bool = False
    quiet: bool = False

    def document(self, value: Any) -> None:
        """One JSON document."""
        click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))

    def record(self, value: Row) -> None:
        """One thing: `name  value` lines, empty fields left out; nested fields are indented."""
        if self.json:
            self.document(value)
        else:
            click.echo("\n".join(lines(value, local=sys.stdout.isatty())))

    def table(self, rows: Iterable[Row], columns: Sequence[str], *, empty: str, limit: int | None = 0) -> None:
        """A listing of the first `limit` rows: JSON has all their fields, text the named columns.

        A limit of 0 is all; None is all as JSON, and `SHOWN` as text.
        """
        limit = (0 if self.json else SHOWN) if limit is None else limit
        remaining = iter(rows)
        shown = list(itertools.islice(remaining, limit or None))
        if self.json:
            self.document(shown)
        elif not shown:
            self.note(empty)
        else:
            _print_table(shown, columns)
        if next(remaining, None) is not None:
            self.note(f"there are more than {limit}: `--limit 0` shows all")

    def line(self, text: str) -> None:
        """One line of a stream, such as a log; with `--json` one JSON object a line."""
        click.echo(json.dumps({"line": text}, ensure_ascii=False) if self.json else text)

    def done(self, text: str, **fields: Any) -> None:
        """What was done: a sentence, or its fields as JSON."""
        if self.json:
            self.document(fields)
        elif not self.quiet:
            click.echo(text)

    def note(self, text: str) -> None:
        """Something beside the result, on standard error."""
        if not self.quiet:
            click.echo(text, err=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Update]:
        """Call what it yields with each state that is seen: a spinner on a terminal, else a line a change."""
        if self.quiet:
            yield lambda text: None
        elif not sys.stderr.isatty():
            yield _changes(what)
        else:
            from rich.console import Console
            from rich.markup import escape
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(escape(what), total=None)
                yield lambda text: bar.update(task, description=escape(f"{what}: {text}"))


def _changes(what: str) -> Update:
    last = ""

    def update(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            click.echo(f"{what}: {text}", err=True)

    return update


def lines(value: Row, *, local: bool = False, indent: str = "") -> Iterator[str]:
    """A record as aligned `name  value` lines, without empty fields; nested fields are indented."""
    shown = _filled(value)
    width = max((len(name) for name, item in shown.items() if not isinstance(item, Mapping)), default=0)
    for name, item in shown.items():
        if isinstance(item, Mapping):
            yield f"{indent}{name}"
            yield from lines(item, local=local, indent=f"{indent}  ")
        elif isinstance(item, Sequence) and item and isinstance(item[0], Mapping):
            yield f"{indent}{name}"
            yield from (f"{indent}  - {cell(_filled(each), local=local)}" for each in item)
        else:
            yield f"{indent}{name:<{width}}  {cell(item, local=local)}"


def _filled(value: Row) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item not in (None, "", (), [], {})}


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    local = sys.stdout.isatty()
    cells = [[cell(row.get(column), local=local) for column in columns] for row in rows]
    (_print_rich if local else _print_plain)(columns, cells)


def _print_plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = [header, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    for row in table:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(escape(name), overflow="fold")  # an id that is cut could not be copied
    for row in rows:
        table.add_row(*(escape(text) for text in row))
    Console().print(table)
