"""The rules of each cloud: what is a line, what is refused, and what nobody knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aids.bills import SHIPPED, bill

from mlport.costs.arithmetic import Sampled
from mlport.costs.estimate import priced, target
from mlport.costs.pricing import load
from mlport.costs.records import cents
from mlport.costs.workload import Workload
from mlport.errors import SpecError

D = Decimal
CLOUDS = ("azureml", "databricks", "sagemaker", "vertex")
EVERYTHING: dict[str, Any] = {
    "training": [{"compute": {"cpus": 4, "memory_gib": 15, "nodes": 2}, "hours": [1, 2, 4], "runs": 8, "warm_up": 3}],
    "sweeps": [{"compute": {"cpus": 2, "memory_gib": 4}, "trials": 10, "hours": 0.5}],
    "endpoints": [{"compute": {"cpus": 2, "memory_gib": 4}, "requests_per_second": [1] * 8 + [30] * 16, "latency_ms": 80}],
    "batches": [{"rows": 1e6, "rows_per_second": 1000}],
    "storage": [{"gib": 100, "writes": 20000, "reads": 1e6}],
    "egress": [{"gib": 12500}],
    "logging": [{"gib": 3}],
    "monitoring": [{"gib": 1, "analysed_gib": 2}],
}


def regions(name: str) -> tuple[str, ...]:
    known = SHIPPED.list(name if name != "azureml" else "azure")
    return known.regions if name == "databricks" else known.machine_regions


PLACES = [(name, region) for name in CLOUDS for region in regions(name)]


@pytest.mark.parametrize(("name", "region"), PLACES)
def test_every_line_says_where_its_price_is_from(name: str, region: str) -> None:
    found = bill(name, EVERYTHING, region=region)
    assert found.lines
    for line in found.lines:
        if line.price is None:
            assert line.unknown
            assert line.cost is None
            continue
        assert line.price.source, line.what
        assert line.price.as_of is not None
        assert line.price.value > 0 or line.price.free
        assert line.formula
        assert line.cost is not None
        assert abs(line.quantity * line.price.value - line.cost) < D("1e-9")


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("region", [None, "mars-east-1"])
def test_a_region_must_be_one_with_prices(name: str, region: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        bill(name, {"training": [{"hours": 1}]}, **({"region": region} if region else {}))
    words = f"{caught.value} {caught.value.hint}"
    assert "region" in words
    assert all(known in words for known in regions(name))


@pytest.mark.parametrize("name", CLOUDS)
def test_a_machine_by_name(name: str) -> None:
    parts = {"training": [{"name": "one", "hours": 1}, {"name": "two", "hours": 1}]}
    region, machine, near = {
        "azureml": ("eastus", "Standard_DS13_v2", "Standard_DS13_v3"),
        "databricks": ("us-east-1", "m5.2xlarge", "m5.2xlage"),
        "sagemaker": ("us-east-1", "ml.m5.2xlarge", "ml.m5.2xlage"),
        "vertex": ("us-central1", "n1-standard-8", "n1-standard-7"),
    }[name]
    found = bill(name, parts, region=region, machines={"two": machine})
    hours = {line.part: line.what for line in found.lines if line.unit == "hour"}
    assert hours["two"].startswith(machine)
    assert not hours["one"].startswith(machine)
    with pytest.raises(SpecError, match=near) as caught:
        bill(name, parts, region=region, machines={"*": near})
    assert "did you mean" in (caught.value.hint or "")


@pytest.mark.parametrize("name", CLOUDS)
def test_what_no_machine_has_is_refused(name: str) -> None:
    found = bill(name, {"training": [{"hours": 1, "compute": {"gpus": 1, "gpu": "TPU"}}]}, region=regions(name)[0])
    assert not found.lines
    assert "TPU" in found.refused[0].why
    assert not found.complete


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("spot", [False, True])
def test_samples_agree_with_exact_numbers(name: str, spot: bool) -> None:
    """Both arithmetics, the same formulas: at the middle of what is uncertain the totals are equal."""
    parts = {
        kind: [{**part, "compute": {**part.get("compute", {}), "spot": spot}} for part in EVERYTHING[kind]]
        for kind in ("training", "sweeps", "batches")
    }
    workload = Workload.model_validate({**EVERYTHING, **parts, "targets": {name: {"region": regions(name)[0]}}})
    at = target(workload, name)
    exact, sampled = (priced(workload, at, SHIPPED, **({"math": math} if math else {})) for math in (None, Sampled()))
    assert float(exact.total) == pytest.approx(float(sampled.total), rel=1e-9)
    assert [line.what for line in exact.lines] == [line.what for line in sampled.lines]


# ---------------------------------------------------------------- Databricks


@pytest.mark.parametrize(
    ("region", "cloud"), [("us-east-1", "aws"), ("westeurope", "azure"), ("europe-west1", "gcp"), ("eastus2", "azure")]
)
def test_databricks_machines_are_of_the_region_s_cloud(region: str, cloud: str) -> None:
    found = bill("databricks", {"training": [{"hours": 1}]}, region=region)
    machine = found.lines[0].fact
    assert machine is not None
    assert machine.provider == cloud
    with pytest.raises(SpecError, match="is a region of"):
        bill("databricks", {"training": [{"hours": 1}]}, region=region, cloud="aws" if cloud != "aws" else "gcp")


def test_databricks_tier_that_is_not_sold_there() -> None:
    with pytest.raises(SpecError, match="tier") as caught:
        bill("databricks", {"training": [{"hours": 1}]}, region="westeurope", tier="enterprise")
    assert "premium" in (caught.value.hint or "")
    with pytest.raises(SpecError, match="premium"):
        bill("databricks", {"training": [{"hours": 1}]}, region="westeurope", tier="gold")


@pytest.mark.parametrize(("tier", "price"), [("premium", "0.15"), ("enterprise", "0.20")])
def test_databricks_tiers_have_their_own_price(tier: str, price: str) -> None:
    found = bill("databricks", {"training": [{"hours": 1}]}, region="us-east-1", tier=tier)
    assert [line.price.value for line in found.lines if line.unit == "dbu" and line.price] == [D(price)]


def test_databricks_chooses_by_machine_and_dbu_together() -> None:
    """Standard_D8as_v5 is the cheaper machine, Standard_D8s_v3 with its fewer DBUs the cheaper node: 0.384 + 1.5 x 0.30."""
    parts = {"training": [{"hours": 1, "compute": {"cpus": 8, "memory_gib": 32}}]}
    assert "Standard_D8as_v5" in bill("azureml", parts, region="eastus").lines[0].what
    found = bill("databricks", parts, region="eastus")
    assert "Standard_D8s_v3" in found.lines[0].what
    assert found.total == D("0.834")


@pytest.mark.parametrize(("region", "seconds"), [("us-east-1", 60), ("us-central1", 60), ("eastus", 5)])
def test_the_least_that_a_cloud_bills_of_a_machine(region: str, seconds: int) -> None:
    """A minute on AWS (https://aws.amazon.com/ec2/pricing/on-demand/) and Google Cloud (https://cloud.google.com/compute/vm-instance-pricing)."""
    found = bill("databricks", {"training": [{"hours": 4.2 / 3600}]}, region=region)
    assert round(found.lines[0].quantity * 3600, 6) == seconds


def test_a_machine_without_a_rating_is_refused() -> None:
    unrated = {fact.sku for fact in SHIPPED.list("aws").of("compute", "us-east-1")} - {
        fact.sku for fact in SHIPPED.list("databricks").facts
    }
    found = bill("databricks", {"training": [{"hours": 1}]}, region="us-east-1", machines={"*": min(unrated)})
    assert "no DBU rating" in found.refused[0].why


def test_databricks_spot_is_of_the_machine_alone() -> None:
    parts = {"training": [{"hours": 10, "compute": {"gpus": 1, "gpu": "A10G", "spot": True}}]}
    found = bill("databricks", parts, region="us-east-1", machines={"*": "g5.xlarge"})
    assert "spot" in found.lines[0].what
    assert found.lines[1].price
    assert found.lines[1].price.value == D("0.15")
    assert found.lines[0].quantity > 10


def test_databricks_serverless_has_no_published_rating() -> None:
    parts = {"training": [{"hours": 10}]}
    unknown = bill("databricks", parts, region="us-east-1", compute="serverless")
    assert unknown.at_least
    assert "serverless_dbu_per_hour" in unknown.unpriced[0].unknown
    known = bill("databricks", parts, region="us-east-1", compute="serverless", serverless_dbu_per_hour=2.5)
    assert known.total == 25 * D("0.35")
    assert bill("databricks", {"training": [{"hours": 1, "compute": {"gpus": 1}}]}, region="us-east-1", compute="serverless").refused


@pytest.mark.parametrize(
    ("region", "compute", "dbus", "size"),
    [
        ("us-east-1", {}, "4", "cpu"),
        ("us-east-1", {"gpus": 1, "gpu": "T4"}, "10.48", "gpu_small_t4"),
        ("us-west-2", {"gpus": 4, "gpu": "A10G"}, "112", "gpu_medium_a10g_4x"),
        ("westeurope", {"gpus": 1, "gpu": "A100-80GB"}, "78.6", "gpu_xlarge_a100_80gb_1x"),
    ],
)
def test_databricks_serves_by_size(region: str, compute: dict[str, Any], dbus: str, size: str) -> None:
    found = bill("databricks", {"endpoints": [{"requests_per_second": 0.1, "compute": compute}]}, region=region)
    assert found.lines[0].quantity == 730 * D(dbus)
    assert size in found.lines[0].what


def test_databricks_scales_to_zero_and_others_do_not() -> None:
    """Asked in 8 of 24 hours; the others keep one replica, and say so."""
    parts = {"endpoints": [{"requests_per_second": [1] * 8 + [0] * 16, "latency_ms": 100, "min_replicas": 0}]}
    found = bill("databricks", parts, region="us-east-1")
    assert cents_of(found.lines[0].quantity) == cents_of(D(730) / 3 * 4)
    for name in ("azureml", "sagemaker", "vertex"):
        there = bill(name, parts, region=regions(name)[0])
        assert there.lines[0].quantity == 730
        assert any("always runs" in words for words in there.assumptions)


def cents_of(value: Decimal) -> Decimal:
    return round(value, 2)


# ---------------------------------------------------------------- SageMaker


def test_managed_spot_has_no_price_list() -> None:
    parts = {"training": [{"hours": 10, "compute": {"gpus": 1, "spot": True}}]}
    unknown = bill("sagemaker", parts, region="us-east-1")
    assert unknown.at_least
    assert "spot_saving" in unknown.unpriced[0].unknown
    machine = {"*": "ml.g5.xlarge"}
    known = bill("sagemaker", parts, region="us-east-1", machines=machine, spot_saving=0.6)
    assert known.lines[0].cost == 4 * D("1.4084")
    assert any("spot_saving" in words for words in known.assumptions)


def test_a_warm_pool_waits_after_each_run() -> None:
    parts = {"training": [{"hours": 1, "runs": 6, "compute": {"nodes": 2}}]}
    found = bill("sagemaker", parts, region="us-east-1", keep_alive=30, machines={"*": "ml.m5.xlarge"})
    (pool,) = [line for line in found.lines if "warm pool" in line.what]
    assert pool.cost == 6 * 2 * D("0.5") * D("0.23")


@pytest.mark.parametrize("compute", [{"memory_gib": 7}, {"gpus": 1}])
def test_serverless_inference_is_small(compute: dict[str, Any]) -> None:
    parts = {"endpoints": [{"serverless": True, "requests_per_second": 1, "compute": compute}]}
    assert bill("sagemaker", parts, region="us-east-1").refused


@pytest.mark.parametrize("name", ["azureml", "vertex"])
def test_serverless_endpoints_are_not_everywhere(name: str) -> None:
    parts = {"endpoints": [{"serverless": True, "requests_per_second": 1}]}
    assert "paid by the request" in (why := bill(name, parts, region=regions(name)[0]).refused[0].why) or "serverless" in why


# ---------------------------------------------------------------- Azure ML, Vertex AI


def test_low_priority_is_azure_ml_s_spot_and_not_databricks() -> None:
    parts = {"training": [{"hours": 10, "compute": {"spot": True}}]}
    found = bill("azureml", parts, region="eastus", machines={"*": "Standard_D16s_v3"})
    assert "low priority" in found.lines[0].what
    assert found.lines[0].price
    assert found.lines[0].price.value == D("0.154")
    assert bill("databricks", parts, region="eastus", machines={"*": "Standard_D16s_v3"}).at_least


def test_vertex_spot_is_not_guessed() -> None:
    found = bill("vertex", {"training": [{"hours": 10, "compute": {"spot": True}}]}, region="us-central1")
    assert found.at_least
    assert "no spot price" in found.unpriced[0].unknown


@pytest.mark.parametrize("name", CLOUDS)
def test_a_pricing_says_what_it_leaves_out(name: str) -> None:
    pricing = load(name)
    assert pricing.name == name
    assert "tax" in pricing.left_out


# ---------------------------------------------------------------- disks that compute asks for


@pytest.mark.parametrize(
    ("where", "region", "said"),
    [
        ("databricks", "us-east-1", {"training": "50.00", "batch": "50.00"}),
        ("databricks", "us-central1", {"training": None, "batch": None}),
        ("databricks", "eastus", {}),
        ("azureml", "eastus", {}),
        ("sagemaker", "us-east-1", {"training": "70.00", "endpoint": "70.00"}),
        ("vertex", "us-central1", {"training": "97.75"}),
    ],
)
def test_a_disk_that_compute_asks_for_is_priced_or_said(where: str, region: str, said: dict[str, str | None]) -> None:
    """500 GiB for a month's hours: a line with a price, a line without, a refusal or an assumption; never nothing."""
    compute = {"disk_gib": 500}
    parts = {
        "training": [{"hours": 730, "compute": compute}],
        "endpoints": [{"requests": 0, "compute": compute}],
        "batches": [{"rows": 730 * 3600, "rows_per_second": 1, "compute": compute}],
    }
    found = bill(where, parts, region=region)
    disks = {line.part: line for line in found.lines if line.unit == "gib_month"}
    assert {part: str(cents(line.cost)) if line.cost is not None else None for part, line in disks.items()} == said
    told = {refusal.part for refusal in found.refused} | {words.partition(":")[0] for words in found.assumptions if "500 GiB" in words}
    assert {*disks, *told} == {"training", "endpoint", "batch"}
