"""Azure Retail Prices: rows and pages as https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices has them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aids.replaying import Answer, replaying

from mlport.costs import Workload, estimate
from mlport.costs.catalogue import FOLDER, Catalogue
from mlport.costs.refreshing.refresh import refresh
from mlport.costs.refreshing.sources import Request
from mlport.costs.refreshing.web import Web
from mlport.errors import NotFoundError, UnavailableError
from mlport_azureml.price_source import AzureRetailPrices

ROW = {
    "currencyCode": "USD",
    "tierMinimumUnits": 0.0,
    "retailPrice": 0.192,
    "unitPrice": 0.192,
    "armRegionName": "eastus",
    "location": "US East",
    "effectiveStartDate": "2020-08-01T00:00:00Z",
    "meterId": "000a794b-bdb0-58be-a0cd-0c3a0f222923",
    "meterName": "D4s v3",
    "productId": "DZH318Z0BQPS",
    "skuId": "DZH318Z0BQPS/00TG",
    "productName": "Virtual Machines DSv3 Series",
    "skuName": "D4s v3",
    "serviceName": "Virtual Machines",
    "serviceId": "DZH313Z7MMC8",
    "serviceFamily": "Compute",
    "unitOfMeasure": "1 Hour",
    "type": "Consumption",
    "isPrimaryMeterRegion": True,
    "armSkuName": "Standard_D4s_v3",
}
WORKLOAD = {"name": "scores", "months": 1, "targets": {"azureml": {"region": "eastus"}}}
TRAPS = {
    "Windows": {"productName": "Virtual Machines DSv3 Series Windows"},
    "Windows, in short": {"productName": "Virtual Machines NDsrH100v5 Series Win"},
    "for development and test": {"type": "DevTestConsumption"},
    "cloud services": {"productName": "DSv3 Series Cloud Services"},
    "dedicated host": {"productName": "DSv3 Series Dedicated Host"},
    "no price": {"retailPrice": None},
    "no machine": {"armSkuName": ""},
    "another region": {"armRegionName": "westus"},
    "another currency": {"currencyCode": "EUR"},
    "by the month": {"unitOfMeasure": "1/Month"},
    "higher tier": {"tierMinimumUnits": 100.0},
    "meter that does not bill": {"isPrimaryMeterRegion": False},
    "not yet": {"effectiveStartDate": "2999-01-01T00:00:00Z"},
    "no longer": {"effectiveEndDate": "2021-01-01T00:00:00Z"},
    "five years": {"type": "Reservation", "reservationTerm": "5 Years"},
}


@pytest.fixture
def azure():
    with replaying() as server:
        yield server


def page(items, link="", **more):
    document = {
        "BillingCurrency": "USD",
        "CustomerEntityId": "Default",
        "CustomerEntityType": "Retail",
        "Items": items,
        "NextPageLink": link or None,
        "Count": len(items),
        **more,
    }
    return Answer(json.dumps(document).encode(), headers={"Content-Type": "application/json"})


def read(server, tmp_path, passed=None, region="eastus"):
    request = Request([region], [], Web(tmp_path, sleep=lambda seconds: None), passed=Counter() if passed is None else passed)
    return list(AzureRetailPrices(server.url).read(request))


@pytest.mark.parametrize("change", TRAPS.values(), ids=TRAPS)
def test_a_row_that_is_no_price_of_a_linux_machine_is_passed_over_with_its_reason(azure, tmp_path, change):
    azure.document = lambda path, headers: page([{**ROW, "retailPrice": 9.99, **change}, ROW])
    passed = Counter()
    assert [(found.price, found.purchase) for found in read(azure, tmp_path, passed)] == [(Decimal("0.192"), "on_demand")]
    assert passed.total() == 1


def test_ways_to_pay_are_told_apart_and_a_reservation_is_by_the_hour(azure, tmp_path):
    rows = [
        ROW,
        {**ROW, "retailPrice": 0.0384, "skuName": "D4s v3 Spot", "meterName": "D4s v3 Spot"},
        {**ROW, "retailPrice": 0.05, "skuName": "D4s v3 Low Priority", "meterName": "D4s v3 Low Priority"},
        {**ROW, "retailPrice": 1168.0, "type": "Reservation", "reservationTerm": "1 Year"},
        {**ROW, "retailPrice": 2257.0, "type": "Reservation", "reservationTerm": "3 Years"},
    ]
    azure.document = lambda path, headers: page(rows)
    found = {row.purchase: row for row in read(azure, tmp_path)}
    assert {purchase: row.price for purchase, row in found.items()} == {
        "on_demand": Decimal("0.192"),
        "spot": Decimal("0.0384"),
        "low_priority": Decimal("0.05"),
        "reserved_1y": Decimal("0.133333333"),
        "reserved_3y": Decimal("0.085882801"),
    }
    assert found["reserved_1y"].derived_from == "1168 for 1 Year / 8760 h"
    assert not found["on_demand"].derived_from
    assert found["on_demand"].as_of == datetime.now(UTC).date()  # it is in force today, whenever it began


def test_pages_are_followed_by_their_links(azure, tmp_path):
    second = {**ROW, "armSkuName": "Standard_D8s_v3"}
    link = f"{azure.url}/api/retail/prices?$filter=serviceName eq 'Virtual Machines'&$skip=1"
    azure.document = lambda path, headers: page([second]) if "$skip=1" in path else page([ROW], link)
    assert [found.sku for found in read(azure, tmp_path)] == ["Standard_D4s_v3", "Standard_D8s_v3"]
    asked = azure.asked[0][0]
    assert "serviceName eq 'Virtual Machines'" in asked
    assert "armRegionName eq 'eastus'" in asked


def test_a_full_page_without_a_link_is_not_believed_to_be_the_last(azure, tmp_path):
    rows = [{**ROW, "armSkuName": f"Standard_{number}"} for number in range(150)]

    def document(path, headers):
        skip = int(path.rpartition("$skip=")[2]) if "$skip=" in path else 0
        return page(rows[skip : skip + 100])

    azure.document = document
    assert [found.sku for found in read(azure, tmp_path)] == [row["armSkuName"] for row in rows]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda url: page([ROW], Count=2), "1 rows came of 2"),
        (lambda url: page([ROW], Items=None), "without Items"),
        (lambda url: Answer(b"<html>"), "no JSON"),
        (lambda url: page([ROW], f"{url}/api/retail/prices?$skip=1"), "circle"),
        (lambda url: page([ROW], "https://elsewhere.example/api/retail/prices?$skip=1"), "elsewhere.example"),
    ],
    ids=["rows are missing", "no rows", "no JSON", "circle", "another host"],
)
def test_pages_that_are_not_whole_are_no_price_list(azure, tmp_path, answer, words):
    azure.document = lambda path, headers: answer(azure.url)
    with pytest.raises(UnavailableError, match=words):
        read(azure, tmp_path)


def test_a_region_without_rows_is_not_known(azure, tmp_path):
    azure.document = lambda path, headers: page([])
    with pytest.raises(NotFoundError, match="'estus'"):
        read(azure, tmp_path, region="estus")


def test_refreshed_spot_prices_make_no_endpoint_cheaper_for_endpoints_have_no_spot(azure, tmp_path, monkeypatch):
    in_force = [each for each in Catalogue().list("azure").of("compute", "eastus") if each.purchase == "on_demand"]
    rows = [
        {**ROW, "armSkuName": each.sku, "skuName": f"{each.sku}{suffix}", "retailPrice": float(each.price * share)}
        for each in in_force
        for suffix, share in (("", Decimal(1)), (" Spot", Decimal("0.25")))
    ]
    azure.document = lambda path, headers: page(rows, Count=len(rows))
    monkeypatch.setenv(FOLDER, str(tmp_path))
    made = refresh("azure", AzureRetailPrices(azure.url), regions=["eastus"], force=True)
    assert {each.purchase for each in made.changes.added} == {"spot"}
    catalogue = Catalogue(tmp_path)
    costs = {
        purchase: estimate(
            Workload.model_validate({**WORKLOAD, "endpoints": [{"requests_per_second": 3, "purchase": purchase}]}),
            "azureml",
            catalogue=catalogue,
        )
        for purchase in ("on_demand", "spot")
    }
    assert costs["spot"].total == costs["on_demand"].total > 0
    assert any("endpoints have not" in words for words in costs["spot"].assumptions)
