"""What newer prices change of those in force, and what looks wrong about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlport.costs.facts import Fact
from mlport.costs.records import plain
from mlport.costs.refreshing.sources import Found

LARGEST_MOVE = Decimal(5)
"""A price that is more than so many times what it was, or less than that part of it, is doubted."""
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """A price list before and after. `facts` is the new one whole."""

    facts: Sequence[Fact]
    added: Sequence[Fact]
    gone: Sequence[Fact]
    """In force, of the regions and ways to pay that were asked for, and no longer in the source."""
    moved: Sequence[tuple[Fact, Fact]]
    """Before and after, where the price is another."""
    confirmed: int
    """Prices that are what they were, now of a newer day."""
    kept: int
    """Prices that the source does not speak of: other services, regions, ways to pay."""
    contradictory: Sequence[str]
    """What the source has several prices of; what is in force of these stays."""
    unknown: Sequence[str]
    """Machines that the price list does not describe, and that have therefore no place in it."""
    passed: Mapping[str, int]
    """Rows that are no price of a machine for this list, by the reason."""

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
            "unknown_machines": list(self.unknown),
            "passed_over": dict(self.passed),
            "doubts": self.doubts,
        }


def is_leap(old: Decimal, new: Decimal) -> bool:
    """Whether a price moved further than prices do."""
    return new > old * LARGEST_MOVE or new * LARGEST_MOVE < old


def compared(
    in_force: Sequence[Fact], found: Iterable[Found], regions: Sequence[str], purchases: frozenset[str], passed: Counter[str]
) -> Changes:
    """The list in force with what was found in its place, for these regions and ways to pay.

    A machine is known by the list in force, for sources of prices do not say all of it (which GPU it has). A row of 0 is no price: the
    sources say that of what is paid for otherwise. Of several prices for one thing none is taken.
    """
    machines = {fact.sku: fact for fact in in_force if fact.service == "compute"}
    asked = {(fact.sku, fact.region, fact.purchase): fact for fact in in_force if _is_asked(fact, regions, purchases)}
    several = _by_key(found, machines, passed)
    unknown = sorted({sku for sku, _, _ in several if sku not in machines})
    single = {key: next(iter(rows.values())) for key, rows in several.items() if len(rows) == 1 and key[0] in machines}
    unclear = {key: rows for key, rows in several.items() if len(rows) > 1 and key[0] in machines}
    new = {key: _fact(row, machines[row.sku]) for key, row in single.items()}
    moved = [(asked[key], fact) for key, fact in new.items() if key in asked and _differs(asked[key], fact)]
    stays = [fact for key, fact in asked.items() if key in unclear or (key in new and _is_newer(fact, new[key]))]
    others = [fact for fact in in_force if not _is_asked(fact, regions, purchases)]
    taken = [fact for key, fact in new.items() if not (key in asked and _is_newer(asked[key], fact))]
    return Changes(
        facts=[*others, *stays, *taken],
        added=[fact for key, fact in new.items() if key not in asked],
        gone=[fact for key, fact in asked.items() if key not in several],
        moved=moved,
        confirmed=sum(1 for key, fact in new.items() if key in asked and not _differs(asked[key], fact)),
        kept=len(others),
        contradictory=[_contradiction(key, rows) for key, rows in sorted(unclear.items())],
        unknown=unknown,
        passed=dict(passed),
    )


def _by_key(found: Iterable[Found], machines: Mapping[str, Fact], passed: Counter[str]) -> dict[Key, dict[Decimal, Found]]:
    """What was found, by thing and then by price."""
    several: dict[Key, dict[Decimal, Found]] = {}
    for row in found:
        if row.price <= 0:
            passed["price is not above 0"] += 1
            continue
        rows = several.setdefault((row.sku, row.region, row.purchase), {})
        if row.sku in machines or not rows:
            rows.setdefault(row.price, row)
    return several


def _is_asked(fact: Fact, regions: Sequence[str], purchases: frozenset[str]) -> bool:
    return fact.service == "compute" and fact.region in regions and fact.purchase in purchases


def _is_newer(old: Fact, new: Fact) -> bool:
    """Whether what is in force says the same of a later day, so that there is nothing to take."""
    return old.as_of > new.as_of and not _differs(old, new)


def _differs(old: Fact, new: Fact) -> bool:
    return (old.price, old.currency, old.unit) != (new.price, new.currency, new.unit)


def _fact(row: Found, machine: Fact) -> Fact:
    return machine._replace(
        region=row.region,
        purchase=row.purchase,
        unit="hour",
        tier_from=Decimal(0),
        price=row.price,
        currency="USD",
        as_of=row.as_of,
        source=row.source,
        derived_from=row.derived_from,
    )


def _name(fact: Fact) -> str:
    return f"{fact.sku}, {fact.region}, {fact.purchase}"


def _contradiction(key: Key, rows: Mapping[Decimal, Found]) -> str:
    prices = " and ".join(f"{price:f}" for price in sorted(rows))
    return f"{', '.join(key)}: {prices}"


def _json(old: Fact | None, new: Fact | None) -> dict[str, Any]:
    told = new or old
    assert told is not None  # noqa: S101 - one of the two is given
    return {
        "sku": told.sku,
        "region": told.region,
        "purchase": told.purchase,
        "before": plain(old.price) if old else None,
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
