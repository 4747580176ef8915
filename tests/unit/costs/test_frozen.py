"""The price at submit, what it came to, and what a month may cost."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from aids.pricing import TinyPricing
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs.at_work.budgets import Run, Spent, budget, decide, spent
from mlport.costs.at_work.freezing import freeze, freeze_work
from mlport.costs.at_work.frozen import Component, Frozen, actual
from mlport.costs.catalogue import Catalogue, PriceList
from mlport.costs.estimate import Target
from mlport.costs.pricing import Settings
from mlport.costs.records import Estimate, Line, Price
from mlport.errors import ConfigError, SpecError
from mlport.specs import Compute

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOLLAR = Price(Decimal("1.00"), "hour", "the test", date(2026, 11, 23))
GAP = Component("disk", "gib_month", Decimal("0.1"), None, "no price of disk here")


def frozen(**more) -> Frozen:
    told = {"components": [Component("small", "hour", Decimal(1), DOLLAR)], "expected_hours": Decimal(2)}
    return Frozen(**{"kind": "job", "place": "tiny here", "currency": "USD", "at": NOW, **told, **more})


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@pytest.mark.parametrize(("spot", "price"), [(False, "1.00"), (True, "0.40")])
@pytest.mark.parametrize("speed", [1.0, 3.0])
def test_the_price_of_a_job_is_that_of_an_hour_of_its_nodes(prices, spot, price, speed):
    """Neither a faster machine nor expected interruptions change what an hour costs: the hours will be measured."""
    where = Target("tiny", TinyPricing(), Settings(region="here", speed=speed))
    found = freeze_work("job", Compute(cpus=2, nodes=3, spot=spot), where, at=NOW, expected_hours=Decimal("1.5"), catalogue=prices)
    (machine,) = found.components
    assert (machine.per_hour, machine.price.value, found.hourly) == (3, Decimal(price), 3 * Decimal(price))
    assert machine.offer == {
        "provider": "tiny", "service": "compute", "sku": "small", "region": "here", "purchase": "spot" if spot else "on_demand",
    }  # fmt: skip
    assert (found.versions, found.expected, found.place) == ({"tiny": "1"}, Decimal("4.5") * Decimal(price), "tiny here")
    assert (machine.price.source, machine.price.as_of) == ("the test", date(2026, 11, 23))


def test_what_is_kept_is_what_was_frozen_whatever_prices_do_later(prices):
    where = Target("tiny", TinyPricing(), Settings(region="here"))
    kept = json.dumps(freeze_work("batch", Compute(cpus=2), where, at=NOW, catalogue=prices).to_json())
    dearer = Catalogue()
    dearer._lists["tiny"] = PriceList("2", [fact._replace(price=fact.price * 9) for fact in prices.list("tiny").facts])
    now = freeze_work("batch", Compute(cpus=2), where, at=NOW, catalogue=dearer)
    before = Frozen.from_json(json.loads(kept))
    assert (before.hourly, now.hourly, now.versions) == (Decimal("1.00"), Decimal("9.00"), {"tiny": "2"})
    assert json.dumps(before.to_json()) == kept
    assert len(kept) < 1000
    whole = frozen(components=[GAP, Component("a third", "hour", Decimal(1) / 3, DOLLAR._replace(as_of=None, listed=Decimal("1.10")))])
    assert Frozen.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize("change", [{"format": 2}, {"kind": "dream"}, {"at": "yesterday"}, {"components": [{}]}, {"granularity": "x"}])
def test_a_record_that_is_none_is_refused(change):
    with pytest.raises(SpecError, match="frozen price: "):
        Frozen.from_json({**frozen().to_json(), **change})


def test_what_it_came_to_is_by_measured_hours_each_run_rounded_as_billed():
    found = actual(
        frozen(granularity=Decimal(60), least=Decimal(120)), [timedelta(seconds=61), timedelta(seconds=30), timedelta(seconds=9001)]
    )
    assert found.hours == Decimal(61 + 30 + 9001) / 3600
    assert found.total == found.billed_hours == pytest.approx(Decimal(120 + 120 + 9060) / 3600, rel=Decimal("1e-24"))
    assert found.difference == found.total - 2
    assert found.reasons == (
        [
            "ran 2.526 h, expected 2 h (+26 %)",
            "3 runs or replicas, each billed apart",
            "billed 2.583 h for 2.526 h: steps of 60 s, at least 120 s",
        ]
    )
    assert actual(frozen(), [hours(2)]).reasons == []
    with pytest.raises(SpecError, match="are the clocks right"):
        actual(frozen(), [hours(-1)])


def test_a_gap_stays_a_gap():
    found = actual(frozen(components=[*frozen().components, GAP], expected_hours=None), [hours(3)])
    document = found.to_json()
    assert (document["actual"], document["at_least"], document["expected"], document["difference"]) == (3.0, True, None, None)
    assert [(line["amount"], line["unit_price"], line["free"]) for line in document["lines"]] == [(3.0, 1.0, False), (None, None, False)]
    assert found.reasons == ["nobody said how long it would take", "not in it: disk: no price of disk here"]


def test_an_estimate_is_frozen_by_the_hour_and_what_is_not_of_the_hour_is_refused():
    lines = [
        Line("e", "serving", "replica", Decimal(730), "hour", DOLLAR, ""),
        Line("e", "egress", "tiers", Decimal(100), "gib", DOLLAR, "", Decimal(50)),
    ]
    estimate = Estimate("tiny", "tiny here", 1, "USD", lines)
    found = freeze(estimate, kind="endpoint", hours=Decimal(730), at=NOW)
    assert [each.per_hour for each in found.components] == [1, Decimal(100) / 730]
    assert found.hourly * 730 == pytest.approx(Decimal(780))
    assert found.components[1].price.value == Decimal("0.5")
    committed = estimate._replace(lines=[lines[0]._replace(part="commitments")])
    with pytest.raises(SpecError, match="paid used or not"):
        freeze(committed, kind="job", hours=Decimal(1), at=NOW)
    with pytest.raises(SpecError, match="must be more than 0"):
        freeze(estimate, kind="job", hours=Decimal(0), at=NOW)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)), st.integers(1, 200 * 24 * 3600))
def test_months_share_a_run_without_loss(began, seconds):
    run = Run(frozen(), began.replace(tzinfo=UTC), began.replace(tzinfo=UTC) + timedelta(seconds=seconds))
    ends = [datetime(2026 + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(microseconds=1) for month in range(1, 24)]
    total = sum((spent([run], end).amounts.get("USD", Decimal(0)) for end in ends), start=Decimal(0))
    assert total == pytest.approx(Decimal(seconds) / 3600, abs=Decimal("0.01"))


def test_this_month_counts_what_runs_still_and_only_this_months_hours():
    day = timedelta(days=1)
    runs = [
        Run(frozen(), NOW - 2 * hours(1), None),
        Run(frozen(), datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)),
        Run(frozen(), NOW - 60 * day, NOW - 50 * day),
        Run(frozen(currency="EUR", components=[*frozen().components, GAP]), NOW - hours(5), NOW - hours(4)),
        Run(frozen(), NOW - hours(1), NOW - hours(2)),
    ]
    found = spent(runs, NOW)
    assert found.amounts == {"USD": Decimal(2) + 24, "EUR": Decimal(1)}
    assert found.unknown == ["disk: no price of disk here", "a job that ended before it began (2026-11-23T11:00:00+00:00)"]


@pytest.mark.parametrize("text", ["400", "USD", "USD 400", "400 usd", "1,000 USD", "-5 USD", "1e3 USD", "9999999999999999 USD", "NaN USD"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"\[objective\] monthly_budget: .* is not an amount and a currency"):
        budget(text, "[objective] monthly_budget")


@pytest.mark.parametrize(
    ("amounts", "planned", "verdict", "words"),
    [
        ({}, frozen(), "ok", "0.00 spent this month and 2.00 planned, of 400.00 USD"),
        ({"USD": Decimal(317)}, frozen(), "ok", "317.00 spent this month and 2.00 planned, of 400.00 USD"),
        ({"USD": Decimal(319)}, frozen(), "warn", "319.00 spent this month and 2.00 planned, of 400.00 USD"),
        ({"USD": Decimal(398)}, frozen(), "warn", "398.00 spent this month and 2.00 planned, of 400.00 USD"),
        ({"USD": Decimal("398.01")}, frozen(), "refuse", "398.01 spent this month and 2.00 planned, of 400.00 USD"),
        ({"USD": Decimal(401)}, None, "refuse", "401.00 spent this month, of 400.00 USD"),
        ({"EUR": Decimal(9)}, None, "warn", "0.00 spent this month, of 400.00 USD; not in it: 9.00 EUR spent"),
        (
            {},
            frozen(expected_hours=None),
            "warn",
            "an unknown amount planned, of 400.00 USD; not in it: nobody said how long it would take",
        ),
        ({}, frozen(currency="EUR"), "warn", "an unknown amount planned, of 400.00 USD; not in it: it is priced in EUR"),
        ({}, frozen(components=[GAP]), "warn", "0.00 planned, of 400.00 USD; not in it: disk: no price of disk here"),
    ],
)
def test_the_budget_decides(amounts, planned, verdict, words):
    found = decide(budget("400 USD"), Spent(amounts), planned)
    assert (found.verdict, found.words.endswith(words)) == (verdict, True), found.words
    softer = decide(budget("400 USD"), Spent(amounts), planned, over="warn")
    assert softer.verdict == ("warn" if verdict == "refuse" else verdict)
