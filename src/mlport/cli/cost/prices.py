"""`mlport cost prices`: look prices up, each with its source and date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import compute_options, limit_option

if TYPE_CHECKING:
    from mlport.costs.catalogue import Catalogue
    from mlport.costs.facts import Fact

LONGEST_HINT = 300  # characters; a list of all machines is no advice
COLUMNS = ("list", "service", "sku", "region", "purchase", "price", "currency", "unit", "as_of", "machine")


@command("prices", example="mlport cost prices\nmlport cost prices aws --region eu-west-1 --gpus 1 --gpu T4 --limit 5 --json")
@click.argument("name", metavar="[LIST]", required=False)
@click.option("--service", help="Such as compute, storage, egress or logging.")
@click.option("--region", help="The provider's name of a region; what holds anywhere is shown too.")
@click.option("--sku", help="The provider's name of the thing, or a part of it.")
@click.option("--purchase", help="Such as on_demand, spot, reserved_1y or reserved_3y.")
@compute_options
@limit_option
@pass_cli
def prices(
    cli: Cli,
    name: str | None,
    service: str | None,
    region: str | None,
    sku: str | None,
    purchase: str | None,
    cpus: float | None,
    memory_gib: float | None,
    gpus: int | None,
    gpu: str | None,
    limit: int | None,
) -> None:
    """Look prices up in the catalogue.

    Without LIST: which lists there are. With --cpus, --memory, --gpus or --gpu: the machines that have at least that, cheapest first.
    """
    from mlport.costs.catalogue import default

    catalogue = default()
    if name is None:
        cli.out.table(_lists(catalogue), ("list", "version", "prices", "oldest", "regions"), empty="no prices", limit=limit)
        return
    listed = catalogue.list(name)
    wanted = _compute(cpus, memory_gib, gpus, gpu)
    filters = {"service": service or ("compute" if wanted else None), "purchase": purchase}
    for field, value in filters.items():
        _require_known(field, value, {getattr(fact, field) for fact in listed.facts})
    _require_known("region", region, {fact.region for fact in listed.facts})
    _require_known("gpu", gpu and gpu.upper(), {fact.gpu.upper() for fact in listed.facts if fact.gpu})
    if sku and not any(sku.lower() in fact.sku.lower() for fact in listed.facts):
        _require_known("sku", sku, {fact.sku for fact in listed.facts})
    found = [fact for fact in listed.facts if _fits(fact, filters, region, sku, wanted)]
    if wanted:
        found.sort(key=lambda fact: (fact.price, fact.vcpus, fact.memory_gib, fact.sku, fact.region))
    rows = (_row(fact, text=not cli.out.json) for fact in found)
    cli.out.table(rows, COLUMNS, empty="no price like that", limit=limit)


def _lists(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    for name in catalogue.names():
        found = catalogue.list(name)
        yield {
            "list": name,
            "version": found.version,
            "prices": len(found.facts),
            "oldest": min(fact.as_of for fact in found.facts).isoformat(),
            "regions": found.regions,
        }


def _compute(cpus: float | None, memory_gib: float | None, gpus: int | None, gpu: str | None) -> Any:
    """The machine that is wanted, None if nothing was said of it."""
    from mlport.cli.options import compute
    from mlport.specs import Compute

    told = compute(cpus=cpus, memory_gib=memory_gib, gpus=gpus or (1 if gpu else None), gpu=gpu)
    return Compute.model_validate(told) if told else None


def _require_known(field: str, value: str | None, known: set[str]) -> None:
    from mlport.costs.catalogue import nearest
    from mlport.errors import SpecError

    if value is not None and value not in known:
        near = nearest(value, sorted(known))
        raise SpecError(f"--{field} {value}: no price has that", hint=near if len(near) <= LONGEST_HINT else None)


def _fits(fact: Fact, filters: dict[str, str | None], region: str | None, sku: str | None, wanted: Any) -> bool:
    from mlport.costs.catalogue import ANYWHERE
    from mlport.costs.offers import satisfies

    return (
        all(value in (None, getattr(fact, field)) for field, value in filters.items())
        and (region is None or fact.region in (region, *ANYWHERE))
        and (sku is None or sku.lower() in fact.sku.lower())
        and (wanted is None or satisfies(fact, wanted))
    )


def _row(fact: Fact, *, text: bool) -> dict[str, Any]:
    gpus = f", {fact.gpus} x {fact.gpu}" if fact.gpus else ""
    tier = f", from {fact.tier_from:f}" if fact.tier_from and text else ""
    price: Any = f"{fact.price.normalize():f}" if text else float(fact.price)
    return {
        "list": fact.provider,
        "service": fact.service,
        "sku": fact.sku,
        "region": fact.region,
        "purchase": fact.purchase,
        "price": price,
        "currency": fact.currency,
        "unit": f"{fact.unit}{tier}",
        "tier_from": float(fact.tier_from),
        "free": fact.price == 0,
        "as_of": fact.as_of.isoformat(),
        "source": fact.source,
        "derived_from": fact.derived_from or None,
        "machine": f"{fact.vcpus:g} vCPU, {fact.memory_gib:g} GiB{gpus}" if fact.vcpus else None,
        "vcpus": fact.vcpus or None,
        "memory_gib": fact.memory_gib or None,
        "gpu": fact.gpu or None,
        "gpus": fact.gpus,
    }
