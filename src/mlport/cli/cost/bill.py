"""`mlport cost bill` and `mlport cost reconcile`: what a provider billed, and what of it was expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import limit_option, set_option, together
from mlport.cli.values import PAIR
from mlport.errors import SpecError

if TYPE_CHECKING:
    from mlport.costs.bills.reading import Charge, Cost
    from mlport.costs.bills.reconciling import Compared, Reconciliation
    from mlport.costs.records import Estimate
    from mlport.costs.workload import Workload

KINDS = ("billed", "effective", "contracted", "list")
SHORTEST_MONTH = 27  # days to the begin of its last
LONGEST_MONTHS = 1200
COLUMNS = ("status", "part", "what", "expected", "billed", "difference", "by quantity", "by price", "reason")
bill_options = together(
    click.argument("files", metavar="FILE...", nargs=-1, required=True),
    click.option(
        "--only",
        type=PAIR,
        multiple=True,
        metavar="BY=VALUE",
        help="Only charges with this value, such as tag:team=fraud or category=Usage; repeatable.",
    ),
    click.option(
        "--cost",
        "kind",
        type=click.Choice(KINDS),
        default="billed",
        show_default=True,
        help="Which cost: as invoiced; with what was prepaid spread over its use (effective); contracted; list.",
    ),
)


@command(
    "bill", example="mlport cost bill 2026-10.csv --by service\nmlport cost bill *.parquet --by tag:mlport_token --cost effective --json"
)
@bill_options
@click.option(
    "--by",
    default="service",
    show_default=True,
    help="provider, service, sku, resource, region, account, category, description, month, tag:NAME or label:NAME.",
)
@limit_option
@pass_cli
def bill(cli: Cli, files: Sequence[str], only: Sequence[tuple[str, str]], kind: str, by: str, limit: int | None) -> None:
    """What was billed, by service, sku, tag or another dimension.

    FILE is a bill in the FOCUS format (1.0 to 1.2) as CSV (also .csv.gz) or Parquet; each row is checked. Currencies are never added up.
    """
    from mlport.costs.bills import reading

    found = reading.group(_charges(files, only), by, cast("Cost", kind))
    sums = reading.totals(found)
    if cli.out.json:
        totals = [{"currency": name, "cost": float(total)} for name, total in sums.items()]
        shown = found[:limit] if limit else found
        cli.out.document({"by": by, "cost": kind, "totals": totals, "groups": [each.to_json() for each in shown]})
        return
    rows = (
        {
            by: "(none)" if each.key is None else each.key,
            "cost": _money(each.cost),
            "currency": each.currency,
            "charges": each.charges,
            "quantity": each.quantity,
            "unit": each.unit,
        }
        for each in found
    )
    cli.out.table(rows, (by, "cost", "currency", "charges", "quantity", "unit"), empty="no charge like that", limit=limit)
    for name, total in sums.items():
        click.echo(f"total  {_money(total)} {name}")


@command(
    "reconcile",
    example="mlport cost reconcile 2026-10.csv --workload workload.toml --target prod\n"
    "mlport cost reconcile 2026-10.parquet --workload workload.toml --target prod --only tag:team=fraud --json",
)
@bill_options
@click.option("--workload", "workload_file", required=True, metavar="FILE", help="The workload that was expected, as TOML or JSON.")
@click.option("--target", required=True, help="A provider, a name of the workload's [targets], a profile or a URL.")
@click.option("--months", type=click.FloatRange(0, min_open=True), help="How long the bill is for. [default: its billing periods]")
@click.option("--matches", metavar="FILE", help="Which charges belong to which line ([[match]] tables, TOML), where names do not tell.")
@click.option("--tolerance", default="1%", show_default=True, help="By how much a line may differ and still agree.")
@set_option
@pass_cli
def reconcile(
    cli: Cli,
    files: Sequence[str],
    only: Sequence[tuple[str, str]],
    kind: str,
    workload_file: str,
    target: str,
    months: float | None,
    matches: str | None,
    tolerance: str,
    sets: tuple[tuple[str, str], ...],
) -> None:
    """A bill against a workload's estimate, line by line.

    What agrees, what differs and why (quantity, unit price), what was billed and not expected, what was expected and not billed. A line
    is found by the name of its machine or sku; what has no such name on the bill is told with --matches.
    """
    from mlport.cli import specfile
    from mlport.costs.bills import reconciling

    if months is not None and not 0 < months <= LONGEST_MONTHS:
        raise SpecError(f"--months {months:g}: must be at most {LONGEST_MONTHS}")
    workload = cast("Workload", specfile.load(workload_file, kinds=("workload",), sets=sets))
    share = _share(tolerance)
    rules = reconciling.matches(Path(matches)) if matches else ()
    length, remarks = (months, []) if months else _covered(_charges(files, only))
    expected = _estimate(cli, workload, target, length)
    found = reconciling.reconcile(_charges(files, only), expected, kind=cast("Cost", kind), rules=rules, tolerance=share)
    if cli.out.json:
        cli.out.document({"target": target, "months": length, "cost": kind, **found.to_json(), "remarks": remarks})
    else:
        _print(cli, found, f"expected: {length:g} month{'' if length == 1 else 's'} of {workload.name} at {expected.place}", remarks)


def _charges(files: Sequence[str], wanted: Sequence[tuple[str, str]]) -> Iterator[Charge]:
    from mlport.costs.bills import reading

    return reading.only(reading.read(*map(Path, files)), wanted)


def _covered(charges: Iterable[Charge]) -> tuple[float, list[str]]:
    """How many billing periods a bill is of, and a remark if it ends before they do."""
    ends: dict[Any, Any] = {}
    for charge in charges:
        ends[charge.period] = max(charge.end, ends.get(charge.period, charge.end))
    if not ends:
        raise SpecError(
            "the bill has no charge like that", hint="--only names what must be equal; `mlport cost bill FILE --by ...` shows it"
        )
    remarks = [
        f"the last charge of {begin:%Y-%m} ends on {end:%Y-%m-%d}: if the bill is not of the whole month, say so with --months"
        for begin, end in sorted(ends.items())
        if (end - begin).days < SHORTEST_MONTH
    ]
    return len(ends), remarks


def _estimate(cli: Cli, workload: Workload, target: str, months: float) -> Estimate:
    """At the prices of the book that mlport.toml names, if it names one."""
    from mlport.costs import estimate
    from mlport.costs import target as named
    from mlport.costs.book import find

    config = Path(cli.config) if cli.config else None
    return estimate(workload.model_copy(update={"months": months}), named(workload, target, file=config), discount=find(config))


def _share(text: str) -> Decimal:
    try:
        found = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not 0 <= found <= 1:
        raise SpecError(f"--tolerance {text}: is not a share", hint="such as 1% or 0.01")
    return found


def _print(cli: Cli, found: Reconciliation, words: str, remarks: Sequence[str]) -> None:
    several = len({line.currency for line in found.lines}) > 1
    columns = (*COLUMNS[:3], *(("currency",) if several else ()), *COLUMNS[3:])
    cli.out.table(map(_row, found.lines), columns, empty="nothing was billed or expected")
    click.echo(f"\n{words}")
    for total in found.to_json()["totals"]:
        name, least = total["currency"], "at least " if total["at_least"] else ""
        expected, billed = found.sums[name]
        click.echo(f"{name}: billed {_money(billed)}, expected {least}{_money(expected)}, difference {_money(billed - expected)}")
    for remark in remarks:
        cli.out.note(remark)


def _row(line: Compared) -> dict[str, Any]:
    return {
        "status": line.status,
        "part": line.part,
        "what": line.what,
        "currency": line.currency,
        "expected": _amount(line.expected, "unpriced" if line.status in ("unpriced", "not billed") else None),
        "billed": _amount(line.billed),
        "difference": _amount(line.difference),
        "by quantity": _amount(line.by_quantity),
        "by price": _amount(line.by_price),
        "reason": line.reason,
    }


def _amount(value: Decimal | None, unknown: str | None = None) -> str | None:
    return unknown if value is None else _money(value)


def _money(amount: Decimal) -> str:
    from mlport.costs.records import cents

    return f"{cents(amount):,}"
