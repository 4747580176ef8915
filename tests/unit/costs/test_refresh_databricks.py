"""Databricks' `system.billing.list_prices`: the documented table, held and asked in the emulator's SQL.

Columns: https://docs.databricks.com/aws/en/admin/system-tables/pricing. Names of SKUs: those of users' bills.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import parse_qsl, urlsplit

import pytest
from aids.databricks.place import PLAIN_TOKEN, call, emulator, run, set_faults
from aids.databricks.serving import WAREHOUSE, rows

from mlport.costs import catalogue
from mlport.costs.refreshing.refresh import refresh
from mlport.costs.refreshing.sources import Access, Request
from mlport.costs.refreshing.web import Web
from mlport.emulation import with_query
from mlport.errors import ConfigError, NotFoundError, PermissionDeniedError, ProviderError, ThrottledError, UnavailableError
from mlport_databricks.price_source import PLACES, TABLE, VARIABLES, ListPrices, cloud_of

__all__ = ["emulator"]
SOURCE = ListPrices(sleep=lambda seconds: None)
STRUCT = "STRUCT<`default`: DECIMAL(38,18)>"
COLUMNS = (
    "price_start_time TIMESTAMP, price_end_time TIMESTAMP, account_id STRING, sku_name STRING, cloud STRING, currency_code STRING, "
    f"usage_unit STRING, pricing STRUCT<`default`: DECIMAL(38,18), promotional: {STRUCT}, effective_list: {STRUCT}>"
)
TODAY = [  # what the list in force says of us-east-1, and what must not be taken
    ("PREMIUM_JOBS_COMPUTE", "0.15"),
    ("PREMIUM_JOBS_COMPUTE_(PHOTON)", "0.15"),
    ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55"),
    ("PREMIUM_JOBS_SERVERLESS_COMPUTE_US_EAST_N_VIRGINIA", "0.35"),
    ("PREMIUM_JOBS_SERVERLESS_COMPUTE_EUROPE_IRELAND", "0.39"),
    ("PREMIUM_JOBS_SERVERLESS_COMPUTE", "9"),
    ("PREMIUM_SERVERLESS_REAL_TIME_INFERENCE_US_EAST_N_VIRGINIA", "0.07"),
    ("PREMIUM_SERVERLESS_REAL_TIME_INFERENCE_LAUNCH_US_EAST_N_VIRGINIA", "9"),
    ("PREMIUM_DATABRICKS_STORAGE_US_EAST_N_VIRGINIA", "0.023", {"unit": "DSU"}),
    ("PREMIUM_JOBS_COMPUTE", "9", {"until": "TIMESTAMP'2024-01-01 00:00:00'"}),
    ("PREMIUM_JOBS_COMPUTE", "9", {"since": "TIMESTAMP'2999-01-01 00:00:00'"}),
    ("PREMIUM_JOBS_COMPUTE", "9", {"cloud": "GCP"}),
]


def insert(ready, sku, price, *, cloud="AWS", unit="DBU", currency="USD", since="TIMESTAMP'2023-01-01 00:00:00'", until="null", bills=None):
    def struct(value):
        return f"named_struct('default', CAST({value} AS DECIMAL(38,18)))"

    pricing = f"'promotional', {struct(bills or 'null')}, 'effective_list', {struct(bills or price)}"
    rows(
        ready,
        f"INSERT INTO {TABLE} VALUES ({since}, {until}, '1234567890123456', '{sku}', '{cloud}', '{currency}', '{unit}', "
        f"named_struct('default', CAST({price} AS DECIMAL(38,18)), {pricing}))",
    )


@contextmanager
def listing(ready, *prices):
    rows(ready, f"CREATE TABLE {TABLE} ({COLUMNS})")
    try:
        for sku, price, *more in prices:
            insert(ready, sku, price, **(more[0] if more else {}))
        yield
    finally:
        rows(ready, f"DROP TABLE {TABLE}")


@pytest.fixture(scope="module")
def workspace(emulator):
    for kind, fields in (("catalogs", {"name": "system"}), ("schemas", {"name": "billing", "catalog_name": "system"})):
        status, said = call(emulator, "POST", f"/api/2.1/unity-catalog/{kind}", fields)
        assert status == 200, said
    return emulator


@pytest.fixture
def prices(tmp_path, monkeypatch):
    monkeypatch.setenv(catalogue.FOLDER, str(tmp_path / "prices"))
    monkeypatch.chdir(tmp_path)
    catalogue.forget()
    yield tmp_path / "prices"
    catalogue.forget()


def access(ready, **fields):
    return Access(with_query(ready.targets["databricks"], "&".join(f"{name}={value}" for name, value in fields.items())), environment={})


def renewed(ready, tmp_path, regions=("us-east-1",), **more):
    return refresh("databricks", SOURCE, regions=regions, access=access(ready), web=Web(tmp_path), **more)


def test_the_list_is_what_the_table_says_is_in_force(workspace, prices, tmp_path):
    before = catalogue.Catalogue().list("databricks")
    changed = [*TODAY, ("ENTERPRISE_JOBS_COMPUTE", "0.22", {"bills": "0.11"})]
    with listing(workspace, *changed):
        made = renewed(workspace, tmp_path)
    assert made.changes.doubts == []
    ((old, new),) = made.changes.moved
    assert (new.sku, old.price, new.price) == ("ENTERPRISE_JOBS_COMPUTE", Decimal("0.2"), Decimal("0.22"))
    assert new.source.endswith("AWS, ENTERPRISE_JOBS_COMPUTE, since 2023-01-01; a promotion bills 0.11 for now")
    assert made.changes.confirmed == 6
    assert made.changes.passed == {"of another SKU, cloud or region": 4}
    after = catalogue.default().list("databricks")
    assert len(after.facts) == len(before.facts)
    for service in ("rating", "photon", "serving"):
        assert [each for each in after.facts if each.service == service] == [each for each in before.facts if each.service == service]
    storage = after.find("storage", "PREMIUM_DATABRICKS_STORAGE", "us-east-1", "serverless")
    assert (storage.price, storage.unit) == (Decimal("0.023"), "gib_month")
    assert storage.as_of > before.find("storage", "PREMIUM_DATABRICKS_STORAGE", "us-east-1", "serverless").as_of


def test_clouds_and_skus_that_the_account_is_not_told_of_stay(workspace, prices, tmp_path):
    aws = [row for row in TODAY if not (len(row) > 2 and "cloud" in row[2])]
    with listing(workspace, *aws):
        made = renewed(workspace, tmp_path, ())
        with pytest.raises(ProviderError, match="no price in westeurope") as error:
            renewed(workspace, tmp_path, ["westeurope"])
    assert "no prices of AZURE" in error.value.hint
    left = made.changes.left
    assert left["the account's table has no prices of GCP"] > 100
    assert left["the table has no SKU ENTERPRISE_JOBS_COMPUTE of AWS"] == 6
    assert {doubt.split(":")[0] for doubt in made.changes.doubts} >= {  # it has this SKU, in other regions of the cloud
        "dbu PREMIUM_SERVERLESS_REAL_TIME_INFERENCE, eu-west-1, serverless"
    }
    assert made.path is None


@pytest.mark.parametrize(
    ("prices_there", "words"),
    [
        ([("PREMIUM_JOBS_COMPUTE", "0.9")], "dbu PREMIUM_JOBS_COMPUTE, us-east-1, on_demand: 0.15 became 0.9"),
        ([("PREMIUM_JOBS_COMPUTE", "0.15", {"currency": "EUR"}), ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55")], "has no price"),
        ([("PREMIUM_JOBS_COMPUTE", "0.15", {"unit": "GB"}), ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55")], "has no price"),
        ([("PREMIUM_JOBS_COMPUTE", "0"), ("PREMIUM_ALL_PURPOSE_COMPUTE", "0.55")], "has no price"),
    ],
    ids=["6 times as much", "euro", "another unit", "zero"],
)
def test_what_looks_wrong_is_not_written(workspace, prices, tmp_path, prices_there, words):
    with listing(workspace, *prices_there):
        made = renewed(workspace, tmp_path)
    assert made.path is None
    assert [doubt for doubt in made.changes.doubts if words in doubt and "PREMIUM_JOBS_COMPUTE," in doubt]


def test_two_prices_in_force_contradict(workspace, prices, tmp_path):
    with listing(workspace, ("PREMIUM_JOBS_COMPUTE", "0.15"), ("PREMIUM_JOBS_COMPUTE", "0.2", {"since": "TIMESTAMP'2024-01-01 00:00:00'"})):
        made = renewed(workspace, tmp_path)
    assert made.changes.contradictory == ["dbu PREMIUM_JOBS_COMPUTE, us-east-1, on_demand: 0.15 and 0.2"]
    assert (made.changes.moved, made.changes.gone) == ([], [])


def test_an_empty_table_is_no_price_list(workspace, prices, tmp_path):
    with listing(workspace), pytest.raises(ProviderError, match="no price in us-east-1"):
        renewed(workspace, tmp_path)


def test_who_is_throttled_asks_again_and_patience_has_an_end(workspace, prices, tmp_path):
    statement = {"effect": "error", "status": 429, "match": "POST */sql/statements"}
    with listing(workspace, *TODAY):
        try:
            set_faults(workspace, {**statement, "times": 2})
            assert renewed(workspace, tmp_path).changes.confirmed == 6
            set_faults(workspace, statement)
            with pytest.raises(ThrottledError):
                renewed(workspace, tmp_path)
        finally:
            set_faults(workspace)


def test_an_answer_that_was_cut_off_is_no_price_list(workspace, prices, tmp_path, monkeypatch):
    monkeypatch.setattr("mlport_databricks.serving.statements.MOST_BYTES", 400)
    with listing(workspace, *TODAY), pytest.raises(UnavailableError, match="cut off"):
        renewed(workspace, tmp_path)


def test_a_table_that_is_not_there_or_may_not_be_read_says_what_to_ask_for(workspace, prices, tmp_path):
    request = Request(["us-east-1"], (), Web(tmp_path), access(workspace))
    with pytest.raises(NotFoundError) as error:
        list(SOURCE.read(request))
    assert "system.billing" in error.value.hint
    with listing(workspace, *TODAY), pytest.raises(PermissionDeniedError) as error:
        list(SOURCE.read(Request(["us-east-1"], (), Web(tmp_path), access(workspace, token=PLAIN_TOKEN))))
    assert "SELECT" in error.value.hint


# ---------------------------------------------------------------- who asks


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "DATABRICKS_HOST and DATABRICKS_WAREHOUSE_ID are not set"),
        ({"DATABRICKS_HOST": "https://dbc-1.cloud.databricks.com/"}, "DATABRICKS_WAREHOUSE_ID is not set"),
    ],
)
def test_without_a_workspace_it_is_said_what_is_missing(prices, environment, words):
    error = SOURCE.lacks(Access(environment=environment))
    assert isinstance(error, ConfigError)
    assert words in error.message
    assert "-p" in (error.hint or "")


def test_a_profile_without_a_warehouse_is_told(emulator, prices):
    target = emulator.targets["databricks"].replace(f"&warehouse_id={WAREHOUSE}", "")
    error = SOURCE.lacks(Access(target, environment={}))
    assert "warehouse_id" in error.message


def test_a_profile_of_mlport_toml_is_asked_and_one_of_another_provider_is_not(workspace, prices, tmp_path):
    url = urlsplit(workspace.targets["databricks"])
    catalog, schema = url.path.strip("/").split("/")
    fields = {"provider": "databricks", "host": url.netloc, "catalog": catalog, "schema": schema, **dict(parse_qsl(url.query))}
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    (tmp_path / "mlport.toml").write_text("\n".join(["[profiles.prod]", *lines, "[profiles.laptop]", 'provider = "local"']))
    with listing(workspace, *TODAY):
        found = SOURCE.read(Request(["us-east-1"], catalogue.Catalogue().list("databricks").facts, Web(tmp_path), Access("prod")))
        assert {each.price for each in found if each.sku == "PREMIUM_JOBS_COMPUTE"} == {Decimal("0.15")}
    assert "DATABRICKS_HOST" in SOURCE.lacks(Access("laptop", environment={})).message
    assert "did you mean 'prod'?" in SOURCE.lacks(Access("prd", environment={})).hint


def test_the_environment_of_the_sdk_is_enough_and_no_secret_is_shown(workspace, prices):
    program = "import sys; from mlport.cli.main import run; sys.exit(run(sys.argv[1:]))"
    host, warehouse = VARIABLES
    with listing(workspace, *TODAY):
        asked = ("cost", "refresh", "databricks", "--region", "us-east-1", "--json")
        told = run(workspace, program, *asked, **{warehouse: WAREHOUSE, catalogue.FOLDER: str(prices)})
    (document,) = json.loads(told)
    assert (document["confirmed"], document["written"]) == (6, str(prices / "databricks.json"))
    assert workspace.environment["DATABRICKS_TOKEN"] not in told + (prices / "databricks.json").read_text()
    assert host in workspace.environment


def test_regions_are_known_by_how_their_cloud_writes_them():
    for cloud, places in PLACES.items():
        assert {cloud_of(region) for region in places} == {cloud}
        assert len(set(places.values())) == len(places)
    listed = catalogue.Catalogue().list("databricks")
    assert {cloud_of(region) for region in listed.regions} == set(PLACES)
