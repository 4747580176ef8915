"""Reading what a job appends to its metrics file, for providers that can reach the file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

from mlport.mlport_runner import parse_metrics
from mlport.spi import MetricPoint


class Entry(NamedTuple):
    """One value; `seconds` since 1970, None where the line does not say."""

    name: str
    value: float
    step: int
    seconds: float | None


def entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The values in a metrics file, in the runner's own reading of it; a line that is not whole yet is left out.

    Without a step a value gets its number among those of the same name, so that the same file always gives the same.

    >>> [(entry.name, entry.value, entry.step) for entry in entries([b'{"loss": 2}', b'{"loss": 1, "auc": 0.7}', b'{"name'])]
    [('loss', 2.0, 0), ('loss', 1.0, 1), ('auc', 0.7, 0)]
    """
    seen: Counter[str] = Counter()
    for line in lines:
        values = parse_metrics(line)
        if values:
            step, seconds = _when(json.loads(line))
            for name, value in values.items():
                yield Entry(name, value, seen[name] if step is None else step, seconds)
            seen.update(values.keys())


def points(lines: Iterable[bytes]) -> list[MetricPoint]:
    """The same as the SPI has it."""
    return [
        MetricPoint(name, value, step, None if at is None else datetime.fromtimestamp(at, UTC)) for name, value, step, at in entries(lines)
    ]


def _when(entry: dict[str, Any]) -> tuple[int | None, float | None]:
    """The step, and the time given in seconds since 1970 or as ISO 8601; None for what is neither."""
    step, time = entry.get("step"), entry.get("time")
    return (int(step) if _is_number(step) else None), _seconds(time)


def _seconds(time: Any) -> float | None:
    if _is_number(time):
        return float(time)
    try:
        return datetime.fromisoformat(time).timestamp() if isinstance(time, str) else None
    except ValueError:
        return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
