"""Everything that a workload, a price book, a hardware book or a bill may get wrong: one clear message that names it, and exit status 2."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlport.costs import Workload
from mlport.costs.bills.reading import read
from mlport.errors import SpecError
from mlport.tables import LARGEST, line_of

EXAMPLES = Path(__file__).parents[3] / "examples" / "cost"
FILES = {name: (EXAMPLES / f"{name}.toml").read_text() for name in ("workload", "hardware", "book")}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cost(command: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`mlport cost ...` in a folder with the example's files; output is not wanted where input is bad."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(f"{name}.toml").write_text(text)
    return command


def refused(told: tuple[int, str, str], *words: str) -> None:
    status, out, err = told
    assert (status, out) == (2, "")
    assert "defect of mlport" not in err
    assert err.startswith("error: ")
    for text in words:
        assert text in err


def edited(name: str, old: str, new: str) -> None:
    assert old in FILES[name]
    Path(f"{name}.toml").write_text(FILES[name].replace(old, new, 1))


# ---------------------------------------------------------------- workloads

HOURS, REGION = "hours = [0.5, 0.8, 1.5]", 'region = "us-central1"'
PLAIN = "must be a plain number, without quotes or a unit"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("months = 12", "months = -12", "line 5: months: must be greater than 0 (got -12)"),
        ("months = 12", 'months = "a year"', f"line 5: months: {PLAIN} (got 'a year')"),
        ("months = 12", "month = 12", "line 5: month: unknown field, did you mean 'months'?"),
        ("months = 12", "months = 1e9", "months: must be less than or equal to 1200"),
        (HOURS, "hours = -1", "workload.toml: line 10: training[0].hours: must be greater than or equal to 0 (got -1)"),
        (HOURS, 'hours = "2 h"', f"training[0].hours: {PLAIN} (got '2 h')"),
        (HOURS, "hours = true", f"training[0].hours: {PLAIN} (got True)"),
        (HOURS, "hours = [1.5, 0.8, 0.5]", "training[0].hours: low, mid and high must not fall (got 1.5, 0.8, 0.5)"),
        (HOURS, "hours = [0.5, true, 1.5]", f"training[0].hours: {PLAIN}"),
        (HOURS, "hours = nan", "training[0].hours: must be"),
        (HOURS, "hours = inf", "training[0].hours: must be"),
        (HOURS, "hours = 1e12", "training[0].hours: must be at most 876,000 hours"),
        (HOURS, "hours = { low = 1, high = 2 }", "training[0].hours.mid: is required"),
        (HOURS, "hours = [1, 2]", "training[0].hours: must be a number, or [low, mid, high]"),
        (HOURS, "", "line 7: training[0].hours: is required"),
        ("retries = 0.05", "retries = 5", "line 12: training[0].retries: must be at most 1 (it is a share: 5 % is 0.05) (got 5)"),
        ("memory_gib = 16", 'memory_gib = "16 GB"', f"line 9: training[0].compute.memory_gib: {PLAIN} (got '16 GB')"),
        ("memory_gib = 16", "memory_gb = 16", "training[0].compute.memory_gb: unknown field, did you mean 'memory_gib'?"),
        ("cpus = 4", "cpus = true", f"training[0].compute.cpus: {PLAIN}"),
        ("cpus = 4", "cpus = nan", "training[0].compute.cpus: must be"),
        ("cpus = 4", "cpus = 4, disk_gib = inf", "training[0].compute.disk_gib: must be"),
        ("cpus = 4", 'cpus = 4, gpu = "A100"', "training[0].compute: gpu is 'A100' and gpus 0: say how many"),
        ("warm_up = 4 ", 'warm_up = "4 min" ', f"training[0].warm_up: {PLAIN}"),
        ("warm_up = 4 ", 'checkpoint_every = "5 parsecs"\nwarm_up = 4 ', "training[0].checkpoint_every: must be seconds, or text such as"),
        ("warm_up = 4 ", "interrupted = 20\nwarm_up = 4 ", "training[0].interrupted: must be at most 1 (it is a share"),
        ("latency_ms = [25, 40, 80]", "latency_ms = -5", "line 29: endpoints[0].latency_ms"),
        ("concurrency = 2", "concurrency = 1.5", "endpoints[0].concurrency: must be a whole number (got 1.5)"),
        ("max_replicas = 10", "min_replicas = 11\nmax_replicas = 10", "endpoints[0]: min_replicas is 11, more than max_replicas 10"),
        ("max_replicas = 10", "target_utilization = 60", "endpoints[0].target_utilization: must be at most 1 (it is a share"),
        ("max_replicas = 10", 'purchase = "spott"', "endpoints[0].purchase: must be 'on_demand', 'spot'"),
        ("10, 6, 4]", "10, 6]", "endpoints[0].requests_per_second: must be one rate, [low, mid, high], 24 rates"),
        ("10, 6, 4]", "10, 6, -4]", "endpoints[0].requests_per_second[23]: must be greater than or equal to 0"),
        ("rows_per_second = [3000, 5000, 8000]", "rows_per_second = 0", "batches[0]: rows_per_second must be more than 0"),
        ("gib = 500", 'gib = "500 GB"', f"storage[0].gib: {PLAIN}"),
        ("gib = 500", "gib = 1e14", "storage[0].gib: must be at most"),
        ("gib = 500", 'gib = 500\nkind = "objekt"', "line 46: storage[0].kind: must be 'object' or 'disk', did you mean 'object'?"),
        ('name = "logs"', 'name = "data"', "two parts are called 'data'"),
        ("spot = 0.25", "spot = 25", "uncertainty.spot: must be at most 1"),
        ("control = 6", "controll = 6", "weights.controll: must be 'control'"),
        ("[weights]", "[weigths]", "line 59: weigths: unknown field, did you mean 'weights'?"),
        ("[weights]", "[scores.vertx]\ncontrol = 3\n[weights]", "scores.vertx: there is no target 'vertx'"),
        ("[[training]]", "[training]", "line 7: training: must be a list of tables: write [[training]]"),
        ("[[training]]", "[[trainings]]", "line 7: trainings: unknown field, did you mean 'training'?"),
        (REGION, 'region = "us-centrl1"', "did you mean 'us-central1'?"),
        (REGION, 'regoin = "us-central1"', "targets.vertex.regoin: unknown field, did you mean 'region'?"),
        (REGION, "", "vertex: region is required"),
        (REGION, f"{REGION}\nspeed = nan", "targets.vertex.speed: must be"),
        (REGION, f'{REGION}\nmachines = {{ nightly = "n1-standard-44" }}', "did you mean 'n1-standard-4'?"),
        (REGION, f'{REGION}\nmachines = {{ nigthly = "n1-standard-4" }}', "did you mean 'nightly'?"),
        (REGION, f'provider = "vertx"\n{REGION}', "did you mean 'vertex'?"),
        ('[targets.vertex]\nregion = "us-central1"', "[targets]\nvertex = 5", "targets.vertex: must be a table of fields (got 5)"),
        ('name = "flight-delays"', '[workload]\nname = "x"', "stands beside [workload], and would not be counted"),
    ],
)
def test_a_wrong_field_of_a_workload(cost: Call, old: str, new: str, words: str) -> None:
    edited("workload", old, new)
    refused(cost("compare", "workload.toml", "--targets", "vertex"), words)


@pytest.mark.parametrize(
    ("target", "old", "new", "words"),
    [
        ("databricks", 'tier = "premium"', 'tier = "premum"', "targets.databricks.tier: must be 'standard', 'premium'"),
        ("databricks", 'tier = "premium"', 'tier = "premium"\ncloud = "awz"', "did you mean 'aws'?"),
        ("azureml", 'region = "eastus"', 'region = "estus"', "did you mean 'eastus'?"),
        ("local", 'hardware = "hardware.toml"', 'hardware = "hard.toml"', "hard.toml: No such file"),
        ("local", 'hardware = "hardware.toml"', "hardware = 5", "targets.local.hardware: must be a table of fields"),
        ("local", 'hardware = "hardware.toml"', 'hardware = "."', "Is a directory"),
        ("local", 'hardware = "hardware.toml"', "", "local: hardware is required"),
    ],
)
def test_a_wrong_target(cost: Call, target: str, old: str, new: str, words: str) -> None:
    edited("workload", old, new)
    refused(cost("estimate", "workload.toml", "--target", target), words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.toml", b"", "nothing to price"),
        ("w.toml", b"\x00" * 100, "line 1, column 1"),
        ("w.toml", "# caf\xe9\n".encode("latin-1"), "line 1, byte 6: 0xe9 is not UTF-8"),
        ("w.toml", FILES["workload"].encode() + b'\n[uncertainty]\nname = "again"\n', "Cannot declare"),
        ("w.toml", b"a = " + b"[" * 100_000, "w.toml: "),
        ("w.toml", b"storage = [{gib = 1" + b"0" * 5000 + b"}]", "w.toml: "),
        ("w.toml", b"\xff" * (LARGEST + 1), "is larger than 16 MiB"),
        ("w.json", b'{"storage": [{"gib": 1, "gib": 2}]}', "'gib' is there twice"),
        ("w.json", b'{"storage": [{"gib": NaN}]}', "NaN is no number of JSON"),
        ("w.json", b"[1]", "holds a list"),
        ("w.json", b'{"a":' * 100_000, "deeper than can be read"),
    ],
)
def test_a_file_that_is_no_workload(cost: Call, name: str, content: bytes, words: str) -> None:
    Path(name).write_bytes(content)
    refused(cost("estimate", name, "--target", "vertex"), words)


def test_what_is_no_file(cost: Call) -> None:
    refused(cost("estimate", ".", "--target", "vertex"), "Is a directory")
    refused(cost("estimate", "/dev/zero", "--target", "vertex"), "is larger than 16 MiB")
    refused(cost("bill", "."), "Is a directory")
    refused(cost("bill", "/dev/zero"), "a line of more than")


@pytest.mark.parametrize("form", ["plain", "a byte order mark", "CRLF"])
def test_files_of_other_systems_are_read(cost: Call, form: str) -> None:
    for name, text in FILES.items():
        content = text.replace("\n", "\r\n") if form == "CRLF" else text
        Path(f"{name}.toml").write_bytes((b"\xef\xbb\xbf" if form != "plain" else b"") + content.encode())
    Path("mlport.toml").write_text('[prices]\nbook = "book.toml"\n')
    status, out, _ = cost("compare", "workload.toml", "--targets", "local,vertex", "--json")
    assert status == 0
    assert all(each["total"] > 0 for each in json.loads(out)["targets"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--set", "months=-1"), "--set months: must be greater than 0"),
        (("--set", "trainng.hours=1"), "--set trainng: unknown field, did you mean 'training'?"),
        (("--set", "storage.gib=3"), "storage is not a table of fields"),
        (("--out", "costs.pdf"), "no format ends in .pdf"),
        (("--format", "pdf"), "'pdf' is not one of"),
        (("--targets", "vertx"), "did you mean 'vertex'?"),
        (("--targets", ","), "no targets"),
    ],
)
def test_a_wrong_argument(cost: Call, args: tuple[str, ...], words: str) -> None:
    refused(cost("compare", "workload.toml", "--targets", "vertex", *args), words)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--gpu", "A1000"), "did you mean 'A100'?"),
        (("--sku", "n1-standard-44"), "did you mean 'n1-standard-4'?"),
        (("--purchase", "spott"), "--purchase spott: no price has that"),
        (("--cpus", "nan"), "cpus: must be"),
    ],
)
def test_prices_of_nothing(cost: Call, args: tuple[str, ...], words: str) -> None:
    refused(cost("prices", "vertex", *args), words)


@pytest.mark.parametrize("content", ["", "[]", '{"version": "9999-01-01"}', '{"a":' * 50_000])
def test_a_price_list_that_is_damaged(cost: Call, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    Path("lists").mkdir()
    Path("lists/vertex.json").write_text(content)
    monkeypatch.setenv("MLPORT_PRICES", str(Path("lists").absolute()))
    refused(cost("estimate", "workload.toml", "--target", "vertex"), "vertex.json: is no price list", "mlport cost refresh")


ITEM = '\n[[items]]\nname = "fee"\nquantity = 1\nprice = 1\nunit = "x"\nsource = "it"\nas_of = 2026-01-01\n'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("price = 1", "price = -1", "line 85: items[0].price: must be greater than or equal to 0"),
        ("price = 1", 'price = "1 USD"', "items[0].price: must be a number"),
        ("price = 1", 'price = 1\ncurrency = "EUX"', "items[0].currency: must be a currency of ISO 4217, did you mean"),
        ("price = 1", 'price = 1\ntargets = ["vertx"]', "items.fee.targets: there is no target 'vertx'"),
        ("price = 1", 'provider = "vertx"\nservice = "compute"\nsku = "x"', "did you mean 'vertex'?"),
        ("price = 1", "tiers = [[0, 1], [10, 2], [5, 1]]", "items[0]: tiers begin at 0 and rise"),
    ],
)
def test_a_wrong_item(cost: Call, old: str, new: str, words: str) -> None:
    Path("workload.toml").write_text(FILES["workload"] + ITEM.replace(old, new))
    refused(cost("compare", "workload.toml", "--targets", "vertex"), words)


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json", "html"])
@pytest.mark.parametrize("size", ["largest", "nothing"])
def test_the_largest_and_the_least_that_is_allowed_have_a_price(cost: Call, form: str, size: str) -> None:
    """Amounts of 40 digits, and nothing at all: sums, cents, charts and percentiles hold."""
    large = size == "largest"
    changes = {
        "months = 12": "months = 1200" if large else "months = 1e-9",
        HOURS: "hours = 876000" if large else "hours = 0",
        "hours = [0.3, 0.5, 0.9]": "hours = 876000" if large else "hours = 0",
        "runs = 30": "runs = 1e9" if large else "runs = 0",
        "trials = 40": "trials = 1e9" if large else "trials = 0",
        "runs = 4": "runs = 1e9" if large else "runs = 0",
        "rows = 20_000_000": "rows = 1e15" if large else "rows = 0",
        "gib = 500": "gib = 1e12\nwrites = 1e15\nreads = 1e15" if large else "gib = 0",
        "latency_ms = [25, 40, 80]": "latency_ms = 86400000" if large else "latency_ms = 0",
    }
    text = FILES["workload"] + ITEM.replace("quantity = 1", "quantity = 1e15\nhours = 876000\nruns = 1e9" if large else "quantity = 0")
    for old, new in changes.items():
        text = text.replace(old, new)
    Path("workload.toml").write_text(text)
    status, out, err = cost("compare", "workload.toml", "--targets", "local,vertex,azureml,databricks,sagemaker", "--format", form)
    assert (status, err) == (0, "")
    assert "nan" not in out.lower().replace("finance", "").replace("maintenance", "")


# ---------------------------------------------------------------- books


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('currency = "USD"', 'currency = "EUX"', "line 5: currency: must be a currency of ISO 4217, did you mean"),
        ('currency = "USD"', 'currency = "CHF"', "no rate from USD to CHF"),
        ('from = "EUR"', 'from = "EURO"', "line 8: rates[0].from: must be a currency of ISO 4217, did you mean EUR"),
        ("rate = 1.08", "rate = nan", "line 9: rates[0].rate: must be a finite number"),
        ("rate = 1.08", 'rate = "1,08"', "rates[0].rate: must be a number (got '1,08')"),
        ("rate = 1.08", "rate = true", "rates[0].rate: must be a number"),
        ("as_of = 2026-11-20", 'as_of = "yesterday"', "rates[0].as_of: must be a day such as"),
        ("percent = 5", "percent = 500", "line 15: discounts[0].percent: must be less than or equal to 100"),
        ("percent = 5", 'percent = "5 %"', "discounts[0].percent: must be a number (got '5 %')"),
        ("percent = 5", "percnt = 5", "line 15: discounts[0].percnt: unknown field, did you mean 'percent'?"),
        ('provider = "vertex"', 'provider = "vertx"', "line 14: discounts[0].provider: no prices of 'vertx' are known"),
        ('service = "compute"', 'service = "computer"', "discounts[1].service: 'computer' is not in the price list"),
        ("percent = 12", 'percent = 12\npurchase = "spott"', "discounts[1].purchase: 'spott' is not in the price list"),
        ('unit = "dbu"', 'unit = "dbus"', "discounts[2].unit: the list has PREMIUM_JOBS_COMPUTE by dbu, not by 'dbus'"),
        ("hours = 200", "hours = -200", "commitments[0].hours: must be greater than or equal to 0"),
        ('sku = "n1-standard-4"', 'sku = "n1-standard-44"', "did you mean n1-standard-4"),
        ('source = "example of committed use"', "", "line 35: commitments[0].source: is required"),
        ("percent = 0\n", 'percent = 0\nproviders = ["vertx"]\n', "taxes[0].providers: no prices of 'vertx'"),
        ('what = "sales tax"', 'what = ""', "taxes[0].what: must have at least 1 character"),
        ("[[taxes]]", "[taxes]", "taxes: must be a list of tables: write [[taxes]]"),
        ("[[discounts]]", "[[discounts]", "line 13, column 12"),
    ],
)
def test_a_wrong_price_book(cost: Call, old: str, new: str, words: str) -> None:
    Path("mlport.toml").write_text('[prices]\nbook = "book.toml"\n')
    edited("book", old, new)
    refused(cost("estimate", "workload.toml", "--target", "vertex"), words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('currency = "USD"', 'currency = "USB"', "line 5: currency: must be a currency of ISO 4217"),
        ("value = 0.08", "value = 8", "line 9: interest: must be from 0 to 1 (a share: 0.03 is 3 %)"),
        ("value = 0.08", "value = nan", "interest.value: must be a finite number"),
        ("value = 0.08", 'value = "8 %"', "interest.value: must be a number (got '8 %')"),
        ("value = 0.7", "value = 70", "utilization: must be from 0.001 to 1 (a share: 0.7 is 70 %)"),
        ("interest =", "intrest =", "line 9: intrest: unknown field, did you mean 'interest'?"),
        ("vcpus = 64", "vcpus = true", f"line 17: machines[0].vcpus: {PLAIN}"),
        ("memory_gib = 256", 'memory_gib = "256 GB"', f"machines[0].memory_gib: {PLAIN}"),
        ("value = 15000", "value = -15000", "machines[0].purchase[0].price: must be from 0"),
        ('kind = "maintenance"', 'kind = "maintenence"', "costs[0].kind: must be 'power'"),
        ('upgrades = "none', 'upgrade = "none', "did you mean 'upgrades'?"),
        ("object_gib_month", "object_gb_month", "prices.object_gb_month: unknown field, did you mean 'object_gib_month'?"),
        ('name = "sr675v3-8xh100"', 'name = "cpu-server"', "two machines are called 'cpu-server'"),
        ("[[machines]]", "[machines]", "line 26, column 11"),
    ],
)
def test_a_wrong_hardware_book(cost: Call, old: str, new: str, words: str) -> None:
    edited("hardware", old, new)
    refused(cost("estimate", "workload.toml", "--target", "local"), "hardware.toml: ", words)


# ---------------------------------------------------------------- bills

ROW = {
    "BilledCost": "1.5",
    "EffectiveCost": "1.5",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "BillingPeriodStart": "2026-10-01T00:00:00Z",
    "ChargePeriodStart": "2026-10-01T00:00:00Z",
    "ChargePeriodEnd": "2026-10-02T00:00:00Z",
    "ProviderName": "a cloud",
    "ServiceName": "machines",
    "PricingQuantity": "3",
    "Tags": "{}",
}


def bill(*rows: dict[str, str], ends: str = "\n") -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(ROW), lineterminator=ends)
    writer.writeheader()
    writer.writerows(rows or [ROW])
    return stream.getvalue().encode()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("BilledCost", "1,5", "is not a number such as -100.2"),
        ("BilledCost", "$1.5", "is not a number such as -100.2"),
        ("BilledCost", "nan", "is not a number"),
        ("BilledCost", "1e99", "is not a number of at most"),
        ("BilledCost", "", "is null"),
        ("PricingQuantity", "\uff11\uff12", "is not a number"),
        ("BillingCurrency", "EUX", "is not a currency of ISO 4217, did you mean"),
        ("BillingCurrency", "usd", "did you mean USD"),
        ("ChargeCategory", "Usgae", "did you mean Usage?"),
        ("ChargePeriodStart", "01/10/2026", "is not a time such as"),
        ("ChargePeriodStart", "0001-01-01T00:00:00+14:00", "is not a time such as"),
        ("ChargePeriodEnd", "2026-09-01T00:00:00Z", "is before ChargePeriodStart"),
        ("Tags", "{team: x}", "is not a JSON object"),
        ("Tags", "[" * 5000, "is not a JSON object"),
        ("Tags", '{"a": 1, "a": 2}', "is not 'a' once"),
    ],
)
def test_a_wrong_row_of_a_bill(cost: Call, column: str, value: str, words: str) -> None:
    Path("bill.csv").write_bytes(bill(ROW, {**ROW, column: value}))
    refused(cost("bill", "bill.csv"), f"bill.csv: line 3: {column}: ", words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("b.csv", b"", "line 1: no column BilledCost"),
        ("b.csv", bill().replace(b"BilledCost", b"BiledCost"), "BilledCost (there is 'BiledCost')"),
        ("b.csv", bill().replace(b",", b";"), "in CSV commas between them"),
        ("b.csv", bill().decode().encode("utf-16"), "line 1, byte 1: 0xff is not UTF-8"),
        ("b.csv", bill().replace(b"machines", b"caf\xe9"), "line 2, byte "),
        ("b.csv", bill() + b"1,2,3\n", "line 3: 3 values, and the first line names 11 columns"),
        ("b.csv", bill() + b'"never closed', "line 3: "),
        ("b.csv", b"x" * 20_000_000, "a line of more than"),
        ("b.csv.gz", b"no gzip", "b.csv.gz: "),
        ("b.csv.gz", gzip.compress(bill(*[ROW] * 500))[:-9], "ended before"),
        ("b.parquet", b"", "b.parquet: "),
        ("b.parquet", b"PAR1" + b"x" * 100 + b"PAR1", "b.parquet: "),
    ],
)
def test_a_file_that_is_no_bill(cost: Call, name: str, content: bytes, words: str) -> None:
    Path(name).write_bytes(content)
    refused(cost("bill", name), words)


TYPED: dict[str, Any] = {**ROW, "BilledCost": 1.5, "EffectiveCost": Decimal("1.5"), "ChargePeriodStart": datetime(2026, 10, 1)}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("BilledCost", float("nan")),
        ("BilledCost", True),
        ("BilledCost", [1]),
        ("BilledCost", None),
        ("Tags", 5),
        ("Tags", [5]),
        ("Tags", [{"k": 1}]),
        ("BillingCurrency", 5),
        ("ChargePeriodStart", 5),
    ],
)
def test_a_wrong_value_in_parquet(cost: Call, column: str, value: object) -> None:
    pq.write_table(pa.Table.from_pylist([{**TYPED, column: value}]), "bill.parquet")
    refused(cost("bill", "bill.parquet"), f"bill.parquet: row 1: {column}: ")


def test_a_parquet_bill_that_was_cut_off_or_damaged(cost: Call) -> None:
    pq.write_table(pa.Table.from_pylist([TYPED] * 2000), "bill.parquet")
    whole = Path("bill.parquet").read_bytes()
    assert cost("bill", "bill.parquet")[0] == 0
    Path("bill.parquet").write_bytes(whole[: len(whole) // 2])
    refused(cost("bill", "bill.parquet"), "bill.parquet: ")
    Path("bill.parquet").write_bytes(bytes(byte ^ 0x55 if 100 < at < len(whole) - 3000 else byte for at, byte in enumerate(whole)))
    refused(cost("bill", "bill.parquet"), "bill.parquet: ")


@pytest.mark.parametrize("months", ["nan", "inf", "1e30", "-1"])
def test_a_bill_is_not_of_that_many_months(cost: Call, months: str) -> None:
    Path("bill.csv").write_bytes(bill())
    refused(cost("reconcile", "bill.csv", "--workload", "workload.toml", "--target", "vertex", "--months", months), "--months")


def test_rules_that_match_nothing(cost: Call) -> None:
    Path("bill.csv").write_bytes(bill(ends="\r\n"))
    call = ("reconcile", "bill.csv", "--workload", "workload.toml", "--target", "vertex", "--matches", "rules.toml")
    for text, words in (("[[match]]", "line 1: match[0]: name at least one of"), ('[[match]]\nprt = "x"', "line 2: match[0].prt: unknown")):
        Path("rules.toml").write_text(text)
        refused(cost(*call), "rules.toml: ", words)


# ---------------------------------------------------------------- laws

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8
)
PLACES = st.sampled_from([name for name in Workload.model_fields if name != "targets"])


@given(st.dictionaries(PLACES, ANYTHING, max_size=3), st.lists(st.dictionaries(st.sampled_from(["hours", "compute", "runs"]), ANYTHING)))
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_no_workload_is_refused_as_one(table: dict[str, Any], training: list[dict[str, Any]]) -> None:
    def checked() -> str:
        try:
            return f"Workload of {next(Workload.model_validate({'training': training, **table}).parts()).name}"
        except SpecError as error:
            return error.message

    assert checked().startswith("Workload")


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_no_bill_is_refused_as_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bill.csv"
    path.write_bytes(bill() + content)

    def checked() -> str:
        try:
            return next(charge.where for charge in list(read(path)) if charge.billed.is_finite())
        except SpecError as error:
            return error.message

    assert checked().startswith(str(path))


def test_lines_are_those_of_the_fields() -> None:
    text = 'a = 1\n[[t]]\nx = """\n[[t]]\n"""\ny = [\n  [1],\n]\n[t.in]\nz = 1\n[[t]]\n"x" = {p = 1}\n[[t.u]]\nq.r = 2\n'
    expected = {
        ("a",): 1,
        ("t",): 2,
        ("t", 0): 2,
        ("t", 0, "x"): 3,
        ("t", 0, "y", 0, 0): 6,
        ("t", 0, "in", "z"): 10,
        ("t", 1, "x", "p"): 12,
        ("t", 1, "u", 0, "q", "r"): 14,
        ("t", 1, "missing"): 11,
        ("none",): None,
    }
    assert {place: line_of(text, place) for place in expected} == expected
