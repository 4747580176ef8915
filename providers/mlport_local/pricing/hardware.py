"""The hardware book: what one's own machines and their site cost, in a TOML file, each number with its source and date.

A number is written plainly (`kw = 10.2`: source and date are then the book's), or as a table
`{ value = 10.2, source = "datasheet", as_of = 2025-05-23, assumption = true }`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mlport import tables
from mlport.costs.currencies import Currency
from mlport.costs.facts import Fact
from mlport.costs.parts import LARGEST
from mlport.costs.records import Category
from mlport.fields import Count, Real, dotted

EXAMPLE = "examples/cost/hardware.toml"
Kind = Literal[
    "power", "space", "maintenance", "upgrades", "staff", "software", "network", "security",
    "database", "applications", "tuning", "rewriting", "downtime",
]  # fmt: skip
CATEGORIES: dict[Kind, Category] = {
    "power": "power",
    "space": "space",
    "maintenance": "maintenance",
    "upgrades": "maintenance",
    "staff": "staff",
    "software": "software",
    "network": "network",
    "security": "security",
    "database": "upkeep",
    "applications": "upkeep",
    "tuning": "upkeep",
    "rewriting": "upkeep",
    "downtime": "downtime",
}
WORDS: dict[Kind, str] = {
    "power": "power",
    "space": "colocation or floor space",
    "maintenance": "hardware maintenance",
    "upgrades": "hardware upgrades",
    "staff": "staff",
    "software": "software and licences",
    "network": "network",
    "security": "security",
    "database": "database upkeep",
    "applications": "upkeep of dependent applications",
    "tuning": "performance tuning",
    "rewriting": "rewriting of customisations and integrations at upgrades",
    "downtime": "downtime",
}


class Row(BaseModel):
    """Base of what a book holds: unknown keys are refused with the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Said(Row):
    """A number, who said it and when; the book's own source and date where it has none."""

    value: Decimal = Field(allow_inf_nan=False)
    source: str = ""
    as_of: date | None = None
    assumption: bool = False


def _said(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return {"value": value} if isinstance(value, int | float | Decimal | str) else value


def _within(low: str, high: str, unit: str) -> AfterValidator:
    def check(said: Said) -> Said:
        if not Decimal(low) <= said.value <= Decimal(high):
            raise ValueError(f"must be from {low} to {high} {unit}")
        return said

    return AfterValidator(check)


_Number = Annotated[Said, BeforeValidator(_said)]
Money = Annotated[_Number, _within("0", f"{LARGEST:.0f}", "of the book's currency")]
Share = Annotated[_Number, _within("0", "1", "(a share: 0.03 is 3 %)")]
Busy = Annotated[_Number, _within("0.001", "1", "(a share: 0.7 is 70 %)")]
Years = Annotated[_Number, _within("0.01", "100", "years")]
Kilowatts = Annotated[_Number, _within("0", "10000", "kW")]
Pue = Annotated[_Number, _within("1", "10", "(all power over that of the machines)")]
Amount = Annotated[_Number, _within("0", "1000000", "")]


class Purchase(Row):
    """One position of what a machine costs to buy."""

    what: str = Field(min_length=1)
    price: Money


class Machine(Row):
    """A kind of machine: what it has, what it costs to buy, how long it lasts, what it draws."""

    name: str = Field(min_length=1)
    vcpus: Real = Field(gt=0, le=65536, allow_inf_nan=False)
    memory_gib: Real = Field(gt=0, le=1e7, allow_inf_nan=False)
    gpus: Count = Field(0, ge=0, le=1024)
    gpu: str = ""
    gpu_memory_gib: Real = Field(0, ge=0, allow_inf_nan=False)
    owned: Count = Field(0, ge=0, le=1_000_000)
    """How many there are already: all of them are paid for, needed or not. More are bought where more are needed."""
    years: Years
    """Life, over which its price is recovered."""
    kw: Kilowatts | None = None
    """Power at full load."""
    salvage: Share | None = None
    """What it is worth at the end of its life, as a share of its price."""
    purchase: tuple[Purchase, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _gpu_named(self) -> Self:
        if bool(self.gpus) != bool(self.gpu):
            raise ValueError(f"gpus and gpu go together: how many, and of what kind (got {self.gpus} and {self.gpu!r})")
        return self

    @property
    def price(self) -> Decimal:
        """What one costs to buy."""
        return sum((item.price.value for item in self.purchase), start=Decimal(0))


class Cost(Row):
    """What is paid beside machines and power. Exactly one way to say how much."""

    kind: Kind
    what: str = ""
    per: Literal["site", "machine", "gpu", "kw"] = "site"
    """Once for the site, or for each machine, GPU, or kW of the machines' full load."""
    per_year: Money | None = None
    once: Money | None = None
    """Paid every `every` years; spread over them with interest."""
    every: Years | None = None
    share_of_purchase: Share | None = None
    """Of the machines' price, a year."""
    fte: Amount | None = None
    """People (full-time equivalents), at `salary` each a year."""
    salary: Money | None = None
    hours: Amount | None = None
    """Hours a year, at `per_hour`."""
    per_hour: Money | None = None
    per_kw_month: Money | None = None
    """For each kW of the machines' full load, a month, whatever `per` says."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        told = [name for name in _WAYS if getattr(self, name) is not None]
        if len(told) != 1:
            raise ValueError(f"say how much in one way, of {', '.join(_WAYS)} (got {' and '.join(told) or 'none'})")
        for name, other in _PAIRS:
            if (getattr(self, name) is None) != (getattr(self, other) is None):
                raise ValueError(f"{name} and {other} go together")
        return self


_WAYS = ("per_year", "once", "share_of_purchase", "fte", "hours", "per_kw_month")
_PAIRS = (("once", "every"), ("fte", "salary"), ("hours", "per_hour"))


class UnitPrices(Row):
    """What is charged inside the organisation by the unit, for what does not run on the machines of the book."""

    object_gib_month: Money | None = None
    disk_gib_month: Money | None = None
    internet_gib: Money | None = None
    region_gib: Money | None = None
    logging_gib: Money | None = None
    monitoring_gib: Money | None = None
    analysed_gib: Money | None = None


class HardwareBook(Row):
    """One site with its machines."""

    name: str = Field(min_length=1)
    """The site's, as reports show it."""
    currency: Currency = "USD"
    source: str = Field(min_length=1)
    """Of every number that names none itself."""
    as_of: date
    """Of every number that names none itself."""
    interest: Share
    """Cost of capital a year."""
    payments: Count = Field(1, ge=1, le=365)
    """Payments a year by which capital is repaid: 1 at each year's end, 12 by the month, as spreadsheets' PMT does."""
    utilization: Busy
    """The share of hours for which machines can be kept at work: the rest is queueing, repairs and nights."""
    pue: Pue | None = None
    electricity: Money | None = None
    """Price of a kWh."""
    load: Busy | None = None
    """Average draw as a share of full load; 1 if not said."""
    machines: tuple[Machine, ...] = Field(min_length=1)
    costs: tuple[Cost, ...] = ()
    prices: UnitPrices = UnitPrices()
    not_counted: dict[Kind, str] = {}
    """What is left out on purpose, and why. What is neither here nor priced is a gap, and the total `at least`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [machine.name for machine in self.machines]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two machines are called {twice[0]!r}")
        priced = {cost.kind for cost in self.costs} | ({"power"} if self.electricity is not None else set())
        if both := sorted(priced & set(self.not_counted)):
            raise ValueError(f"{both[0]} is both priced and in not_counted: keep one")
        return self

    def unsaid(self) -> list[Kind]:
        """The kinds of cost that the book neither prices nor leaves out on purpose; power is looked at by machine."""
        told = {cost.kind for cost in self.costs} | set(self.not_counted)
        return [kind for kind in get_args(Kind) if kind not in told and kind != "power"]

    def fact(self, said: Said, service: str, sku: str, unit: str, price: Decimal | None = None, derived: str = "") -> Fact:
        """A number of the book as a price fact; `price` is what was computed from it, and `derived` how."""
        value = said.value if price is None else price
        when = said.as_of or self.as_of
        return Fact("local", service, sku, self.name, "owned", unit, Decimal(0), value, self.currency, when, self.told_by(said), derived)

    def told_by(self, said: Said) -> str:
        """Who said a number, marked where it is an assumption."""
        source = said.source or self.source
        return f"assumption: {source}" if said.assumption else source

    def words(self, what: str, said: Said) -> str:
        """A number with its source and date."""
        return f"{what} {said.value.normalize():f} ({self.told_by(said)}, {said.as_of or self.as_of})"


def load(told: object) -> object:
    """A hardware book from the path of a TOML file or a table. Raises SpecError with file, line, field and what would be right."""
    if isinstance(told, str | Path):
        path = Path(told).expanduser()
        return _read(path, path.stat().st_mtime_ns if path.is_file() else 0)
    return checked(told, "hardware") if isinstance(told, Mapping) else told


@lru_cache(maxsize=16)
def _read(path: Path, _changed: int) -> HardwareBook:
    return tables.load(path, HardwareBook, missing=f"{EXAMPLE} is one to begin with")


def checked(table: Mapping[str, Any], where: str) -> HardwareBook:
    """A table as a hardware book. Raises SpecError."""
    return tables.checked(table, HardwareBook, lambda place: f"{where}: {dotted(place)}")
