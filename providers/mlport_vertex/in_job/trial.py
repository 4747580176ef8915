"""What the container of a sweep's trial does beside: its parameters from its arguments, its metric to where Vertex AI reads it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

METRIC_FILE = "/tmp/hypertune/output.metrics"  # noqa: S108 - cloudml-hypertune's own default, where no variable names another


def params_of(words: Sequence[str], space: Mapping[str, Any]) -> dict[str, Any]:
    """The values that Vertex AI chose, from its arguments `--name=value`, in the types of the search space.

    `space` says of each name {"type": "int"}, {"type": "float"}, {"type": "numbers", "values": [...]} or
    {"type": "choices", "values": {text: value}}. Raises ValueError for an argument or a value that is not of it.

    >>> params_of(["--depth=3.0", "--kind=true"], {"depth": {"type": "int"}, "kind": {"type": "choices", "values": {"true": True}}})
    {'depth': 3, 'kind': True}
    """
    found = {}
    for word in words:
        name, equals, text = word[2:].partition("=")
        if not word.startswith("--") or not equals or name not in space:
            raise ValueError(f"Vertex AI gave the argument {word!r}, and the sweep searches {', '.join(space)}")
        found[name] = value_of(space[name], text)
    missing = [name for name in space if name not in found]
    if missing:
        raise ValueError(f"Vertex AI gave no argument for {', '.join(missing)}")
    return found


def value_of(dimension: Mapping[str, Any], said: Any) -> Any:
    """A value of one dimension, from how Vertex AI says it: as text in an argument, or as a number in a trial's record."""
    kind = dimension["type"]
    if kind == "choices":
        if str(said) not in dimension["values"]:
            raise ValueError(f"{said!r} is none of {', '.join(dimension['values'])}")
        return dimension["values"][str(said)]
    if kind == "numbers":
        return min(dimension["values"], key=lambda value: abs(value - float(said)))
    return round(float(said)) if kind == "int" else float(said)


class Reporter:
    """Hands the metric of a sweep over as its program logs it, in the file and the form of cloudml-hypertune (its hypertune.py).

    Each line is `{"timestamp": ..., "trial": "1", "<metric>": "0.9", "global_step": "10"}`. Lines are appended, whole ones only
    and those of one look by one write, so that a reader sees no half of one.
    """

    def __init__(self, metric: str, parse: Callable[[bytes], dict[str, float] | None]) -> None:
        self._metric, self._parse = metric, parse
        self._path = os.environ.get("CLOUD_ML_HP_METRIC_FILE", METRIC_FILE)
        self._read, self._seen = 0, 0

    def report(self, path: str, *, final: bool = False) -> None:
        """Report what was logged in `path` since the last time; what has no newline yet only at the end. Raises OSError."""
        with open(path, "rb") as stream:
            stream.seek(self._read)
            new = stream.read()
        whole = len(new) if final else new.rfind(b"\n") + 1
        lines = [self._line(step, value) for step, value in self._values(new[:whole].split(b"\n"))]
        if lines:
            self._append("".join(lines).encode())
        self._read += whole

    def _values(self, lines: list[bytes]) -> list[tuple[int, float]]:
        """Step and value, a value without a step by its number, as `mlport.metrics` has it."""
        found = []
        for line in lines:
            values = self._parse(line) or {}
            if self._metric in values:
                step = json.loads(line).get("step")
                is_number = isinstance(step, (int, float)) and not isinstance(step, bool) and abs(step) < float("inf")
                found.append((int(step) if is_number else self._seen, values[self._metric]))
                self._seen += 1
        return found

    def _line(self, step: int, value: float) -> str:
        trial = os.environ.get("CLOUD_ML_TRIAL_ID", "0")
        told = {"timestamp": time.time(), "trial": trial, self._metric: str(float(value)), "global_step": str(max(0, step))}
        return json.dumps(told, sort_keys=True) + "\n"

    def _append(self, content: bytes) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
