"""Published bills, calculators' answers and price examples, written as a user would write them, each to the cent."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aids.bills import SHIPPED, bill, of, total

from mlport.costs.estimate import estimate
from mlport.costs.records import cents
from mlport.costs.workload import Workload

D = Decimal
Item = dict[str, Any]
DAY = "2026-11-23"
EXAMPLES = Path(__file__).parents[3] / "examples" / "cost"
GOLDEN = "infracost, internal/providers/terraform"


def own(name: str, quantity: float, unit: str, price: str, **more: Any) -> Item:
    """A position of a bill at the price that the bill says."""
    return {"name": name, "quantity": quantity, "unit": unit, "price": price, "source": "the bill", "as_of": DAY, **more}


def listed(name: str, quantity: float, provider: str, service: str, sku: str, **more: Any) -> Item:
    """A position at the price of a list that goes with mlport."""
    return {"name": name, "quantity": quantity, "provider": provider, "service": service, "sku": sku, **more}


def positions(prefix: str, unit: str, rows: list[tuple[float, str]]) -> list[Item]:
    return [own(f"{prefix}_{number}", quantity, unit, price) for number, (quantity, price) in enumerate(rows)]


# ---------------------------------------------------------------- whole bills of several services

DIFFUSION = "https://github.com/awslabs/stable-diffusion-aws-extension docs/en/cost.md, December 2023"


def test_an_endpoint_and_six_services_on_one_bill() -> None:
    """SageMaker 276.00, Lambda 0.02, API Gateway 1.05, S3 27.70, DynamoDB 0.50, Step Functions 0.13, CloudWatch 5.05: 310.45."""
    workload = Workload.model_validate(tomllib.loads((EXAMPLES / "published_bill.toml").read_text(encoding="utf-8")))
    found = estimate(workload, "sagemaker", catalogue=SHIPPED)
    services = {
        "276.00": ("endpoint", "volume"),
        "0.02": ("functions",),
        "1.05": ("gateway",),
        "27.70": ("bucket", "bucket_select", "bucket_out"),
        "0.50": ("table",),
        "0.13": ("states",),
        "5.05": ("logs", "logs_kept"),
    }
    for answer, names in services.items():
        assert cents(sum((line.cost or D(0) for line in found.lines if line.part in names), start=D(0))) == D(answer), names
    assert found.complete
    assert sum(map(D, services)) == D("310.45"), DIFFUSION


def test_three_hundred_trainings_and_their_volume() -> None:
    """300 jobs of one hour on ml.g5.2xlarge with 512 GB-months of gp2: 526.18."""
    parts = {"training": [{"name": "train", "hours": 1, "runs": 300}], "storage": [{"gib": 512, "kind": "disk"}]}
    found = bill("sagemaker", parts, region="us-east-1", machines={"*": "ml.g5.2xlarge"}, volume_gib=0)
    assert total(found) == D("526.18"), DIFFUSION


SINGAPORE = "https://github.com/rahmat-ullah/DocParser backend/sample_full_document.md: an AWS bill of May 2025, Asia Pacific (Singapore)"
MAY: dict[str, tuple[str, list[Item]]] = {
    "EC2": (
        "401.72",
        [
            own("nat_data", 301.134, "gib", "0.059"),
            own("nat", 106, "hour", "0.059"),
            *positions("vm", "hour", [(964.093, "0.0264"), (1248.284, "0.0292"), (169.348, "0.0528"), (3648.872, "0.0584")]),
            *positions("large_vm", "hour", [(136.388, "0.1168"), (218.975, "0.196")]),
            listed("disks", 363.772, "aws", "storage", "ebs-gp3"),
        ],
    ),
    "VPC": ("78.88", [own("vpn", 105.733, "hour", "0.15"), own("addresses", 12604.376, "hour", "0.005")]),
    "Config": ("144.54", [own("rules", 3147, "evaluation", "0.001"), own("recorded", 47131, "item", "0.003")]),
    "Security Hub": (
        "103.03",
        [own("findings", 2_072_917, "event", "0") | {"tiers": [(0, "0"), (10_000, "0.00003")]}, own("checks", 41144, "check", "0.001")],
    ),
    "Inspector": (
        "75.70",
        [own("first_scans", 62, "scan", "0.09"), own("scans", 5901, "scan", "0.01"), own("instances", 6387.389, "hour", "0.00174")],
    ),
    "Load Balancing": ("21.12", [own("balancer", 1588, "hour", "0") | {"tiers": [(0, "0"), (750, "0.0252")]}]),
    "Registry": ("12.56", [own("images", 119.357, "gib_month", "0.10"), own("images_oregon", 6.185, "gib_month", "0.10")]),
    "WAF": ("7.97", [own("rules_v2", 2.988, "month", "1.00"), own("acl", 0.996, "month", "5.00")]),
    "CloudWatch": ("4.65", [own("metrics", 13.233, "metric", "0.30"), listed("logs", 5.975, "aws", "logging", "cloudwatch-logs-ingest")]),
    "RDS": (
        "256.20",
        [
            *positions("pg", "hour", [(1480, "0.056"), (277.626, "0.112")]),
            *positions("sql", "hour", [(367.057, "0.062"), (443.356, "0.104"), (8.739, "0.397")]),
            own("credits", 319.584, "vcpu_hour", "0.144"),
            *positions("gp3", "gib_month", [(119.382, "0.138"), (7.417, "0.138"), (31.043, "0.138"), (7.463, "0.276"), (0.431, "0.095")]),
        ],
    ),
}


@pytest.mark.parametrize("service", list(MAY))
def test_a_real_bill_of_a_month(service: str) -> None:
    """Fractional hours, free allowances and several units, each position rounded to the cent as the bill does."""
    answer, rows = MAY[service]
    items = [{key: value for key, value in row.items() if key != "price" or "tiers" not in row} for row in rows]
    found = bill("sagemaker", {"items": items, "hours_a_month": 744}, region="ap-southeast-1", free_tier=True)
    assert found.complete
    assert sum((cents(line.cost or D(0)) for line in found.lines), start=D(0)) == D(answer), SINGAPORE


# ---------------------------------------------------------------- resources by their parts

PARTS: list[tuple[str, str, str, str, list[Item]]] = [
    (
        f"{GOLDEN}/google/testdata/compute_instance_test: machine, disk and four K80, 100 h",
        "vertex",
        "us-central1",
        "202.40",
        [
            listed("machine", 1, "gcp", "compute", "n1-standard-16", hours=100),
            listed("disk", 10, "gcp", "storage", "pd-standard"),
            own("gpus", 4, "gpu_hour", "0.315", hours=100),
        ],
    ),
    (
        f"{GOLDEN}/google/testdata/compute_instance_test: G2 with its L4, a month",
        "vertex",
        "us-central1",
        "516.39",
        [
            listed("machine", 1, "gcp", "compute", "g2-standard-4", hours=730),
            listed("disk", 10, "gcp", "storage", "pd-standard"),
        ],
    ),
    (
        f"{GOLDEN}/google/testdata/compute_disk_test: provisioned size and IOPS of two disks, pd-ssd, pd-standard",
        "vertex",
        "us-central1",
        "1023.00",
        [
            *positions("extreme", "unit", [(40, "0.125"), (5000, "0.065")]),
            *positions("hyper", "unit", [(128, "0.125"), (20000, "0.032")]),
            listed("ssd", 100, "gcp", "storage", "pd-ssd"),
            listed("standard", 500, "gcp", "storage", "pd-standard"),
        ],
    ),
    (
        f"{GOLDEN}/aws/testdata/instance_test: m3.medium and six volumes",
        "sagemaker",
        "us-east-1",
        "123.96",
        [
            own("machine", 1, "hour", "0.067", hours=730),
            *positions("gp2", "gib_month", [(10, "0.10"), (10, "0.10")]),
            *positions("hdd", "gib_month", [(20, "0.05"), (30, "0.015")]),
            *positions("io1", "unit", [(40, "0.125"), (1000, "0.065")]),
            listed("gp3", 20, "aws", "storage", "ebs-gp3"),
        ],
    ),
    (
        f"{GOLDEN}/aws/testdata/ebs_volume_test: eight volumes",
        "sagemaker",
        "us-east-1",
        "60.50",
        [
            *positions("io", "unit", [(30, "0.125"), (300, "0.065"), (30, "0.125"), (300, "0.065")]),
            listed("gp3", 40, "aws", "storage", "ebs-gp3"),
            *positions("gp3_more", "unit", [(5, "0.04"), (1000, "0.005")]),
            *positions("others", "unit", [(40, "0.045"), (20, "0.05"), (1, "0.05"), (10, "0.10"), (20, "0.05"), (50, "0.015")]),
        ],
    ),
    (
        f"{GOLDEN}/aws/testdata/cloudwatch_log_group_test: four groups ingest, keep and query",
        "sagemaker",
        "us-east-1",
        "2065.00",
        [
            listed("ingested", 4000, "aws", "logging", "cloudwatch-logs-ingest"),
            listed("kept", 2000, "aws", "logging", "cloudwatch-logs-archive"),
            own("queried", 1000, "gib", "0.005"),
        ],
    ),
    (
        f"{GOLDEN}/azure/testdata/linux_virtual_machine_test: eight machines and their disks",
        "azureml",
        "eastus",
        "447.20",
        [
            *[own(f"vm_{at}", 1, "hour", price, hours=730) for at, price in enumerate(("0.079", "0.0104", "0.0104", "0.091", "0.091"))],
            *[own(f"f2_{at}", 1, "hour", "0.099", hours=730) for at in range(2)],
            own("part_time", 1, "hour", "0.0104", hours=100),
            *positions("disks", "month", [(4, "1.536"), (1, "2.40"), (1, "76.80"), (2, "5.28")]),
        ],
    ),
    (
        f"{GOLDEN}/azure/testdata/databricks_workspace_test: six kinds of DBU of two tiers",
        "databricks",
        "eastus2",
        "1995.00",
        [
            listed(f"{tier}_{kind}".lower(), quantity, "databricks", "dbu", f"{tier}_{kind}_COMPUTE")
            for tier, kind, quantity in (
                ("PREMIUM", "ALL_PURPOSE", 500),
                ("PREMIUM", "JOBS", 1000),
                ("PREMIUM", "JOBS_LIGHT", 2000),
                ("STANDARD", "ALL_PURPOSE", 1000),
                ("STANDARD", "JOBS", 2000),
                ("STANDARD", "JOBS_LIGHT", 4000),
            )
        ],
    ),
    (
        f"{GOLDEN}/aws/testdata/lambda_function_test: 30 billion GB-seconds in three tiers, 15 billion requests",
        "sagemaker",
        "us-east-1",
        "438001.20",
        [
            own("requests", 15000, "1m_requests", "0.20"),
            own("duration", 30e9, "gib_second", "0") | {"tiers": [(0, "0.0000166667"), (6e9, "0.000015"), (15e9, "0.0000133334")]},
        ],
    ),
    (
        f"{GOLDEN}/aws/testdata/s3_bucket_test: S3 Standard with requests and Select",
        "sagemaker",
        "us-east-1",
        "257.05",
        [
            listed("stored", 10_000, "aws", "storage", "s3-standard"),
            listed("written", 10, "aws", "storage", "s3-put-copy-post-list"),
            listed("read", 10, "aws", "storage", "s3-get"),
            *positions("select", "gib", [(10_000, "0.002"), (10_000, "0.0007")]),
        ],
    ),
    (
        "https://aws.amazon.com/s3/faqs/, S3 Express One Zone, example 1: storage, writes, reads, upload, retrieval",
        "sagemaker",
        "us-east-1",
        "2.58",
        [
            own("stored", 10, "gib_month", "0.11"),
            own("puts", 1000, "1k_requests", "0.00113"),
            own("gets", 9000, "1k_requests", "0.00003"),
            own("uploaded", 10 / 1_048_576 * 1_000_000, "gib", "0.0032"),
            own("retrieved", 10 / 1_048_576 * 9_000_000, "gib", "0.0006"),
        ],
    ),
]


@pytest.mark.parametrize(("source", "where", "region", "answer", "items"), PARTS)
def test_what_is_billed_by_its_parts(source: str, where: str, region: str, answer: str, items: list[Item]) -> None:
    rows = [{key: value for key, value in row.items() if key != "price" or "tiers" not in row} for row in items]
    assert total(bill(where, {"items": rows}, region=region)) == D(answer), source


CLOUDYPAD = "https://github.com/PierreBeucher/cloudypad docs/src/cost: a machine for some hours and its disk for the month"
PLAYED: list[tuple[str, str, str | Item, float, str | float, int, str]] = [
    ("sagemaker", "us-east-1", "g4dn.xlarge", 10, "ebs-gp3", 100, "13.26"),
    ("sagemaker", "us-east-1", "g4dn.2xlarge", 30, "ebs-gp3", 100, "30.56"),
    ("sagemaker", "us-east-1", "g5.2xlarge", 30, "ebs-gp3", 250, "56.36"),
    ("sagemaker", "us-east-1", "g6.2xlarge", 30, "ebs-gp3", 250, "49.33"),
    ("azureml", "eastus", "Standard_NC8as_T4_v3", 30, 0.081, 100, "30.66"),
    ("azureml", "eastus", "Standard_NC16as_T4_v3", 30, 0.081, 250, "56.37"),
]


@pytest.mark.parametrize(("where", "region", "machine", "hours", "disk", "gib", "answer"), PLAYED)
def test_machines_of_the_lists_for_some_hours(
    where: str, region: str, machine: str, hours: float, disk: str | float, gib: int, answer: str
) -> None:
    """The catalogue's prices of today; NC16as T4 v3 is 1.204 an hour, which the source has as 1.200."""
    prices = {"sagemaker": "aws", "azureml": "azure"}[where]
    kept = listed("disk", gib, prices, "storage", disk) if isinstance(disk, str) else own("disk", gib, "gib_month", str(disk))
    items = [listed("machine", 1, prices, "compute", machine, hours=hours), kept]
    assert total(bill(where, {"items": items}, region=region)) == D(answer), CLOUDYPAD


@pytest.mark.parametrize(
    ("machine", "gpu", "hours", "gib", "answer"),
    [
        ("0.035", "0.119", 10, 100, "11.54"),
        ("0.070", "0.240", 30, 250, "34.30"),
        ("0.220", "0.350", 10, 100, "15.70"),
        ("0.440", "0.350", 30, 250, "48.70"),
        ("0.440", "0.600", 30, 100, "41.20"),
    ],
)
def test_machine_gpu_and_disk_apart(machine: str, gpu: str, hours: float, gib: int, answer: str) -> None:
    """Google Cloud, September 2024; 9.30 and 25.00 are 34.30, where the source, from an unrounded 9.31, has 34.31."""
    items = [own("vm", 1, "hour", machine, hours=hours), own("gpu", 1, "hour", gpu, hours=hours), own("disk", gib, "gib_month", "0.10")]
    assert total(bill("vertex", {"items": items}, region="us-central1")) == D(answer), CLOUDYPAD


@pytest.mark.parametrize(
    ("gib", "answer"), [(67.5, "0.00"), (135, "3.15"), (270, "15.30"), (337.5, "21.38"), (405, "27.45"), (675, "51.75")]
)
def test_traffic_above_the_free_part_at_aws(gib: float, answer: str) -> None:
    assert total(bill("sagemaker", {"egress": [{"gib": gib}]}, region="us-east-1", free_tier=True)) == D(answer), CLOUDYPAD


@pytest.mark.parametrize(
    ("free", "price", "gib", "answer"),
    [
        (200, "0.085", 270, "5.95"),
        (200, "0.085", 540, "28.90"),
        (200, "0.085", 607.5, "34.64"),
        (200, "0.085", 675, "40.38"),
        (100, "0.08", 135, "2.80"),
        (100, "0.08", 405, "24.40"),
        (100, "0.08", 675, "46.00"),
    ],
)
def test_traffic_at_prices_of_one_s_own(free: float, price: str, gib: float, answer: str) -> None:
    """Google's standard network tier and Azure, as the price book says them in place of the lists' own."""
    tiers = [{"tier_from": 0, "price": "0"}, {"tier_from": free, "price": price}]
    row = {"provider": "gcp", "service": "egress", "sku": "internet", "unit": "gib", "source": CLOUDYPAD, "as_of": "2024-09-01"}
    found = bill("vertex", {"egress": [{"gib": gib}]}, region="us-central1", book={"prices": [{**row, **tier} for tier in tiers]})
    assert total(found) == D(answer)


# ---------------------------------------------------------------- hours and months


@pytest.mark.parametrize(
    ("machine", "price", "hours", "replicas", "answer", "source"),
    [
        ("ml.g5.xlarge", "1.41", 720, 1, "1015", "https://cloudmess.io/blog/real-cost-of-running-ai-in-production"),
        ("ml.g5.xlarge", "1.41", 720, 2, "2030", "https://cloudmess.io/blog/real-cost-of-running-ai-in-production"),
        ("ml.p4d.24xlarge", "32.77", 720, 1, "23594", "https://cloudmess.io/blog/real-cost-of-running-ai-in-production"),
        ("ml.t3.medium", "0.05", 730, 1, "37", "https://www.wring.co/blog/aws-sagemaker-inference-guide"),
        ("ml.g5.2xlarge", "1.52", 730, 1, "1110", "https://www.wring.co/blog/aws-sagemaker-inference-guide"),
        ("ml.inf2.xlarge", "0.76", 730, 1, "555", "https://www.wring.co/blog/aws-sagemaker-inference-guide"),
        ("ml.p4d.24xlarge", "37.69", 730, 1, "27514", "https://www.wring.co/blog/aws-sagemaker-inference-guide"),
    ],
)
def test_endpoints_of_machines_at_prices_of_one_s_own(
    machine: str, price: str, hours: int, replicas: int, answer: str, source: str
) -> None:
    """To the dollar, as the sources have them; half of these machines no list of ours knows."""
    book = {"prices": [{"provider": "sagemaker", "sku": machine, "price": price, "source": source, "as_of": DAY}]}
    endpoint = {"requests": 0, "min_replicas": replicas, "request_kb": 0, "response_kb": 0}
    found = bill("sagemaker", {"endpoints": [endpoint], "hours_a_month": hours}, region="us-east-1", machines={"*": machine}, book=book)
    assert total(found).quantize(D(1), "ROUND_HALF_UP") == D(answer)


def test_eight_a100_for_ten_hours() -> None:
    """https://cubeapm.com/blog/vertex-ai-cost-monitoring-training-job-endpoint-pricing-breakdown/: 35.26 an hour, 352.60."""
    book = {"prices": [{"provider": "vertex", "sku": "a2-highgpu-8g", "price": "35.26", "source": "cubeapm", "as_of": DAY}]}
    parts = {"training": [{"hours": 10}]}
    found = bill("vertex", parts, region="us-central1", machines={"*": "a2-highgpu-8g"}, boot_disk_gib=0, book=book)
    assert total(found) == D("352.60")


@pytest.mark.parametrize(
    ("sku", "price", "hours", "answer"),
    [
        ("STANDARD_ALL_PURPOSE_COMPUTE", "0.40", 8 * 22, "70.40"),
        ("STANDARD_JOBS_COMPUTE", "0.07", 8 * 22, "12.32"),
        ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55", 8 * 22, "96.80"),
        ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55", 24 * 30, "396.00"),
    ],
)
def test_a_cluster_of_one_dbu_an_hour(sku: str, price: str, hours: int, answer: str) -> None:
    """https://store-v2-khaki.vercel.app/databricks-dbu-cost-calculator.html: one DBU an hour, 22 working days or all month."""
    row = {"provider": "databricks", "service": "dbu", "sku": sku, "unit": "dbu", "price": price, "source": "the calculator", "as_of": DAY}
    items = [listed("cluster", 1, "databricks", "dbu", sku, hours=hours)]
    assert total(bill("databricks", {"items": items}, region="us-east-1", book={"prices": [row]})) == D(answer)


def test_a_machine_of_a_calculator() -> None:
    """AWS' calculator: "1 instances x 0.398 USD On Demand hourly cost x 730 hours in a month = 290.540000 USD"."""
    found = bill("sagemaker", {"items": [own("vm", 1, "hour", "0.398", hours=730)]}, region="us-east-1")
    assert found.total == D("290.540000")


def test_ten_million_serverless_requests() -> None:
    """Requests a month, not a rate: 10,000,000 x 0.1 s x 2 GB at 0.00002 are 40.00; with provisioned memory beside it as an item."""
    parts = {"endpoints": [{"serverless": True, "requests": 10_000_000, "latency_ms": 100, "compute": {"memory_gib": 2}}]}
    assert of(bill("sagemaker", parts, region="us-east-1"), "gib_second") == D("40.00")


# ---------------------------------------------------------------- committed spend

SAVINGS = "https://docs.aws.amazon.com/savingsplans/latest/userguide/sp-applying.html"
USED = {  # name: (units in an hour, on demand, with a Compute Savings Plan)
    "r5_4xlarge": (4, "1.00", "0.70"),
    "m5_24xlarge": (1, "10.00", "8.20"),
    "fargate_vcpu": (400, "0.04", "0.03"),
    "fargate_gib": (1600, "0.004", "0.003"),
    "lambda_seconds": (1_500_000, "0.000015", "0.00001275"),
    "lambda_requests": (1, "0.20", "0.20"),
}
EARLIER = {"c5_9xlarge": (1, "4.00", "2.00"), "c5_24xlarge": (1, "10.00", "8.00"), "vcpu": (10, "1.50", "1.00"), "gib": (5, "2.00", "1.00")}


def under(used: dict[str, tuple[int, str, str]], an_hour: str) -> Decimal:
    """What an hour of this use costs under a commitment of so much an hour."""
    spend = {"providers": ["workload"], "services": [], "an_hour": an_hour, "from": "2026-01-01", "source": SAVINGS}
    book = {"committed_spend": [{**spend, "rates": {name: rate for name, (_, _, rate) in used.items()}}]} if an_hour != "0" else {}
    items = [own(name, units, "unit", price) for name, (units, price, _) in used.items()]
    return total(bill("sagemaker", {"items": items, "hours_a_month": 1}, region="us-east-1", book=book))


@pytest.mark.parametrize(
    ("used", "an_hour", "answer"),
    [
        (USED, "0", "59.10"),
        (USED, "50", "50.00"),
        (USED, "47.125", "47.13"),
        (USED, "2", "58.24"),
        (EARLIER, "0", "39.00"),
        (EARLIER, "25", "25.00"),
        (EARLIER, "5", "34.00"),
    ],
)
def test_a_savings_plan_of_the_user_guide(used: dict[str, tuple[int, str, str]], an_hour: str, answer: str) -> None:
    """Scenario 1 (all is covered), the use at plan rates (47.13), scenario 2 (56.24 on demand beside 2.00); and the guide's earlier
    edition, where 5.00 an hour cover the five GB at 1.00 first, being as good a saving as c5.9xlarge and the lower rate."""
    assert under(used, an_hour) == D(answer)


def test_a_recommended_savings_plan() -> None:
    """https://repost.aws/questions/QUrIdHDv0dTEa6OsCwdAIJQA/: of 30 days' use, 1.39 an hour committed saves 0.43 an hour and leaves
    0.65 an hour on demand. AWS looks at each hour, and mlport at the month, so that a little less is left over."""
    hours, plan = 720, D("1.390")
    used = {
        "t2_micro": (720, "0.0116", "0.0078"),
        "t2_nano": (720, "0.0063", "0.0048"),
        "t2_micro_eu": (4272.83, "0.0126", "0.0095"),
        "t2_large": (720, "0.1008", "0.0761"),
        "c6a_large": (468.44, "0.08208", "0.05854"),
        "c4_4xlarge": (466, "0.905", "0.667"),
        "fargate_gib": (50615.81, "0.004445", "0.003467"),
        "fargate_vcpu": (22651.49, "0.04048", "0.0315744"),
        "lambda_seconds": (1_695_000.15, "0.0000166667", "0.0000138"),
    }
    spend = {"providers": ["workload"], "services": [], "an_hour": str(plan), "from": "2026-01-01", "source": SAVINGS}
    book = {"committed_spend": [{**spend, "rates": {name: rate for name, (_, _, rate) in used.items()}}]}
    items = [own(name, units, "unit", price) for name, (units, price, _) in used.items()]
    parts = {"items": items, "hours_a_month": hours}
    regular, saved = (bill("sagemaker", parts, region="us-east-1", book=each) for each in ({}, book))
    assert cents(regular.lines[5].cost or D(0)) == D("421.73")
    assert saved.total / hours - plan == pytest.approx(D("0.65"), abs=D("0.02"))
    assert (regular.total - saved.total) / hours == pytest.approx(D("0.43"), abs=D("0.01"))


@pytest.mark.parametrize(
    ("rate", "answer"), [("0.0261", "19.05"), ("0.0180", "13.14"), ("0.0300", "21.90"), ("0.0206", "15.04"), (None, "30.37")]
)
def test_reserved_machines_with_nothing_upfront(rate: str | None, answer: str) -> None:
    """infracost, aws/testdata/instance_test: a t3.medium for a month, standard and convertible, one and three years, on demand."""
    machine = {"provider": "aws", "sku": "t3.medium", "price": "0.0416", "source": GOLDEN, "as_of": "2024-07-01"}
    reserved = {"provider": "aws", "sku": "t3.medium", "hours": 730, "rate": rate, "from": "2024-01-01", "source": "reserved"}
    book = {"prices": [machine], "commitments": [reserved] if rate else []}
    items = [listed("vm", 1, "aws", "compute", "t3.medium", hours=730)]
    assert total(bill("sagemaker", {"items": items}, region="us-east-1", book=book)) == D(answer)
