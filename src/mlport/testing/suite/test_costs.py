"""What work costs: a price kept at submit, measured hours at that price, a budget that holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

import mlport
from mlport import Endpoint, Job, JobSpec
from mlport.capabilities import Capability as C
from mlport.errors import BudgetError
from mlport.testing import needs

pytestmark = needs(C.JOB_RUN)
TINY = Decimal("1e-9")


def test_a_job_costs_its_measured_hours_at_the_price_it_was_submitted_at(
    spec_of: Callable[..., JobSpec], client: mlport.Client, again: mlport.Client, seconds: float
) -> None:
    spec = spec_of("", expected="2h")
    job = client.jobs.submit(spec).wait(seconds)
    status, cost, frozen = job.status(), job.cost, job.cost.frozen
    assert again.jobs.get(job.id).cost.to_json() == cost.to_json(), "any client tells the same"
    if status.started and status.ended:
        assert abs(cost.hours - Decimal(str((status.ended - status.started).total_seconds())) / 3600) < TINY
    assert cost.total == frozen.hourly * cost.billed_hours
    assert cost.billed_hours >= cost.hours - TINY
    gaps = [line for line in cost.to_json()["lines"] if line["unit_price"] is None]
    assert [line["unknown"] for line in gaps if not line["unknown"]] == [], "what has no price says why"
    assert cost.to_json()["at_least"] is bool(gaps)
    explained = client.explain(spec).price
    if not frozen.unknown:
        assert frozen.hourly > 0
        assert (frozen.expected, explained and explained.hourly) == (frozen.hourly * 2, frozen.hourly)
    listed = {each.id: each.actual.total for each in client.costs.list(datetime.now(UTC) - timedelta(hours=1))}
    assert listed[job.id] == cost.total


def test_what_does_not_fit_into_the_budget_is_refused_before_anything_is_sent(
    spec_of: Callable[..., JobSpec], client: mlport.Client, unique: str, seconds: float
) -> None:
    spec = spec_of("", expected="2h")
    with _with_budget(client, "0.0001 USD") as bound:
        price = bound.explain(spec).price
        if price is None or price.unknown:
            Job(bound.jobs.submit(spec, key=unique).id, client).wait(seconds)  # nobody knows that it does not fit
            return
        with pytest.raises(BudgetError, match=r"0\.00 USD") as caught:
            bound.jobs.submit(spec, key=unique)
        assert (caught.value.exit_code, caught.value.decision["verdict"]) == (3, "refuse")
    assert client.jobs.find(unique) is None
    client.jobs.submit(spec, key=unique).wait(seconds)


@needs(C.ENDPOINT_SERVE)
def test_an_endpoint_costs_from_its_beginning(endpoint: Endpoint, client: mlport.Client) -> None:
    if not client.config.priced:
        return
    served = [each for each in client.costs.deployments() if each.endpoint == endpoint.name and each.ended is None]
    assert {each.deployment for each in served} == {found.name for found in endpoint.deployments}
    costs = {each.id: each.actual for each in client.costs.list(datetime.now(UTC) - timedelta(hours=1))}
    for each in served:
        found = costs[f"{endpoint.name}/{each.deployment}"]
        assert found.hours > 0
        assert found.frozen.unknown or found.total > 0


def _with_budget(client: mlport.Client, text: str) -> mlport.Client:
    """The same profile with a budget, as a client of its own."""
    return mlport.Client(client.provider, client.config.model_copy(update={"monthly_budget": text}))
