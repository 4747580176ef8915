"""`mlport cost actual` and `mlport cost budget`: what real work came to, and how the month stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import limit_option
from mlport.cli.values import SPAN

if TYPE_CHECKING:
    from mlport.costs.at_work.budgets import Decision
    from mlport.costs.at_work.costs import Cost

COLUMNS = ("id", "state", "hours", "an hour", "expected", "actual", "currency", "why")
OVER = 3


@command("actual", example="mlport cost actual\nmlport cost actual train-1a2b -p prod\nmlport cost actual --last 7d --json")
@click.argument("job_ids", metavar="[JOB]...", nargs=-1)
@click.option("--last", type=SPAN, help="What ran within this long back from now. [default: since the month began]")
@limit_option
@pass_cli
def actual(cli: Cli, job_ids: tuple[str, ...], last: timedelta | None, limit: int | None) -> None:
    """What real work came to, against what was expected.

    Measured hours of jobs, batches, trials and deployments, as the provider bills them, at the price that each was submitted at; and why
    it is not what was expected. What had no price then is named, and the cost is "at least".
    """
    from mlport.costs.at_work.budgets import month_of

    now = datetime.now(UTC)
    costs = cli.client.costs
    if job_ids:
        jobs = cli.client.session.jobs
        found: Iterable[Cost] = [costs.of(jobs.status(job_id)) for job_id in job_ids]
    else:
        found = list(costs.list(now - last if last else month_of(now)[0]))
    shown = [each.to_json() if cli.out.json else _row(each) for each in found]
    cli.out.table(shown, COLUMNS, empty="nothing ran", limit=limit)
    if not cli.out.json and shown:
        click.echo(_total(list(found)))


@command("budget", example="mlport cost budget\nmlport cost budget -p prod --json")
@pass_cli
def budget(cli: Cli) -> None:
    """How this month (UTC) stands against the profile's budget.

    What was spent, and what the things that run still will come to. Exit status 3 if that is more than the budget. A submit that does not
    fit is refused with the same status, unless the profile has over_budget = "warn".
    """
    found = cli.client.costs.decide()
    if found is None:
        cli.out.done('no budget: set monthly_budget = "400 USD" in the profile or in [objective]', budget=None)
        return
    if cli.out.json:
        cli.out.document(found.to_json())
    else:
        click.echo(_standing(found))
    if found.spent + found.committed > found.budget.amount:
        cli.ctx.exit(OVER)


def _standing(found: Decision) -> str:
    over = found.spent + found.committed > found.budget.amount
    return f"{'over' if over else 'within'} the budget: {found.words}"


def _row(each: Cost) -> dict[str, Any]:
    from mlport.costs.reporting.words import small

    found = each.actual
    price = found.frozen
    unknown = bool(price.unknown)
    return {
        "id": each.id,
        "state": each.state,
        "hours": f"{found.hours:.4g}",
        "an hour": _priced(price.hourly, unknown=unknown),
        "expected": small(price.expected),
        "actual": _priced(found.total, unknown=unknown),
        "currency": price.currency,
        "why": "; ".join(found.reasons),
    }


def _priced(amount: Decimal, *, unknown: bool) -> str:
    """An amount; one that has a gap is a lower bound, and nothing but a gap is unknown."""
    from mlport.costs.reporting.words import small

    if unknown and not amount:
        return "unknown"
    return f"{'at least ' if unknown else ''}{small(amount)}"


def _total(found: Sequence[Cost]) -> str:
    sums: dict[str, Decimal] = {}
    for each in found:
        sums[each.actual.frozen.currency] = sums.get(each.actual.frozen.currency, Decimal(0)) + each.actual.total
    at_least = "at least " if any(each.actual.frozen.unknown for each in found) else ""
    return f"total  {at_least}{' and '.join(f'{amount:,.2f} {currency}' for currency, amount in sums.items())}"
