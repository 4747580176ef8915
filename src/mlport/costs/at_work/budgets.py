"""A month's budget: what was spent of it so far, and whether a submit still fits. Everything here is pure; times are handed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from mlport.costs.at_work.frozen import Frozen, actual, hours_of
from mlport.costs.records import cents, plain
from mlport.errors import ConfigError

Verdict = Literal["ok", "warn", "refuse"]
WARN_AT = Decimal("0.8")
LARGEST = Decimal(10) ** 15
_BUDGET = re.compile(r"(\d+(?:\.\d+)?) ([A-Z]{3})")
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a calendar month (UTC)."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{cents(self.amount):,} {self.currency}"


def budget(text: str, where: str = "monthly_budget") -> Budget:
    """A budget as it stands in mlport.toml. Raises ConfigError, which names `where`.

    >>> str(budget("400 USD"))
    '400.00 USD'
    """
    found = _BUDGET.fullmatch(text.strip())
    if not found or Decimal(found[1]) > LARGEST:
        raise ConfigError(f"{where}: {text!r} is not an amount and a currency", hint='such as "400 USD" or "1250.50 EUR"')
    return Budget(Decimal(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Run:
    """Something with a frozen price that ran, or runs still (`ended` None). Times have their zone."""

    frozen: Frozen
    began: datetime
    ended: datetime | None = None
    count: int = 1
    """So many at once, such as replicas."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a month came to so far, by currency; `unknown` is what is not in it.

    `committed` is what the things that run still will come to this month, as far as it was said how long they take; an endpoint runs on.
    """

    amounts: Mapping[str, Decimal]
    unknown: Sequence[str] = ()
    committed: Mapping[str, Decimal] = field(default_factory=dict)


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """The calendar month (UTC) of a time: its beginning, and that of the next.

    >>> [each.day for each in month_of(datetime(2026, 12, 31, 23, tzinfo=UTC))]
    [1, 1]
    """
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def spent(runs: Iterable[Run], now: datetime) -> Spent:
    """What this month's hours of all runs come to at their frozen prices. Of a run that began earlier, this month's share."""
    first, following = month_of(now)
    amounts: dict[str, Decimal] = {}
    committed: dict[str, Decimal] = {}
    unknown: dict[str, None] = {}
    for run in runs:
        until = min(run.ended or now, now)
        if run.ended is not None and run.ended < run.began:
            unknown[f"a {run.frozen.kind} that ended before it began ({run.began.isoformat()})"] = None
        currency = run.frozen.currency
        if run.ended is None:
            committed[currency] = committed.get(currency, _NOTHING) + _to_come(run, now, following) * run.count
        inside = until - max(run.began, first)
        if inside <= timedelta(0):
            continue
        whole = actual(run.frozen, [until - run.began])
        share = hours_of(inside) / whole.hours
        amounts[currency] = amounts.get(currency, _NOTHING) + whole.total * share * run.count
        unknown.update(dict.fromkeys(run.frozen.unknown))
    return Spent(amounts, list(unknown), {currency: amount for currency, amount in committed.items() if amount})


def _to_come(run: Run, now: datetime, following: datetime) -> Decimal:
    """What one that runs still will come to until the month ends: an endpoint runs on, work as long as it was said to take."""
    left = hours_of(following - now)
    if run.frozen.kind != "endpoint":
        done = hours_of(max(now - run.began, timedelta(0)))
        left = min(left, max((run.frozen.expected_hours or _NOTHING) - done, _NOTHING))
    return run.frozen.hourly * left


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a submit fits into the budget, and why. `at_least` says that something in it has no price."""

    verdict: Verdict
    words: str
    budget: Budget
    spent: Decimal
    planned: Decimal | None
    committed: Decimal = _NOTHING
    at_least: bool = False

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return {
            "verdict": self.verdict,
            "words": self.words,
            "budget": plain(self.budget.amount),
            "currency": self.budget.currency,
            "spent": plain(self.spent),
            "committed": plain(self.committed),
            "planned": plain(self.planned),
            "at_least": self.at_least,
        }


def decide(
    limit: Budget, so_far: Spent, planned: Frozen | None = None, *, over: Verdict = "refuse", warn_at: Decimal = WARN_AT
) -> Decision:
    """Whether `planned` still fits into the month's budget.

    Over the budget the verdict is `over` (refuse, or warn). It warns from `warn_at` of the budget on, and wherever the sum is not known
    to be whole: an unknown price, no expected hours, or amounts in another currency, which nobody has converted.
    """
    done = so_far.amounts.get(limit.currency, _NOTHING)
    gaps = [*so_far.unknown]
    gaps += [f"{cents(amount):,} {name} spent" for name, amount in so_far.amounts.items() if name != limit.currency]
    cost: Decimal | None = _NOTHING
    if planned is not None:
        gaps += planned.unknown
        cost = planned.expected if planned.currency == limit.currency else None
        if cost is None:
            gaps.append("nobody said how long it would take" if planned.expected is None else f"it is priced in {planned.currency}")
    running = so_far.committed.get(limit.currency, _NOTHING)
    total = done + running + (cost or _NOTHING)
    parts = [f"{cents(done):,} spent this month"]
    parts += [f"{cents(running):,} more by what runs now"] if running else []
    parts += [f"{'an unknown amount' if cost is None else f'{cents(cost):,}'} planned"] if planned is not None else []
    words = f"{' and '.join(parts) if len(parts) < 3 else f'{parts[0]}, {parts[1]} and {parts[2]}'}, of {limit}"
    words += f"; not in it: {'; '.join(dict.fromkeys(gaps))}" if gaps else ""
    verdict: Verdict = "ok"
    if total > limit.amount:
        verdict = over
    elif gaps or total > warn_at * limit.amount:
        verdict = "warn"
    return Decision(verdict, words, limit, done, cost, running, bool(gaps))
