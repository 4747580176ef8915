"""Comparisons, what-ifs, ways to pay and timelines, each against what can be computed by hand or by plain estimates."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from aids.pricing import catalogue
from hypothesis import given, settings
from hypothesis import strategies as st

import mlport
from mlport.costs import Workload, compare, timeline, what_if
from mlport.costs.book import checked
from mlport.costs.comparing.what_if import changed, located
from mlport.costs.estimate import priced, target
from mlport.costs.reporting.words import on_ways
from mlport.errors import ConfigError, SpecError

TARGETS = {
    "tiny": {"region": "here"},
    "there": {"provider": "tiny", "region": "there"},
    "quick": {"provider": "tiny", "region": "here", "speed": 2},
}
PRICES = catalogue()
ROOT = Path(__file__).parents[3]


def workload(**fields):
    return Workload.model_validate({"targets": TARGETS, **fields})


def exact(asked, name, field, value):
    made = changed(asked, located(asked, field), value)
    return float(priced(made, target(made, name), PRICES).total)


# ---------------------------------------------------------------- comparisons


def test_the_cheapest_is_looked_for_among_the_complete_only():
    asked = workload(training=[{"hours": 10}], storage=[{"gib": 100}])
    found = compare(asked, ["tiny", "there", "quick"], catalogue=PRICES)
    assert found.cheapest == "quick"
    assert [each.total for each in found.standings] == [Decimal(12), Decimal(15), Decimal(7)]
    there = found.standings[1]
    assert (there.at_least, there.complete) == (True, False)
    assert "there" not in found.verdict  # 15 at least is no rival of 7
    assert found.standings[1].unpriced == ("storage: no price of disk in there",)


def test_a_lower_bound_below_the_cheapest_is_said():
    asked = workload(training=[{"compute": {"cpus": 8}, "hours": 10}], storage=[{"gib": 10000}])
    found = compare(asked, ["tiny", "there"], catalogue=PRICES)
    assert found.cheapest == "tiny"
    assert "there costs at least 20.00 and may be cheaper" in found.verdict


def test_the_verdict_is_one_sentence_to_forward():
    hours = {"name": "fits", "training": [{"hours": [1, 10, 30]}], "uncertainty": {"samples": 200, "spot": 0, "yearly": 0}}
    found = compare(workload(**hours), ["tiny", "there", "quick"], catalogue=PRICES)
    assert found.verdict == "quick is the cheapest: 5.00 USD for 1 month, 50 % less than tiny, and so in all of 200 samples"
    assert found.odds == {"tiny": 0.0, "there": 0.0, "quick": 1.0}
    alone = compare(workload(**hours), ["tiny"], catalogue=PRICES)
    assert alone.verdict == "fits costs 10.00 USD for 1 month at tiny"


def test_how_often_a_target_is_the_cheapest_is_counted_sample_by_sample():
    """A fee beside a cheap machine, or a dear machine without one: the hours decide, and their triangle says how often."""
    from scipy import stats

    asked = workload(
        endpoints=[{"requests_per_second": 0, "hours": [0, 100, 200], "compute": {"cpus": 1}}],
        storage=[{"gib": 5000}],
        uncertainty={"samples": 20_000, "spot": 0, "yearly": 0},
        items=[{"name": "fee", "quantity": 50, "unit": "x", "price": 3, "source": "it", "as_of": "2026-01-01", "targets": ["tiny"]}],
        targets={"tiny": {"region": "here"}, "dear": {"provider": "tiny", "region": "here", "machines": {"endpoint": "big"}}},
    )
    found = compare(asked, ["tiny", "dear"], catalogue=PRICES)  # 1 an hour and a fee of 150, or 3 an hour: alike at 75 hours
    share = float(stats.triang(0.5, 0, 200).sf(75))
    assert found.odds["tiny"] == pytest.approx(share, abs=0.02)
    assert found.odds["dear"] == pytest.approx(1 - share, abs=0.02)
    assert f"and so in {found.odds['tiny'] * 100:.0f} % of 20,000 samples" in found.verdict


def test_what_cannot_be_done_is_said_and_never_the_cheapest():
    found = compare(workload(training=[{"hours": 1}], egress=[{"gib": 1}]), ["tiny"], catalogue=PRICES)
    assert found.cheapest is None
    assert "tiny cannot do egress" in found.verdict
    assert found.standings[0].cannot[0].why == "nothing leaves"


def test_unit_costs_are_of_the_parts_that_give_the_units():
    asked = workload(
        training=[{"hours": 10, "retries": 0.5, "compute": {"nodes": 2}}],
        endpoints=[{"requests_per_second": 10, "latency_ms": 100, "target_utilization": 1}],
        storage=[{"gib": 100}],
    )
    each = compare(asked, ["tiny"], catalogue=PRICES).standings[0]
    assert each.per_useful_hour == Decimal("1.25")  # 25 of 20 node hours, for half a run a run is lost
    assert each.per_1k_predictions == Decimal(730) / (10 * 3600 * 730) * 1000
    assert compare(workload(storage=[{"gib": 1}]), ["tiny"], catalogue=PRICES).standings[0].per_useful_hour is None


def test_useful_hours_count_once_however_many_machines_were_tried():
    asked = workload(training=[{"hours": 3, "compute": {"spot": True}}], sweeps=[{"hours": 2, "trials": 5}])
    assert compare(asked, ["tiny"], catalogue=PRICES).estimates[0].useful_hours == 13


@pytest.mark.parametrize(("names", "words"), [([], "no targets"), (["tiny", "tiny"], "named twice"), (["tinny"], "tinny")])
def test_targets_that_make_no_comparison_are_refused(names, words):
    with pytest.raises((SpecError, ConfigError), match=words):
        compare(workload(storage=[{"gib": 1}]), names, catalogue=PRICES)


def test_what_money_does_not_say_is_weighed_by_the_user():
    asked = workload(
        storage=[{"gib": 1}],
        weights={"control": 1, "recovery": 3},
        scores={"tiny": {"control": 2, "recovery": 6}, "there": {"control": 9}},
    )
    found = compare(asked, ["tiny", "there"], catalogue=PRICES)
    assert [row.criterion for row in found.beyond_money][:2] == ["recovery", "control"]
    assert found.beyond_money[1].notes["tiny"].source == "https://example.org/control"
    assert found.beyond_money[0].notes["tiny"].words == "nothing is said here"
    assert found.scores == {"tiny": 5.0, "there": None}


def test_a_profile_is_a_target(tmp_path, monkeypatch):
    (tmp_path / "mlport.toml").write_text(
        '[profiles.gcp]\nprovider = "vertex"\nproject = "acme-ml"\nlocation = "europe-west4"\nstaging = "gs://acme-ml/x"\n'
    )
    monkeypatch.chdir(tmp_path)
    asked = workload(storage=[{"gib": 1}])
    assert target(asked, "gcp").settings.region == "europe-west4"
    with pytest.raises(ConfigError, match="no profile"):
        target(asked, "gpc")
    with pytest.raises(ConfigError, match="costs nothing"):
        target(asked, "vertex-emulated")


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("vertex://acme-ml/us-central1?staging=gs://acme-ml/x", "us-central1"),
        ("vertex://p/europe-west4", "europe-west4"),
        ("sagemaker://eu-west-1", "eu-west-1"),
        ("azureml://subscription/group/workspace?region=westeurope", "westeurope"),
        ("databricks://dbc-1.cloud.databricks.com/main/ml?region=us-east-1&tier=enterprise", "us-east-1"),
        ("local:///data/mlport", None),
    ],
)
def test_a_url_is_a_target_without_what_only_work_needs(url, region):
    found = target(workload(storage=[{"gib": 1}]), url)
    assert (found.pricing.name, found.settings.region) == (url.partition(":")[0], region)


def test_a_name_that_is_nothing_gets_the_nearest_provider():
    with pytest.raises(ConfigError) as caught:
        target(workload(storage=[{"gib": 1}]), "sagemeker")
    assert caught.value.hint == "did you mean 'sagemaker'?"


def test_the_functions_stay_functions_when_their_modules_are_imported():
    program = (
        "import mlport.costs.comparing.compare, mlport.costs.estimate, mlport; "
        "assert callable(mlport.costs.compare) and callable(mlport.costs.estimate); "
        "from mlport.costs import compare; assert callable(compare); assert mlport.Workload is mlport.costs.Workload"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert set(mlport.costs.__all__) <= set(dir(mlport.costs))


# ---------------------------------------------------------------- what if


@given(st.lists(st.integers(1, 500_000).map(lambda hundredths: hundredths / 100), min_size=1, max_size=30))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_what_if_of_a_quantity_is_the_estimate_at_each_value(values):
    asked = workload(
        training=[{"hours": 3, "compute": {"spot": True}, "interrupted": 0.9, "checkpoint_every": "10h", "restart_takes": "20h"}],
        storage=[{"gib": 3}],
    )
    found = what_if(asked, ["tiny", "quick"], "training.hours", values, catalogue=PRICES)
    for name in ("tiny", "quick"):
        assert found.totals[name] == pytest.approx([exact(asked, name, "training.hours", value) for value in values], rel=1e-9)


@given(st.lists(st.floats(0.01, 12), min_size=1, max_size=40))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_what_if_of_a_machine_is_the_estimate_at_each_value(values):
    asked = workload(endpoints=[{"requests_per_second": 50}], training=[{"hours": 3}])
    found = what_if(asked, ["tiny", "there"], "endpoint.compute.cpus", values, catalogue=PRICES)
    for name in ("tiny", "there"):
        assert found.totals[name] == pytest.approx([exact(asked, name, "endpoint.compute.cpus", value) for value in values], rel=1e-9)
        assert found.complete[name] == [value <= 8 for value in values]


def test_months_regions_and_settings_can_be_asked_for():
    asked = workload(training=[{"hours": 3, "name": "nightly"}])
    assert what_if(asked, ["tiny"], "months", [1, 2.5, 12], catalogue=PRICES).totals["tiny"] == pytest.approx([3, 7.5, 36])
    where = what_if(asked, ["tiny", "there"], "targets.tiny.region", ["here", "there"], catalogue=PRICES)
    assert where.totals == {"tiny": [3.0, 4.5], "there": [4.5, 4.5]}
    assert what_if(asked, ["quick"], "targets.quick.speed", [1, 3], catalogue=PRICES).totals["quick"] == [3.0, 1.0]
    assert what_if(asked, ["tiny"], "training.0.runs", [1, 2], catalogue=PRICES).totals["tiny"] == [3.0, 6.0]
    assert what_if(asked, ["tiny"], "nightly.compute.spot", [False, True], catalogue=PRICES).totals["tiny"][0] == 3.0


def test_what_a_provider_s_table_says_is_for_those_who_say_nothing_else():
    asked = workload(training=[{"hours": 3}])
    for values in ([1, 4, 0.5], [2]):
        found = what_if(asked, ["tiny", "there", "quick", "tiny://there"], "targets.tiny.speed", values, catalogue=PRICES)
        for name, totals in found.totals.items():
            assert totals == pytest.approx([exact(asked, name, "targets.tiny.speed", value) for value in values]), name
    assert found.totals["quick"] == [1.5]


def test_without_numpy_a_what_if_is_made_value_by_value(monkeypatch):
    asked, values = workload(training=[{"hours": 3}]), [0.5, 2, 7]
    with_it = what_if(asked, ["tiny", "quick"], "training.hours", values, catalogue=PRICES)
    monkeypatch.setitem(sys.modules, "numpy", None)
    without = what_if(asked, ["tiny", "quick"], "training.hours", values, catalogue=PRICES)
    assert without.totals == {name: pytest.approx(totals) for name, totals in with_it.totals.items()}


def test_where_another_becomes_the_cheapest_is_told():
    asked = workload(endpoints=[{"requests_per_second": 0, "compute": {"cpus": 1}}])
    found = what_if(asked, ["tiny", "there"], "endpoint.compute.cpus", [1, 2, 3, 8, 9], catalogue=PRICES)
    assert found.changes() == [(1, "tiny"), (3, "there"), (9, None)]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("trainng.hours", 1, "did you mean 'training'"),
        ("training.hurs", 1, "did you mean 'hours'"),
        ("training.hours", -1, "greater than or equal to 0"),
        ("training.3.hours", 1, "has no training.3.hours"),
        ("training.hours", "long", "hours"),
        ("months", 0, "months"),
    ],
)
def test_a_what_if_that_makes_no_sense_is_refused(field, value, words):
    asked = workload(training=[{"hours": 3}])
    with pytest.raises(SpecError) as refused:
        what_if(asked, ["tiny"], field, [value], catalogue=PRICES)
    assert words in f"{refused.value} {refused.value.hint}"


FIELDS = {
    "months": [0.1, 1, 2.5, 36, 600],
    "hours_a_month": [672, 700.5, 744],
    "nightly.runs": [0, 0.5, 30, 4000],
    "nightly.retries": [0, 0.05, 1],
    "nightly.warm_up": [0, 3.3, 60],
    "nightly.checkpoint_every": ["10s", "1m", 600, timedelta(hours=2), "20h"],
    "nightly.checkpoint_takes": [0.1, "30s", "50m"],
    "nightly.restart_takes": [1, "1h", "300h"],
    "nightly.interrupted": [0, 0.2, 0.9999999, 1],
    "nightly.compute.nodes": [1, 2, 7, 1024],
    "nightly.compute.disk_gib": [1, 100.5, 5000],
    "search.trials": [0, 0.5, 1000],
    "search.parallel": [1, 3, 500],
    "online.requests_per_second": [[0] * 24, [1, 50] * 12, [9] * 24],
    "online.requests_per_second.7": [0, 0.1, 3000],
    "online.latency_ms": [0, 3, 40, 2500],
    "online.concurrency": [1, 2, 5, 64],
    "online.target_utilization": [0.01, 0.5, 1],
    "online.min_replicas": [0, 1, 2, 10],
    "online.max_replicas": [1, 3, 900],
    "weekly_scores.rows_per_second": [0.5, 4000, 1e9],
    "data.writes": [0, 1000, 1e8],
    "targets.vertex.speed": [0.05, 1, 33],
    "targets.local.speed": [0.05, 1, 33],
    "targets.databricks.tier": ["premium", "enterprise", "premium"],
    "weights.control": [0, 10],
}
"""Numbers at which rules change their minds, of each kind of field that takes numbers."""


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("spot", [False, True])
def test_a_what_if_of_any_field_is_the_estimate_at_each_value_on_all_five(field, spot):
    from mlport.costs.catalogue import default

    values = FIELDS[field]
    asked = example(spot)
    names = ["local", "vertex", "azureml", "databricks", "sagemaker"]
    found = what_if(asked, names, field, [*values, *values])
    for at, value in enumerate(values):
        made = changed(asked, located(asked, field), value)
        for name in names:
            plain = priced(made, target(made, name), default())
            assert found.totals[name][at] == pytest.approx(float(plain.total), rel=1e-9), (name, value)
            assert found.complete[name][at] == found.complete[name][at + len(values)] == plain.complete


@cache
def example(spot: bool) -> Workload:
    table = tomllib.loads((ROOT / "examples/cost/workload.toml").read_text())
    table["targets"]["local"]["hardware"] = str(ROOT / "examples/cost/hardware.toml")
    table["training"][0]["compute"]["spot"] = spot
    return Workload.model_validate(table)


def test_a_what_if_of_the_shorthands():
    job = {"name": "train", "entrypoint": ["python", "train.py"], "compute": {"cpus": 2}}
    served = {"name": "answers", "deployment": {"model": {"name": "m", "version": "1"}, "compute": {"cpus": 1}}}
    asked = workload(job=job, job_hours=2, endpoint=served, requests_per_second=[1, 2, 3])
    fields = {
        "job_hours": [0, 2.5],
        "job.compute.nodes": [1, 5],
        "endpoint.deployment.replicas.max": [1, 9],
        "requests_per_second": [0, 99],
    }
    for field, values in fields.items():
        found = what_if(asked, ["tiny"], field, values, catalogue=PRICES).totals["tiny"]
        assert found == pytest.approx([exact(asked, "tiny", field, value) for value in values], rel=1e-9), field


def test_a_price_that_is_best_in_the_middle_only_is_found():
    """Checkpoints too often and too seldom make spot dearer than on demand; between them it is cheaper."""
    often = {"interrupted": 0.999, "checkpoint_takes": "30m", "restart_takes": "10m"}
    asked = workload(training=[{"hours": 5000, "compute": {"spot": True}, **often}])
    values = [60.0 * 1.07**step for step in range(160)]
    found = what_if(asked, ["tiny"], "training.checkpoint_every", values, catalogue=PRICES).totals["tiny"]
    assert found == pytest.approx([exact(asked, "tiny", "training.checkpoint_every", value) for value in values], rel=1e-9)
    assert found[0] == found[-1] == 5000
    assert min(found) < 4000


# ---------------------------------------------------------------- ways to pay


@given(st.lists(st.integers(0, 12), min_size=24, max_size=24))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_as_many_machines_are_reserved_as_cost_the_least(counts):
    demand = [count * 1.0 for count in counts]  # a replica for each request a second
    asked = workload(endpoints=[{"requests_per_second": demand, "latency_ms": 1000, "target_utilization": 1, "min_replicas": 0}])
    found = compare(asked, ["tiny"], catalogue=PRICES).purchases[0]
    options = {option.purchase: option for option in found.options}
    assert options["on_demand"].cost == pytest.approx(Decimal(sum(counts)) * 730 / 24)
    for purchase, rate in (("reserved_1y", 0.6), ("reserved_3y", 0.35)):
        best = min(sum(reserved * rate + max(count - reserved, 0) for count in counts) * 730 / 24 for reserved in range(1, 13))
        assert float(options[purchase].cost) == pytest.approx(best)
    assert found.best.cost == min(option.cost for option in found.options if option.cost is not None)


def test_reserved_machines_are_paid_for_when_they_idle():
    found = compare(workload(training=[{"hours": 100}]), ["tiny"], catalogue=PRICES).purchases[0]
    costs = {option.purchase: option.cost for option in found.options}
    assert costs["on_demand"] == 100
    assert costs["reserved_1y"] == Decimal("0.60") * 730
    assert found.best.purchase == "spot"


def test_spot_that_is_not_cheaper_is_no_way_to_pay():
    often = {"interrupted": 0.999, "checkpoint_every": "10h", "restart_takes": "1000h"}
    found = compare(workload(training=[{"hours": 100, **often}]), ["tiny"], catalogue=PRICES).purchases[0]
    spot = next(option for option in found.options if option.purchase == "spot")
    assert (spot.cost, spot.words) == (None, "on demand, for spot with its interruptions is not cheaper")


def test_a_way_to_pay_without_a_price_is_unknown_and_says_why():
    found = compare(workload(training=[{"hours": 100, "compute": {"cpus": 8}}]), ["tiny"], catalogue=PRICES).purchases[0]
    assert found.best.purchase == "on_demand"
    assert {option.purchase for option in found.options if option.cost is None} == {"spot", "reserved_1y", "reserved_3y"}
    assert "no price of big reserved for 1 year is known in here" in [option.words for option in found.options]


def test_a_price_book_counts_in_every_way_to_pay():
    rate = {"from": "USD", "rate": "0.9", "as_of": "2026-11-20", "source": "the test"}
    tax = {"what": "VAT", "percent": 20, "from": "2026-01-01", "source": "the test"}
    book = checked({"currency": "EUR", "rates": [rate], "taxes": [tax]}, "the test")
    asked = workload(endpoints=[{"requests_per_second": 1}])
    plain, booked = (compare(asked, ["tiny"], catalogue=PRICES, discount=how) for how in (None, book))
    assert booked.currency == "EUR"
    assert booked.standings[0].total == plain.standings[0].total * Decimal("1.08")
    for without, withal in zip(plain.purchases[0].options, booked.purchases[0].options, strict=True):
        assert withal.cost == without.cost * Decimal("1.08"), withal.purchase


def test_what_is_committed_for_all_parts_is_no_part_s_own():
    """Three parts on the committed machine: each would carry the whole commitment, and on demand would look dear."""
    month = {"provider": "tiny", "sku": "small", "hours": 10_000, "rate": "0.5", "from": "2026-01-01", "source": "the test"}
    book = checked({"commitments": [month], "discounts": [{"provider": "tiny", "percent": 10, "source": "the test"}]}, "the test")
    asked = workload(training=[{"hours": 10, "name": f"run_{number}"} for number in range(3)])
    found = compare(asked, ["tiny"], catalogue=PRICES, discount=book)
    assert found.standings[0].total == 5000  # and nothing above it
    assert [each.options[0].cost for each in found.purchases] == [9, 9, 9]
    assert "for all of them together" in on_ways(found)
    assert not on_ways(compare(asked, ["tiny"], catalogue=PRICES))


# ---------------------------------------------------------------- timelines


@given(st.floats(0.5, 200), st.integers(1, 7))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_so_many_trials_fit_and_one_more_does_not(budget, parallel):
    start = datetime(2026, 11, 23, tzinfo=UTC)
    asked = workload(sweeps=[{"hours": 1, "trials": 100, "parallel": parallel}])
    found = timeline(asked, "tiny", budget=budget, measured=[1.5, 2.5], start=start, catalogue=PRICES)
    assert found.trials == min(int(budget / 2), 100)
    assert found.cost == found.trials * 2
    assert found.ends == start + timedelta(hours=2) * -(-found.trials // parallel)
    assert found.limit == ("the trials asked for" if found.trials == 100 else "the budget")


def test_a_deadline_limits_too_and_an_unpriced_search_is_refused():
    start = datetime(2026, 11, 23, tzinfo=UTC)
    asked = workload(sweeps=[{"hours": 1, "trials": 100, "parallel": 2}])
    found = timeline(asked, "quick", budget=1000, start=start, deadline=start + timedelta(hours=10), catalogue=PRICES)
    assert (found.trials, found.limit, found.ends) == (40, "the deadline", start + timedelta(hours=10))
    assert [step.trials for step in found.milestones] == [10, 20, 30, 40]
    spot = workload(sweeps=[{"hours": 1, "trials": 9, "compute": {"cpus": 8, "spot": True}}])
    with pytest.raises(SpecError, match="no spot price of big"):
        timeline(spot, "tiny", budget=10, start=start, catalogue=PRICES)
    for wrong in (
        {"budget": float("nan")},
        {"budget": -1},
        {"measured": [float("nan")]},
        {"measured": [-1]},
        {"measured": [1e300]},
        {"deadline": datetime(2027, 1, 1)},
    ):
        with pytest.raises(SpecError, match=f"timeline: .*{next(iter(wrong))}"):
            timeline(asked, "tiny", **{"budget": 10, "start": start, "catalogue": PRICES, **wrong})
    with pytest.raises(SpecError, match="one sweep is wanted"):
        timeline(workload(storage=[{"gib": 1}]), "tiny", budget=10, start=start, catalogue=PRICES)
