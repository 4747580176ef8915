"""A price fact: what one unit of one thing costs in one place, by whom it was said and when. And the files that hold them.

Facts are kept as text, a CSV file a price list (`facts/prices/`), and shipped as a compact snapshot that `python -m
mlport.costs.facts FOLDER` makes of them, the same bytes for the same facts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mlport.errors import SpecError

FORMAT = 1
SNAPSHOT = Path(__file__).parent / "snapshot"


class Fact(NamedTuple):
    """One row.

    `service` is what is priced: `compute` (machines), `storage`, `egress`, `logging`, ...; an `exclusion` says that a machine is
    not chosen for the work that its `purchase` names. `region` `*` or `global` holds everywhere. `tier_from` is the quantity a month from which the price holds. `price` is in `currency` for one `unit`;
    `derived_from` says how it was computed where the source has no such number. The last five describe a machine.
    """

    provider: str
    service: str
    sku: str
    region: str
    purchase: str
    unit: str
    tier_from: Decimal
    price: Decimal
    currency: str
    as_of: date
    source: str
    derived_from: str = ""
    vcpus: float = 0.0
    memory_gib: float = 0.0
    gpu: str = ""
    gpus: int = 0
    gpu_memory_gib: float = 0.0


COLUMNS = Fact._fields
_MACHINE = ("sku", "vcpus", "memory_gib", "gpu", "gpus", "gpu_memory_gib")


def read(path: Path) -> Iterator[Fact]:
    """The facts of a CSV file. Raises SpecError with file, line and column."""
    import csv

    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise SpecError(f"{path}: line 1: the columns must be {', '.join(COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            yield _fact(row, f"{path}: line {number}")


def write(path: Path, facts: Iterable[Fact]) -> None:
    """Facts as a CSV file, in order."""
    import csv

    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows([_text(value) for value in fact] for fact in sorted(facts, key=order))


def order(fact: Fact) -> tuple[Any, ...]:
    """Where a fact stands among others: the order of files, and what makes ties deterministic."""
    return (fact.provider, fact.service, fact.sku, fact.gpu, fact.region, fact.purchase, fact.unit, fact.tier_from, fact.gpus)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}" if value else ""
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if value else ""


def _fact(row: dict[str, Any], where: str) -> Fact:
    found: dict[str, Any] = {}
    for column in COLUMNS:
        text = row[column]
        if text is None:
            raise SpecError(f"{where}: {column} is missing")
        try:
            found[column] = _PARSED[column](text) if column in _PARSED else text
        except (ValueError, InvalidOperation) as error:
            raise SpecError(f"{where}: {column}: {text!r} is not what belongs there ({_WANTED[column]})") from error
    if len(row) > len(COLUMNS):
        raise SpecError(f"{where}: has more columns than the first line")
    if not found["price"].is_finite() or found["price"] < 0:
        raise SpecError(f"{where}: price: {row['price']} must be zero or more")
    return Fact(**found)


_PARSED: dict[str, Any] = {
    "tier_from": lambda text: Decimal(text or "0"),
    "price": Decimal,
    "as_of": date.fromisoformat,
    "vcpus": lambda text: float(text or 0),
    "memory_gib": lambda text: float(text or 0),
    "gpus": lambda text: int(text or 0),
    "gpu_memory_gib": lambda text: float(text or 0),
}
_WANTED = {name: "a date such as 2026-11-23" if name == "as_of" else "a number" for name in _PARSED}


def pack(facts: Sequence[Fact], version: str) -> str:
    """The facts of one price list as a compact text: each repeated word once, prices by their digits."""
    words: dict[str, int] = {}

    def index(word: str) -> int:
        return words.setdefault(word, len(words))

    machines: dict[tuple[Any, ...], int] = {}
    rows = []
    for fact in sorted(facts, key=order):
        machine = machines.setdefault(tuple(getattr(fact, name) for name in _MACHINE), len(machines))
        texts = [index(word) for word in (fact.service, fact.region, fact.purchase, fact.unit, fact.currency)]
        tail = [index(word) for word in (fact.as_of.isoformat(), fact.source, fact.derived_from)]
        rows.append([machine, *texts, format(fact.tier_from, "f"), format(fact.price, "f"), *tail])
    document = {
        "format": FORMAT,
        "version": version,
        "provider": facts[0].provider,
        "words": list(words),
        "machines": list(machines),
        "rows": rows,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


class Packed:
    """A packed price list: its facts are made when asked for, so that who needs one region pays for no other."""

    def __init__(self, text: str) -> None:
        """Raises SpecError if it is of a format that this mlport does not read."""
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise SpecError(
                f"prices of format {document['format']}, and this mlport reads {FORMAT}", hint="upgrade mlport, or refresh the prices"
            )
        self.version: str = document["version"]
        self._provider, self._words, self._machines = document["provider"], document["words"], document["machines"]
        self._rows: list[list[Any]] = document["rows"]
        self._places: dict[tuple[int, int], list[list[Any]]] = {}
        for row in self._rows:
            self._places.setdefault((row[1], row[2]), []).append(row)

    @property
    def places(self) -> Mapping[tuple[str, str], Sequence[list[Any]]]:
        """The packed rows of each service in each region."""
        return {(self._words[service], self._words[region]): rows for (service, region), rows in self._places.items()}

    def facts(self, rows: Iterable[list[Any]] | None = None) -> list[Fact]:
        """The facts of some rows, of all if not given."""
        words, machines, provider = self._words, self._machines, self._provider
        return [
            Fact(
                provider, words[service], machines[machine][0], words[region], words[purchase], words[unit], Decimal(tier),
                Decimal(price), words[currency], _day(words[as_of]), words[source], words[derived], *machines[machine][1:],
            )
            for machine, service, region, purchase, unit, currency, tier, price, as_of, source, derived in (
                self._rows if rows is None else rows
            )
        ]  # fmt: skip


_day = cache(date.fromisoformat)


def unpack(text: str) -> tuple[str, list[Fact]]:
    """The version and the facts of a packed price list."""
    packed = Packed(text)
    return packed.version, packed.facts()


def build(folder: Path, into: Path) -> list[Path]:
    """Make the snapshot of each CSV file of a folder; its version is the newest date in it. Raises SpecError."""
    into.mkdir(parents=True, exist_ok=True)
    made = []
    for path in sorted(folder.glob("*.csv")):
        facts = list(read(path))
        _require_once(facts, path)
        place = into / f"{path.stem}.json"
        place.write_text(pack(facts, max(fact.as_of for fact in facts).isoformat()), encoding="utf-8")
        made.append(place)
    return made


def _require_once(facts: Sequence[Fact], path: Path) -> None:
    seen: set[tuple[Any, ...]] = set()
    for fact in facts:
        if fact.provider != path.stem:
            raise SpecError(f"{path}: holds a price of {fact.provider!r}", hint="one file a price list, named like it")
        if order(fact) in seen:
            raise SpecError(f"{path}: two prices of {fact.sku} in {fact.region}, {fact.purchase}, from {fact.tier_from:f}")
        seen.add(order(fact))


if __name__ == "__main__":
    for made_file in build(Path(sys.argv[1]), SNAPSHOT):
        sys.stdout.write(f"{made_file}: {made_file.stat().st_size} bytes\n")
