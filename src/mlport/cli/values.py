"""The values that options and arguments take, as click types."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import click

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(|[kmgt]|[kmgt]i?b)", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def scalar(text: str) -> Any:
    """A number, boolean or null where `text` reads as one, else the text.

    >>> scalar("6"), scalar("0.1"), scalar("true"), scalar("UA")
    (6, 0.1, True, 'UA')
    """
    value = literal(text)
    return text if isinstance(value, list | dict) else value


def literal(text: str) -> Any:
    """Any JSON value where `text` reads as one, else the text."""
    try:
        return json.loads(text, parse_constant=lambda _: text)
    except json.JSONDecodeError:
        return text


class Pair(click.ParamType[tuple[str, Any]]):
    """`name=value`; with `typed`, the value becomes a number or boolean where it reads as one."""

    name = "name=value"

    def __init__(self, *, typed: bool = False) -> None:
        self.typed = typed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, mark, text = str(value).partition("=")
        if not mark or not name.strip():
            self.fail(f"{value!r} is not of the form name=value", param, ctx)
        return name.strip(), scalar(text) if self.typed else text


class Share(click.ParamType[tuple[str, int]]):
    """`deployment=percent`."""

    name = "deployment=percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        name, _, percent = str(value).partition("=")
        if not name or not percent.isdigit():
            self.fail(f"{value!r} is not of the form deployment=percent, such as blue=90", param, ctx)
        return name, int(percent)


class Span(click.ParamType[timedelta]):
    """A duration such as `90s`, `1h30m` or `7d`; a bare number is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from mlport.fields import parse_duration

        try:
            found = parse_duration(scalar(value) if isinstance(value, str) else value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if not isinstance(found, timedelta) or found < timedelta(0):
            self.fail(f"{value!r} is not a duration such as 90s, 1h30m or 7d", param, ctx)
        return found


class Memory(click.ParamType[float]):
    """Memory in GiB: `4`, `4GiB` or `512MiB`; `4GB` are 4,000,000,000 bytes, as the SI has it."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = _MEMORY.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not an amount of memory such as 4, 4GiB or 512MiB", param, ctx)
        unit = found[2].lower() or "g"
        step = 1000.0 if unit.endswith("b") and "i" not in unit else 1024.0
        return float(found[1]) * step ** _POWERS[unit[0]] / 2**30


PAIR, TYPED_PAIR, SHARE, SPAN, MEMORY = Pair(), Pair(typed=True), Share(), Span(), Memory()
