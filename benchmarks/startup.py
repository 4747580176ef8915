"""CPU seconds, user and system, of importing and of asking for help; each beside MLflow's counterpart.

`net` leaves out what an interpreter that does nothing costs.
"""

from __future__ import annotations

import argparse
from functools import partial

from _measure import FEWEST_RUNS, PYTHON, cpu_seconds, finish, interleaved, medians, program, show

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    options = parser.parse_args()
    cases = [NOTHING, *(case for ours, (peer, _) in CASES.items() for case in (ours, peer))]
    found = medians(interleaved([partial(measured, case) for case in cases], options.runs))
    nothing = found[NOTHING]
    print(f"CPU seconds, median of {options.runs}; an interpreter that does nothing: {nothing:.3f}")
    rows = [
        (
            ours,
            found[ours],
            found[ours] - nothing,
            most,
            "yes" if found[ours] <= most else "NO",
            peer,
            found[peer],
            found[peer] / found[ours],
        )
        for ours, (peer, most) in CASES.items()
    ]
    show(("mlport", "raw", "net", "at most", "met", "mlflow", "raw", "times ours"), rows)
    finish("startup", runs=options.runs, cpu_seconds=found, net={ours: found[ours] - nothing for ours in CASES})


if __name__ == "__main__":
    main()
