"""CPU seconds, user and system, of importing and of asking for help; each beside MLflow's counterpart.

`net` leaves out what an interpreter that does nothing costs.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from _measure import FEWEST_RUNS, PYTHON, Goal, cpu_seconds, finish, interleaved, medians, program, show

NOTHING = "python -c pass"
CASES = {
    "import mlport": ("import mlflow", 0.05),
    "from mlport import JobSpec": ("from mlflow import MlflowClient", 0.25),
    "mlport --help": ("mlflow --help", 0.25),
}


def command(case: str) -> list[str]:
    """The command line of a case: an import, or a program of this environment."""
    if case == NOTHING:
        return [PYTHON, "-c", "pass"]
    first, *rest = case.split()
    return [program(first), *rest] if first in ("mlport", "mlflow") else [PYTHON, "-c", case]


def measured(case: str) -> dict[str, float]:
    return {case: cpu_seconds(command(case))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--quick", action="store_true", help="3 runs")
    options = parser.parse_args()
    runs = 3 if options.quick else options.runs
    cases = [NOTHING, *(case for ours, (peer, _) in CASES.items() for case in (ours, peer))]
    found = medians(interleaved([partial(measured, case) for case in cases], runs))
    nothing = found[NOTHING]
    print(f"CPU seconds, median of {runs}; an interpreter that does nothing: {nothing:.3f}")
    rows = [(ours, found[ours], found[ours] - nothing, peer, found[peer], found[peer] / found[ours]) for ours, (peer, _) in CASES.items()]
    show(("mlport", "raw", "net", "mlflow", "raw", "times ours"), rows)
    goals = [Goal(f"CPU seconds of `{ours}`", found[ours], "at most", most, "s") for ours, (_, most) in CASES.items()]
    return finish("startup", goals, runs=runs, cpu_seconds=found, net={ours: found[ours] - nothing for ours in CASES})


if __name__ == "__main__":
    sys.exit(main())
