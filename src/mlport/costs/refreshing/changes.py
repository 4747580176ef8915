"""What newer prices change of those in force, and what looks wrong about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlport.costs.facts import Fact
from mlport.costs.records import plain
from mlport.costs.refreshing.sources import Found

LARGEST_MOVE = Decimal(5)
"""A price that is more than so many times what it was, or less than that part of it, is doubted."""
Key = tuple[str, str, str, str, str, Decimal]
"""Service, sku, GPU (unless it is a machine, which its sku tells), region, way to pay, and from how much a month."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A price list before and after. `facts` is the new one whole."""

    facts: Sequence[Fact]
    added: Sequence[Fact]
    gone: Sequence[Fact]
    """In force, of the regions that were asked for and what the source speaks of, and no longer in the source."""
    moved: Sequence[tuple[Fact, Fact]]
    """Before and after, where the price is another."""
    confirmed: int
    """Prices that are what they were, now of a newer day."""
    kept: int
    """Prices that the source does not speak of, or that were not asked for: other services, regions, ways to pay."""
    contradictory: Sequence[str]
    """What the source has several prices of; what is in force of these stays."""
    unknown: Sequence[str]
    """Machines and other things that the price list does not describe, and that have therefore no place in it."""
    passed: Mapping[str, int]
    """Rows that are no price for this list, by the reason."""
    left: Mapping[str, int]
    """How many prices stay, for the source turned out to say nothing of them, by the reason. They are among `kept`."""

    @property
    def overtaken(self) -> list[str]:
        """Spot prices that stay, for the source has none, and are not below the refreshed price on demand."""
        regular = {(fact.sku, fact.region): fact.price for fact in self.facts if fact.service == "compute" and fact.purchase == "on_demand"}
        spot = [fact for fact in self.facts if fact.service == "compute" and fact.purchase == "spot"]
        return [
            f"{_name(fact)}: {fact.price:f} of {fact.as_of} is not below the {regular[fact.sku, fact.region]:f} on demand"
            for fact in spot
            if fact.price >= regular.get((fact.sku, fact.region), Decimal("Infinity"))
        ]

    @property
    def doubts(self) -> list[str]:
        """What looks wrong: such a list is written only when forced."""
        return [
            *(f"{_name(fact)}: {fact.price:f} is in force, and the source has no price" for fact in self.gone),
            *(f"{_name(old)}: {old.price:f} became {new.price:f}" for old, new in self.moved if is_leap(old.price, new.price)),
            *(
                f"{_name(old)}: the price in force is of {old.as_of}, the source's of {new.as_of}"
                for old, new in self.moved
                if new.as_of < old.as_of
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "prices": len(self.facts),
            "added": [_json(None, fact) for fact in self.added],
            "gone": [_json(fact, None) for fact in self.gone],
            "moved": [_json(old, new) for old, new in self.moved],
            "confirmed": self.confirmed,
            "kept": self.kept,
            "contradictory": list(self.contradictory),
            "overtaken": self.overtaken,
            "unknown": list(self.unknown),
            "passed_over": dict(self.passed),
            "left_as_they_are": dict(self.left),
            "doubts": self.doubts,
        }


def is_leap(old: Decimal, new: Decimal) -> bool:
    """Whether a price moved further than prices do."""
    return new > old * LARGEST_MOVE or new * LARGEST_MOVE < old


def compared(
    in_force: Sequence[Fact],
    found: Iterable[Found],
    regions: Sequence[str],
    speaks_of: Callable[[Fact], bool],
    passed: Counter[str],
    left: Mapping[Fact, str] | None = None,
) -> Changes:
    """The list in force with what was found in its place, for these regions and what the source speaks of.

    A thing is known by the list in force, for sources of prices do not say all of it (which GPU a machine has). A row of 0 is no price:
    the sources say that of what is paid for otherwise. Of several prices for one thing none is taken, in none of its tiers. `left` is
    looked at when all has been found.
    """
    things = {_thing(fact): fact for fact in in_force}
    several = _by_key(found, things, passed)
    silent = left or {}

    def is_asked(fact: Fact) -> bool:
        return fact.region in regions and ((speaks_of(fact) and fact not in silent) or _key(fact) in several)

    asked = {_key(fact): fact for fact in in_force if is_asked(fact)}
    unknown = sorted({_called(key) for key in several if key[:3] not in things})
    known = {key: rows for key, rows in several.items() if key[:3] in things}
    unclear = {key: rows for key, rows in known.items() if len(rows) > 1}
    doubted = {key[:5] for key in unclear}
    new = {key: _fact(next(iter(rows.values())), things[key[:3]]) for key, rows in known.items() if key[:5] not in doubted}
    moved = [(asked[key], fact) for key, fact in new.items() if key in asked and _differs(asked[key], fact)]
    stays = [fact for key, fact in asked.items() if key[:5] in doubted or (key in new and _is_newer(fact, new[key]))]
    others = [fact for fact in in_force if not is_asked(fact)]
    taken = [fact for key, fact in new.items() if not (key in asked and _is_newer(asked[key], fact))]
    return Changes(
        facts=[*others, *stays, *taken],
        added=[fact for key, fact in new.items() if key not in asked],
        gone=[fact for key, fact in asked.items() if key not in several and key[:5] not in doubted],
        moved=moved,
        confirmed=sum(1 for key, fact in new.items() if key in asked and not _differs(asked[key], fact)),
        kept=len(others),
        contradictory=[_contradiction(key, rows) for key, rows in sorted(unclear.items())],
        unknown=unknown,
        passed=dict(passed),
        left=dict(Counter(silent.values())),
    )


def _thing(fact: Fact) -> tuple[str, str, str]:
    return (fact.service, fact.sku, "" if fact.service == "compute" else fact.gpu)


def _key(fact: Fact) -> Key:
    return (*_thing(fact), fact.region, fact.purchase, fact.tier_from)


def _by_key(found: Iterable[Found], things: Mapping[tuple[str, str, str], Fact], passed: Counter[str]) -> dict[Key, dict[Decimal, Found]]:
    """What was found, by thing, place, way to pay and tier, and then by price."""
    several: dict[Key, dict[Decimal, Found]] = {}
    for row in found:
        key = (row.service, row.sku, row.gpu, row.region, row.purchase, row.tier_from)
        known = things.get(key[:3])
        reason = _no_price(row, known)
        if reason:
            passed[reason] += 1
            continue
        rows = several.setdefault(key, {})
        if known or not rows:
            rows.setdefault(row.price, row)
    return several


def _no_price(row: Found, known: Fact | None) -> str:
    """Why a row is no price that the list could hold; empty if it is one."""
    if row.price <= 0:
        return "price is not above 0"
    if known and row.currency != known.currency:
        return "in another currency than the list's"
    return "in another unit than the list's" if known and row.unit != known.unit else ""


def _is_newer(old: Fact, new: Fact) -> bool:
    """Whether what is in force says the same of a later day, so that there is nothing to take."""
    return old.as_of > new.as_of and not _differs(old, new)


def _differs(old: Fact, new: Fact) -> bool:
    return (old.price, old.currency, old.unit) != (new.price, new.currency, new.unit)


def _fact(row: Found, thing: Fact) -> Fact:
    return thing._replace(
        region=row.region,
        purchase=row.purchase,
        tier_from=row.tier_from,
        price=row.price,
        as_of=row.as_of,
        source=row.source,
        derived_from=row.derived_from,
    )


def _name(fact: Fact) -> str:
    return _named(_key(fact))


def _named(key: Key) -> str:
    _, _, gpu, region, purchase, tier = key
    return ", ".join(part for part in (_called(key), gpu, region, purchase, f"from {tier:f}" if tier else "") if part)


def _called(key: Key) -> str:
    """A machine by its sku alone, all else with its service."""
    return key[1] if key[0] == "compute" else f"{key[0]} {key[1]}"


def _contradiction(key: Key, rows: Mapping[Decimal, Found]) -> str:
    prices = " and ".join(f"{price:f}" for price in sorted(rows))
    return f"{_named(key)}: {prices}"


def _json(old: Fact | None, new: Fact | None) -> dict[str, Any]:
    told = new or old
    assert told is not None  # noqa: S101 - one of the two is given
    return {
        "service": told.service,
        "sku": told.sku,
        "region": told.region,
        "purchase": told.purchase,
        "before": plain(old.price) if old else None,
        "tier_from": plain(told.tier_from),
        "unit": told.unit,
        "after": plain(new.price) if new else None,
        "as_of": told.as_of.isoformat(),
        "source": told.source,
    }


def largest_first(moved: Sequence[tuple[Fact, Fact]]) -> Iterator[tuple[Fact, Fact, Decimal]]:
    """Moved prices with the factor, the furthest from 1 first; what was free comes first of all."""

    def distance(pair: tuple[Fact, Fact]) -> Decimal:
        old, new = pair
        return max(new.price / old.price, old.price / new.price) if old.price and new.price else Decimal("Infinity")

    for old, new in sorted(moved, key=distance, reverse=True):
        yield old, new, new.price / old.price if old.price else Decimal("Infinity")
