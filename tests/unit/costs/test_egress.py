"""Traffic out: never cheaper for more, no jumps, and no unit dearer than the one before it once the free part is used up."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

import pytest
from aids.bills import SHIPPED, bill
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.costs.arithmetic import EXACT
from mlport.costs.facts import Fact
from mlport.costs.formulas import tiered

LISTS = ("aws", "azure", "gcp")
LARGEST = 10**7


def _ladders() -> Iterator[tuple[str, str, str, str, list[Fact]]]:
    """Every thing with a price by quantity, in every region and with and without the free part."""
    for name in LISTS:
        known = SHIPPED.list(name)
        things = {
            (fact.service, fact.sku, fact.region, fact.purchase)
            for fact in known.facts
            if fact.service in ("egress", "storage", "logging", "monitoring")
        }
        for service, sku, region, purchase in sorted(things):
            yield name, sku, region, purchase, list(known.tiers(service, sku, region, purchase))


LADDERS = list(_ladders())


def cost(facts: list[Fact], quantity: Decimal) -> Decimal:
    found: Decimal = tiered(EXACT, quantity, [(fact.tier_from, fact.price) for fact in facts])
    return found


def test_there_are_ladders_of_every_cloud() -> None:
    assert {name for name, *_ in LADDERS} == set(LISTS)
    assert {name for name, sku, _, purchase, _ in LADDERS if sku == "internet" and purchase == "free_tier"} == set(LISTS)


@pytest.mark.parametrize(("name", "sku", "region", "purchase", "facts"), LADDERS, ids=lambda value: value if isinstance(value, str) else "")
def test_prices_fall_by_quantity_and_only_what_is_free_is_zero(name: str, sku: str, region: str, purchase: str, facts: list[Fact]) -> None:
    assert facts[0].tier_from == 0
    assert all(low.tier_from < high.tier_from for low, high in pairwise(facts))
    assert all(fact.source for fact in facts)
    paid = facts[1:] if purchase == "free_tier" else facts
    assert all(fact.price > 0 for fact in paid)
    assert all(low.price > high.price for low, high in pairwise(paid))
    assert len({(fact.unit, fact.currency) for fact in facts}) == 1
    if purchase == "free_tier":
        assert facts[0].price == 0


@given(st.sampled_from(LADDERS), st.decimals(0, LARGEST, places=3), st.decimals(0, LARGEST, places=3), st.decimals(0, 1, places=3))
@settings(deadline=None, max_examples=300)
def test_cost_is_monotone_continuous_and_concave(
    ladder: tuple[str, str, str, str, list[Fact]], one: Decimal, other: Decimal, share: Decimal
) -> None:
    *_, purchase, facts = ladder
    low, high = sorted((one, other))
    assert cost(facts, low) <= cost(facts, high)
    dearest = max(fact.price for fact in facts)
    assert cost(facts, high) - cost(facts, low) <= dearest * (high - low)  # Lipschitz, so no jump anywhere
    begin = facts[1].tier_from if purchase == "free_tier" else Decimal(0)
    low, high = low + begin, high + begin
    between = low + share * (high - low)
    assert cost(facts, between) >= (1 - share) * cost(facts, low) + share * cost(facts, high)


@given(
    st.decimals(1, 200_000, places=2), st.sampled_from([("vertex", "us-central1"), ("sagemaker", "us-east-1"), ("azureml", "japaneast")])
)
@settings(deadline=None, max_examples=60)
def test_a_free_allowance_is_taken_off_once(quantity: Decimal, where: tuple[str, str]) -> None:
    """100 GB a month: what is free is the first, dearest part, of each month."""
    target, region = where
    parts = {"egress": [{"gib": float(quantity)}]}
    paid = bill(target, parts, region=region, months=3)
    free = bill(target, parts, region=region, months=3, free_tier=True)
    dearest = max(
        fact.price
        for fact in SHIPPED.list({"vertex": "gcp", "sagemaker": "aws", "azureml": "azure"}[target]).tiers("egress", "internet", region)
    )
    assert paid.total - free.total == min(quantity, Decimal(100)) * dearest * 3
    assert any("free allowances" in words for words in free.assumptions)
    assert not paid.assumptions
    line = free.lines[0]
    assert line.price is not None
    assert line.price.free == (quantity <= 100)


PLACES = [
    (target, region)
    for target, name in (("azureml", "azure"), ("databricks", "databricks"), ("sagemaker", "sagemaker"), ("vertex", "vertex"))
    for region in (SHIPPED.list(name).regions if target == "databricks" else SHIPPED.list(name).machine_regions)
]


@pytest.mark.parametrize(("target", "region"), PLACES)
@pytest.mark.parametrize("to", ["internet", "region"])
def test_every_target_and_region(target: str, region: str, to: str) -> None:
    """Through the engine: the more, the dearer, by steps that never grow; or nobody knows, whatever the quantity."""
    found = [bill(target, {"egress": [{"gib": gib, "to": to}]}, region=region) for gib in range(0, 200_000, 5_000)]
    assert len({estimate.at_least for estimate in found}) == 1
    steps = [high.total - low.total for low, high in pairwise(found)]
    if found[0].at_least:
        assert not any(steps)
    else:
        assert all(step > 0 for step in steps)
        assert all(high <= low for low, high in pairwise(steps))


def test_beyond_a_tier_as_calculators_get_it_wrong() -> None:
    """One GiB more never costs less: https://github.com/skypilot-org/skypilot's get_egress_cost gives 122.88 for 1,024 and 112.75 for 1,025."""
    before, after = (bill("vertex", {"egress": [{"gib": gib}]}, region="us-central1").total for gib in (1024, 1025))
    assert (before, after) == (Decimal("122.88"), Decimal("122.99"))
    assert bill("sagemaker", {"egress": [{"gib": 10241}]}, region="us-east-1").total == Decimal("921.685")
