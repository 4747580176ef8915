"""Two arithmetics for one set of formulas: exact decimals for what is shown, float arrays for many samples at once.

A formula takes the arithmetic as its first argument and never names a number type. `EXACT` keeps every digit that prices and
quantities have; `Sampled` computes all samples of an uncertain workload, or all points of a what-if, in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache
from typing import Any, Protocol

Number = Any
"""A Decimal under `EXACT`; a float or an array of floats, one a sample, under `Sampled`."""
_CONTEXT = Context(prec=34)
_NEARLY = 1 - Decimal("1e-12")


class Arithmetic(Protocol):
    """What formulas need beyond + - * / and comparisons with constants."""

    def number(self, value: Decimal | float | str) -> Number:
        """A constant or a price as a number of this arithmetic."""

    def ceil(self, value: Number) -> Number: ...

    def most(self, *values: Number) -> Number:
        """The largest, sample by sample."""

    def least(self, *values: Number) -> Number:
        """The smallest, sample by sample."""

    def exp(self, value: Number) -> Number: ...

    def log(self, value: Number) -> Number: ...

    def where(self, condition: Any, yes: Number, no: Number) -> Number: ...

    def middle(self, value: Number) -> Number:
        """What a choice is made by."""


class Exact:
    """Decimals with 34 digits (IEEE 754 decimal128): prices in, prices out, nothing lost on the way."""

    def number(self, value: Decimal | float | str) -> Decimal:
        """A float is taken by its shortest text: 0.1 is a tenth."""
        return value if isinstance(value, Decimal) else Decimal(str(value))

    def ceil(self, value: Decimal) -> Decimal:
        """The last digits are forgiven, a float's too: 4240 s that came as 1.177777777777778 h x 3600 are no second more."""
        return (value * _NEARLY).to_integral_value(ROUND_CEILING)

    def most(self, *values: Decimal) -> Decimal:
        return max(values)

    def least(self, *values: Decimal) -> Decimal:
        return min(values)

    def exp(self, value: Decimal) -> Decimal:
        return value.exp(_CONTEXT)

    def log(self, value: Decimal) -> Decimal:
        return value.ln(_CONTEXT)

    def middle(self, value: Decimal) -> Decimal:
        return value

    def where(self, condition: bool, yes: Decimal, no: Decimal) -> Decimal:
        return yes if condition else no


class Sampled:
    """Floats and arrays of floats. A ceiling forgives the last bits, so that 3.0000000000000004 replicas are three."""

    def __init__(self) -> None:
        import numpy as np

        self._numpy = np

    def number(self, value: Decimal | float | str | Sequence[float]) -> Any:
        return float(value) if isinstance(value, Decimal | float | int | str) else self._numpy.asarray(value, dtype=float)

    def ceil(self, value: Any) -> Any:
        return self._numpy.ceil(value * (1 - 1e-12))

    def most(self, *values: Any) -> Any:
        found = values[0]
        for value in values[1:]:
            found = self._numpy.maximum(found, value)
        return found

    def least(self, *values: Any) -> Any:
        found = values[0]
        for value in values[1:]:
            found = self._numpy.minimum(found, value)
        return found

    def exp(self, value: Any) -> Any:
        return self._numpy.exp(value)

    def log(self, value: Any) -> Any:
        return self._numpy.log(value)

    def middle(self, value: Any) -> Any:
        """The mean of the samples: a machine is chosen before the die is cast."""
        return self._numpy.mean(value)

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        return self._numpy.where(condition, yes, no)


class Points(Sampled):
    """Arrays of which each point is a case of its own: nothing is chosen for all of them that is not the best for each.

    Raises ValueError where a rule asks whether they are more than something, and some are and others are not.
    """

    def number(self, value: Any) -> Any:
        found = super().number(value)
        return found if isinstance(found, float) else found.view(_points())

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        found = super().where(condition, yes, no)
        return found.view(_points()) if found.ndim else float(found)

    def middle(self, value: Any) -> Any:
        return value


@cache
def _points() -> Any:
    import numpy as np

    class Array(np.ndarray[Any, Any]):
        """Numbers that stand where a model has one: they are true or false together, and read as their middle."""

        def __bool__(self) -> bool:
            first = bool(self.flat[0])
            if bool(np.any((np.asarray(self) != 0) != first)):
                raise ValueError("true of some points and not of others")
            return first

        def __format__(self, form: str) -> str:
            return format(float(np.mean(self)), form)

        def total_seconds(self) -> Any:
            """Of durations, which are kept as seconds."""
            return self

    return Array


EXACT = Exact()
