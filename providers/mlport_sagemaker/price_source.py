"""Prices of EC2 and SageMaker machines from the AWS Price List's bulk offers: without credentials, a CSV file a region.

References: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/service-region-infex-file-for-service.html (which file is a
region's) and https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html (five lines
about the file, one of column names, a row a price). A region's file of EC2 has hundreds of MB: it is read row by row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from mlport.costs.catalogue import nearest
from mlport.costs.facts import Fact
from mlport.costs.refreshing.sources import Access, Found, Request
from mlport.costs.refreshing.web import Web
from mlport.errors import ConfigError, NotFoundError, UnavailableError

ORIGIN = "https://pricing.us-east-1.amazonaws.com"
INDEX = "/offers/v1.0/aws/{offer}/current/region_index.json"
HEAD = 5
"""Lines about the file before that of the column names."""
TERMS = {"1yr": "reserved_1y", "3yr": "reserved_3y"}
_ML = re.compile(r"(?:[A-Z0-9]+-)?(?:Train|Host):(ml\..+)")
"""The usage of a training's or an endpoint's machine, such as USE1-Train:ml.g5.2xlarge; other components have prices of their own."""
Row = Mapping[str, str]
COMMON = ("TermType", "Unit", "PricePerUnit", "Currency", "Product Family", "Location Type", "Region Code", "SKU")


class BulkOffer:
    """The offer file of one service."""

    needs = ""

    def __init__(
        self,
        offer: str,
        purchases: frozenset[str],
        columns: tuple[str, ...],
        machine: Callable[[Row], tuple[str, str]],
        origin: str = ORIGIN,
    ) -> None:
        self._offer, self.purchases, self._columns, self._machine, self._origin = offer, purchases, columns, machine, origin

    def at(self, origin: str) -> BulkOffer:
        """The same offer from elsewhere."""
        return BulkOffer(self._offer, self.purchases, self._columns, self._machine, origin)

    def lacks(self, access: Access) -> ConfigError | None:
        return None

    def speaks_of(self, fact: Fact) -> bool:
        return fact.service == "compute" and fact.purchase in self.purchases

    def read(self, request: Request) -> Iterator[Found]:
        """Raises NotFoundError for a region that the offer has no file of."""
        for region in request.each():
            with request.web.file(self._file(request.web, region)) as path:
                published, rows = self._opened(path)
                for row in rows:
                    reason, found = self._taken(row, region, published)
                    if found:
                        yield found
                    else:
                        request.passed[reason] += 1

    def _file(self, web: Web, region: str) -> str:
        index = urljoin(self._origin, INDEX.format(offer=self._offer))
        document = web.json(index)
        regions = document.get("regions") if isinstance(document, dict) else None
        if not isinstance(regions, dict):
            raise UnavailableError(f"{index}: an index without regions", operation="price list")
        if region not in regions:
            raise NotFoundError(f"{self._offer} has no prices in {region!r}", hint=nearest(region, sorted(regions)))
        url = urljoin(self._origin, re.sub(r"\.json$", ".csv", regions[region]["currentVersionUrl"]))
        if urlsplit(url).hostname != urlsplit(self._origin).hostname:
            raise UnavailableError(f"the prices of {region} are not at {self._origin}: {url}", operation="price list")
        return url

    def _opened(self, path: Path) -> tuple[date, Iterator[Row]]:
        """The day that a file was published, and its rows. Raises UnavailableError where it is not what the reference says."""
        lines = csv.reader(_text(path))
        about = {line[0]: line[1] for line in islice(lines, HEAD) if len(line) > 1}
        columns = next(lines, [])
        missing = [name for name in (*COMMON, *self._columns) if name not in columns]
        if missing or "Publication Date" not in about:
            raise UnavailableError(
                f"{self._offer}: line {HEAD + 1} of the price list lacks {', '.join(missing) or 'a publication date'}",
                hint="its format may have changed: look for a newer mlport",
                operation="price list",
            )
        return date.fromisoformat(about["Publication Date"][:10]), self._rows(lines, columns)

    def _rows(self, lines: Iterator[list[str]], columns: list[str]) -> Iterator[Row]:
        for number, line in enumerate(lines, start=HEAD + 2):
            if line and len(line) != len(columns):
                raise UnavailableError(f"{self._offer}: row {number} has {len(line)} of {len(columns)} columns", operation="price list")
            if line:
                yield dict(zip(columns, line, strict=True))

    def _taken(self, row: Row, region: str, published: date) -> tuple[str, Found | None]:
        """The price that a row says, or the reason why it says none."""
        reason, sku = self._machine(row)
        purchase = _purchase(row)
        price = _price(row)
        for fails, why in (
            (row["Region Code"] != region, "of another region"),
            (row["Location Type"] != "AWS Region", "local zones, Outposts and other places"),
            (bool(reason), reason),
            (purchase not in self.purchases, "paid in another way"),
            (row["Unit"].lower() not in ("hrs", "hours", "hour"), "not by the hour"),
            (row["Currency"] != "USD", "not in US dollars"),
            (price is None, "has no price"),
        ):
            if fails:
                return why, None
        assert price is not None  # noqa: S101 - looked at above
        source = f"AWS Price List, {self._offer}, SKU {row['SKU']}, published {published}"
        return "", Found(sku, region, purchase, price, published, source)


def _text(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from stream


def _purchase(row: Row) -> str:
    """How a row is paid; reservations only by the hour and without anything upfront."""
    if row["TermType"] == "OnDemand":
        return "on_demand"
    if row.get("PurchaseOption") == "No Upfront" and row.get("OfferingClass") == "standard":
        return TERMS.get(row.get("LeaseContractLength", ""), "")
    return ""


def _price(row: Row) -> Decimal | None:
    try:
        price = Decimal(row["PricePerUnit"]).normalize()
    except InvalidOperation:
        return None
    return price if price.is_finite() else None


def _ec2(row: Row) -> tuple[str, str]:
    """A machine with Linux, shared, used, bought on demand: capacity blocks are listed for 0, for they are paid in advance."""
    wanted: tuple[tuple[str, Any, str], ...] = (
        ("Product Family", ("Compute Instance", "Compute Instance (bare metal)"), "no machine"),
        ("Operating System", ("Linux",), "another operating system"),
        ("Tenancy", ("Shared",), "dedicated tenancy or host"),
        ("Pre Installed S/W", ("NA", ""), "with software"),
        ("CapacityStatus", ("Used",), "capacity reserved or unused"),
        ("MarketOption", ("OnDemand",), "capacity block"),
        ("operation", ("RunInstances",), "another operation"),
    )
    return next((reason for column, allowed, reason in wanted if row[column] not in allowed), ""), row["Instance Type"]


def _sagemaker(row: Row) -> tuple[str, str]:
    """A machine of a training or an endpoint: the price list in force has one price for both, so that two would contradict."""
    found = _ML.fullmatch(row["usageType"])
    if row["Product Family"] != "ML Instance" or not found:
        return "no machine of a training or an endpoint", ""
    return "", found[1]


EC2 = BulkOffer(
    "AmazonEC2",
    frozenset({"on_demand", *TERMS.values()}),
    (
        "Instance Type", "Operating System", "Tenancy", "Pre Installed S/W", "CapacityStatus", "MarketOption", "operation",
        "LeaseContractLength", "PurchaseOption", "OfferingClass",
    ),
    _ec2,
)  # fmt: skip
SAGEMAKER = BulkOffer("AmazonSageMaker", frozenset({"on_demand"}), ("usageType",), _sagemaker)
