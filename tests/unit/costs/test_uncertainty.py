"""P10, P50 and P90 against the distribution's own formula, and every bar of the tornado against a plain estimate."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from aids.pricing import TODAY
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlport.costs.comparing.uncertainty import AGE, SPOT, odds, spreads, tornado, triangular, uncertain
from mlport.costs.comparing.what_if import changed, located
from mlport.costs.estimate import priced, target
from mlport.costs.workload import Workload

ROOT = Path(__file__).parents[3]
SURE = {"spot": 0, "yearly": 0}
HERE = {"targets": {"tiny": {"region": "here"}, "again": {"provider": "tiny", "region": "here"}}}
RANGES = st.lists(st.integers(1, 5000).map(lambda hundredths: hundredths / 100), min_size=3, max_size=3).map(sorted)


def workload(**fields):
    return Workload.model_validate({**HERE, "uncertainty": SURE, **fields})


@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_one_is_the_cheapest_in_each_sample(samples):
    found = {f"target {number}": np.array(totals_of_it, dtype=float) for number, totals_of_it in enumerate(samples)}
    wins = [min(found, key=lambda name, at=at: (found[name][at], name)) for at in range(5)]
    assert odds(found) == {name: wins.count(name) / 5 for name in found}


@given(RANGES, RANGES, RANGES)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_each_bar_of_the_tornado_is_the_estimate_with_that_one_input(hours, runs, gib):
    from aids.pricing import catalogue

    prices = catalogue()
    asked = workload(training=[{"hours": hours, "runs": runs}], storage=[{"gib": gib}])
    middle = float(priced(asked, target(asked, "tiny"), prices).total)
    for effect in tornado(asked, target(asked, "tiny"), prices, today=TODAY):
        for value, total in ((effect.low, effect.at_low), (effect.high, effect.at_high)):
            exact = changed(asked, located(asked, effect.name), value)
            assert total == pytest.approx(float(priced(exact, target(exact, "tiny"), prices).total), rel=1e-9)
        assert min(effect.at_low, effect.at_high) <= middle * (1 + 1e-9)


def test_the_percentiles_are_those_of_the_triangle(prices):
    asked = workload(storage=[{"gib": [100, 250, 1000]}])
    found = spreads(asked, [target(asked, "tiny")], prices, today=TODAY)["tiny"]
    expected = stats.triang((250 - 100) / 900, 100, 900).ppf([0.1, 0.5, 0.9]) * 0.02
    assert [found.p10, found.p50, found.p90] == pytest.approx(expected, rel=0.02)


def test_the_triangle_is_numpys(prices):
    uniform = np.linspace(0.0005, 0.9995, 1000)
    ours = triangular(uniform, 2, 3, 7)
    assert np.allclose(ours, stats.triang(0.2, 2, 5).ppf(uniform))
    assert np.all(triangular(uniform, 3, 3, 3) == 3)


def test_nothing_uncertain_is_one_number(prices):
    asked = workload(training=[{"hours": 2}], storage=[{"gib": 10}])
    found = spreads(asked, [target(asked, "tiny")], prices, today=TODAY)["tiny"]
    total = float(priced(asked, target(asked, "tiny"), prices).total)
    assert (found.p10, found.p50, found.p90) == pytest.approx((total,) * 3)
    assert tornado(asked, target(asked, "tiny"), prices, today=TODAY) == []


def test_targets_are_priced_at_the_same_samples_and_a_seed_repeats_them(prices):
    asked = workload(training=[{"hours": [1, 2, 9]}])
    both = [target(asked, "tiny"), target(asked, "again")]
    first = spreads(asked, both, prices, today=TODAY)
    assert first["tiny"] == first["again"]
    assert spreads(asked, both, prices, today=TODAY) == first
    other = asked.model_copy(update={"uncertainty": asked.uncertainty.model_copy(update={"seed": 2})})
    assert spreads(other, both, prices, today=TODAY) != first


def test_old_prices_and_spot_prices_move_by_what_the_workload_says(prices):
    told = {"spot": 0.5, "yearly": 0.1}
    asked = workload(
        uncertainty=told,
        storage=[{"gib": 1000}],
        training=[{"compute": {"spot": True}, "hours": 10, "interrupted": 0, "checkpoint_every": "5h"}],
    )
    bars = {effect.name: effect for effect in tornado(asked, target(asked, "tiny"), prices, today=TODAY)}
    middle = priced(asked, target(asked, "tiny"), prices)
    by = {line.part: float(line.cost) for line in middle.lines}
    assert bars[SPOT].swing == pytest.approx(by["training"])  # half less to half more
    assert bars[AGE].swing == pytest.approx(2 * 0.1 * 1461 / 365.25 * by["storage"])  # storage's price is four years old


def test_one_quantity_in_two_places_is_one_input():
    shared = Workload.model_validate({"storage": [{"gib": [1, 2, 3]}]}).storage[0].gib
    asked = Workload.model_validate({"training": [{"hours": shared}], "storage": [{"gib": shared}]})
    assert list(uncertain(asked)) == ["training.hours and storage.gib"]


def test_tiers_are_uncertain_too():
    asked = Workload.model_validate({"egress": [{"gib": 12500}], "targets": {"vertex": {"region": "us-central1"}}})
    from mlport.costs.catalogue import default

    at = target(asked, "vertex")
    assert priced(asked, at, default()).total == Decimal("1317.44")  # infracost's golden
    assert spreads(asked, [at], default(), today=TODAY)["vertex"].p90 > 1317.44


@pytest.mark.parametrize("name", ["local", "vertex", "azureml", "databricks", "sagemaker"])
def test_the_sampled_arithmetic_says_what_the_exact_one_says(name):
    """Of every pricing there is, for a workload with all kinds of parts, on demand and on spot."""
    from mlport.costs.arithmetic import Sampled
    from mlport.costs.catalogue import default

    table = tomllib.loads((ROOT / "examples/cost/workload.toml").read_text())
    table["targets"]["local"]["hardware"] = str(ROOT / "examples/cost/hardware.toml")
    for spot in (False, True):
        table["training"][0]["compute"]["spot"] = spot
        asked = Workload.model_validate(table)
        at = target(asked, name)
        plain = priced(asked, at, default())
        middles = {id(value): np.full(3, value.mid) for value in uncertain(asked).values()}
        found = priced(asked, at, default(), math=Sampled(), samples=middles)
        assert [line.what for line in found.lines] == [line.what for line in plain.lines]
        for ours, exact in zip(found.lines, plain.lines, strict=True):
            assert (ours.cost is None) == (exact.cost is None)
            assert exact.cost is None or np.allclose(ours.cost, float(exact.cost), rtol=1e-9), ours.what
