"""Positions paid by the unit, prices that no list has, hours and requests of endpoints, and committed spend: rules and laws."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aids.bills import SHIPPED, bill, total
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs.arithmetic import EXACT, Sampled
from mlport.costs.book import checked
from mlport.costs.comparing.compare import compare
from mlport.costs.comparing.uncertainty import spreads
from mlport.costs.estimate import priced, target
from mlport.costs.formulas import billed
from mlport.costs.workload import Workload
from mlport.errors import SpecError

D = Decimal
OWN: dict[str, Any] = {"unit": "hour", "price": "2.00", "source": "a quote", "as_of": "2026-11-01"}
M5 = {"provider": "aws", "service": "compute", "sku": "m5.xlarge"}
ROW: dict[str, Any] = {"provider": "sagemaker", "sku": "ml.new.xlarge", "price": "2.00", "source": "a quote", "as_of": "2026-11-01"}


def items(*rows: dict[str, Any], where: str = "sagemaker", region: str = "us-east-1", **more: Any) -> Any:
    return bill(where, {"items": list(rows), **more}, region=region)


# ---------------------------------------------------------------- items


@given(tenths=st.integers(1, 100_000), runs=st.integers(1, 50))
def test_a_machine_of_ec2_is_billed_for_a_minute_at_least(tenths: int, runs: int) -> None:
    """https://aws.amazon.com/about-aws/whats-new/2017/10/announcing-amazon-ec2-per-second-billing/: by the second, 60 at least."""
    row = {**M5, "quantity": 1, "hours": tenths / 36000, "runs": runs, "step_seconds": 1, "least_seconds": 60}
    line = items(row).lines[0]
    assert line.quantity * 3600 == pytest.approx(max(60, -(-tenths // 10)) * runs)
    assert line.price.value == D("0.192")


@pytest.mark.parametrize("minutes", range(1, 61))
def test_hours_from_minutes_are_not_billed_a_second_more(minutes: int) -> None:
    """Nor are those that somebody rounded to six digits."""
    for hours in (minutes / 60, round(minutes / 60, 6)):
        for math in (EXACT, Sampled()):
            assert float(billed(math, math.number(hours)) * 3600) == pytest.approx(minutes * 60)


def test_what_is_paid_once_is_not_paid_each_month() -> None:
    found = items({**OWN, "name": "setup", "quantity": 3, "once": True}, {**OWN, "name": "support", "quantity": 3}, months=12)
    assert {line.part: line.cost for line in found.lines} == {"setup": D("6.00"), "support": D("72.00")}
    assert [line.category for line in found.lines] == ["platform", "platform"]


@given(gib=st.integers(0, 2_000_000), months=st.integers(1, 24))
def test_an_item_of_a_list_costs_what_the_part_of_its_kind_does(gib: int, months: int) -> None:
    """Tiers of S3 and of traffic, each month's on its own."""
    sku = {"provider": "aws", "quantity": gib}
    rows = [{**sku, "service": "storage", "sku": "s3-standard"}, {**sku, "service": "egress", "sku": "internet"}]
    parts = {"storage": [{"gib": gib}], "egress": [{"gib": gib}]}
    assert items(*rows, months=months).total == bill("sagemaker", parts, months=months, region="us-east-1").total


def test_another_cloud_s_list_and_region() -> None:
    row = {"quantity": 100, "provider": "gcp", "service": "storage", "sku": "pd-ssd", "region": "europe-west4"}
    assert total(items(row)) == D("18.70")
    nowhere = items({**row, "region": None})
    assert nowhere.at_least
    assert (nowhere.unpriced[0].unknown, nowhere.unpriced[0].unit) == ("no price of pd-ssd in us-east-1", "gib_month")


def test_an_item_of_one_target_alone() -> None:
    workload = Workload.model_validate(
        {
            "items": [{**OWN, "name": "gateway", "quantity": 1, "targets": ["azureml"]}, {**OWN, "name": "all", "quantity": 1}],
            "targets": {"sagemaker": {"region": "us-east-1"}, "azureml": {"region": "eastus"}},
        }
    )
    found = {each.target: each for each in compare(workload, ["sagemaker", "azureml"], catalogue=SHIPPED).estimates}
    assert [line.part for line in found["azureml"].lines] == ["gateway", "all"]
    assert [line.part for line in found["sagemaker"].lines] == ["all"]
    assert "gateway, which is paid at azureml only" in found["sagemaker"].left_out


def test_own_machines_have_items_too() -> None:
    book = {
        "name": "site", "source": "us", "as_of": "2026-11-01", "interest": 0, "utilization": 0.5,
        "machines": [{"name": "box", "vcpus": 4, "memory_gib": 8, "years": 5, "purchase": [{"what": "box", "price": 1}]}],
    }  # fmt: skip
    found = bill("local", {"items": [{**OWN, "quantity": 3}]}, hardware=book)
    assert [(line.part, line.cost) for line in found.lines] == [("item", D("6.00"))]


def test_an_uncertain_item_is_sampled() -> None:
    workload = Workload.model_validate(
        {"items": [{**OWN, "quantity": [1, 2, 6], "as_of": "2026-11-23"}], "targets": {"azureml": {"region": "eastus"}}}
    )
    spread = spreads(workload, [target(workload, "azureml")], SHIPPED)["azureml"]
    assert 2 < spread.p10 < spread.p50 < spread.p90 < 12


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "give either price, or tiers, or the provider whose price list has it"),
        ({**OWN, **M5}, "give either price, or tiers, or the provider whose price list has it"),
        ({"provider": "aws", "sku": "m5.xlarge"}, "needs its service and sku"),
        ({"unit": "hour", "price": 1}, "needs its unit, source and as_of"),
        ({**OWN, "price": -1}, "greater than or equal to 0"),
        ({**OWN, "quantity": -1}, "greater than or equal to 0"),
        ({**OWN, "least_seconds": 60}, "step_seconds and least_seconds are of hours, and there are none"),
        ({"unit": "gib", "source": "s", "as_of": "2026-11-01", "tiers": [(5, 1)]}, "tiers begin at 0 and rise"),
        ({**OWN, "quantitiy": 1}, "did you mean 'quantity'?"),
        ({**M5, "provider": "awz"}, "did you mean 'aws'?"),
        ({**M5, "service": "computee"}, "did you mean 'compute'?"),
        ({**M5, "sku": "m5.xlarg"}, "did you mean 'm5.xlarge'?"),
        ({**M5, "region": "us-east-11"}, "did you mean 'us-east-1'?"),
        ({**M5, "unit": "month"}, "unit is 'month', and aws has m5.xlarge by 'hour'"),
    ],
)
def test_a_wrong_item_is_told_what_would_be_right(row: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        items({"quantity": 1, **row})
    assert said in f"{caught.value} {caught.value.hint}"


# ---------------------------------------------------------------- endpoints


def test_hours_and_requests_of_an_endpoint() -> None:
    """160 h of two replicas; a million requests in them are 1.74 a second, for which one of 400 ms at 60 % does not do."""
    endpoint = {"hours": 160, "requests": 1_000_000, "latency_ms": 400, "request_kb": 0, "response_kb": 0}
    found = bill("sagemaker", {"endpoints": [endpoint]}, region="us-east-1", machines={"*": "ml.m5.xlarge"})
    assert found.lines[0].quantity == 320
    assert round(found.predictions) == 1_000_000


def test_an_endpoint_its_monitor_and_its_data_in_a_month_of_31_days() -> None:
    """By hand: 2 machines x 744 h x 0.204 = 303.552; a processing job of 5 minutes a day at 0.922 is 2.3818; 3,100 MiB in and 310 out
    at 0.016 a GiB are 0.0533."""
    row = {"provider": "sagemaker", "source": "a price page", "as_of": "2026-11-01"}
    machines = [{**row, "sku": "ml.c5.xlarge", "price": "0.204"}, {**row, "sku": "ml.m5.4xlarge", "price": "0.922"}]
    data = {"requests": 31, "request_kb": 100 * 1024, "response_kb": 10 * 1024}
    parts = {
        "hours_a_month": 744,
        "endpoints": [{"name": "online", "min_replicas": 2, **data}],
        "training": [{"name": "monitor", "hours": 5 / 60, "runs": 31}],
    }
    named = {"online": "ml.c5.xlarge", "monitor": "ml.m5.4xlarge"}
    found = bill("sagemaker", parts, region="us-east-1", machines=named, volume_gib=0, book={"prices": machines})
    assert [round(line.cost, 4) for line in found.lines] == [D("2.3818"), D("303.5520"), D("0.0484"), D("0.0048")]
    assert total(found) == D("305.99")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ({}, "give either requests_per_second or requests"),
        ({"requests": 1, "requests_per_second": 1}, "give either requests_per_second or requests"),
        ({"requests": 1, "hours": 731}, "endpoint: hours are more than a month has (730, hours_a_month)"),
        ({"requests": 1, "hours": [1, 2, 740]}, "hours are more than a month has"),
        ({"requests_per_second": [1.0] * 24, "hours": 8}, "contradict each other"),
    ],
)
def test_contradictory_endpoints_are_refused(endpoint: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        bill("sagemaker", {"endpoints": [endpoint]}, region="us-east-1")
    assert said in str(caught.value)


@given(hours=st.sampled_from([672, 696, 720, 730, 744]), replicas=st.integers(1, 5))
def test_a_month_has_the_hours_that_it_is_said_to_have(hours: int, replicas: int) -> None:
    """Endpoints run all of them; a disk that is there all month is a GiB-month, however long the month."""
    endpoint = {"requests": 0, "min_replicas": replicas, "compute": {"disk_gib": 10}, "request_kb": 0, "response_kb": 0}
    parts = {"endpoints": [endpoint], "hours_a_month": hours}
    found = bill("sagemaker", parts, region="us-east-1", machines={"*": "ml.m5.xlarge"})
    assert [line.quantity for line in found.lines[:2]] == [hours * replicas, 10 * replicas]


# ---------------------------------------------------------------- prices of one's own


def with_prices(*rows: dict[str, Any], **settings: Any) -> Any:
    parts = {"training": [{"name": "train", "hours": 10, "compute": settings.pop("compute", {})}]}
    return bill("sagemaker", parts, region=settings.pop("region", "us-east-1"), volume_gib=0, book={"prices": list(rows)}, **settings)


def test_a_machine_that_no_list_has() -> None:
    found = with_prices(ROW, machines={"train": "ml.new.xlarge"})
    line = found.lines[0]
    assert (line.cost, line.what, line.price.source) == (D("20.00"), "ml.new.xlarge, on demand", "a quote")
    assert with_prices(ROW).lines[0].what != line.what  # of a machine without CPUs nothing is known that a Compute could ask for


def test_a_machine_that_no_list_has_is_chosen_by_what_it_has() -> None:
    described = {**ROW, "price": "0.01", "vcpus": 8, "memory_gib": 32}
    assert with_prices(described).lines[0].what == "ml.new.xlarge (8 vCPU, 32 GiB), on demand"
    assert "ml.new.xlarge" not in with_prices(described, compute={"cpus": 16}).lines[0].what


def test_a_price_of_one_s_own_in_a_new_region_and_in_place_of_the_list_s() -> None:
    row = {**ROW, "sku": "ml.m5.xlarge"}
    assert total(with_prices({**row, "region": "us-west-2"}, region="us-west-2")) == D("20.00")
    assert total(with_prices(row, machines={"*": "ml.m5.xlarge"})) == D("20.00")
    elsewhere = with_prices({**row, "region": "eu-west-1"}, machines={"*": "ml.m5.xlarge"})
    assert total(elsewhere) == D("2.30")  # the list's


def test_a_reserved_price_of_one_s_own() -> None:
    row = {**ROW, "sku": "ml.m5.xlarge", "purchase": "reserved_1y", "price": "0.15"}
    endpoint = {"requests": 0, "purchase": "reserved_1y", "request_kb": 0, "response_kb": 0}
    found = bill("sagemaker", {"endpoints": [endpoint]}, region="us-east-1", machines={"*": "ml.m5.xlarge"}, book={"prices": [row]})
    assert total(found) == D("109.50")
    workload = Workload.model_validate(
        {"endpoints": [{**endpoint, "purchase": "on_demand"}], "targets": {"sagemaker": {"region": "us-east-1"}}}
    )
    at = target(workload, "sagemaker")
    ways = compare(workload, [at], catalogue=SHIPPED, discount=checked({"prices": [{**row, "sku": "ml.t3.medium"}, row]}, "book")).purchases
    assert ways[0].options


def test_a_node_and_its_dbu_rating_that_no_list_has() -> None:
    """Ten hours of a machine at 0.50 that takes 2 DBU at 0.30."""
    node = {**ROW, "provider": "azure", "sku": "Standard_NEW", "price": "0.50"}
    rating = {**node, "provider": "databricks", "service": "rating", "region": "*azure", "unit": "dbu/hour", "price": "2"}
    parts = {"training": [{"hours": 10}]}
    found = bill("databricks", parts, region="eastus", machines={"*": "Standard_NEW"}, book={"prices": [node, rating]})
    assert [line.cost for line in found.lines] == [D("5.00"), D("6.00")]


def test_a_machine_by_parts_whose_prices_no_list_has() -> None:
    """Vertex AI's a2-highgpu-1g: 12 cores, 85 GiB and one A100, each at a price of one's own."""
    row = {**ROW, "provider": "vertex", "service": "component", "region": "us-central1"}
    parts = [
        {**row, "sku": "a2-highgpu-core", "unit": "core_hour", "price": "0.04"},
        {**row, "sku": "a2-highgpu-memory", "unit": "gib_hour", "price": "0.005"},
        {**row, "sku": "a2-highgpu-gpu", "unit": "gpu_hour", "price": "3.00", "gpu": "A100", "gpus": 1},
    ]
    work = {"training": [{"hours": 10}]}
    settings = {"region": "us-central1", "machines": {"*": "a2-highgpu-1g"}, "itemized": True, "boot_disk_gib": 0}
    found = bill("vertex", work, book={"prices": parts}, **settings)
    assert [line.cost for line in found.lines] == [D("4.80"), D("4.25"), D("30.00")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**ROW, "unit": "month"}], "a machine is paid by the hour"),
        ([{**ROW, "gpus": 1}], "gpu and gpus go together"),
        ([ROW, ROW], "two prices of ml.new.xlarge in *: keep one"),
        ([{**ROW, "service": "storage", "sku": "endpoint-ml-storage"}], "unit is 'hour', and sagemaker has it by 'gib_month'"),
    ],
)
def test_a_wrong_price_is_told_what_would_be_right(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_prices(*rows, machines={"*": "ml.new.xlarge"})
    assert said in f"{caught.value}"


# ---------------------------------------------------------------- committed spend

PRICES = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 400), st.integers(0, 90)), min_size=1, max_size=5)


@given(used=PRICES, an_hour=st.integers(0, 2000))
def test_laws_of_committed_spend(used: list[tuple[int, int, int]], an_hour: int) -> None:
    """Never less than the commitment nor than all at committed rates; with nothing committed all is on demand; each dollar more
    committed costs a dollar at most."""
    rows = [{**OWN, "name": f"i{at}", "quantity": many, "price": str(D(cents) / 100)} for at, (many, cents, _) in enumerate(used)]
    rates = {f"i{at}": str(D(cents) / 100 * (100 - off) / 100) for at, (_, cents, off) in enumerate(used)}
    spend = {"providers": ["workload"], "services": [], "rates": rates, "from": "2026-01-01", "source": "a plan"}
    workload = Workload.model_validate({"items": rows, "hours_a_month": 1, "targets": {"azureml": {"region": "eastus"}}})

    def cost(amount: int) -> Decimal:
        book = checked({"committed_spend": [{**spend, "an_hour": amount}]}, "book")
        found = priced(workload, target(workload, "azureml"), SHIPPED, discount=book).total
        sampled = priced(workload, target(workload, "azureml"), SHIPPED, math=Sampled(), discount=book).total
        assert float(found) == pytest.approx(float(sampled))
        return D(found)

    regular = sum((D(many) * cents / 100 for many, cents, _ in used), start=D(0))
    lowest = sum((D(many) * cents / 100 * (100 - off) / 100 for many, cents, off in used), start=D(0))
    assert cost(0) == regular
    slack = D("1e-20")
    assert cost(an_hour) >= max(D(an_hour), lowest) - slack
    assert cost(an_hour) <= max(D(an_hour), regular) + slack
    assert cost(an_hour + 1) <= cost(an_hour) + 1 + slack


def test_commitments_one_after_the_other() -> None:
    """1,000 h at 1.00: 400 are reserved at 0.50; plans of 70 and 140 in 700 hours cover 140 and 280 more, at half price."""
    row = {**ROW, "provider": "aws", "price": "1.00"}
    reserved = {"provider": "aws", "sku": row["sku"], "hours": 400, "rate": "0.50", "from": "2026-01-01", "source": "reserved"}
    plan = {"providers": ["aws"], "percent": 50, "from": "2026-01-01", "source": "a plan"}
    book = {"prices": [row], "commitments": [reserved], "committed_spend": [{**plan, "an_hour": "0.1"}, {**plan, "an_hour": "0.2"}]}
    used = {"provider": "aws", "service": "compute", "sku": row["sku"], "quantity": 1000}
    found = bill("sagemaker", {"items": [used], "hours_a_month": 700}, region="us-east-1", book=book)
    assert [round(line.cost, 9) for line in found.lines] == [D(180), D(200), D(70), D(140)]
    assert found.lines[0].cost == D(1000) - 400 - 2 * 70 - 2 * 140


def test_committed_spend_that_covers_nothing_is_said_and_not_counted() -> None:
    spend = {"providers": ["vertex"], "an_hour": 5, "percent": 20, "from": "2026-01-01", "source": "a plan"}
    found = bill("azureml", {"training": [{"hours": 1}]}, region="eastus", book={"committed_spend": [spend]})
    assert "committed spend (a plan) covers nothing here, and is not counted" in found.warnings[-1]
    assert all(line.part != "commitments" for line in found.lines)


# ---------------------------------------------------------------- the command line


def test_a_workload_and_a_book_as_files(tmp_path: Path, command: Callable[..., tuple[int, str, str]]) -> None:
    """A plan, a new machine and an item, all from TOML; the JSON says each price's source and day."""
    (tmp_path / "mlport.toml").write_text('[prices]\nbook = "book.toml"\n', encoding="utf-8")
    (tmp_path / "book.toml").write_text(
        """
        [[prices]]
        provider = "sagemaker"
        sku = "ml.new.xlarge"
        price = 1.50
        source = "a quote"
        as_of = 2026-11-01
        [[committed_spend]]
        providers = ["sagemaker"]
        an_hour = 0.01
        percent = 25
        from = 2026-01-01
        source = "a plan"
        """,
        encoding="utf-8",
    )
    (tmp_path / "workload.toml").write_text(
        """
        hours_a_month = 744
        [[training]]
        name = "nightly"
        hours = 0.166667       # ten minutes
        runs = 31
        [[items]]
        name = "gateway"
        quantity = 300
        unit = "1k_requests"
        price = 0.0035
        source = "the gateway's price page"
        as_of = 2026-11-02
        [targets.sagemaker]
        region = "us-east-1"
        machines = { nightly = "ml.new.xlarge" }
        volume_gib = 0
        """,
        encoding="utf-8",
    )
    status, out, err = command(
        "estimate", str(tmp_path / "workload.toml"), "--target", "sagemaker", "--json", "--config", str(tmp_path / "mlport.toml")
    )
    assert status == 0, err
    document = json.loads(out)
    lines = {line["part"]: line for line in document["lines"]}
    assert lines["nightly"]["quantity"] == pytest.approx(31 / 6)
    assert lines["commitments"]["amount"] == 7.44  # all of it is used: the rest of 7.75 at 75 % is below it
    assert lines["nightly"]["amount"] == 0
    assert (lines["gateway"]["amount"], lines["gateway"]["source"], lines["gateway"]["as_of"]) == (
        1.05,
        "the gateway's price page",
        "2026-11-02",
    )
    assert document["total"] == pytest.approx(8.49)
