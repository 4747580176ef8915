"""List prices of Databricks from its own system table, `system.billing.list_prices`, over a SQL warehouse.

Reference: https://docs.databricks.com/aws/en/admin/system-tables/pricing: a row a price of a SKU on a cloud, in force from
`price_start_time` until `price_end_time` (null: still); `pricing.default` is the list price for estimates, `pricing.promotional` what all
customers get for a while, and `pricing.effective_list` which of these is billed now. A SKU of serverless work names its region in words
(PREMIUM_JOBS_SERVERLESS_COMPUTE_US_EAST_N_VIRGINIA), one of classic work holds in all regions of a cloud (PREMIUM_JOBS_COMPUTE).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, NamedTuple

from mlport.client import connect
from mlport.config import choose
from mlport.costs.facts import Fact
from mlport.costs.refreshing.sources import Access, Found, Request
from mlport.costs.refreshing.web import ATTEMPTS
from mlport.errors import ConfigError, NotFoundError, PermissionDeniedError, UnavailableError
from mlport.waiting import retry
from mlport_databricks.config import DatabricksConfig

if TYPE_CHECKING:
    from mlport_databricks.serving.statements import Cut
    from mlport_databricks.workspace.connection import Connection

NAME = "databricks"
TABLE = "system.billing.list_prices"
STATEMENT = """SELECT sku_name, cloud, currency_code, usage_unit, CAST(pricing.`default` AS STRING) AS price,
 CAST(pricing.effective_list.`default` AS STRING) AS effective, CAST(price_start_time AS STRING) AS since
 FROM system.billing.list_prices WHERE price_end_time IS NULL AND price_start_time <= current_timestamp() ORDER BY cloud, sku_name, price_start_time"""
UNITS = {"DBU": "dbu", "DSU": "gib_month"}
"""A Databricks storage unit is a GiB for a month: the storage SKUs, and no others, are sold by it."""
SERVICES = {"dbu": "dbu", "storage": "gib_month"}
VARIABLES = ("DATABRICKS_HOST", "DATABRICKS_WAREHOUSE_ID")
HINT = f"name a Databricks profile that has warehouse_id with -p, or set {' and '.join(VARIABLES)} and sign in as Databricks' SDK does"
REFERENCE = "https://docs.databricks.com/aws/en/admin/system-tables/"
PLACES: Mapping[str, Mapping[str, str]] = {  # how a SKU's name says a region: names of SKUs in users' bills and published price tables
    "AWS": {
        "ap-northeast-1": "AP_TOKYO",
        "ap-northeast-2": "AP_SEOUL",
        "ap-south-1": "AP_MUMBAI",
        "ap-southeast-1": "AP_SINGAPORE",
        "ap-southeast-2": "AP_SYDNEY",
        "ca-central-1": "CANADA",
        "eu-central-1": "EUROPE_FRANKFURT",
        "eu-west-1": "EUROPE_IRELAND",
        "eu-west-2": "EUROPE_LONDON",
        "eu-west-3": "EUROPE_FRANCE",
        "sa-east-1": "SA_BRAZIL",
        "us-east-1": "US_EAST_N_VIRGINIA",
        "us-east-2": "US_EAST_OHIO",
        "us-west-1": "US_WEST_CALIFORNIA",
        "us-west-2": "US_WEST_OREGON",
    },
    "AZURE": {
        "eastus": "US_EAST",
        "eastus2": "US_EAST_2",
        "japaneast": "JAPAN_EAST",
        "northeurope": "EU_NORTH",
        "southeastasia": "ASIA_SOUTHEAST",
        "westeurope": "EU_WEST",
        "westus": "US_WEST",
        "westus2": "US_WEST_2",
        "westus3": "US_WEST_3",
    },
    "GCP": {
        "asia-southeast1": "ASIA_SINGAPORE",
        "europe-west1": "EUROPE_BELGIUM",
        "us-central1": "US_IOWA",
        "us-east1": "US_SOUTH_CAROLINA",
        "us-east4": "US_VIRGINIA",
        "us-west1": "US_OREGON",
    },
}
CLOUDS = (("AWS", r"[a-z]{2}(-[a-z]+)+-\d"), ("GCP", r"[a-z]+-[a-z]+\d"), ("AZURE", r"[a-z]+\d?"))
"""How each cloud writes its regions."""
Sku = tuple[str, str]
"""A cloud and the name of a SKU."""


class Listed(NamedTuple):
    """A row of the table."""

    sku: str | None
    cloud: str | None
    currency: str | None
    unit: str | None
    price: str | None
    effective: str | None
    since: str | None


class ListPrices:
    """The list prices that a workspace's account is told: of the clouds that its table speaks of."""

    needs = "a Databricks profile with warehouse_id (-p), or DATABRICKS_HOST, DATABRICKS_WAREHOUSE_ID and a sign-in of Databricks' SDK"

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def lacks(self, access: Access) -> ConfigError | None:
        try:
            _workspace(access)
        except ConfigError as error:
            return error
        return None

    def speaks_of(self, fact: Fact) -> bool:
        return fact.service in SERVICES and fact.unit == SERVICES[fact.service]

    def read(self, request: Request) -> Iterator[Found]:
        """One statement, whatever the number of regions."""
        rows = self._rows(request)
        spoken = [fact for fact in request.in_force if self.speaks_of(fact)]
        for fact in spoken:
            if reason := _unspoken(fact, rows):
                request.leave([fact], reason)
        today = datetime.now(UTC).date()
        used = set()
        for region in request.regions:
            for thing in {fact.sku: fact for fact in spoken}.values():
                for row in _of(thing.sku, region, rows):
                    used.add(row)
                    yield from _found(row, thing, region, today, request)
        others = sum(row not in used for listed in rows.values() for row in listed)
        if others:
            request.passed["of another SKU, cloud or region"] += others

    def _rows(self, request: Request) -> Mapping[Sku, Sequence[Listed]]:
        """What is in force, by cloud and SKU."""
        from mlport_databricks.workspace.connection import Connection

        config = _workspace(request.access)
        request.progress(f"{TABLE} of {config.host}")
        with closing(Connection(config)) as connection:
            try:
                answered = retry(lambda: self._asked(connection), attempts=ATTEMPTS, sleep=self._sleep)
            except (NotFoundError, PermissionDeniedError) as error:
                error.hint = f"the schema system.billing must be enabled, and whoever asks may USE it and SELECT from {TABLE}: {REFERENCE}"
                raise
        if answered.cut:
            raise UnavailableError(f"the answer of {config.host} was cut off", provider=NAME, operation="price list")
        found: dict[Sku, list[Listed]] = {}
        for row in answered:
            listed = Listed(*row)
            found.setdefault(((listed.cloud or "").upper(), listed.sku or ""), []).append(listed)
        return found

    def _asked(self, connection: Connection) -> Cut:
        """One attempt."""
        from mlport_databricks.serving.statements import rows

        return rows(connection, STATEMENT, {}, operation="price list", sleep=self._sleep)


def cloud_of(region: str) -> str:
    """The cloud that writes its regions so, as the table names it.

    >>> cloud_of("eu-west-1"), cloud_of("europe-west1"), cloud_of("westeurope")
    ('AWS', 'GCP', 'AZURE')
    """
    return next((cloud for cloud, written in CLOUDS if re.fullmatch(written, region)), "")


def _workspace(access: Access) -> DatabricksConfig:
    """Where to ask: the profile if it is one of Databricks, else what the SDK's own variables name. Raises ConfigError."""
    if choose(access.profile, access.config)[0] == NAME:
        config = connect(access.profile, config=access.config).config
        assert isinstance(config, DatabricksConfig)  # noqa: S101 - of this provider
        if not config.warehouse_id:
            raise ConfigError(f"{config.profile}: warehouse_id is not set, and {TABLE} is read over a SQL warehouse", hint=HINT)
        return config
    host, warehouse = (access.environment.get(name, "").strip() for name in VARIABLES)
    missing = [name for name, value in zip(VARIABLES, (host, warehouse), strict=True) if not value]
    if missing:
        words = " and ".join(missing)
        raise ConfigError(f"prices of Databricks are asked of a workspace, and {words} {_are(missing)} not set", hint=HINT)
    # Unchecked, for no work runs there: no region, and no place for mlport's state.
    return DatabricksConfig.model_construct(
        host=host.removeprefix("https://").rstrip("/"), catalog="system", schema_="billing", state="", region="", warehouse_id=warehouse
    )


def _are(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _of(sku: str, region: str, rows: Mapping[Sku, Sequence[Listed]]) -> Sequence[Listed]:
    """The rows of a SKU for a region: those that name it, else those of the whole cloud."""
    cloud = cloud_of(region)
    place = PLACES.get(cloud, {}).get(region)
    return (place and rows.get((cloud, f"{sku}_{place}"))) or rows.get((cloud, sku)) or ()


def _unspoken(fact: Fact, rows: Mapping[Sku, Sequence[Listed]]) -> str:
    """Why the table says nothing of a price, rather than that it is gone; empty if it would."""
    cloud = cloud_of(fact.region)
    if not any(each == cloud for each, _ in rows):
        return f"the account's table has no prices of {cloud}"
    places = PLACES.get(cloud, {})
    names = {fact.sku, *(f"{fact.sku}_{place}" for place in places.values())}
    if not any((cloud, name) in rows for name in names):
        return f"the table has no SKU {fact.sku} of {cloud}"
    if fact.region not in places and (cloud, fact.sku) not in rows:
        return f"how SKUs name {fact.region} is not known"
    return ""


def _found(row: Listed, thing: Fact, region: str, today: date, request: Request) -> Iterator[Found]:
    price, effective = _number(row.price), _number(row.effective)
    if price is None:
        request.passed["has no price"] += 1
        return
    promotion = f"; a promotion bills {effective:f} for now" if effective is not None and effective != price else ""
    yield Found(
        thing.sku,
        region,
        thing.purchase,
        price,
        today,
        f"Databricks {TABLE}, {row.cloud}, {row.sku}, since {(row.since or 'unknown')[:10]}{promotion}",
        service=thing.service,
        unit=UNITS.get((row.unit or "").upper(), row.unit or ""),
        currency=(row.currency or "").upper(),
    )


def _number(text: str | None) -> Decimal | None:
    try:
        found = Decimal(text or "").normalize()
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


SOURCE = ListPrices()
