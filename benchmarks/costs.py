"""Prices: the first estimate in a new process, a warm comparison of five targets, what-ifs of 10,000 points; beside SkyPilot.

The workload is examples/cost/workload.toml. SkyPilot's optimizer prices one task on one cloud, without serving, storage or anything of
one's own: the same is asked of mlport as "one task". It would fetch a catalogue of about 24,000 of Amazon's rows from the internet; it is
given one made of mlport's prices of Amazon's machines, which is a hundredth of that, and quicker to look through.
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
IMPORT = "from mlport.costs import Workload, compare, estimate"
SKY_IMPORT = "import sky"
SKY = """
import json, time
from sky import Dag, Resources, Task, catalog, check, global_user_state, skypilot_config
from sky.clouds.cloud import CloudCapability
from sky.optimizer import Optimizer

workspace = skypilot_config.get_active_workspace()  # what `sky check` notes where an account is known
global_user_state.set_allowed_clouds(check._get_workspace_allowed_clouds(workspace), workspace)
global_user_state.set_enabled_clouds(["AWS"], CloudCapability.COMPUTE, workspace)

def machine():
    kind = catalog.get_default_instance_type(cpus="4+", memory="16+", clouds="aws", region="us-east-1")
    return catalog.get_hourly_cost(kind, use_spot=False, region="us-east-1", zone=None, clouds="aws")

def task():
    with Dag() as dag:
        Task(run="true").set_resources(Resources(infra="aws/us-east-1", cpus="4+", memory="16+"))
    Optimizer.optimize(dag, quiet=True)
    return dag.tasks[0].best_resources.get_cost(3600)

def timed(call, turns):
    times = []
    for _ in range(turns):
        began = time.perf_counter(); call(); times.append(time.perf_counter() - began)
    return sorted(times)[turns // 2]

prices = task(), machine()
"""
SKY_WARM = (
    SKY
    + """
print()
print(json.dumps({"price": prices[0], "one task, warm": timed(task, 15), "one machine, warm": timed(machine, 50)}))
"""
)
COLUMNS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "GpuInfo", "Price", "SpotPrice", "Region",
    "AvailabilityZone", "Arch",
)  # fmt: skip


WHAT_IFS = {
    "months": (0.1, 60),
    "nightly.hours": (0.01, 10),
    "nightly.retries": (0, 1),
    "nightly.checkpoint_every": (10, 36_000),
    "nightly.checkpoint_takes": (0.1, 600),
    "nightly.restart_takes": (1, 3600),
    "nightly.interrupted": (0, 1),
    "nightly.compute.cpus": (0.5, 130),
    "nightly.compute.memory_gib": (1, 600),
    "nightly.compute.nodes": (1, 1024),
    "nightly.compute.disk_gib": (1, 5000),
    "search.trials": (0, 1000),
    "search.parallel": (1, 100_000),
    "online.requests_per_second": (0, 2000),
    "online.requests_per_second.7": (0, 2000),
    "online.latency_ms": (0, 2000),
    "online.concurrency": (1, 10_000),
    "online.target_utilization": (0.01, 1),
    "online.max_replicas": (1, 10_000),
    "online.response_kb": (0, 5000),
    "weekly_scores.rows_per_second": (1, 100_000),
    "data.gib": (0, 1e6),
    "data.reads": (0, 1e9),
    "answers.gib": (0, 1e6),
    "targets.vertex.speed": (0.1, 10),
    "targets.local.speed": (0.1, 10),
}
"""A field of each kind, and between which values."""
WHOLE = ("nodes", "parallel", "concurrency", "max_replicas")


def processes(python: str, environment: dict[str, str]) -> dict[str, float]:
    """CPU seconds of new processes; `python` is the peer's, empty without it."""
    found = {"import": cpu_seconds([PYTHON, "-c", IMPORT]), "first estimate": cpu_seconds([PYTHON, "-c", FIRST])}
    if python:
        found |= {
            f"sky {name}": _run(python, program, environment)[0] for name, program in (("import", SKY_IMPORT), ("first estimate", SKY))
        }
    return found


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
    from mlport import Compute
    from mlport.cli import specfile
    from mlport.costs import compare, estimate, what_if
    from mlport.costs.catalogue import default
    from mlport.costs.workload import Workload

    workload = specfile.load(str(WORKLOAD), kinds=("workload",))
    assert isinstance(workload, Workload)
    spot = asked(workload, "nightly.compute.spot", True)
    one = Workload.model_validate(
        {"training": [{"compute": {"cpus": 4, "memory_gib": 16}, "hours": 1}], "targets": {"sagemaker": {"region": "us-east-1"}}}
    )
    machine = Compute(cpus=4, memory_gib=16)
    found = {
        "comparison": timed(lambda: compare(workload, TARGETS), turns),
        "whole report": timed(lambda: compare(workload, TARGETS).to_json(), 3),
        "one task, warm": timed(lambda: estimate(one, "sagemaker").total, turns),
        "one machine, warm": timed(lambda: default().list("aws").offers(machine, "us-east-1")[0].price, turns),
    }
    for field, (low, high) in WHAT_IFS.items():
        values = [low + (high - low) * at / (points - 1) for at in range(points)]
        if field.endswith(WHOLE):
            values = [round(value) for value in values]
        found[f"what-if {field}"] = timed(lambda field=field, values=values: what_if(spot, TARGETS, field, values), 1)  # type: ignore[misc]
    return found


def asked(workload: Any, field: str, value: Any) -> Any:
    """The workload with another value of a field."""
    from mlport.costs.comparing.what_if import changed, located

    return changed(workload, located(workload, field), value)


def sky(folder: Path) -> tuple[str, dict[str, str]]:
    """SkyPilot's interpreter and environment, with a catalogue. Raises RuntimeError."""
    python = str(installed("skypilot", (SKYPILOT,)) / "bin" / "python")
    environment = {**os.environ, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    _catalogue(folder, python, environment)
    return python, environment


def _run(python: str, program: str, environment: dict[str, str]) -> tuple[float, str]:
    """CPU seconds of a program, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-600:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def _catalogue(folder: Path, python: str, environment: dict[str, str]) -> None:
    """Our prices of Amazon's machines as SkyPilot keeps its own."""
    from mlport.costs.catalogue import default

    where = "from sky.catalog import constants; print(constants.CATALOG_SCHEMA_VERSION)"
    place = folder / ".sky" / "catalogs" / _run(python, where, environment)[1].strip().splitlines()[-1] / "aws"
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
    with tempfile.TemporaryDirectory() as folder:
        python = ""
        environment: dict[str, str] = {}
        warm: dict[str, float] = {}
        if not options.no_peer:
            try:
                python, environment = sky(Path(folder))
                warm = json.loads(_run(python, SKY_WARM, environment)[1].splitlines()[-1])
            except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
                print(f"SkyPilot: {error}")
        new = medians(interleaved([partial(processes, python if warm else "", environment)], runs))
    found = {**{name: value for name, value in new.items() if not name.startswith("sky ")}, **ours(20 * runs, points)}
    peer = {**{name.removeprefix("sky "): value for name, value in new.items() if name.startswith("sky ")}, **warm}
    ratios = {name: peer[name] / value for name, value in found.items() if name in peer}
    show(
        ("seconds", "mlport", "SkyPilot", "times"), [(name, f"{value:.5f}", *_beside(name, peer, ratios)) for name, value in found.items()]
    )
    slowest = max((name for name in found if name.startswith("what-if ")), key=found.__getitem__)
    goals = [
        Goal("CPU seconds to the first estimate in a new process", found["first estimate"], "at most", 0.3, "s"),
        Goal("p50 of a warm comparison of five targets", found["comparison"] * 1000, "at most", 10, "ms"),
        Goal(f"seconds of the slowest {slowest}, {points:,} points, five targets", found[slowest], "at most", 2, "s"),
        *(
            Goal(f"times SkyPilot's: {name}", ratios[name], "at least", 10)
            for name in ("first estimate", "one task, warm")
            if name in ratios
        ),
    ]
    return finish("costs", goals, runs=runs, seconds=found, skypilot=peer, times=ratios)


def _beside(name: str, peer: dict[str, float], ratios: dict[str, float]) -> tuple[str, str]:
    return (f"{peer[name]:.5f}", f"{ratios[name]:.0f}") if name in ratios else ("-", "-")


if __name__ == "__main__":
    sys.exit(main())
