"""Prices of virtual machines from Azure Retail Prices: without credentials, in pages.

Reference: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices. What its rows must be read with:
Windows is told by the product's name alone ("Windows", and " Win" in some); Spot and Low Priority by the meter's; a reservation's price
is of the whole term although its unit is "1 Hour"; a meter that is not primary does not bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from mlport.costs.facts import Fact
from mlport.costs.refreshing.sources import Access, Found, Request
from mlport.costs.refreshing.web import Web
from mlport.errors import ConfigError, NotFoundError, UnavailableError

ORIGIN = "https://prices.azure.com"
PATH = "/api/retail/prices"
PAGE = 100
"""Full pages have so many rows, or a multiple: a full one without a link to the next is not believed to be the last
(https://learn.microsoft.com/answers/questions/1188465/azure-retail-prices-api-broken-paging)."""
HOURS_A_YEAR = 8760
PURCHASES = ("on_demand", "spot", "low_priority", "reserved_1y", "reserved_3y")
TERMS = {"1 Year": ("reserved_1y", 1), "3 Years": ("reserved_3y", 3)}
_WINDOWS = re.compile(r"\bWin(dows)?\b", re.IGNORECASE)
_OTHERS = re.compile(r"Cloud ?Services|Dedicated", re.IGNORECASE)


class AzureRetailPrices:
    """Azure's list prices in US dollars, region by region."""

    needs = ""

    def __init__(self, origin: str = ORIGIN) -> None:
        self._origin = origin

    def lacks(self, access: Access) -> ConfigError | None:
        return None

    def speaks_of(self, fact: Fact) -> bool:
        return fact.service == "compute" and fact.purchase in PURCHASES

    def read(self, request: Request) -> Iterator[Found]:
        """Raises NotFoundError for a region without a row."""
        today = datetime.now(UTC).date()
        for region in request.each():
            rows = 0
            for row in self._rows(request.web, region):
                rows += 1
                reason = _not_taken(row, region, today)
                if reason:
                    request.passed[reason] += 1
                else:
                    yield _found(row, today)
            if not rows:
                raise NotFoundError(f"Azure has no prices of virtual machines in {region!r}", hint="a region's name is such as westeurope")

    def _rows(self, web: Web, region: str) -> Iterator[dict[str, Any]]:
        start = f"{self._origin}{PATH}?$filter=" + quote(f"serviceName eq 'Virtual Machines' and armRegionName eq '{_quoted(region)}'")
        url, seen, count = start, {start}, 0
        while url:
            items, link = _page(web.json(url), url)
            yield from items
            count += len(items)
            web.progress(f"{count} rows")
            if not link and items and len(items) % PAGE == 0:
                link = f"{start}&$skip={count}"
            url = self._same_host(link) if link else ""
            if url in seen:
                raise UnavailableError(f"Azure's pages of prices go in a circle: {url}", operation="price list")
            seen.add(url)

    def _same_host(self, link: str) -> str:
        """The next page. Its link names the host with a port; another host is not followed."""
        if urlsplit(link).hostname != urlsplit(self._origin).hostname:
            raise UnavailableError(f"the next page of prices is not at {self._origin}: {link}", operation="price list")
        asked = urlsplit(link)
        return urljoin(self._origin, asked.path + (f"?{asked.query.replace(' ', '%20')}" if asked.query else ""))


def _page(document: Any, url: str) -> tuple[list[dict[str, Any]], str]:
    """The rows and the link of a page. Raises UnavailableError for one that is not whole."""
    items = document.get("Items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise UnavailableError(f"{url}: a page of prices without Items", operation="price list")
    if document.get("Count", len(items)) != len(items):
        raise UnavailableError(f"{url}: {len(items)} rows came of {document['Count']}", operation="price list")
    return items, document.get("NextPageLink") or ""


def _not_taken(row: dict[str, Any], region: str, today: date) -> str:
    """Why a row is no price of a Linux machine by the hour; empty if it is one."""
    product, kind = row.get("productName") or "", row.get("type")
    checks = (
        (row.get("armRegionName") != region, "of another region"),
        (not row.get("armSkuName"), "names no machine"),
        (_number(row.get("retailPrice")) is None, "has no price"),
        (row.get("currencyCode") != "USD", "not in US dollars"),
        (bool(_WINDOWS.search(product)), "Windows"),
        (bool(_OTHERS.search(product)), "cloud services and dedicated hosts"),
        (kind not in ("Consumption", "Reservation"), "for development and test"),
        (kind == "Reservation" and row.get("reservationTerm") not in TERMS, "reserved for another term"),
        (row.get("unitOfMeasure") != "1 Hour" and kind == "Consumption", "not by the hour"),
        (row.get("isPrimaryMeterRegion") is False, "meter that does not bill"),
        (bool(_number(row.get("tierMinimumUnits"))), "of a higher tier"),
        (_day(row.get("effectiveStartDate"), date.min) > today or _day(row.get("effectiveEndDate"), date.max) < today, "not in force"),
    )
    return next((reason for fails, reason in checks if fails), "")


def _found(row: dict[str, Any], today: date) -> Found:
    price, derived = _number(row["retailPrice"]), ""
    assert price is not None  # noqa: S101 - a row without is not taken
    purchase = _purchase(row)
    if row["type"] == "Reservation":
        years = TERMS[row["reservationTerm"]][1]
        derived = f"{price.normalize():f} for {row['reservationTerm']} / {HOURS_A_YEAR * years} h"
        price = round(price / (HOURS_A_YEAR * years), 9)
    source = f"Azure Retail Prices API, meter {row.get('meterId', 'unknown')} ({row.get('meterName', '')})"
    return Found(row["armSkuName"], row["armRegionName"], purchase, price, today, source, derived)


def _purchase(row: dict[str, Any]) -> str:
    if row["type"] == "Reservation":
        return TERMS[row["reservationTerm"]][0]
    names = f"{row.get('skuName') or ''} {row.get('meterName') or ''}"
    if "Low Priority" in names:
        return "low_priority"
    return "spot" if "Spot" in names else "on_demand"


def _number(value: Any) -> Decimal | None:
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


def _day(text: Any, otherwise: date) -> date:
    return date.fromisoformat(text[:10]) if isinstance(text, str) and text else otherwise


def _quoted(text: str) -> str:
    """A text within an OData literal."""
    return text.replace("'", "''")


SOURCE = AzureRetailPrices()
