"""`mlport audit` on real files: every example of its help runs, says what it found, and leaves with the status that says so."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlport.cli.audit import audit
from mlport.cli.command import walk

EXAMPLES = [line for _, node in walk(audit, click.Context(audit)) for line in node.example.splitlines()]  # type: ignore[attr-defined]


def late(n: int, seed: int) -> pd.DataFrame:
    """Flights of which one in seven is late; UA's are predicted worst."""
    rng = np.random.default_rng(seed)
    hour, carrier = rng.integers(5, 23, n), rng.choice(["UA", "AA", "DL"], n)
    share = 1 / (1 + np.exp(-(0.35 * hour - 7.0 + 2.5 * (carrier == "UA"))))
    score = 1 / (1 + np.exp(-(0.35 * hour - 6.2)))
    day = pd.Timestamp("2026-03-01") + pd.to_timedelta(np.sort(rng.uniform(0, 30, n)) + 30 * (seed % 2), unit="D")
    columns = {"hour": hour, "carrier": carrier, "distance": rng.normal(900, 300, n), "score": score}
    return pd.DataFrame({**columns, "late": (rng.random(n) < share).astype(int), "day": day, "tailnum": np.arange(n) + 10_000 * seed})


@functools.cache
def species() -> pd.DataFrame:
    """Irises with a probability for each kind."""
    flowers = load_iris(as_frame=True)
    shares = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target).predict_proba(flowers.data)
    return pd.DataFrame(shares, columns=flowers.target_names).assign(species=flowers.target_names[flowers.target])


@pytest.fixture(autouse=True)
def files(home: Path) -> Path:
    """The files that the examples name."""
    train, test = late(800, 0), late(300, 1)
    features = ["hour", "carrier", "distance", "late"]
    train[features].to_parquet("flights.parquet")
    train.drop(columns="score").to_parquet("train.parquet")
    test.drop(columns="score").to_parquet("test.parquet")
    pd.concat([train.assign(part="train"), test.assign(part="test")])[[*features, "part"]].to_parquet("all.parquet")
    species().to_parquet("iris.parquet")
    train.drop(columns=["day", "tailnum"]).to_parquet("scored.parquet")
    rng = np.random.default_rng(2)
    true = rng.integers(1, 5, 150)
    pd.DataFrame({name: np.clip(true + (rng.random(150) < 0.08), 1, 5) for name in ("ann", "ben", "cy")}).to_csv("ratings.csv", index=False)
    return home


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_of_the_help_runs(mlport: Callable[..., Any], line: str) -> None:
    words = shlex.split(line.replace("scored.parquet --label species", "iris.parquet --label species"))[1:]
    ran = mlport(*words, *(("--repeats", "1", "--max-rows", "400") if "advice" in words else ()))
    assert ran.status in (0, 3), ran.err
    assert ran.err == ""
    assert ran.json["status"] in ("found", "nothing found") if "--json" in words else len(ran.out.splitlines()) > 3


def test_a_leak_is_a_problem_and_a_gap_is_one_only_if_strict(mlport: Callable[..., Any], files: Path) -> None:
    table = pd.read_parquet("flights.parquet")
    table.assign(leak=table["late"] * 2.0).to_parquet("leaking.parquet")
    ran = mlport("audit", "dataset", "leaking.parquet", "--label", "late", "--json", "--no-label-errors")
    assert (ran.status, ran.json["status"]) == (3, "found")
    assert [each["subject"] for each in ran.json["findings"] if each["severity"] == "problem"] == ["leak"]
    table.assign(gap=table["distance"].where(table.index % 3 == 0)).to_parquet("gaps.parquet")
    asked = ("audit", "dataset", "gaps.parquet", "--label", "late", "--no-label-errors")
    assert mlport(*asked).status == 0
    assert "warning: 'gap' is missing in 66.6% of rows" in mlport(*asked, "--strict").out
    assert mlport(*asked, "--strict").status == 3


def test_the_report_is_one_file_with_classes_calibration_and_slices(mlport: Callable[..., Any], files: Path) -> None:
    asked = ("audit", "evaluate", "scored.parquet", "--label", "late", "--prediction", "score", "--report", "model.html", "--strict")
    ran = mlport(*asked, "--by", "carrier", "--by", "hour", "--cost", "false_negative=5", "--cost", "false_positive=1")
    assert ran.status == 3
    assert "carrier = 'UA'" in ran.out
    page = (files / "model.html").read_text(encoding="utf-8")
    assert len(page) < 150_000
    for heading in ("Performance", "Classes", "Calibration", "Costs of mistakes", "Worst slices", "All slices"):
        assert f">{heading}</h2>" in page
    assert "Confusion: rows by true class and predicted class" in page
    assert "<figcaption>roc_auc by carrier</figcaption>" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("dataset", "flights.parquet", "--label", "lat"), "did you mean 'late'?"),
        (("dataset", "gone.parquet", "--label", "late"), "there is no gone.parquet"),
        (
            ("dataset", "train.parquet", "--label", "late", "--test", "test.parquet", "--split", "test=all.parquet"),
            "two splits have one name",
        ),
        (("evaluate", "scored.parquet", "--label", "late", "--prediction", "scor"), "did you mean 'score'?"),
        (("evaluate", "scored.parquet", "--label", "late", "--prediction", "distance"), "not between 0 and 1"),
        (("evaluate", "scored.parquet", "--label", "late", "--prediction", "score", "--report", "page.txt"), "must end with .html"),
        (("evaluate", "scored.parquet", "--label", "late", "--prediction", "score", "--report", "no/page.html"), "there is no folder 'no'"),
        (("evaluate", "scored.parquet", "--label", "late", "--prediction", "score", "--cost", "missed=1"), "costs: 'missed' is none of"),
        (("agreement", "ratings.csv", "--annotators", "ann"), "agreement needs two or more"),
        (("agreement", "ratings.csv", "--annotators", ", "), "names nothing"),
        (("advice", "flights.parquet", "--label", "late", "--metric", "beauty"), "beauty"),
    ],
)
def test_what_is_wrong_is_named_and_leaves_with_2(mlport: Callable[..., Any], asked: tuple[str, ...], said: str) -> None:
    ran = mlport("audit", *asked)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err


def test_annotators_who_guess_are_a_problem_and_one_rating_is_unknown(mlport: Callable[..., Any], files: Path) -> None:
    rng = np.random.default_rng(0)
    pd.DataFrame({name: rng.integers(0, 3, 100) for name in "ab"}).to_csv("guesses.csv", index=False)
    assert mlport("audit", "agreement", "guesses.csv").status == 3
    pd.DataFrame({"a": ["x", "x"], "b": ["x", "x"]}).to_csv("same.csv", index=False)
    ran = mlport("audit", "agreement", "same.csv", "--json")
    assert (ran.status, ran.json["status"], ran.json["alpha"]["value"]) == (1, "unknown", None)
