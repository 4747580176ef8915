"""What the demo's own workload costs on each target: as it just ran, and a month of it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.specs import Compute

PLACES = Path(__file__).with_name("targets.toml")
HOURS_A_MONTH = 730
NIGHTS = 30
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Served:
    """What the endpoint did: seconds that it was up, requests, their rows and the seconds that they took; and bytes of data kept."""

    seconds: float
    requests: int
    rows: int
    asking_seconds: float
    stored_bytes: int


def table(training_seconds: float, compute: Compute, served: Served, folder: Path) -> Iterator[str]:
    """Lines for people; the month's workload goes to a file, to look at more closely."""
    from mlport.costs import Workload, compare
    from mlport.costs.reporting.words import total

    places = _places()
    ways = [
        {**told, "targets": places} for told in (_as_it_ran(training_seconds, compute, served), _monthly(training_seconds, compute, served))
    ]
    run, month = (compare(Workload.model_validate(told), list(places)) for told in ways)
    path = folder / "month.json"
    path.write_text(json.dumps(ways[1], indent=2) + "\n", encoding="utf-8")
    yield f"{'target':<10}  {'place':<14}  {'this run':>9}  {'a month':>18}  {month.currency}"
    for now, later in zip(run.standings, month.standings, strict=True):
        at_least = "+" if now.at_least else ""
        yield f"{now.target:<10}  {now.place.partition(' ')[2]:<14}  {now.total:>8.4f}{at_least:1}  {total(later):>18}"
    yield f"a month: trained on each of {NIGHTS} nights, one replica always up, asked once for each flight"
    yield f"each line with its source: mlport cost compare {path} --targets {','.join(places)}"


def _places() -> dict[str, dict[str, Any]]:
    """Each target with what it must be told; the hardware book by its whole path."""
    found = tomllib.loads(PLACES.read_text(encoding="utf-8"))
    return {
        name: {**told, **({"hardware": str(PLACES.with_name(told["hardware"]))} if "hardware" in told else {})}
        for name, told in found.items()
    }


def _as_it_ran(training_seconds: float, compute: Compute, served: Served) -> dict[str, Any]:
    """One training, and an endpoint for as long as it was up."""
    months = served.seconds / 3600 / HOURS_A_MONTH
    return {"name": "this-run", "months": months, **_parts(training_seconds, compute, served, 1 / months, served.requests / served.seconds)}


def _monthly(training_seconds: float, compute: Compute, served: Served) -> dict[str, Any]:
    """A training each night, and a request for each row of a month."""
    return {"name": "a-month", **_parts(training_seconds, compute, served, NIGHTS, served.rows / (HOURS_A_MONTH * 3600))}


def _parts(training_seconds: float, compute: Compute, served: Served, runs: float, requests_per_second: float) -> dict[str, Any]:
    latency = served.asking_seconds / served.requests * 1000
    return {
        "training": [{"name": "training", "compute": compute.to_json(), "hours": training_seconds / 3600, "runs": runs}],
        "endpoints": [{"name": "endpoint", "requests_per_second": requests_per_second, "latency_ms": latency, "max_replicas": 1}],
        "storage": [{"name": "data", "gib": served.stored_bytes / GIB}],
    }
