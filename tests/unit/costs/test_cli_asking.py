"""`mlport cost what-if` and `timeline` on the tiny pricing, whose amounts can be computed by hand."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

WORKLOAD = """
[[training]]
name = "nightly"
compute = { cpus = 2 }
hours = 10
[[sweeps]]
name = "search"
compute = { cpus = 2 }
trials = 40
hours = 2
parallel = 4
[targets.here]
provider = "tiny"
region = "here"
[targets.there]
provider = "tiny"
region = "there"
"""


@pytest.fixture
def mlport(command, tmp_path, monkeypatch, prices):
    monkeypatch.chdir(tmp_path)
    for module in ("what_if", "timeline"):
        monkeypatch.setattr(import_module(f"mlport.costs.comparing.{module}"), "default", lambda: prices)
    (tmp_path / "w.toml").write_text(WORKLOAD)
    return command


def test_a_field_at_other_values_and_where_another_becomes_the_cheapest(mlport):
    status, out, _ = mlport("what-if", "w.toml", "nightly.compute.cpus", "2,8", "--targets", "here,there", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["points"] == [
        {"value": 2, "here": 90.0, "there": 135.0, "cheapest": "here"},
        {"value": 8, "here": 110.0, "there": 140.0, "cheapest": "here"},
    ]
    assert found["changes"] == [{"value": 2, "cheapest": "here"}]
    status, out, _ = mlport("what-if", "w.toml", "sweeps.0.trials", "0:10:3", "--targets", "here")
    assert [line.split() for line in out.splitlines()[1:4]] == [["0", "10.00", "here"], ["5", "20.00", "here"], ["10", "30.00", "here"]]


def test_what_of_a_search_a_budget_buys_by_when(mlport):
    status, out, _ = mlport("timeline", "w.toml", "--target", "here", "--budget", "30", "--json")
    found = json.loads(out)
    assert (status, found["trials"], found["cost"], found["limit"]) == (0, 15, 30.0, "the budget")
    _, out, _ = mlport("timeline", "w.toml", "--target", "here", "--budget", "300", "--measured", "1", "--measured", "3", "--within", "9h")
    assert out.splitlines()[:2] == ["16 trials of search at here for 32.00, done after 8.0 h", "what ends it: the deadline; 2 h a trial"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("what-if", "w.toml", "nightly.hour", "1", "--targets", "here"), "hours"),
        (("what-if", "w.toml", "nigthly.hours", "1", "--targets", "here"), "nightly"),
        (("what-if", "w.toml", "nightly.hours", "-1", "--targets", "here"), "-1"),
        (("what-if", "w.toml", "nightly.hours", "1:2:1", "--targets", "here"), "from 2 to"),
        (("what-if", "w.toml", "nightly.hours", "a:2:3", "--targets", "here"), "FROM:TO:COUNT"),
        (("what-if", "w.toml", "nightly.hours", "1", "--targets", "nowhere"), "nowhere"),
        (("timeline", "w.toml", "--target", "here", "--budget", "30", "--part", "nightly"), "search"),
        (("timeline", "w.toml", "--target", "here", "--budget", "30", "--measured", "0"), "more than 0"),
    ],
)
def test_what_is_wrong_is_said(mlport, words, told):
    status, _, err = mlport(*words)
    assert status == 2
    assert told in err
