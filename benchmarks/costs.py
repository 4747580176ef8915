"""Prices: the first estimate in a new process, a warm comparison of five targets, and a what-if of 10,000 points; beside SkyPilot.

The workload is examples/cost/workload.toml. SkyPilot prices one task on one cloud, without serving, storage or anything of one's own;
it is given a catalogue made of the same prices, since it would fetch its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _measure import FEWEST_RUNS, PYTHON, Goal, cpu_seconds, finish, interleaved, medians, show
from _peers import installed

ROOT = Path(__file__).parents[1]
WORKLOAD = ROOT / "examples" / "cost" / "workload.toml"
TARGETS = ("local", "vertex", "azureml", "databricks", "sagemaker")
SKYPILOT = "skypilot==0.14.1"
FIRST = """
from mlport.costs import Workload, estimate
training = {"compute": {"cpus": 4, "memory_gib": 16}, "hours": 2}
estimate(Workload.model_validate({"training": [training], "targets": {"vertex": {"region": "us-central1"}}}), "vertex").total
"""
SKY_FIRST = """
from sky import catalog
kind = catalog.get_default_instance_type(cpus="4+", memory="16+", clouds="aws", region="us-east-1")
catalog.get_hourly_cost(kind, use_spot=False, region="us-east-1", zone=None, clouds="aws")
"""
SKY_WARM = """
import json, time
from sky import catalog
def one():
    kind = catalog.get_default_instance_type(cpus="4+", memory="16+", clouds="aws", region="us-east-1")
    return catalog.get_hourly_cost(kind, use_spot=False, region="us-east-1", zone=None, clouds="aws")
price, times = one(), []
for _ in range(50):
    began = time.perf_counter(); one(); times.append(time.perf_counter() - began)
print(json.dumps({"price": price, "seconds": sorted(times)[25]}))
"""
COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "GpuInfo", "Price", "SpotPrice", "Region",
    "AvailabilityZone", "Arch",
)  # fmt: skip


def first() -> dict[str, float]:
    return {"first estimate": cpu_seconds([PYTHON, "-c", FIRST])}


def timed(call: Callable[[], Any], turns: int) -> float:
    """The median seconds of a call that was made once before."""
    call()
    seconds = []
    for _ in range(turns):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def ours(turns: int, points: int) -> dict[str, float]:
    """Warm figures, in this process."""
    from mlport.cli import specfile
    from mlport.costs import compare, what_if
    from mlport.costs.workload import Workload

    workload = specfile.load(str(WORKLOAD), kinds=("workload",))
    assert isinstance(workload, Workload)
    values = [0.01 + at / 1000 for at in range(points)]
    return {
        "comparison": timed(lambda: compare(workload, TARGETS), turns),
        "whole report": timed(lambda: compare(workload, TARGETS).to_json(), 3),
        "what-if, a quantity": timed(lambda: what_if(workload, TARGETS, "nightly.hours", values), 3),
        "what-if, a machine": timed(lambda: what_if(workload, TARGETS, "online.compute.cpus", [value * 3 for value in values]), 3),
    }


def sky(folder: Path) -> dict[str, float]:
    """SkyPilot's: CPU seconds of a process that says the price of one machine, and the seconds of saying it again, warm. Raises RuntimeError."""
    python = str(installed("skypilot", (SKYPILOT,)) / "bin" / "python")
    environment = {**os.environ, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    _catalogue(folder, python, environment)

    def run(program: str) -> tuple[float, str]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-600:])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout

    took, _ = run(SKY_FIRST)
    warm = json.loads(run(SKY_WARM)[1].splitlines()[-1])
    return {"first estimate": took, "one machine, warm": warm["seconds"], "price": warm["price"]}


def _catalogue(folder: Path, python: str, environment: dict[str, str]) -> None:
    """Our prices of Amazon's machines as SkyPilot keeps its own."""
    from mlport.costs.catalogue import default

    where = "from sky.catalog import constants; print(constants.CATALOG_SCHEMA_VERSION)"
    done = subprocess.run([python, "-c", where], env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-600:])
    place = folder / ".sky" / "catalogs" / done.stdout.strip().splitlines()[-1] / "aws"
    place.mkdir(parents=True)
    facts = default().list("aws").facts
    spot = {(fact.sku, fact.region): fact.price for fact in facts if fact.service == "compute" and fact.purchase == "spot"}
    with (place / "vms.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(COLUMNS)
        for fact in facts:
            if fact.service == "compute" and fact.purchase == "on_demand":
                gpu = (fact.gpu, fact.gpus) if fact.gpus else ("", "")
                cheaper = spot.get((fact.sku, fact.region), "")
                zone = f"{fact.region}a"
                rows.writerow([fact.sku, *gpu, fact.vcpus, fact.memory_gib, "", fact.price, cheaper, fact.region, zone, "x86_64"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="3 runs, 100 points")
    parser.add_argument("--no-peer", action="store_true", help="without SkyPilot, which is large to install")
    options = parser.parse_args()
    runs, points = (3, 100) if options.quick else (options.runs, 10_000)
    start = medians(interleaved([partial(first)], runs))
    found = {**start, **ours(20 * runs, points)}
    peer: dict[str, Any] = {}
    if not options.no_peer:
        with tempfile.TemporaryDirectory() as folder:
            try:
                peer = sky(Path(folder))
            except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                peer = {"error": str(error)}
                print(f"SkyPilot: {error}")
    rows = [(name, seconds, peer.get(name, "-")) for name, seconds in found.items()]
    rows += [(name, "-", value) for name, value in peer.items() if name not in found and name != "error"]
    show(("seconds", "mlport", "SkyPilot"), rows)
    goals = [
        Goal("CPU seconds to the first estimate in a new process", found["first estimate"], "at most", 0.3, "s"),
        Goal("p50 of a warm comparison of five targets", found["comparison"] * 1000, "at most", 10, "ms"),
        Goal(f"seconds of a what-if of {points:,} points of a quantity, five targets", found["what-if, a quantity"], "at most", 2, "s"),
        Goal(f"seconds of a what-if of {points:,} machines, five targets", found["what-if, a machine"], "at most", 2, "s"),
    ]
    return finish("costs", goals, runs=runs, seconds=found, skypilot=peer)


if __name__ == "__main__":
    sys.exit(main())
