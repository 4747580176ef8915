"""Amounts and answers as people read them, alike in every form of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from mlport.costs.records import cents

if TYPE_CHECKING:
    from mlport.costs.comparing.break_even import Answer, BreakEven
    from mlport.costs.comparing.compare import Comparison, Standing
    from mlport.costs.parts import Purchase
    from mlport.costs.records import Line

NEVER = "never: "
WAYS: dict[Purchase, str] = {"on_demand": "on demand", "spot": "spot", "reserved_1y": "reserved 1y", "reserved_3y": "reserved 3y"}


class Missing(NamedTuple):
    """What a target's total lacks: a part that cannot be done there, or a line without a price."""

    target: str
    part: str
    why: str


def money(amount: Decimal | float) -> str:
    """An amount in cents.

    >>> money(Decimal("1234.565")), money(0.1)
    ('1,234.57', '0.10')
    """
    return f"{cents(Decimal(str(amount)) if isinstance(amount, float) else Decimal(amount)):,}"


def small(amount: Decimal | None) -> str | None:
    """A unit cost, which may be far below a cent."""
    return None if amount is None else f"{amount:.6g}"


def total(each: Standing) -> str:
    """A target's total, "at least" where something has no price."""
    return f"{'at least ' if each.at_least else ''}{money(each.total)}"


def whole(each: Standing) -> str:
    """A target's total, with what it cannot do and so does not hold."""
    lacking = ", ".join(dict.fromkeys(refusal.part for refusal in each.cannot))
    return f"{total(each)}{f' without {lacking}' if lacking else ''}"


def summed(lines: Sequence[Line]) -> str:
    """What some lines come to together: "at least" where one has no price, "unpriced" where none has."""
    known = [line.cost for line in lines if line.cost is not None]
    if not known:
        return "unpriced"
    return f"{'at least ' if len(known) < len(lines) else ''}{money(sum(known, start=Decimal(0)))}"


def months(many: float) -> str:
    """A horizon.

    >>> months(12.0), months(1.0)
    ('12 months', '1 month')
    """
    return f"{many:g} month{'' if many == 1 else 's'}"


def answered(answer: Answer, name: str) -> str:
    """A break-even in words; the reason where there is none. Utilisation is a share."""
    if answer.value is None:
        return answer.reason
    said = f"{answer.value:.1%}" if name == "utilization" else f"{answer.value:,.1f}"
    return f"{said} ({answer.reason})" if answer.reason else said


def briefly(answer: Answer, name: str) -> str:
    """A break-even in a word; why there is none is said by `why_not`."""
    return answered(answer, name) if answer.value is not None else "never" if answer.reason.startswith(NEVER) else "unknown"


def why_not(each: BreakEven) -> str:
    """Why there is no break-even, empty where there is one of each kind."""
    reasons = [answer.reason.removeprefix(NEVER) for answer in (each.months, each.utilization) if answer.value is None]
    return "; ".join(dict.fromkeys(reasons))


def on_ways(found: Comparison) -> str:
    """What the ways to pay do not hold, empty if they hold all."""
    book = found.discount
    committed = bool(getattr(book, "commitments", ()) or getattr(book, "committed_spend", ()))
    return (
        "Each part stands alone here: what the price book has committed is for all of them together, and counts in the totals only."
        * committed
    )


def missing(found: Comparison) -> Iterator[Missing]:
    """What each total lacks."""
    for estimate in found.estimates:
        yield from (Missing(estimate.target, refusal.part, f"cannot: {refusal.why}") for refusal in estimate.refused)
        yield from (Missing(estimate.target, line.part, line.unknown) for line in estimate.unpriced)
