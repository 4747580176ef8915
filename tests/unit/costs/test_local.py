"""One's own hardware: published examples to the cent, laws, and what a bad hardware book is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.costs.arithmetic import EXACT, Sampled
from mlport.costs.catalogue import default
from mlport.costs.comparing.break_even import cost_per_useful_hour, utilization_to_pay
from mlport.costs.estimate import estimate, priced, target
from mlport.costs.formulas import recovery_factor
from mlport.costs.records import Estimate, cents
from mlport.costs.workload import Workload
from mlport.errors import SpecError
from mlport_local.pricing.hardware import CATEGORIES, HardwareBook, checked
from mlport_local.pricing.ownership import capital

EXAMPLE = Path(__file__).parents[3] / "examples" / "cost" / "hardware.toml"
LAWS = settings(deadline=None, derandomize=True)
SOURCE = {"source": "test", "as_of": "2026-11-23"}
TRAINING = {"compute": {"cpus": 8, "memory_gib": 64, "gpus": 8}, "hours": 100}


def machine(**fields: Any) -> dict[str, Any]:
    shape = {"name": "box", "vcpus": 64, "memory_gib": 1024, "gpus": 8, "gpu": "H100", "years": 5, "owned": 1, "salvage": 0}
    return {**shape, "purchase": [{"what": "box", "price": 1000}], **fields}


def book(*machines: dict[str, Any], costs: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    """A book that says something of everything: what is not priced is left out on purpose."""
    priced_here = {cost["kind"] for cost in costs} | ({"power"} if "electricity" in fields else set())
    unsaid = {kind: "test" for kind in CATEGORIES if kind not in priced_here}
    told = {"name": "lab", **SOURCE, "interest": 0, "utilization": "0.7", "not_counted": unsaid}
    return {**told, "machines": list(machines or (machine(),)), "costs": list(costs), **fields}


def cost(hardware: dict[str, Any] | str, months: float = 12, charge: str = "whole", **parts: Any) -> Estimate:
    settings = {"hardware": hardware, "charge": charge}
    return estimate(
        Workload.model_validate({"months": months, "targets": {"local": settings}, **(parts or {"training": [TRAINING]})}), "local"
    )


# ---------------------------------------------------------------- published examples


def test_power_of_a_dgx_h100() -> None:
    """O10: 10.2 kW at most (NVIDIA DGX H100), PUE 1.2, $50/MWh: $.0765 a GPU-hour."""
    found = cost(book(machine(kw="10.2"), pue="1.2", electricity="0.05"))
    (power,) = [line for line in found.lines if line.category == "power"]
    assert power.cost is not None
    assert power.cost / (8 * 8760) == Decimal("0.0765")


def test_straight_line_with_maintenance_and_power() -> None:
    """O11: 833,806 over 5 years, 3 % maintenance, 10.2 kW, PUE 1.56, $.10/kWh."""
    server = machine(kw="10.2", purchase=[{"what": "SR675 V3, 8 x H100", "price": 833806}])
    found = cost(book(server, pue="1.56", electricity="0.10", costs=({"kind": "maintenance", "share_of_purchase": "0.03"},)))
    assert {name: cents(amount) for name, amount in found.by_category().items()} == {
        "capital": Decimal("166761.20"),
        "power": Decimal("13938.91"),
        "maintenance": Decimal("25014.18"),
    }
    assert cents(found.total) == Decimal("205714.29")
    assert round(cost_per_useful_hour(found.total, Decimal(8), Decimal("0.7")), 4) == Decimal("4.1935")
    assert round(utilization_to_pay(found.total, Decimal("55.04")).value or 0, 4) == Decimal("0.4267")


@pytest.mark.parametrize(
    ("machines", "upfront", "administration", "colocation", "operating", "after_5_years", "each_a_year"),
    [
        (1, 299504, 10000, 16146, 26146, 430234, 86047),
        (8, 2297388, 20000, 127296, 147296, 3033868, 75847),
        (16, 4584787, 40000, 254436, 294436, 6056967, 75712),
    ],
)
def test_hyperplane_16_clusters(
    machines: int, upfront: int, administration: int, colocation: int, operating: int, after_5_years: int, each_a_year: int
) -> None:
    """Lambda, "Hyperplane-16 InfiniBand Cluster Total Cost of Ownership Analysis": its whole table, to the dollar."""
    node = machine(owned=machines, gpu="V100", gpus=16, purchase=[{"what": "node", "price": str(Decimal(upfront) / machines)}])
    costs = ({"kind": "staff", "per_year": administration}, {"kind": "space", "per_year": colocation})
    for years, paid in ((1, upfront + operating), (3, upfront + 3 * operating), (5, after_5_years)):
        found = cost(book(node, costs=costs), months=12 * years)
        assert found.facts["capital"] + found.total - found.facts["capital_cost"] == paid
    assert found.total == after_5_years
    assert round(found.total / 5 / machines) == each_a_year


def test_a_factory_in_euros() -> None:
    """Three years of a GPU server at one site, 63,190.00 a year: a public tender's `tco_oepv.py` (server 15,000 over 3 years,
    8,760 kWh at .25, one FTE at 45,000, change 12,000 over 2 years, integration 9,000 and training 6,000 over 3)."""
    costs = (
        {"kind": "staff", "fte": 1, "salary": 45000},
        {"kind": "applications", "what": "change management", "once": 12000, "every": 2},
        {"kind": "rewriting", "what": "integration", "once": 9000, "every": 3},
        {"kind": "tuning", "what": "training", "once": 6000, "every": 3},
    )
    server = machine(kw=1, years=3, purchase=[{"what": "GPU server", "price": 15000}])
    found = cost(book(server, costs=costs, pue=1, electricity="0.25", currency="EUR"), months=36)
    assert found.currency == "EUR"
    assert {line.what: line.cost for line in found.lines if line.cost is not None} == {
        "box: GPU server": 15000,
        "box: power": 6570,
        "staff": 135000,
        "change management": 18000,
        "integration": 9000,
        "training": 6000,
    }
    assert found.total == 189570


@pytest.mark.parametrize(
    ("price", "salvage", "years", "annual"),
    [(50000, 5000, 5, "12371"), (25000, 5000, 4, "6809.4"), (10000, 1000, 4, "2939.5")],
)
def test_capital_recovery_at_10_percent(price: int, salvage: int, years: int, annual: str) -> None:
    """Course sheets in engineering economics, which use factors of 4 or 5 digits: 50,000 with 5,000 left after 5 years (sciemce.com
    qZBnCelr8xeP), 25,000 with 5,000 after 4 (scribd.com 622260176), 10,000 with 1,000 after 4 (scribd.com 377819245)."""
    hardware = machine(years=years, salvage=str(Decimal(salvage) / price), purchase=[{"what": "it", "price": price}])
    found = cost(book(hardware, interest="0.1"))
    assert float(found.total) == pytest.approx(float(annual), rel=1e-4)


def test_capital_repaid_by_the_month() -> None:
    """200,000 at 7 % over 13 years: 1,956.15 a month (the example of mortgagecalculator.tech), as PMT has it."""
    hardware = machine(years=13, purchase=[{"what": "it", "price": 200000}])
    assert cents(cost(book(hardware, interest="0.07", payments=12), months=1).total) == Decimal("1956.15")


def test_a_facility_by_the_kilowatt() -> None:
    """200 M$ for 15 MW over 15 years, by the kW of the machines (the facility of J. Hamilton, "Annual Fully Burdened Cost of Power")."""
    costs = ({"kind": "space", "per": "kw", "once": Decimal(200_000_000) / 15000, "every": 15},)
    found = cost(book(machine(kw=3), costs=costs, interest=0))
    assert found.by_category()["space"] == pytest.approx(Decimal(200_000_000) / 15000 / 15 * 3)
    assert cost(book(machine(), costs=costs)).unpriced[0].unknown.startswith("machines.box.kw")


def test_power_of_one_server() -> None:
    """380 W at 10 cents: $333 a year (S. Barielle, "Calculating TCO for Energy", IBM Systems Magazine 2011)."""
    found = cost(book(machine(kw="0.38"), pue=1, electricity="0.10"))
    assert round(found.by_category()["power"]) == 333


# ---------------------------------------------------------------- machines for a workload


def test_nodes_share_machines_and_machines_are_whole() -> None:
    small = machine(gpus=0, gpu="", owned=0)  # 64 vCPU: eight nodes of 8 vCPU at once
    nine = {"compute": {"cpus": 8, "memory_gib": 32, "nodes": 9}, "hours": 1}
    eight = {"compute": {"cpus": 8, "memory_gib": 32, "nodes": 8}, "hours": 1}
    assert cost(book(small), training=[eight]).facts["machines"] == {"box": 1}
    assert cost(book(small), training=[nine]).facts["machines"] == {"box": 2}


def test_endpoints_hold_their_peak_and_work_comes_on_top() -> None:
    small = machine(gpus=0, gpu="", owned=0)
    compute = {"cpus": 32, "memory_gib": 32}
    rates = [1.0] * 23 + [20.0]  # 20 a second x 0.1 s / 0.5 busy = 4 replicas at peak, 2 machines
    endpoint = {"compute": compute, "requests_per_second": rates, "latency_ms": 100, "target_utilization": 0.5}
    assert cost(book(small), endpoints=[endpoint]).facts["machines"] == {"box": 2}
    busy = {"compute": compute, "hours": 600, "runs": 2}  # 1,200 h / 2 a machine / (730 h x 0.7) = 1.17 machines
    found = cost(book(small), endpoints=[endpoint], training=[busy])
    assert found.facts["machines"] == {"box": 4}
    assert found.facts["used_hours"] == 12 * (600 + (4 + 23) * Decimal(730) / 24 / 2)


def test_a_part_runs_on_the_machine_that_is_named_for_it() -> None:
    """Without a name, on the machine that costs least a year for each node."""
    cheap, dear = machine(name="cheap", owned=0), machine(name="dear", owned=0, purchase=[{"what": "it", "price": 5000}])
    asked = {"training": [{**TRAINING, "name": "big"}, {**TRAINING, "name": "small"}]}
    settings = {"hardware": book(cheap, dear), "machines": {"big": "dear"}}
    found = estimate(Workload.model_validate({**asked, "targets": {"local": settings}}), "local")
    assert found.facts["machines"] == {"dear": 1, "cheap": 1}
    with pytest.raises(SpecError, match="did you mean 'dear'"):
        estimate(Workload.model_validate({**asked, "targets": {"local": {**settings, "machines": {"*": "deer"}}}}), "local")


def test_the_share_used_costs_what_a_useful_hour_costs() -> None:
    server = machine(owned=0, kw=1, purchase=[{"what": "box", "price": 61320}])
    hardware = book(server, pue=1, electricity="0.1")
    whole, share = cost(hardware), cost(hardware, charge="share")
    hour = cost_per_useful_hour(whole.total, Decimal(1), Decimal("0.7"))
    assert cents(share.total) == cents(hour * 1200)
    assert any("idle hours are paid for" in words for words in whole.assumptions)
    assert any("share of machines" in words for words in share.assumptions)


def test_what_no_machine_can_do_is_refused() -> None:
    found = cost(book(), training=[{"compute": {"gpus": 8, "gpu": "A100"}, "hours": 1}])
    assert [refusal.part for refusal in found.refused] == ["training"]
    assert "no machine of the hardware book has" in found.refused[0].why
    assert not found.lines
    assert cost(book(), endpoints=[{"requests_per_second": 1, "serverless": True}]).refused


def test_what_the_book_does_not_say_is_a_gap_and_not_zero() -> None:
    silent = {**book(), "not_counted": {"downtime": "batch only"}}
    found = cost(silent, training=[TRAINING], storage=[{"gib": 10}], egress=[{"gib": 10}])
    assert found.at_least
    assert {line.category for line in found.unpriced} >= {"power", "space", "staff", "upkeep", "security", "storage", "egress"}
    assert not any("downtime" in line.what for line in found.unpriced)
    assert "downtime: batch only" in found.left_out
    free = cost({**book(), "prices": {"internet_gib": {"value": 0, "source": "flat rate"}}}, egress=[{"gib": 10}])
    assert [(line.cost, line.price.free, line.price.source) for line in free.lines if line.price] == [(0, True, "flat rate")]


def test_the_example_prices_everything_with_a_source_and_a_date() -> None:
    parts = {"endpoints": [{"requests_per_second": 5}], "storage": [{"gib": 5}], "egress": [{"gib": 5}], "logging": [{"gib": 5}]}
    found = cost(str(EXAMPLE), training=[TRAINING], monitoring=[{"gib": 1, "analysed_gib": 1}], **parts)
    assert found.complete
    assert found.total > 0
    assert all(line.price and line.price.source and line.price.as_of for line in found.lines)
    assert any(line.price and line.price.source.startswith("assumption: ") for line in found.lines)


def test_a_batch_that_never_ends_is_refused_before_it_is_priced() -> None:
    with pytest.raises(SpecError, match="rows_per_second must be more than 0"):
        cost(book(), batches=[{"rows": 10, "rows_per_second": 0}])
    with pytest.raises(SpecError, match="rows_per_second must be more than 0"):
        cost(book(), batches=[{"rows": 10, "rows_per_second": [0, 1, 2]}])


# ---------------------------------------------------------------- laws

PRICES = st.integers(1, 10**7)
RATES = st.decimals("0", "0.3", places=3)
LIVES = st.integers(1, 30)


def of(price: int, interest: Decimal, years: int, salvage: Decimal = Decimal(0)) -> tuple[Any, HardwareBook]:
    found = checked(book(machine(years=years, salvage=salvage, purchase=[{"what": "it", "price": price}]), interest=interest), "test")
    return found.machines[0], found


@LAWS
@given(PRICES, LIVES)
def test_without_interest_the_years_pay_the_price(price: int, years: int) -> None:
    assert capital(*of(price, Decimal(0), years)) * years == pytest.approx(price)
    assert capital(*of(price, Decimal(0), years + 1)) < capital(*of(price, Decimal(0), years))


@LAWS
@given(PRICES, RATES, RATES, LIVES)
def test_interest_and_less_salvage_cost_more(price: int, one: Decimal, other: Decimal, years: int) -> None:
    low, high = sorted((one, other))
    assert capital(*of(price, low, years)) <= capital(*of(price, high, years)) * (1 + Decimal("1e-6"))
    assert capital(*of(price, low, years, Decimal("0.2"))) < capital(*of(price, low, years))


@LAWS
@given(PRICES, st.decimals("0.001", "0.3", places=3), LIVES)
def test_the_payments_repay_the_price_with_interest(price: int, interest: Decimal, years: int) -> None:
    debt = Decimal(price)
    for _ in range(years):
        debt = debt * (1 + interest) - price * recovery_factor(EXACT, interest, Decimal(years))
    assert abs(debt) < Decimal("1e-6") * price


@settings(LAWS, max_examples=25)
@given(st.floats(0.1, 2000), st.floats(0.1, 2000))
def test_more_hours_never_cost_less(one: float, other: float) -> None:
    fewer, more = sorted((one, other))
    for charge in ("whole", "share"):
        totals = [cost(book(machine(owned=0)), charge=charge, training=[{**TRAINING, "hours": hours}]).total for hours in (fewer, more)]
        assert totals[0] <= totals[1] * (1 + Decimal("1e-12"))


@settings(LAWS, max_examples=25)
@given(st.lists(st.floats(1, 5000), min_size=2, max_size=8))
def test_samples_are_priced_as_single_estimates_are(hours: list[float]) -> None:
    server = machine(owned=0, kw=2, salvage="0.1")
    costs = (
        {"kind": "staff", "fte": 1, "salary": 100},
        {"kind": "space", "per_kw_month": 20},
        {"kind": "software", "per": "gpu", "per_year": 3},
    )
    hardware = book(server, costs=costs, pue="1.5", electricity="0.1", interest="0.08")
    asked = Workload.model_validate({"training": [{**TRAINING, "hours": [1, 2, 3]}], "targets": {"local": {"hardware": hardware}}})
    samples = {id(asked.training[0].hours): np.asarray(hours)}
    many = priced(asked, target(asked, "local"), default(), math=Sampled(), samples=samples)
    ones = [float(cost(hardware, months=1, training=[{**TRAINING, "hours": each}]).total) for each in hours]
    assert np.broadcast_to(many.total, len(hours)) == pytest.approx(ones, rel=1e-9)


# ---------------------------------------------------------------- bad books


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"interest": "8"}, "interest: must be from 0 to 1 (a share: 0.03 is 3 %)"),
        ({"pue": "0.9"}, "pue: must be from 1 to 10"),
        ({"electricty": 1}, "electricty: unknown field, did you mean 'electricity'?"),
        ({"utilization": None}, "utilization"),
        ({"machines": []}, "machines"),
        ({"machines": [machine(kw=-1)]}, "machines[0].kw: must be from 0 to 10000 kW"),
        ({"machines": [machine(gpu="")]}, "gpus and gpu go together"),
        ({"machines": [machine(), machine()]}, "two machines are called 'box'"),
        ({"machines": [machine(purchase=[{"what": "it", "price": "1,000"}])]}, "machines[0].purchase[0].price: must be a number"),
        ({"costs": [{"kind": "staff"}]}, "costs[0]: say how much in one way, of per_year, once,"),
        ({"costs": [{"kind": "staff", "fte": 1}]}, "costs[0]: fte and salary go together"),
        ({"costs": [{"kind": "stuff", "per_year": 1}]}, "costs[0].kind"),
        ({"costs": [{"kind": "staff", "per_year": 1}]}, "staff is both priced and in not_counted"),
        ({"currency": "dollars"}, "currency"),
        ({"as_of": "yesterday"}, "as_of"),
    ],
)
def test_a_bad_book_is_told_where_and_what_would_be_right(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        checked({**book(), **change}, "hardware.toml")
    assert str(caught.value).startswith("hardware.toml: ")
    assert said in str(caught.value)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="hardware is required"):
        estimate(Workload.model_validate({"training": [TRAINING]}), "local")
    with pytest.raises(SpecError, match="No such file"):
        cost(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = \n")
    with pytest.raises(SpecError, match=r"bad\.toml: .*line 1"):
        cost(str(tmp_path / "bad.toml"))
    with pytest.raises(SpecError, match="is not the site"):
        estimate(Workload.model_validate({"training": [TRAINING], "targets": {"local": {"hardware": book(), "region": "moon"}}}), "local")
