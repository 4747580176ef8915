"""What the SKUs of Google's Cloud Billing Catalog are, by their descriptions. Pure.

The catalogue has no price of a machine: it is billed by its cores, its memory, its accelerators and its local disks, each by a SKU
that covers some regions, and is known by its words alone. The words are taken whole, up to the place ("... running in Americas"):
"E2 Instance Core" is also within "Spot Preemptible E2 Instance Core", and "Nvidia Tesla A100 GPU" is another than "... A100 80GB GPU".

Spellings: Cyclenerd/google-cloud-pricing-cost-calculator, build/mapping.csv (2026-08), and the scraper of ec2instances.info (both
spellings of C2 and "3 Years"); of Cloud Storage a whole answer of December 2022 (bbytiger/cloud_conductor); of Vertex AI a bill of August
2025 (A3 and H100; and that these SKUs hold the management fee: it is a SKU of its own only beside spot, reserved and flex-start machines
of Compute Engine, so that adding it would count it twice), and for E2 and N1 a program that looks them up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

COMPUTE_ENGINE, CLOUD_STORAGE, VERTEX_AI = "6F81-5844-456A", "95FF-2EF5-5EA1", "C7E2-9256-1C43"
USAGE = {"OnDemand": "on_demand", "Preemptible": "spot", "Commit1Yr": "reserved_1y", "Commit3Yr": "reserved_3y"}
UNITS = {"h": "hour", "GiBy.h": "gib_hour", "GiBy.mo": "gib_month", "GiBy": "gib"}
FAMILIES = {  # a machine's family: the words of its parts on demand and spot, and of its commitments
    "a2": (("A2 Instance",), "A2 "),
    "a3": (("A3 Instance",), "A3 "),
    "c2": (("Compute optimized", "Compute optimized Instance"), "Compute optimized "),
    "e2": (("E2 Instance",), "E2 "),
    "g2": (("G2 Instance",), "G2 "),
    "n1": (("N1 Predefined Instance",), ""),
    "n2": (("N2 Instance",), "N2 "),
    "n2d": (("N2D AMD Instance",), "N2D AMD "),
}
GPUS = {
    "A100": "Nvidia Tesla A100",
    "A100-80GB": "Nvidia Tesla A100 80GB",
    "H100": "Nvidia H100 80GB",
    "L4": "Nvidia L4",
    "T4": "Nvidia Tesla T4",
    "V100": "Nvidia Tesla V100",
}
TRAINING = "Vertex AI: Training/Pipelines on "
_PLACE = re.compile(r" (?:running )?in ", re.IGNORECASE)
_BUCKETS = re.compile(r"(Standard|Nearline) Storage (?!.*(?:Dual-region|Multi-region|Early Delete|Autoclass)).+", re.IGNORECASE)
_GROUPS = {"RegionalStorage": "gcs-standard", "NearlineStorage": "gcs-nearline"}


class Part(NamedTuple):
    """What a SKU is a price of: cores of a family, memory, a GPU, local disks, or a thing that a list has as it is."""

    kind: str
    name: str
    unit: str


class Price(NamedTuple):
    """The price of a part from a quantity a month upward."""

    sku_id: str
    part: Part
    purchase: str
    tier_from: Decimal
    price: Decimal
    as_of: date


def _heads() -> Iterator[tuple[str, tuple[Part, str]]]:
    """The words before the place, with the part and how it is paid: on demand, spot, or committed for a term that others tell."""
    for family, (names, committed) in FAMILIES.items():
        for kind, word, short, unit in (("core", "Core", "Cpu", "hour"), ("memory", "Ram", "Ram", "gib_hour")):
            part = Part(kind, family, unit)
            for name in names:
                yield f"{name} {word}", (part, "on_demand")
                yield f"Spot Preemptible {name} {word}", (part, "spot")
            yield f"Commitment v1: {committed}{short}", (part, "reserved")
            if family == "c2":
                yield f"Commitment: {committed}{word}", (part, "reserved")
    for gpu, name in GPUS.items():
        part = Part("gpu", gpu, "hour")
        yield f"{name} GPU", (part, "on_demand")
        yield f"{name} GPU attached to Spot Preemptible VMs", (part, "spot")
        yield from ((f"Commitment v1: {name}{end}", (part, "reserved")) for end in (" GPU", ""))
    part = Part("ssd", "local-ssd", "gib_month")
    yield "SSD backed Local Storage", (part, "on_demand")
    yield "SSD backed Local Storage attached to Spot Preemptible VMs", (part, "spot")
    yield "Commitment v1: Local SSD", (part, "reserved")
    yield "Storage PD Capacity", (Part("storage", "pd-standard", "gib_month"), "on_demand")
    yield "SSD backed PD Capacity", (Part("storage", "pd-ssd", "gib_month"), "on_demand")
    yield "Download Worldwide Destinations (excluding Asia & Australia)", (Part("egress", "internet", "gib"), "on_demand")


def _training_heads() -> Iterator[tuple[str, tuple[Part, str]]]:
    """Vertex AI's own machines, its fee within. GPUs are written with and without "Tesla" and "GPU"."""
    for family, (names, _) in FAMILIES.items():
        for kind, word, unit in (("core", "Core", "hour"), ("memory", "Ram", "gib_hour")):
            yield from ((f"{TRAINING}{name} {word}", (Part(kind, family, unit), "on_demand")) for name in names)
    for gpu, name in GPUS.items():
        for spelt in {name, name.replace("Tesla ", "")}:
            yield from ((f"{TRAINING}{spelt}{end}", (Part("gpu", gpu, "hour"), "on_demand")) for end in (" GPU", ""))
    yield f"{TRAINING}SSD backed PD Capacity", (Part("storage", "training-pd-ssd", "gib_month"), "on_demand")


HEADS: Mapping[str, Mapping[str, tuple[Part, str]]] = {
    COMPUTE_ENGINE: {head.lower(): found for head, found in _heads()},
    CLOUD_STORAGE: {head.lower(): found for head, found in _heads() if found[0].kind == "egress"},
    VERTEX_AI: {head.lower(): found for head, found in _training_heads()},
}


def part_of(service: str, sku: Mapping[str, Any]) -> tuple[Part | None, str]:
    """What a SKU prices and how it is paid; None and the reason if it is nothing of ours.

    >>> usage = {"usageType": "Preemptible"}
    >>> part_of(COMPUTE_ENGINE, {"description": "Spot Preemptible E2 Instance Core running in Paris", "category": usage})
    (Part(kind='core', name='e2', unit='hour'), 'spot')
    >>> part_of(COMPUTE_ENGINE, {"description": "E2 Custom Instance Core running in Paris", "category": usage})
    (None, 'of another thing')
    """
    category = sku.get("category")
    description = sku.get("description")
    if not isinstance(category, dict) or not isinstance(description, str):
        return None, "of another thing"
    usage = USAGE.get(str(category.get("usageType")), "")
    if service == CLOUD_STORAGE and _BUCKETS.fullmatch(description) and category.get("resourceGroup") in _GROUPS:
        part, paid = Part("storage", _GROUPS[category["resourceGroup"]], "gib_month"), "on_demand"
    else:
        found = HEADS[service].get(_PLACE.split(description, maxsplit=1)[0].strip().lower())
        if found is None:
            return None, "of another thing"
        part, paid = found
    if usage != paid and not (paid == "reserved" and usage.startswith("reserved_")):
        return None, "paid in another way than its words say"
    return part, usage


def prices_of(sku: Mapping[str, Any], part: Part, purchase: str, now: datetime) -> tuple[Sequence[Price], str]:
    """The tiers of a SKU that are in force; none and the reason if it has none that can be read.

    What is free at first (an allowance) is no tier: the first that costs something holds from 0.
    """
    info = _newest(sku.get("pricingInfo"), now)
    expression = info.get("pricingExpression") if info else None
    rates = expression.get("tieredRates") if isinstance(expression, dict) else None
    if info is None or not isinstance(rates, list):
        return (), "has no price in force"
    assert isinstance(expression, dict)  # noqa: S101 - it has rates
    if UNITS.get(str(expression.get("usageUnit"))) != part.unit:
        return (), "in another unit"
    read = [_rate(rate) for rate in rates]
    if any(rate is None for rate in read):
        return (), "has a price that cannot be read"
    tiers = [rate for rate in read if rate is not None]
    if any(currency != "USD" for _, _, currency in tiers):
        return (), "not in US dollars"
    costing = [(start, price) for start, price, _ in tiers if price > 0]
    if not costing:
        return (), "price is not above 0"
    as_of = _moment(info.get("effectiveTime"))
    assert as_of is not None  # noqa: S101 - it is the newest of those that have one
    starts = [Decimal(0), *(start for start, _ in costing[1:])]
    return [
        Price(str(sku.get("skuId", "unknown")), part, purchase, start, price, as_of.date())
        for start, (_, price) in zip(starts, costing, strict=True)
    ], ""


def _newest(timeline: Any, now: datetime) -> Mapping[str, Any] | None:
    """What came into force last, of what is in force."""
    begun = [
        (moment, info)
        for info in (timeline if isinstance(timeline, list) else ())
        if isinstance(info, dict) and (moment := _moment(info.get("effectiveTime"))) is not None and moment <= now
    ]
    return max(begun, key=lambda pair: pair[0])[1] if begun else None


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _rate(rate: Any) -> tuple[Decimal, Decimal, str] | None:
    """From how much, the price (whole units and 10^-9 of one), and the currency. What is zero may be left out (proto3's JSON)."""
    money = rate.get("unitPrice") if isinstance(rate, dict) else None
    if not isinstance(money, dict):
        return None
    units, nanos, start = money.get("units", "0"), money.get("nanos", 0), rate.get("startUsageAmount", 0)
    whole = re.fullmatch(r"-?\d+", str(units))
    if not whole or not isinstance(nanos, int) or isinstance(start, bool) or not isinstance(start, int | Decimal):
        return None
    return Decimal(start), (Decimal(int(units)) + Decimal(nanos).scaleb(-9)).normalize(), str(money.get("currencyCode"))
