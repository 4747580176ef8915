"""What an audit answers with: a measure with its interval, a finding, and how both become text and JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["problem", "warning", "note"]
_ORDER: dict[Severity, int] = {"problem": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Measure:
    """One number, how sure it is, and what it rests on. `value` None has a `reason`; so has a value without an interval.

    >>> print(Measure(0.712, 0.69, 0.734, n=500, method="Wilson"))
    0.712 (0.69 to 0.734)
    >>> print(Measure(None, reason="the labels are of one class"))
    not computed: the labels are of one class
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"not computed: {self.reason}"
        interval = "" if self.low is None or self.high is None else f" ({figure(self.low)} to {figure(self.high)})"
        return f"{figure(self.value)}{interval}"

    def to_json(self) -> dict[str, Any]:
        """As plain data: `value` always, the rest where it is known."""
        rest = {name: value for name, value in vars(self).items() if name != "value" and value is not None}
        return {"value": plain(self.value), **plain(rest)}


def absent(reason: str, n: int | None = None) -> Measure:
    """What could not be computed, and why."""
    return Measure(None, n=n, reason=reason)


@dataclass(frozen=True)
class Finding:
    """Something to act on or to know: `problem` makes results wrong, `warning` may, `note` informs."""

    check: str
    severity: Severity
    text: str
    subject: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "check": self.check,
            "severity": self.severity,
            "subject": self.subject,
            "text": self.text,
            "evidence": plain(self.evidence),
        }


class Record:
    """A frozen dataclass that becomes plain data; subclasses say themselves in text."""

    def to_json(self) -> dict[str, Any]:
        """As plain data for `json.dumps`: a number that is not finite becomes null."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {each.name: plain(getattr(self, each.name)) for each in fields if each.repr}


def plain(value: Any) -> Any:
    """`value` as what JSON knows: records, NumPy's scalars and arrays, dates and mappings with any keys are taken."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy's
        return plain(value.tolist())
    return [plain(each) for each in value] if isinstance(value, Iterable) else str(value)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first; those alike stay in order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity]))


def figure(value: float | None) -> str:
    """A number for people: three significant digits below a thousand, whole from there on.

    >>> figure(0.12345), figure(1234567.8), figure(0), figure(None)
    ('0.123', '1,234,568', '0', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.5), percent(0.0123), percent(0.00004), percent(0)
    ('50%', '1.2%', '0.004%', '0%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    return f"{share:.1%}".replace(".0%", "%") if share >= 0.0095 else f"{100 * share:.1g}%"


def count(number: int, thing: str) -> str:
    """How many of a thing.

    >>> count(1, "row"), count(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table with aligned columns: the first and any without a name to the left, the others to the right.

    >>> for line in grid(["class", "rows"], [["a", 12], ["bb", 3]]):
    ...     print(line)
    class  rows
    a        12
    bb        3
    """
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    left = [at == 0 or not name for at, name in enumerate(header)]
    aligned = (
        [cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(row, widths, left, strict=True)]
        for row in cells
    )
    return ["  ".join(row).rstrip() for row in aligned]
