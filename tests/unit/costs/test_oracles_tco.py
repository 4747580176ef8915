"""Published comparisons of machines of one's own with rented ones, written as a hardware book and a workload."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aids.bills import SHIPPED, bill, of

from mlport.costs.book import checked
from mlport.costs.comparing.compare import compare
from mlport.costs.records import cents
from mlport.costs.workload import Workload

D = Decimal
SITE: dict[str, Any] = {"name": "site", "source": "the example", "as_of": "2026-11-01", "interest": 0}
NOTHING = ("maintenance", "space", "staff", "software", "network", "security", "database", "applications", "tuning", "rewriting",
           "downtime", "upgrades")  # fmt: skip


def site(machine: dict[str, Any], *, costs: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """A hardware book that counts what the example counts."""
    kinds = {cost["kind"] for cost in costs or []}
    kinds |= {"power"} if "electricity" in more else set()
    left = {kind: "the example has none" for kind in (*NOTHING, "power") if kind not in kinds}
    return {**SITE, "machines": [machine], "costs": costs or [], "not_counted": left, **more}


def test_sixty_four_accelerators_for_four_years() -> None:
    """https://www.legitlads.com/hub/tools/ai/ai-hardware/accelerator-roi-calculator/: 1.92 million and 728.68 thousand of energy and
    operation are 2,648,681; renting at 2.00 an hour and 70 % is 3,139,584. Owning saves 490,903 (490.9K), pays back in 3.2 years, and
    is the cheaper from 59 % on."""
    node = {"name": "node", "vcpus": 64, "memory_gib": 512, "gpus": 8, "gpu": "H100", "owned": 8, "years": 4,
            "purchase": [{"what": "node", "price": 240_000}]}  # fmt: skip
    running = [{"kind": "staff", "what": "energy and operation", "per_year": 728_681 / 4}]
    rented = {"provider": "sagemaker", "sku": "ml.node", "price": "16.00", "source": "2.00 a GPU", "as_of": "2026-11-01",
              "vcpus": 64, "memory_gib": 512, "gpu": "H100", "gpus": 8}  # fmt: skip
    workload = Workload.model_validate(
        {
            "months": 48,
            "training": [{"hours": 730 * 0.7, "compute": {"nodes": 8, "cpus": 64, "memory_gib": 512, "gpus": 8, "gpu": "H100"}}],
            "targets": {
                "local": {"hardware": site(node, costs=running, utilization=0.7)},
                "sagemaker": {"region": "us-east-1", "machines": {"*": "ml.node"}, "volume_gib": 0},
            },
        }
    )
    found = compare(workload, ["local", "sagemaker"], catalogue=SHIPPED, discount=checked({"prices": [rented]}, "book"))
    own, cloud = (each.total for each in found.estimates)
    assert (cents(own), cents(cloud)) == (D("2648681.00"), D("3139584.00"))
    assert found.cheapest == "local"
    even = found.break_even[0]
    assert even.months.value is not None
    assert even.utilization.value is not None
    assert round(float(even.months.value) / 12, 1) == 3.2
    assert round(float(even.utilization.value), 2) == 0.59


def test_a_core_hour_of_a_campus_cluster() -> None:
    """https://www.internet2.edu/blogs/detail/14114: a server of 36 cores with five years' warranty at 14,375 is 0.0091 a core-hour;
    half a kilowatt at 0.25, with UPS, generator and cooling, is 0.125 an hour."""
    server = {"name": "server", "vcpus": 36, "memory_gib": 64, "years": 5, "kw": 0.5, "purchase": [{"what": "server", "price": 14_375}]}
    parts = {"training": [{"hours": 730, "compute": {"cpus": 36, "memory_gib": 64}}]}
    found = bill("local", parts, months=60, hardware=site(server, pue=1, electricity=0.25, utilization=1))
    assert found.complete
    hours = D(8760) * 5
    assert round(found.by_category()["capital"] / hours / 36, 4) == D("0.0091")
    assert found.by_category()["power"] / hours == D("0.125")


@pytest.mark.parametrize(("pue", "hourly"), [(1, "0.60"), (1.9, "1.14"), (1.6, "0.96")])
def test_power_and_cooling(pue: float, hourly: str) -> None:
    """HP Matrix Operating Environment, user manual, page 187: 20 kW at 0.03 cost 0.6 an hour; a cooling multiplier of 0.9 means nine
    kilowatt-hours of cooling for ten of computers, and its default is 0.6."""
    server = {"name": "rack", "vcpus": 1, "memory_gib": 1, "years": 1, "kw": 20, "purchase": [{"what": "rack", "price": 0}]}
    parts = {"training": [{"hours": 730}]}
    found = bill("local", parts, hardware=site(server, pue=pue, electricity=0.03, utilization=1))
    assert of(found, "kwh") == cents(D(hourly) * 730)


def test_months_of_31_days_buy_no_more_machines() -> None:
    """A machine that works all hours of a month is one machine, however long the month; what it costs a year stays what it is."""
    box = {"name": "box", "vcpus": 1, "memory_gib": 1, "years": 1, "purchase": [{"what": "box", "price": 1200}]}
    for hours in (720, 730, 744):
        parts = {"training": [{"hours": hours}], "hours_a_month": hours}
        found = bill("local", parts, hardware=site(box, utilization=1))
        assert (found.facts["machines"], cents(found.total)) == ({"box": 1}, D("100.00"))
        assert any("at work 100 % of the time" in words for words in found.assumptions)
