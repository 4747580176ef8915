"""`mlport cost`: what scripts read, what people read, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

WORKLOAD = """
name = "delays"
months = 2
[[training]]
compute = {{ cpus = 4, memory_gib = 15 }}
hours = [1, 2, 4]
[[endpoints]]
requests_per_second = 3
[[egress]]
gib = 12500
[weights]
recovery = 7
[targets.vertex]
region = "us-central1"
[targets.far]
provider = "vertex"
region = "{far}"
"""
FIELDS = {"quantity", "unit", "unit_price", "amount", "currency", "formula", "source", "as_of", "target"}


@pytest.fixture
def mlport(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workload.toml").write_text(WORKLOAD.format(far="europe-west4"))
    (tmp_path / "wrong.toml").write_text(WORKLOAD.format(far="europe-west44"))
    return command


def test_lines_are_as_scripts_rely_on(mlport):
    status, out, _ = mlport("estimate", "workload.toml", "--target", "vertex", "--json")
    found = json.loads(out)
    assert status == 0
    assert all(set(line) >= FIELDS for line in found["lines"])
    egress = next(line for line in found["lines"] if line["category"] == "egress")
    assert (egress["amount"], egress["quantity"], egress["target"]) == (2 * 1317.44, 25000, "vertex")
    assert found["p10"] <= found["p50"] <= found["p90"]
    assert found["total"] == pytest.approx(sum(line["amount"] or 0 for line in found["lines"]))


def test_an_unpriced_line_is_null_and_makes_the_total_a_lower_bound(mlport):
    _, out, _ = mlport(
        "estimate", "workload.toml", "--target", "vertex", "--json", "--set", 'training=[{"hours": 1, "compute": {"spot": true}}]'
    )
    found = json.loads(out)
    line = next(line for line in found["lines"] if line["unit_price"] is None)
    assert (line["amount"], line["free"], found["at_least"]) == (None, False, True)
    assert line["unknown"]


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_each_format_goes_to_a_file_and_says_all_targets(mlport, tmp_path, form):
    ending = {"table": "txt", "markdown": "md", "csv": "csv", "json": "json"}[form]
    status, out, err = mlport("compare", "workload.toml", "--targets", "vertex,far", "--format", form, "--out", f"costs.{ending}")
    text = (tmp_path / f"costs.{ending}").read_text()
    assert (status, out) == (0, "")
    assert "vertex" in text
    assert "far" in text
    assert "vertex" in err
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {row["target"] for row in rows} == {"vertex", "far"}
        assert set(rows[0]) >= FIELDS
    elif form == "json":
        assert {each["target"] for each in json.loads(text)["targets"]} == {"vertex", "far"}


def test_the_table_says_what_people_want_to_know(mlport):
    status, out, _ = mlport("compare", "workload.toml", "--targets", "vertex,far")
    assert status == 0
    for words in (
        "Cost of 2 months, USD",
        "2,634.88",
        "What matters most",
        "What money does not say",
        "Ways to pay for machines",
        "training.hours",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("compare", "wrong.toml", "--targets", "vertex,far"), "europe-west4"),
        (("compare", "workload.toml", "--targets", "vertx"), "vertx"),
        (("estimate", "nowhere.toml", "--target", "vertex"), "No such file"),
        (("estimate", "workload.toml", "--target", "vertex", "--set", "months=-1"), "months"),
        (("compare", "workload.toml", "--targets", "vertex", "--out", "no/folder.md"), "no/folder.md"),
        (("prices", "vertx"), "did you mean 'vertex'"),
        (("prices", "vertex", "--region", "us-centrl1"), "did you mean 'us-central1'"),
    ],
)
def test_what_is_wrong_is_said_and_the_status_is_2(mlport, args, words):
    status, _, err = mlport(*args)
    assert status == 2
    assert words in err


def test_prices_of_machines_come_cheapest_first_with_their_source(mlport):
    status, out, _ = mlport("prices", "gcp", "--region", "us-central1", "--cpus", "4", "--memory", "15", "--purchase", "spot", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["price"] for row in rows] == sorted(row["price"] for row in rows)
    assert all(row["vcpus"] >= 4 and row["memory_gib"] >= 15 and row["source"] and row["as_of"] for row in rows)
    assert {row["purchase"] for row in rows} == {"spot"}


def test_the_lists_of_prices_say_how_old_they_are(mlport):
    _, out, _ = mlport("prices", "--json")
    found = {row["list"]: row for row in json.loads(out)}
    assert found["vertex"]["regions"]
    assert found["vertex"]["oldest"] <= found["vertex"]["version"]


def test_the_example_is_priced_on_all_five(mlport):
    targets = ["local", "vertex", "azureml", "databricks", "sagemaker"]
    status, out, _ = mlport("compare", str(ROOT / "examples/cost/workload.toml"), "--targets", ",".join(targets), "--json")
    found = json.loads(out)
    assert status == 0
    assert [each["target"] for each in found["targets"]] == targets
    assert all(each["complete"] and each["total"] > 0 for each in found["targets"])
    assert {each["cloud"] for each in found["break_even"]} == set(targets[1:])
    assert all(line["source"] and line["as_of"] for line in found["lines"])
    assert len(found["beyond_money"]) == 5


def test_the_python_of_the_examples_page_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "examples/cost/README.md").read_text()
    exec(text.partition("```python\n")[2].partition("```")[0], {})
    assert "is the cheapest" in capsys.readouterr().out


def test_without_numpy_all_but_the_percentiles_is_there(mlport, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    status, out, _ = mlport("compare", "workload.toml", "--targets", "vertex,far")
    assert status == 0
    assert "2,634.88" in out
    assert "pip install 'mlport[local]'" in out
