"""Published worked examples and bills, each to the cent. The source stands with each."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aids.bills import SHIPPED, bill, hosted, of, prices, total

from mlport.costs.arithmetic import EXACT
from mlport.costs.formulas import committed, interruptions, spot_hours
from mlport.costs.records import cents

D = Decimal
IRELAND = "https://github.com/aws-samples/sagemaker-ssh-helper/blob/main/Sample_Costs.md"


# ---------------------------------------------------------------- formulas of the note


@pytest.mark.parametrize(
    ("rate", "every", "writing", "restart", "hours"),
    [(D(1) / 6, D(1), D("0.05"), D("0.25"), D("1.19529"))],
)
def test_hours_of_an_interruptible_machine(rate: Decimal, every: Decimal, writing: Decimal, restart: Decimal, hours: Decimal) -> None:
    """Daly (2006), eq. 13, by hand: 24 useful hours take 28.687."""
    found = spot_hours(EXACT, rate, every, writing, restart)
    assert round(found, 5) == hours
    assert round(found * 24, 3) == D("28.687")
    assert round((2 * writing / rate).sqrt(), 4) == D("0.7746")


def test_interruptions_of_a_month() -> None:
    """20 % of machines a month: -ln(0.8) / 730."""
    assert round(interruptions(EXACT, 0.20), 8) == D("0.00030568")


@pytest.mark.parametrize(("purchase", "share"), [("reserved_1y", D("0.6300")), ("reserved_3y", D("0.3500"))])
def test_a_commitment_pays_from_this_utilization(purchase: str, share: Decimal) -> None:
    """Compute Engine's a2-highgpu-1g in us-central1: what is committed costs 63 % and 35 % of on demand."""
    gcp = SHIPPED.list("gcp")
    rate, regular = (gcp.find("compute", "a2-highgpu-1g", "us-central1", how, "A100") for how in (purchase, "on_demand"))
    assert rate
    assert regular
    assert round(rate.price / regular.price, 4) == share
    hours = D(730)
    even = rate.price / regular.price * hours
    assert committed(EXACT, even, hours, rate.price, regular.price) == hours * rate.price == even * regular.price


# ---------------------------------------------------------------- Databricks


@pytest.mark.parametrize(
    ("region", "answer", "source"),
    [
        ("eastus2", "1698.00", "Microsoft FastTrack for Azure, Azure Databricks pricing example: 100 h of 10 DS13v2"),
        ("eastus", "1841.00", "Microsoft Learn module on Azure Databricks: the same with machines at 0.741"),
    ],
)
def test_azure_databricks_example(region: str, answer: str, source: str) -> None:
    parts = {"training": [{"hours": 100}]}
    for shape in ({"workers": 9}, {}):
        nodes = {} if shape else {"compute": {"nodes": 10}}
        found = bill(
            "databricks",
            {"training": [{**parts["training"][0], **nodes}]},
            region=region,
            compute="all_purpose",
            machines={"*": "Standard_DS13_v2"},
            **shape,
        )
        assert total(found) == D(answer), source
        assert of(found, "dbu") == D("1100.00")


@pytest.mark.parametrize(("compute", "hours", "answer"), [("all_purpose", 250, "275.00"), ("classic", 500, "300.00")])
def test_azure_databricks_golden(compute: str, hours: int, answer: str) -> None:
    """infracost databricks_workspace_test.golden, premium: 500 DBU of all-purpose, 1,000 of jobs compute. DS13v2 takes 2 an hour."""
    found = bill("databricks", {"training": [{"hours": hours}]}, region="eastus", compute=compute, machines={"*": "Standard_DS13_v2"})
    assert of(found, "dbu") == D(answer)


def test_a_driver_and_three_workers_for_two_hours() -> None:
    """ "4 nodes x 2 cluster runtime hours" (Modern Data Warehouses in Azure, on Azure Databricks' cost structure)."""
    found = bill("databricks", {"training": [{"hours": 2}]}, region="eastus", workers=3, machines={"*": "Standard_DS13_v2"})
    assert [(line.unit, line.quantity) for line in found.lines] == [("hour", 8), ("dbu", 16)]


def test_photon_multiplies_dbus_alone() -> None:
    """2.9 x on AWS' jobs compute: databrickslabs/lakemeter-oss. m5.xlarge: 0.69 DBU an hour at 0.15."""
    found = bill("databricks", {"training": [{"hours": 10}]}, region="us-east-1", photon=True, machines={"*": "m5.xlarge"})
    assert [cents(line.cost or D(0)) for line in found.lines] == [D("1.92"), cents(D("0.69") * D("2.9") * 10 * D("0.15"))]


# ---------------------------------------------------------------- Azure ML


@pytest.mark.parametrize(
    ("machine", "hourly", "nodes", "answer"),
    [
        ("Standard_NC6", "0.90", 1, "657.00"),
        ("Standard_E16s_v3", "1.008", 1, "735.84"),
        ("Standard_NV24", "4.56", 1, "3328.80"),
        ("Standard_F16s_v2", "0.677", 1, "494.21"),
        ("Standard_NV24", "5.46", 16, "63772.80"),
        ("Standard_E16s_v3", "1.28", 16, "14950.40"),
    ],
)
def test_azure_ml_bills_machine_hours(machine: str, hourly: str, nodes: int, answer: str) -> None:
    """infracost machine_learning_compute_{instance,cluster}_test.golden: 730 h a node, no surcharge."""
    there = prices("azure", "infracost golden", [("compute", machine, "example", "hour", hourly)])
    found = bill("azureml", {"training": [{"hours": 730, "compute": {"nodes": nodes}}]}, region="example", catalogue=there)
    assert total(found) == D(answer)


def test_azure_ml_cluster_of_today_s_prices() -> None:
    """The same cluster at the catalogue's own price of West Europe."""
    parts = {"training": [{"hours": 730, "compute": {"nodes": 16}}]}
    assert total(bill("azureml", parts, region="westeurope", machines={"*": "Standard_E16s_v3"})) == D("14950.40")


# ---------------------------------------------------------------- Vertex AI


@pytest.mark.parametrize("itemized", [False, True])
def test_vertex_n1_standard_4(itemized: bool) -> None:
    """https://cloud.google.com/vertex-ai/pricing (read 2026-09-08): 0.21849885 an hour, 4 cores and 15 GiB with 15 % on them."""
    found = bill("vertex", {"training": [{"hours": 1}]}, region="us-central1", machines={"*": "n1-standard-4"}, itemized=itemized)
    machine = [line for line in found.lines if line.unit != "gib_month"]
    assert sum(line.cost for line in machine if line.cost is not None) == D("0.21849885")
    assert [line.unit for line in machine] == (["core_hour", "gib_hour"] if itemized else ["hour"])


def test_vertex_h100_by_its_parts() -> None:
    """A bill of August 2025: GPU 11.2660332, core 0.0293227, memory 0.0025534 a GiB; pd-ssd 0.0002678 a GiB-hour."""
    parts = {"training": [{"hours": 10, "compute": {"disk_gib": 500}}]}
    found = bill("vertex", parts, region="us-central1", machines={"*": "a3-highgpu-8g"}, itemized=True)
    answers = {
        "core_hour": D(10) * 208 * D("0.0293227"),
        "gib_hour": D(10) * 1872 * D("0.0025534"),
        "gpu_hour": D(10) * 8 * D("11.2660332"),
        "gib_month": D(10) * 500 * D("0.0002678"),
    }
    assert {line.unit: cents(line.cost or D(0)) for line in found.lines} == {unit: cents(answer) for unit, answer in answers.items()}


def test_vertex_bills_half_minutes() -> None:
    """ "Usage is charged in 30 second increments", without a minimum: https://cloud.google.com/vertex-ai/pricing."""
    seconds = {1: 30, 30: 30, 31: 60, 3599: 3600}
    for asked, billed in seconds.items():
        found = bill("vertex", {"training": [{"hours": asked / 3600}]}, region="us-central1", machines={"*": "n1-standard-4"})
        assert round(found.lines[0].quantity * 3600, 6) == billed


def test_vertex_gpu_beside_its_host() -> None:
    """n1-standard-4 with one T4: 4 cores, 15 GiB and 0.35 x 1.15 for the GPU; 24 h."""
    found = bill(
        "vertex",
        {"batches": [{"rows": 86400, "rows_per_second": 1}]},
        region="us-central1",
        machines={"*": "n1-standard-4+1xT4"},
        itemized=True,
    )
    assert total(found) == cents(24 * (D("0.21849885") + D("0.4025")))
    assert len(found.lines) == 3


# ---------------------------------------------------------------- SageMaker


def test_an_endpoint_that_follows_the_day() -> None:
    """8 h at 4 instances and 16 h at 1, for 30 days: 1,440 h of ml.g5.xlarge at 1.4084 are 2,028.096."""
    day = [4.0] * 8 + [1.0] * 16
    endpoint = {"requests_per_second": day, "latency_ms": 1000, "target_utilization": 1.0, "request_kb": 0, "response_kb": 0}
    found = bill("sagemaker", {"endpoints": [endpoint]}, region="us-east-1", months=720 / 730, machines={"*": "ml.g5.xlarge"})
    assert round(found.total, 6) == D("2028.096")


INSTANCES = {
    "notebook ml.t3.medium": ("0.055", "744", "40.92"),
    "studio ml.t3.medium": ("0.055", "1116.74", "61.42"),
    "studio ml.m5.large": ("0.128", "1339.426", "171.45"),
    "batch ml.m5.xlarge": ("0.257", "2.126", "0.55"),
    "hosting ml.m5.xlarge": ("0.257", "8.208", "2.11"),
    "processing ml.m5.xlarge": ("0.257", "2.382", "0.61"),
    "training ml.m5.xlarge": ("0.257", "44.015", "11.31"),
    "warm pool ml.m5.xlarge": ("0.257", "167.301", "43.00"),
    "endpoint ml.g4dn.xlarge": ("0.821", "1.299", "1.07"),
    "studio ml.g4dn.xlarge": ("0.8218", "18.913", "15.54"),
    "training ml.g4dn.xlarge": ("0.822", "14.801", "12.17"),
    "warm pool ml.g4dn.xlarge": ("0.822", "33.597", "27.62"),
    "training ml.g5.xlarge": ("1.57", "2.887", "4.53"),
    "hosting ml.g4dn.4xlarge": ("1.678", "74.998", "125.85"),
    "training ml.p3.2xlarge": ("4.131", "4.139", "17.10"),
    "hosting ml.g4dn.12xlarge": ("5.453", "31.543", "172.00"),
    "hosting ml.g5.12xlarge": ("7.91", "22.409", "177.26"),
}
VOLUMES = {"processing": ("0.110", "0.096", "0.01"), "endpoint": ("0.154", "0.222", "0.03"), "notebook": ("0.154", "5", "0.77"),
           "training": ("0.154", "1.942", "0.30"), "warm pool": ("0.154", "6.746", "1.04")}  # fmt: skip


def test_a_month_s_bill_of_a_team() -> None:
    """SageMaker in Ireland, December 2023, 17 kinds of instance hours and five of volumes: 884.51 and 2.15, together 886.66."""
    rows = [("compute", name, "eu-west-1", "hour", price) for name, (price, _, _) in INSTANCES.items()]
    there = prices("sagemaker", IRELAND, rows)
    names = {f"line_{number}": name for number, name in enumerate(INSTANCES)}
    parts = {"training": [{"name": part, "hours": float(INSTANCES[name][1])} for part, name in names.items()]}
    found = bill("sagemaker", parts, region="eu-west-1", machines=names, catalogue=there)
    hours = [line for line in found.lines if line.unit == "hour"]
    assert [cents(line.cost or D(0)) for line in hours] == [D(answer) for _, _, answer in INSTANCES.values()]
    assert of(found, "hour") == D("884.51")
    volumes = D(0)
    for price, quantity, answer in VOLUMES.values():
        there = prices("sagemaker", IRELAND, [*rows, ("storage", "endpoint-ml-storage", "eu-west-1", "gib_month", price)])
        volume = total(bill("sagemaker", {"storage": [{"gib": float(quantity), "kind": "disk"}]}, region="eu-west-1", catalogue=there))
        assert volume == D(answer)
        volumes += volume
    assert volumes == D("2.15")
    assert volumes + of(found, "hour") == D("886.66")


@pytest.mark.parametrize("name", [name for name in INSTANCES if not name.startswith(("notebook", "studio", "endpoint"))])
def test_the_catalogue_has_that_bill_s_prices(name: str) -> None:
    _, hours, answer = INSTANCES[name]
    machine = name.rsplit(maxsplit=1)[-1]
    found = bill("sagemaker", {"training": [{"hours": float(hours)}]}, region="eu-west-1", machines={"*": machine})
    assert of(found, "hour") == D(answer)


@pytest.mark.parametrize(
    ("machine", "hours", "volume", "answer", "source"),
    [
        ("ml.g5.2xlarge", 160, 240, "276.00", "awslabs/stable-diffusion-aws-extension docs/en/cost.md: 8 h on 20 days, 240 GB"),
        ("ml.m5.xlarge", 176, 1, "40.62", "aws-solutions-library-samples, unified development experience, README: 8 h on 22 days"),
        ("ml.m5.12xlarge", 176, 1, "486.78", "the same, asynchronous inference: 8 h on 22 days, 1 GB"),
    ],
)
def test_endpoints_of_aws_sample_costs(machine: str, hours: int, volume: float, answer: str, source: str) -> None:
    disk = total(bill("sagemaker", {"storage": [{"gib": volume, "kind": "disk"}]}, region="us-east-1"))
    assert hosted("sagemaker", machine, hours, region="us-east-1") + disk == D(answer), source


def test_three_hundred_training_jobs() -> None:
    """awslabs/stable-diffusion-aws-extension, cost of June 2023: 300 jobs of an hour on ml.g4dn.2xlarge, $282."""
    parts = {"training": [{"hours": 1, "runs": 300}]}
    assert of(bill("sagemaker", parts, region="us-east-1", machines={"*": "ml.g4dn.2xlarge"}), "hour") == D("282.00")


def test_data_that_an_endpoint_takes_and_gives() -> None:
    """AWS guidance's sample costs: an endpoint with 10 GB in and 8 GB out is 0.29 dearer than as many hours of training."""
    gib, requests = 1024 * 1024, 730 * 3600
    endpoint = {"requests_per_second": 1, "request_kb": 10 * gib / requests, "response_kb": 8 * gib / requests}
    assert of(bill("sagemaker", {"endpoints": [endpoint]}, region="us-east-1"), "gib") == D("0.29")


@pytest.mark.parametrize(("seconds", "answer"), [(1, "0.06"), (10, "0.60")])
def test_a_thousand_serverless_calls(seconds: int, answer: str) -> None:
    """AWS Price List, USE1-ServerlessInf:Mem-3GB, 0.00006 a second: 1,000 calls of one second are 0.06, of ten 0.60."""
    calls = {"serverless": True, "compute": {"memory_gib": 3}, "latency_ms": seconds * 1000, "request_kb": 0, "response_kb": 0}
    found = bill("sagemaker", {"endpoints": [{**calls, "requests_per_second": 1}]}, months=1000 / (730 * 3600), region="us-east-1")
    assert of(found, "gib_second") == D(answer)


# ---------------------------------------------------------------- data and logs

DATA: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("vertex", "us-central1", {"egress": [{"gib": 12500}]}, "1317.44", "infracost storage_bucket_test.golden: 122.88 + 1,013.76 + 180.80"),
    ("vertex", "europe-west4", {"egress": [{"gib": 550, "to": "region"}]}, "11.00", "infracost storage_bucket_test.golden"),
    ("vertex", "us-central1", {"storage": [{"gib": 0, "writes": 40000}]}, "0.20", "infracost storage_bucket_test.golden: class A"),
    ("vertex", "us-central1", {"storage": [{"gib": 0, "reads": 20000}]}, "0.01", "infracost storage_bucket_test.golden: class B"),
    ("vertex", "us-central1", {"logging": [{"gib": 100}]}, "50.00", "infracost logging_project_sink_test.golden"),
    ("vertex", "us-central1", {"monitoring": [{"gib": 500000 / 1024}]}, "63700.00", "infracost monitoring_metric_descriptor_test.golden"),
    ("sagemaker", "us-east-1", {"egress": [{"gib": 61440}]}, "5120.00", "infracost data_transfer_test.golden: 921.60 + 3,481.60 + 716.80"),
    ("sagemaker", "us-east-1", {"egress": [{"gib": 102400}]}, "7987.20", "the 7,987.11 of a calculator that gives 1 GB free, and 0.09"),
    ("sagemaker", "ap-northeast-1", {"egress": [{"gib": 157000}]}, "13904.80", "infracost data_transfer_test.golden, four tiers"),
    ("sagemaker", "ap-northeast-1", {"egress": [{"gib": 750, "to": "region"}]}, "67.50", "infracost data_transfer_test.golden"),
    (
        "sagemaker",
        "us-east-1",
        {"storage": [{"gib": 10000, "writes": 10000, "reads": 10000}]},
        "230.05",
        "infracost s3_bucket_v3_test.golden",
    ),
    ("sagemaker", "us-east-1", {"logging": [{"gib": 1000}]}, "500.00", "infracost cloudwatch_log_group_test.golden"),
    (
        "sagemaker",
        "us-east-1",
        {"storage": [{"gib": 1000, "reads": 1000000}], "egress": [{"gib": 40}]},
        "27.00",
        "awslabs/stable-diffusion-aws-extension docs/en/cost.md: S3 27.70, less 0.70 for 1,000 GB of S3 Select",
    ),
    ("azureml", "eastus", {"storage": [{"gib": 51200}]}, "1064.96", "infracost storage_account_test.golden, StorageV2 Standard LRS Hot"),
    ("azureml", "eastus", {"logging": [{"gib": 1000}]}, "2300.00", "infracost application_insights_test.golden"),
    ("azureml", "westeurope", {"logging": [{"gib": 20}]}, "59.80", "infracost log_analytics_workspace_test.golden"),
    ("databricks", "us-east-1", {"egress": [{"gib": 61440}]}, "5120.00", "infracost data_transfer_test.golden, for Databricks on AWS"),
]


@pytest.mark.parametrize(("where", "region", "parts", "answer", "source"), DATA)
def test_data_at_rest_on_its_way_and_logged(where: str, region: str, parts: dict[str, Any], answer: str, source: str) -> None:
    assert total(bill(where, parts, region=region)) == D(answer), source
