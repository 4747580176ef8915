"""When one's own hardware pays: published examples, laws, and never with its reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.costs.comparing.break_even import break_even, cost_per_useful_hour, hours_to_pay, months_to_pay, utilization_to_pay
from mlport.costs.estimate import estimate
from mlport.costs.records import Estimate, Line, Price, Refusal
from mlport.costs.workload import Workload

LAWS = settings(deadline=None, derandomize=True)
MONEY = st.decimals("0.01", "1000000", places=2)
LOCAL: dict[str, Any] = {
    "name": "lab", "source": "test", "as_of": "2026-11-23", "interest": 0, "utilization": "0.7",
    "machines": [{"name": "box", "vcpus": 64, "memory_gib": 256, "years": 5, "salvage": 0, "purchase": [{"what": "box", "price": 12000}]}],
    "costs": [{"kind": "staff", "per_year": 1200}],
    "not_counted": dict.fromkeys(("power", "space", "maintenance", "upgrades", "software", "network", "security", "database", "applications",
                                  "tuning", "rewriting", "downtime"), "test"),
}  # fmt: skip


def own(hours: float = 365, months: float = 12) -> Estimate:
    """A machine of 12,000 over five years and 1,200 a year for staff: 3,600 a year."""
    parts = {"training": [{"compute": {"cpus": 64, "memory_gib": 256}, "hours": hours}]}
    return estimate(Workload.model_validate({"months": months, **parts, "targets": {"local": {"hardware": LOCAL}}}), "local")


def cloud(total: str, months: float = 12, **fields: Any) -> Estimate:
    price = Price(Decimal(total), "bill", "test", None)
    line = Line("training", "training", "machines", Decimal(1), "bill", price, "test")
    return Estimate("cloud", "cloud there", Decimal(str(months)), "USD", [line])._replace(**fields)


@pytest.mark.parametrize(("rate", "hours"), [("98.32", 8556), ("77.43", 10891)])
def test_eight_h100_against_a_rented_server(rate: str, hours: int) -> None:
    """Lenovo Press LP2225 (23 May 2025): $833,806 and $.87 an hour against on demand and one year reserved (it prints ~10,890)."""
    assert round(hours_to_pay(Decimal(833806), Decimal(rate), Decimal("0.87")).value or 0) == hours


def test_eight_h100_in_months() -> None:
    """The same paper: 11.9 months of 720 hours."""
    found = months_to_pay(Decimal(833806), Decimal("98.32") * 720, Decimal("0.87") * 720)
    assert round(found.value or 0, 1) == Decimal("11.9")


def test_own_against_cloud() -> None:
    """Own: 12,000 once and 100 a month; 365 h a month. Cloud: 12,000 a year, 1,000 a month, 2.7397 an hour."""
    found = break_even(own(), cloud("12000"))
    assert found.months.value == Decimal(12000) / 900
    assert found.hours.value == pytest.approx(Decimal(12000) / (Decimal(900) / 365))
    assert found.utilization.value == pytest.approx(Decimal("0.5") * 3600 / 12000)
    assert found.to_json()["months"] == {"value": pytest.approx(13.3333, abs=1e-4), "reason": None}


def test_never_is_none_with_its_reason() -> None:
    dear = break_even(own(), cloud("1100"))
    assert (dear.hours.value, dear.months.value, dear.utilization.value) == (None, None, None)
    assert all("never" in answer.reason for answer in (dear.hours, dear.months, dear.utilization))
    late = break_even(own(), cloud("2400"))
    assert late.months.reason == "never: it would take 120.0 months, and the machines last 60"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"refused": [Refusal("endpoint", "no GPUs")]}, "cloud cannot do endpoint: no GPUs"),
        ({"lines": [Line("training", "training", "spot", Decimal(1), "hour", None, "")]}, "at least 0.00, without a price of spot"),
        ({"currency": "EUR"}, "local is in USD and cloud in EUR"),
    ],
)
def test_what_is_not_known_is_not_guessed(fields: dict[str, Any], said: str) -> None:
    found = break_even(own(), cloud("12000", **fields))
    assert (found.hours.value, found.months.value, found.utilization.value) == (None, None, None)
    assert said in found.months.reason


def test_what_owns_nothing_breaks_even_with_nothing() -> None:
    assert "owns no machines" in break_even(cloud("1"), cloud("2")).hours.reason


@LAWS
@given(MONEY, MONEY, MONEY)
def test_at_the_break_even_both_cost_the_same(capital: Decimal, rate: Decimal, running: Decimal) -> None:
    found = hours_to_pay(capital, rate, running)
    assert (found.value is None) == (rate <= running) == bool(found.reason)
    if found.value is not None:
        assert found.value > 0
        assert capital + running * found.value == pytest.approx(rate * found.value)


@LAWS
@given(MONEY, MONEY, st.integers(1, 100))
def test_at_the_utilization_found_a_useful_hour_costs_what_the_cloud_asks(annual: Decimal, rate: Decimal, machines: int) -> None:
    found = utilization_to_pay(annual, rate, Decimal(machines))
    assert (found.value is None) == (annual > 8760 * machines * rate) == bool(found.reason)
    if found.value is not None:
        assert 0 < found.value <= 1
        assert cost_per_useful_hour(annual, Decimal(machines), found.value) == pytest.approx(rate)


@LAWS
@given(MONEY, MONEY, MONEY)
def test_a_dearer_cloud_pays_sooner(capital: Decimal, rate: Decimal, more: Decimal) -> None:
    first, then = hours_to_pay(capital, rate, Decimal(0)), hours_to_pay(capital, rate + more, Decimal(0))
    assert first.value is not None
    assert then.value is not None
    assert then.value < first.value


@LAWS
@given(st.integers(1, 10**6))
def test_for_the_whole_workload_it_pays_at_the_utilization_found(bill: int) -> None:
    """Where the workload keeps the machines busier than the break-even, its year is cheaper on them, and the other way round."""
    here, there = own(), cloud(str(bill))
    found = break_even(here, there).utilization.value
    busy = here.facts["used_hours"] / here.facts["capacity_hours"]
    if found is not None:
        assert (found < busy) == (here.total < there.total)
    else:
        assert here.total > there.total
