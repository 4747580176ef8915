"""`mlport decay` on real files: every example of its help runs; steady, decayed and not known are three different statuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlport.cli.command import walk
from mlport.cli.decay import decay

EXAMPLES = [line for _, node in walk(decay, click.Context(decay)) for line in node.example.splitlines()]  # type: ignore[attr-defined]


def served(n: int, seed: int, start: str, *, turned: bool = False) -> pd.DataFrame:
    """Predictions of some weeks with the labels that came; `turned`, labels are the contrary of what was learnt."""
    rng = np.random.default_rng(seed)
    hour, carrier = rng.integers(5, 23, n), rng.choice(["UA", "AA"], n)
    logit = 0.4 * (hour - 13.0)
    share = 1 / (1 + np.exp(logit if turned else -logit))
    time = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.sort(rng.uniform(0, 14, n)), unit="D")
    return pd.DataFrame(
        {
            "provider_id": [f"{seed}-{at}" for at in range(n)],
            "row": 0,
            "time": time,
            "hour": hour,
            "carrier": carrier,
            "prediction": 1 / (1 + np.exp(-logit)),
            "label": (rng.random(n) < share).astype(int),
            "labelled_at": time + pd.Timedelta(hours=5),
        }
    )


@pytest.fixture(autouse=True)
def files(home: Path) -> Path:
    """The files that the examples name."""
    good, bad = served(1500, 1, "2026-03-12"), served(1500, 2, "2026-04-09", turned=True)
    served(3000, 0, "2026-02-12").to_parquet("validation.parquet")
    pd.concat([good, bad]).to_parquet("captured.parquet")
    good.drop(columns=["label", "labelled_at"]).to_parquet("today.parquet")
    for name, table in (("march", good), ("may", bad)):
        table[["hour", "carrier", "label"]].rename(columns={"label": "late"}).to_parquet(f"{name}.parquet")
    return home


@pytest.mark.parametrize("line", [line for line in EXAMPLES if "--endpoint" not in line])
def test_every_example_of_the_help_runs(mlport: Callable[..., Any], line: str) -> None:
    ran = mlport(*shlex.split(line)[1:])
    assert ran.status == (1 if "estimate" in line and "--margin" not in line else 0 if "estimate" in line else 3), ran.err
    assert ran.err == ""
    assert ran.json["status"] in ("decayed", "changed", "steady") if "--json" in line else len(ran.out.splitlines()) > 3


def test_decayed_steady_and_not_known_are_told_apart(mlport: Callable[..., Any], files: Path) -> None:
    asked = ("decay", "performance", "captured.parquet", "--every", "14d", "--metric", "accuracy")
    ran = mlport(*asked, "--reference", "validation.parquet", "--json")
    assert (ran.status, ran.json["status"]) == (3, "decayed")
    assert [each["status"] for each in ran.json["windows"] if each["labelled"] > 1000] == ["steady", "decayed"]
    ran = mlport(*asked, "--reference", "0.8", "--margin", "0.1", "--as-of", "2026-03-27", "--json")
    assert (ran.status, ran.json["status"]) == (0, "steady")
    ran = mlport(*asked)
    assert ran.status == 1
    assert "nothing was compared" in ran.err
    ran = mlport(*asked, "--reference", "0.8", "--min-rows", "5000")
    assert ran.status == 1
    assert "not known yet" in ran.out


def test_the_report_shows_windows_margin_and_coverage(mlport: Callable[..., Any], files: Path) -> None:
    asked = ("decay", "performance", "captured.parquet", "--reference", "0.9", "--every", "2d", "--report", "decay.html")
    assert mlport(*asked).status == 3
    page = (files / "decay.html").read_text(encoding="utf-8")
    assert len(page) < 100_000
    assert "<figcaption>roc_auc by window</figcaption>" in page
    assert "<figcaption>Labelled so far</figcaption>" in page
    assert {"decayed", "reference", "margin", "needed"} <= {
        part.split("</li>")[0].strip() for part in page.replace("</svg>", "\0").split("\0")
    }


def test_an_estimate_outside_the_reference_is_not_to_be_relied_on(mlport: Callable[..., Any], files: Path) -> None:
    pd.read_parquet("today.parquet").assign(hour=40).to_parquet("far.parquet")
    ran = mlport("decay", "estimate", "validation.parquet", "far.parquet", "--json", "--features", "hour,carrier")
    assert (ran.status, ran.json["status"]) == (1, "unknown")
    assert {each["status"] for each in ran.json["assumptions"]} >= {"violated", "cannot be checked"}


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (("performance",), 2, "give either FILE or --endpoint"),
        (("performance", "captured.parquet", "--endpoint", "x"), 2, "give either FILE or --endpoint"),
        (("performance", "captured.parquet", "--since", "7d"), 2, "--since: goes with --endpoint"),
        (("performance", "captured.parquet", "--metric", "luck"), 2, "luck"),
        (("performance", "captured.parquet", "--reference", "gone.parquet"), 2, "there is no gone.parquet"),
        (("performance", "captured.parquet", "--as-of", "soon"), 2, "'soon' is no time such as"),
        (("performance", "captured.parquet", "--report", "x.pdf"), 2, "must end with .html"),
        (("estimate", "validation.parquet"), 2, "give either CURRENT or --endpoint"),
        (("concept", "march.parquet", "may.parquet"), 2, "there is no column 'label'"),
        (("concept", "march.parquet", "may.parquet", "--label", "late", "--least", "labels=much"), 2, "least"),
    ],
)
def test_what_is_wrong_is_named(mlport: Callable[..., Any], asked: tuple[str, ...], status: int, said: str) -> None:
    ran = mlport("decay", *asked)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err


def test_captured_traffic_of_an_endpoint_with_its_labels(mlport: Callable[..., Any], model: Path) -> None:
    assert mlport("models", "register", "delays", str(model), "--trust").status == 0
    assert mlport("endpoints", "create", "delays", "delays:1").status == 0
    asked = ("decay", "performance", "--endpoint", "delays", "--since", "1h", "--every", "365d", "--reference", "0.1", "--metric", "mae")
    rows = [{"a": at} for at in range(60)]
    mlport("endpoints", "predict", "delays", "--data", json.dumps(rows))
    ran = mlport(*asked, "--json")
    assert (ran.status, ran.json["windows"][0]["status"]) == (1, "not known yet")
    mlport("endpoints", "label", "delays", "--request-id", "r0", *(str(at + 3 + at % 2) for at in range(60)))
    ran = mlport(*asked, "--json")
    assert (ran.status, ran.json["windows"][0]["value"]["value"]) == (3, 3.5)


def test_features_as_they_are_captured_are_those_of_a_flat_reference(mlport: Callable[..., Any], files: Path) -> None:
    today, features = pq.read_table("today.parquet"), ["hour", "carrier"]
    struct = pa.array(today.select(features).to_pylist())
    pq.write_table(today.drop_columns(features).append_column("features", struct), "struct.parquet")
    flat, taken_apart = (
        mlport("decay", "estimate", "validation.parquet", name, "--metric", "accuracy", "--features", "hour,carrier", "--json").json
        for name in ("today.parquet", "struct.parquet")
    )
    assert flat["support"]["by_column"].keys() == {"hour", "carrier"}
    assert flat == taken_apart
