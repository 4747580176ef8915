"""Drift: 1 million x 20 in memory beside a NumPy/SciPy loop and Evidently, a cached reference, and 2 x 10 million x 20 from Parquet.

`--wide` compares and decides two tables of 200,000 rows and 1,000 columns from Parquet instead, and the same with a quarter of the rows.

The loop computes the same four metrics as we do a dozen: Kolmogorov-Smirnov, Wasserstein, Jensen-Shannon (and PSI), chi-square for
strings. Evidently runs its DataDriftPreset, with the drawing that it does while at it, in an environment of its own, because it does
not import beside pandas 3. Ours includes sorting both sides; the program is loaded before, and so is theirs.

Cases take turns, and each figure is its least of all turns, for what else a machine does only adds to it. CPU seconds stand beside those
of the clock: on a busy machine two threads wait longer than one, and only they say something.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _drift_data import files, wide
from _measure import PYTHON, Goal, finish, interleaved, show
from _peers import installed

CPU = ", CPU"
MEMORY_BYTES = 256 << 20
EVIDENTLY = ("evidently==0.7.23", "pandas<3", "pyarrow>=20")
PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
sides = [pd.read_parquet(path) for path in sys.argv[1:3]]
print("ready", flush=True)
for _ in sys.stdin:
    began, busy = time.perf_counter(), time.process_time()
    Report([DataDriftPreset()]).run(sides[1], sides[0]).dict()
    print(time.perf_counter() - began, time.process_time() - busy, flush=True)
"""
PEAK = """
import re
from pathlib import Path

def peak():
    "The most MB of this process, since it began or was last asked to forget. What getrusage says begins with the parent's."
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""
LARGE = (
    PEAK
    + """
import json, sys, time
from mlport import drift
from mlport.drift import ingest, kernels
from mlport.drift.decisions import Rule
from mlport.drift.judging import judged
what, reference, current, memory = sys.argv[1:5]
if what != "decode":
    kernels.compiled()
began, busy = time.perf_counter(), time.process_time()
if what == "decode":
    for path in (reference, current):
        source = ingest.source(path, "it")
        for names in source.parts(source.schema.names):
            for _ in source.batches(names):
                pass
elif what == "compare":
    drift.compare(reference, current, memory=int(memory))
else:
    judged(reference, current, Rule(), memory=int(memory))
print(json.dumps([time.perf_counter() - began, time.process_time() - busy, peak()]))
"""
)
MEMORY = (
    PEAK
    + """
import ctypes, json, sys
import pyarrow as pa
import pyarrow.parquet as pq
from mlport import drift
from mlport.drift import kernels
kernels.compiled()
tables = [pq.read_table(path) for path in sys.argv[1:3]]
drift.compare(*(table.slice(0, 1000) for table in tables))
pa.default_memory_pool().release_unused()
ctypes.CDLL(None).malloc_trim(0)  # what reading the files left behind must not hide what comparing takes
Path("/proc/self/clear_refs").write_text("5")
before = peak()
drift.compare(*tables)
print(json.dumps(peak() - before))
"""
)


def timed(name: str, call: Callable[[], Any]) -> dict[str, float]:
    began, busy = time.perf_counter(), time.process_time()
    call()
    return {name: time.perf_counter() - began, f"{name}{CPU}": time.process_time() - busy}


def least(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The least seconds of all turns, and the most MB."""
    return {name: max(values) if name.endswith("MB") else min(values) for name, values in found.items()}


def lines(figures: Mapping[str, float]) -> list[tuple[object, ...]]:
    """What was measured: by the clock, and in CPU seconds where it was."""
    return [(name, value, figures.get(f"{name}{CPU}", "")) for name, value in figures.items() if not name.endswith(CPU)]


def loop(a: pa.Table, b: pa.Table) -> None:
    """What one writes without a library."""
    from scipy import stats
    from scipy.spatial.distance import jensenshannon

    for name in a.column_names:
        if pa.types.is_string(a.schema.field(name).type):
            p, q = (side[name].to_pandas().value_counts() for side in (a, b))
            p, q = p.align(q, fill_value=0)
            jensenshannon(p, q, base=2)
            stats.chi2_contingency(np.vstack([p, q]))
            continue
        x, y = (side[name].to_pandas().dropna().to_numpy(float) for side in (a, b))
        stats.ks_2samp(x, y, method="asymp")
        stats.wasserstein_distance(x, y)
        edges = [-np.inf, *np.unique(np.quantile(x, np.arange(1, 10) / 10, method="inverted_cdf")), np.inf]
        p, q = np.histogram(x, edges)[0] / x.size, np.histogram(y, edges)[0] / y.size
        jensenshannon(p, q, base=2)
        p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
        ((p - q) * np.log(p / q)).sum()


def with_p(a: Any, b: Any) -> None:
    """Ours, with the p-values, which are computed only when asked for."""
    from mlport import drift

    report = drift.compare(a, b)
    for column in report.columns.values():
        for reading in column.readings.values():
            reading.p  # noqa: B018


class Evidently:
    """A process with both samples loaded, that runs the preset once a line."""

    def __init__(self, paths: tuple[Path, Path]) -> None:
        python = str(installed("evidently", EVIDENTLY) / "bin" / "python")
        with tempfile.TemporaryFile("w+") as errors:
            command = [python, "-c", PEER, *map(str, paths)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
            if self._line() != "ready":
                errors.seek(0)
                raise RuntimeError(errors.read()[-600:])

    def run(self) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write("once\n")
        self.process.stdin.flush()
        wall, busy = map(float, self._line().split())
        return {"Evidently": wall, f"Evidently{CPU}": busy}

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def child(program: str, *arguments: object) -> Any:
    done = subprocess.run([PYTHON, "-c", program, *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def large(paths: tuple[Path, Path], what: str, memory: int, name: str = "Parquet") -> dict[str, float]:
    (ours, busy, mb), (decode, decode_busy, _) = child(LARGE, what, *paths, memory), child(LARGE, "decode", *paths, memory)
    seconds = {
        f"{name}, ours": ours,
        f"{name}, ours{CPU}": busy,
        f"{name}, decode alone": decode,
        f"{name}, decode alone{CPU}": decode_busy,
    }
    return {**seconds, f"{name}, peak MB": mb}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer-runs", type=int, default=3, help="runs of Evidently, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two turns, and lower goals: does everything work?")
    parser.add_argument("--no-peer", action="store_true", help="without Evidently, which is large to install")
    parser.add_argument("--wide", action="store_true", help="only 200,000 x 1,000 from Parquet, which takes 3 GB of disk")
    parser.add_argument("--data", type=Path, help="a folder to keep the tables in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        return wide_table(data, options.quick) if options.wide else usual(data, options)


def usual(data: Path, options: argparse.Namespace) -> int:
    quick = options.quick
    rows, many, runs, memory = (100_000, 1_000_000, 2, MEMORY_BYTES // 10) if quick else (1_000_000, 10_000_000, options.runs, MEMORY_BYTES)
    paths = files(data, rows)
    figures = in_memory(paths, runs)
    figures["extra MB"] = child(MEMORY, *paths)
    peer = {} if options.no_peer else beside(paths, 1 if quick else options.peer_runs)
    figures |= peer.get("figures", {})
    figures |= least(interleaved([partial(large, files(data, many), "compare", memory)], max(2, runs // 2)))
    show(("least of all turns", "seconds", "CPU"), lines(figures))
    by_cpu = figures[f"loop{CPU}"] / figures[f"ours{CPU}"]
    print(f"in CPU seconds the loop takes {by_cpu:.1f} times ours")
    goals = [
        Goal("times the speed of a NumPy/SciPy loop", figures["loop"] / figures["ours"], "at least", 5 if quick else 25),
        Goal("times faster with a cached reference", figures["ours"] / figures["cached reference"], "at least", 0.5 if quick else 2),
        Goal("MB beyond the tables", figures["extra MB"], "at most", 100),
        Goal(
            "times the decode alone, from Parquet",
            figures["Parquet, ours"] / figures["Parquet, decode alone"],
            "at most",
            20 if quick else 4,
        ),
        Goal("MB in all, from Parquet", figures["Parquet, peak MB"], "at most", 600),
    ]
    if peer.get("figures"):
        speed = figures["Evidently"] / figures["ours, beside Evidently"]
        goals.append(Goal("times the speed of Evidently", speed, "at least", 20 if quick else 100))
    return finish("drift", goals, runs=runs, rows=rows, many=many, seconds=figures, evidently=peer.get("error", "0.7.23"))


def wide_table(data: Path, quick: bool) -> int:
    """Many columns: minutes, and memory that does not grow with the rows."""
    rows, columns, memory = (20_000, 1_000, 1 << 20) if quick else (200_000, 1_000, MEMORY_BYTES)
    paths, quarter = wide(data, rows, columns), wide(data, rows // 4, columns)
    figures = least(
        interleaved([partial(large, paths, "judged", memory, "wide"), partial(large, quarter, "judged", memory, "a quarter")], 1)
    )
    figures["size on disk, MB"] = sum(path.stat().st_size for path in paths) / 1e6
    show(("least of all turns", "seconds", "CPU"), lines(figures))
    goals = [
        Goal(f"seconds of {rows:,} x {columns:,}, compared and decided", figures["wide, ours"], "at most", 300, "s"),
        Goal("MB in all", figures["wide, peak MB"], "at most", 600),
        Goal(
            "times the memory at 4 times the rows", figures["wide, peak MB"] / figures["a quarter, peak MB"], "at most", 2 if quick else 1.3
        ),
    ]
    return finish("drift, wide", goals, rows=rows, columns=columns, seconds=figures)


def in_memory(paths: tuple[Path, Path], runs: int) -> dict[str, float]:
    from mlport import drift
    from mlport.drift import kernels

    a, b = (pq.read_table(path) for path in paths)
    kernels.compiled()
    cached = drift.profile(a)
    cases = [
        partial(timed, "ours", partial(drift.compare, a, b)),
        partial(timed, "ours, with p-values", partial(with_p, a, b)),
        partial(timed, "ours, one thread", partial(drift.compare, a, b, threads=1)),
        partial(timed, "ours, without numba", partial(drift.compare, a, b, kernel="numpy")),
        partial(timed, "cached reference", partial(drift.compare, cached, b)),
        partial(timed, "loop", partial(loop, a, b)),
    ]
    return least(interleaved(cases, runs))


def beside(paths: tuple[Path, Path], runs: int) -> dict[str, Any]:
    """Evidently and ours in turns, or why it cannot be."""
    from mlport import drift

    try:
        peer = Evidently(paths)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"Evidently: {error}")
        return {"error": str(error)}
    a, b = (pq.read_table(path) for path in paths)
    try:
        found = interleaved([peer.run, partial(timed, "ours, beside Evidently", partial(drift.compare, a, b))], runs)
    finally:
        peer.close()
    return {"figures": least(found)}


if __name__ == "__main__":
    sys.exit(main())
