"""Drift: how often chance alone raises an alarm, and which changes are found, by rule and by how many rows there are.

No change: 16 columns of numbers and 4 of strings (`_drift_data`), a reference, and windows of as many rows drawn as it was. A false alarm
is a window with an alarm in any column. Power: one column is changed, and the alarm must be of that column; of 19 others, unchanged,
Benjamini and Hochberg's correction gets p-values as chance gives them. Everything is drawn from seeds: two runs print the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
from _drift_data import table
from _measure import Goal, finish

from mlport import drift
from mlport.drift import Report
from mlport.drift.decisions import Status, decide, persistent

SIZES = (1_000, 10_000, 100_000, 1_000_000)
REFERENCES = {1_000: 100, 10_000: 50, 100_000: 20, 1_000_000: 10}
WINDOWS = 12
"""Windows held against each reference, one after the other."""
REPETITIONS = {1_000: 900, 10_000: 300, 100_000: 120, 1_000_000: 30}
METRICS = ("ks", "chi2", "psi", "js_distance", "missing")
COLUMNS = 20
LEVEL = 0.05
RULES = ("default", "default, 2 of 3", "p < 0.05", "Benjamini-Hochberg", "PSI > 0.1", "PSI > 0.2")
Rows = list[dict[str, Status]]
"""By rule, one window after the other."""


def statuses(report: Report, asked: Sequence[str], others: Sequence[float] = ()) -> dict[str, Status]:
    """What each rule says of the columns asked for. `others` are p-values of columns that are not in the report."""
    from scipy.stats import false_discovery_control

    columns = {each.column: each.status for each in decide(report).columns}
    p = {name: _p(report, name) for name in report.columns}
    corrected = dict(zip(p, false_discovery_control([*p.values(), *others])[: len(p)], strict=True))
    psi = {name: report.column(name)["psi"].value or 0.0 for name in asked}
    found = {
        "default": any(columns[name] == "drift" for name in asked),
        "p < 0.05": any(p[name] < LEVEL for name in asked),
        "Benjamini-Hochberg": any(corrected[name] < LEVEL for name in asked),
        "PSI > 0.1": any(psi[name] > 0.1 for name in asked),
        "PSI > 0.2": any(psi[name] > 0.2 for name in asked),
    }
    return {name: "drift" if is_so else "no drift" for name, is_so in found.items()}


def _p(report: Report, name: str) -> float:
    column = report.column(name)
    found = column["chi2" if column.kind == "category" else "ks"].p
    if found is None:
        raise AssertionError(name)
    return found


def shares(runs: Sequence[Rows]) -> dict[str, float]:
    """The share of windows with an alarm, by rule; of persistence, the share of those from each run's third on."""
    found = {name: mean(window[name] == "drift" for run in runs for window in run) for name in RULES if name != "default, 2 of 3"}
    lasting = [persistent([window["default"] for window in run[: at + 1]]) == "drift" for run in runs for at in range(2, len(run))]
    return {name: found.get(name, mean(lasting)) for name in RULES}


def unchanged(rows: int, references: int) -> dict[str, list[Rows]]:
    """Runs of windows after a reference: what is said of all columns, and of those of numbers."""
    runs: dict[str, list[Rows]] = {"any of 20 columns": [], "any of the 16 of numbers": []}
    for seed in range(references):
        reference = table(rows, 10_000 * rows + 100 * seed, 0.0)
        reports = [
            drift.compare(reference, table(rows, 10_000 * rows + 100 * seed + at + 1, 0.0), metrics=METRICS) for at in range(WINDOWS)
        ]
        numbers = [name for name, column in reports[0].columns.items() if column.kind == "number"]
        for name, asked in zip(runs, (list(reports[0].columns), numbers), strict=True):
            runs[name].append([statuses(report, asked) for report in reports])
    return runs


Draw = Callable[[np.random.Generator, int], Any]


def normal(shift: float) -> Draw:
    return lambda random, rows: random.normal(shift, 1.0, rows)


def categories(moved: float) -> Draw:
    """Five categories; a share of all rows has moved from the largest to the smallest."""
    shares = np.array([0.4, 0.3, 0.15, 0.1, 0.05]) + np.array([-moved, 0, 0, 0, moved])
    names = pa.array([f"c{at}" for at in range(5)])
    return lambda random, rows: names.take(pa.array(random.choice(5, rows, p=shares)))


def lacking(share: float) -> Draw:
    return lambda random, rows: np.where(random.random(rows) < share, np.nan, random.normal(0.0, 1.0, rows))


CHANGES: Mapping[str, tuple[Draw, Draw]] = {
    **{f"mean, by {shift:g} sd": (normal(0.0), normal(shift)) for shift in (0.01, 0.1, 0.2, 0.3, 0.5)},
    **{f"categories, {100 * moved:.0f} % of rows moved": (categories(0.0), categories(moved)) for moved in (0.02, 0.05, 0.1, 0.2)},
    **{f"missing, from 3 to {100 * share:.0f} %": (lacking(0.03), lacking(share)) for share in (0.05, 0.08, 0.1, 0.2)},
}


def changed(before: Draw, after: Draw, rows: int, repetitions: int, seed: int) -> list[Rows]:
    """Runs of three windows after the change."""
    random = np.random.default_rng([seed, rows])
    runs = []
    for _ in range(max(1, repetitions // 3)):
        first = pa.table({"x": before(random, rows)})
        run = []
        for _ in range(3):
            report = drift.compare(first, pa.table({"x": after(random, rows)}), metrics=METRICS)
            run.append(statuses(report, ["x"], random.random(COLUMNS - 1).tolist()))
        runs.append(run)
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 rows and few windows, to see that all works")
    options = parser.parse_args()
    sizes = SIZES[:1] if options.quick else SIZES
    false: dict[int, dict[str, dict[str, float]]] = {}
    for rows in sizes:
        references = 2 if options.quick else REFERENCES[rows]
        false[rows] = {name: shares(runs) for name, runs in unchanged(rows, references).items()}
        print(*_lines(f"no change, {rows:,} rows, {references * WINDOWS} windows", false[rows].items()), sep="\n", flush=True)
    power: dict[int, dict[str, dict[str, float]]] = {}
    for rows in sizes:
        repetitions = 6 if options.quick else REPETITIONS[rows]
        power[rows] = {name: shares(changed(*draws, rows, repetitions, at)) for at, (name, draws) in enumerate(CHANGES.items())}
        print(*_lines(f"{rows:,} rows, {repetitions} windows", power[rows].items()), sep="\n", flush=True)
    return finish("drift_alarms", _goals(false, power), false_alarms={str(key): value for key, value in false.items()},
                  power={str(key): value for key, value in power.items()})  # fmt: skip


def _lines(title: str, rows: Any) -> Iterator[str]:
    """A Markdown table of percentages."""
    yield f"\n| {title} | {' | '.join(RULES)} |\n|---|{'--:|' * len(RULES)}"
    for name, found in rows:
        yield f"| {name} | {' | '.join(f'{found[rule]:.1%}' for rule in RULES)} |"


def _goals(false: Mapping[int, Mapping[str, Mapping[str, float]]], power: Mapping[int, Mapping[str, Mapping[str, float]]]) -> list[Goal]:
    rows = max(power)
    goals = [
        Goal(f"share of windows of {size:,} rows with a false alarm", found["any of 20 columns"]["default"], "at most", 0.01)
        for size, found in false.items()
    ]
    goals.append(Goal(f"alarms at 0.01 sd, {rows:,} rows", power[rows]["mean, by 0.01 sd"]["default"], "at most", 0.0))
    goals += [
        Goal(f"power at 0.5 sd, {size:,} rows", found["mean, by 0.5 sd"]["default"], "at least", 0.9) for size, found in power.items()
    ]
    return goals


if __name__ == "__main__":
    sys.exit(main())
