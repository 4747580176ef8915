"""Prices of Google Cloud and of Vertex AI from the Cloud Billing Catalog: with an API key, in pages.

Reference: https://cloud.google.com/billing/docs/reference/rest/v1/services.skus/list. Machines have no price there: they are composed
of the SKUs of their parts (`price_skus`), of the sizes that the list in force says. The key is sent in a header, so that no address, and
so no message and no file, ever holds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mlport.costs.facts import Fact
from mlport.costs.formulas import HOURS_A_MONTH
from mlport.costs.refreshing.sources import Access, Found, Request
from mlport.errors import ConfigError, InvalidRequestError, PermissionDeniedError, UnavailableError
from mlport_vertex.price_skus import (
    CLOUD_STORAGE,
    COMPUTE_ENGINE,
    FAMILIES,
    GPUS,
    USAGE,
    VERTEX_AI,
    Part,
    Price,
    part_of,
    prices_of,
)

ORIGIN = "https://cloudbilling.googleapis.com"
VARIABLE = "MLPORT_GOOGLE_API_KEY"
HEADER = "X-Goog-Api-Key"
"""https://cloud.google.com/docs/authentication/api-keys-use: a key goes in this header, or in the address, where logs would keep it."""
HINT = (
    "make an API key that is restricted to the Cloud Billing API (https://cloud.google.com/billing/v1/how-tos/catalog-api) "
    f"in a project where that API is enabled, and export {VARIABLE}=..."
)
PAGE = 5000
"""SKUs; also the most that one page has."""
SSD = {"a2-ultragpu": 375, "a3-highgpu": 750}
"""GiB of local disks that come with each GPU (https://cloud.google.com/compute/docs/gpus): on Compute Engine they are billed, too."""
STORAGE = {"egress": ("internet",), "storage": ("gcs-nearline", "gcs-standard", "local-ssd", "pd-ssd", "pd-standard")}
_KEY = re.compile(r"[!-~]+")
Place = tuple[str, str, str, str]
"""Kind and name of a part, region, and way to pay."""


class Need(NamedTuple):
    """So much of a part goes into one hour of a thing. `divisor` turns a month's price into an hour's."""

    kind: str
    name: str
    quantity: Decimal
    divisor: int = 1


class BillingCatalog:
    """The catalogue's prices for one list. `recipe` says of what a fact of the list is composed, or None where it is not."""

    needs = f"an API key of Google Cloud in {VARIABLE}"

    def __init__(
        self, services: Sequence[str], purchases: Sequence[str], recipe: Callable[[Fact], Sequence[Need] | None], origin: str = ORIGIN
    ) -> None:
        self._services, self._purchases, self._recipe, self._origin = services, purchases, recipe, origin

    def at(self, origin: str) -> BillingCatalog:
        """The same prices from elsewhere."""
        return BillingCatalog(self._services, self._purchases, self._recipe, origin)

    def lacks(self, access: Access) -> ConfigError | None:
        key = access.environment.get(VARIABLE, "")
        if not key.strip():
            return ConfigError(f"prices of Google Cloud need an API key, and {VARIABLE} is not set", hint=HINT)
        if not _KEY.fullmatch(key.strip()):
            return ConfigError(f"{VARIABLE} holds no API key: it has a space, a line break or a letter that no key has", hint=HINT)
        return None

    def speaks_of(self, fact: Fact) -> bool:
        return fact.purchase in self._purchases and self._recipe(fact) is not None

    def read(self, request: Request) -> Iterator[Found]:
        """All SKUs once, whatever the number of regions; then what they compose."""
        kept, seen = self._collected(request)
        spoken = [fact for fact in request.in_force if self.speaks_of(fact)]
        for fact in spoken:
            missing = [need for need in self._needs(fact) if (need.kind, need.name, fact.purchase) not in seen]
            if missing:
                request.leave([fact], f"the catalogue has no SKU that is known as {_words(missing[0])}, {fact.purchase}")
        things = {(fact.service, fact.sku, fact.gpu): fact for fact in spoken}
        offered = {(fact.sku, fact.region) for fact in spoken}
        for fact in things.values():
            for region in request.regions:
                if fact.service == "compute" and (fact.sku, region) not in offered:
                    continue  # the catalogue prices parts also where no such machine is offered
                for purchase in self._purchases if fact.service == "compute" else ("on_demand",):
                    yield from _composed(fact, self._needs(fact), region, purchase, kept)

    def _needs(self, fact: Fact) -> Sequence[Need]:
        found = self._recipe(fact)
        assert found is not None  # noqa: S101 - asked of what it speaks of
        return found

    def _collected(self, request: Request) -> tuple[Mapping[Place, Sequence[Price]], set[tuple[str, str, str]]]:
        """The prices in the regions, by place, and which parts have a SKU anywhere."""
        now = datetime.now(UTC)
        kept: dict[Place, list[Price]] = {}
        seen: set[tuple[str, str, str]] = set()
        for service in self._services:
            for sku in self._skus(request, service):
                part, paid = part_of(service, sku)
                if part is None:
                    request.passed[paid] += 1
                    continue
                seen.add((part.kind, part.name, paid))
                regions = _regions(sku, part, request.regions)
                prices, reason = prices_of(sku, part, paid, now)
                if not regions or reason:
                    request.passed["of another region" if not regions else reason] += 1
                    continue
                for region in regions:
                    kept.setdefault((part.kind, part.name, region, paid), []).extend(prices)
        return kept, seen

    def _skus(self, request: Request, service: str) -> Iterator[Mapping[str, Any]]:
        """Page after page."""
        token, tokens, count = "", set(), 0
        while True:
            page = self._page(request, service, token)
            skus = page.get("skus", [])
            if not isinstance(skus, list) or not all(isinstance(sku, dict) for sku in skus):
                raise UnavailableError(f"the Billing Catalog answered for {service} with a page that has no SKUs", operation="price list")
            yield from skus
            count += len(skus)
            request.progress(f"{count} SKUs of {service}")
            token = str(page.get("nextPageToken") or "")
            if not token:
                return
            if token in tokens:
                raise UnavailableError(f"the Billing Catalog's pages of {service} go in a circle", operation="price list")
            tokens.add(token)

    def _page(self, request: Request, service: str, token: str) -> Mapping[str, Any]:
        query = urlencode({"currencyCode": "USD", "pageSize": PAGE, **({"pageToken": token} if token else {})})
        url = f"{self._origin}/v1/services/{service}/skus?{query}"
        if (lacking := self.lacks(request.access)) is not None:
            raise lacking
        try:
            page = request.web.json(url, {HEADER: request.access.environment[VARIABLE].strip()})
        except (InvalidRequestError, PermissionDeniedError) as error:  # 400: no valid key; 403: not for this API, or not enabled
            error.hint = f"if it is the key in {VARIABLE} that was refused: {HINT}"
            raise
        if not isinstance(page, dict):
            raise UnavailableError(f"the Billing Catalog answered for {service} with something that is no page", operation="price list")
        return page


def _regions(sku: Mapping[str, Any], part: Part, asked: Sequence[str]) -> list[str]:
    """Those asked for that a SKU covers. Traffic is priced by where it goes to, so that its SKU is global."""
    covered = sku.get("serviceRegions")
    covered = covered if isinstance(covered, list) else []
    return list(asked) if part.kind == "egress" and "global" in covered else [region for region in asked if region in covered]


def _composed(fact: Fact, needs: Sequence[Need], region: str, purchase: str, kept: Mapping[Place, Sequence[Price]]) -> Iterator[Found]:
    """A thing's prices in a region: none if a part has none there, several if one of its parts has several."""
    options = [kept.get((need.kind, need.name, region, purchase), ()) for need in needs]
    if len(needs) == 1:
        yield from (_found(fact, needs, [price], region) for price in options[0])
        return
    if any(price.tier_from for prices in options for price in prices):
        return  # an hour's price would depend on what else runs
    for chosen in product(*({price.price: price for price in prices}.values() for prices in options)):
        yield _found(fact, needs, chosen, region)


def _found(fact: Fact, needs: Sequence[Need], chosen: Sequence[Price], region: str) -> Found:
    total = sum((need.quantity * price.price / need.divisor for need, price in zip(needs, chosen, strict=True)), Decimal(0))
    formula = " + ".join(_term(need, price) for need, price in zip(needs, chosen, strict=True))
    plain = len(needs) == 1 and needs[0].quantity == 1 and needs[0].divisor == 1
    return Found(
        fact.sku,
        region,
        chosen[0].purchase,
        round(total, 9).normalize(),
        min(price.as_of for price in chosen),
        f"Google Cloud Billing Catalog, SKU {', '.join(price.sku_id for price in chosen)}",
        "" if plain else formula,
        fact.service,
        fact.unit,
        chosen[0].tier_from,
        "" if fact.service == "compute" else fact.gpu,
    )


def _term(need: Need, price: Price) -> str:
    return f"{need.quantity.normalize():f} x {price.price:f}" + (f" / {need.divisor} h" if need.divisor > 1 else "")


def _words(need: Need) -> str:
    return need.name if need.kind in ("storage", "egress", "ssd") else f"{need.kind} of {need.name}"


def _machine(fact: Fact) -> list[Need] | None:
    """Cores, memory and GPUs of a machine; None for a family whose SKUs are not known."""
    family = fact.sku.partition("-")[0]
    if family not in FAMILIES or (fact.gpus and fact.gpu not in GPUS):
        return None
    gpus = [Need("gpu", fact.gpu, Decimal(fact.gpus))] if fact.gpus else []
    return [Need("core", family, Decimal(str(fact.vcpus))), Need("memory", family, Decimal(str(fact.memory_gib))), *gpus]


def _compute_engine(fact: Fact) -> list[Need] | None:
    if fact.service == "compute":
        needs = _machine(fact)
        gib = SSD.get("-".join(fact.sku.split("-")[:2]), 0) * fact.gpus
        return needs + ([Need("ssd", "local-ssd", Decimal(gib), HOURS_A_MONTH)] if gib else []) if needs else None
    if fact.purchase != "on_demand" or fact.sku not in STORAGE.get(fact.service, ()):
        return None
    return [Need("ssd" if fact.sku == "local-ssd" else fact.service, fact.sku, Decimal(1))]


def _vertex(fact: Fact) -> list[Need] | None:
    """Machines, and the parts themselves where the list has them; local disks that come with a machine are not billed."""
    if fact.service == "compute":
        return _machine(fact)
    if fact.service == "component":
        kind, family = fact.sku.rpartition("-")[2], fact.sku.partition("-")[0]
        known = fact.gpu in GPUS if kind == "gpu" else kind in ("core", "memory") and family in FAMILIES
        return [Need(kind, fact.gpu if kind == "gpu" else family, Decimal(1))] if known else None
    return [Need("storage", fact.sku, Decimal(1))] if (fact.service, fact.sku) == ("storage", "training-pd-ssd") else None


COMPUTE = BillingCatalog((COMPUTE_ENGINE, CLOUD_STORAGE), tuple(USAGE.values()), _compute_engine)
VERTEX = BillingCatalog((VERTEX_AI,), ("on_demand",), _vertex)
