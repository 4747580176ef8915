"""Drift: 1 million x 20 in memory beside a NumPy/SciPy loop and Evidently, a cached reference, and 2 x 10 million x 20 from Parquet.

The loop computes the same four metrics as we do a dozen: Kolmogorov-Smirnov, Wasserstein, Jensen-Shannon (and PSI), chi-square for
strings. Evidently runs its DataDriftPreset, with the drawing that it does while at it, in an environment of its own, because it does
not import beside pandas 3. Ours includes sorting both sides; the program is loaded before, and so is theirs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _drift_data import files
from _measure import PYTHON, Goal, finish, interleaved, medians, show
from _peers import installed

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
    began = time.perf_counter()
    Report([DataDriftPreset()]).run(sides[1], sides[0]).dict()
    print(time.perf_counter() - began, flush=True)
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
if sys.argv[1] == "ours":
    kernels.compiled()
began = time.perf_counter()
if sys.argv[1] == "ours":
    drift.compare(*sys.argv[2:4])
else:
    for path in sys.argv[2:4]:
        source = ingest.source(path, "it")
        for _ in source.batches(source.schema.names):
            pass
seconds = time.perf_counter() - began
print(json.dumps([seconds, peak()]))
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
    began = time.perf_counter()
    call()
    return {name: time.perf_counter() - began}


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
        return {"Evidently": float(self._line())}

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


def large(paths: tuple[Path, Path]) -> dict[str, float]:
    (seconds, mb), (decode, _) = child(LARGE, "ours", *paths), child(LARGE, "decode", *paths)
    return {"Parquet, ours": seconds, "Parquet, decode alone": decode, "Parquet, peak MB": mb}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer-runs", type=int, default=3, help="runs of Evidently, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="100,000 and 1 million rows, one run")
    parser.add_argument("--no-peer", action="store_true", help="without Evidently, which is large to install")
    parser.add_argument("--data", type=Path, help="a folder to keep the tables in")
    options = parser.parse_args()
    rows, many, runs = (100_000, 1_000_000, 1) if options.quick else (1_000_000, 10_000_000, options.runs)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder)
        paths = files(data, rows)
        figures = in_memory(paths, runs)
        figures["extra MB"] = child(MEMORY, *paths)
        peer = {} if options.no_peer else beside(paths, 1 if options.quick else options.peer_runs)
        figures |= peer.get("figures", {})
        figures |= medians(interleaved([partial(large, files(data, many))], max(1, runs // 2)))
    show(("median", "seconds"), figures.items())
    goals = [
        Goal("times the speed of a NumPy/SciPy loop", figures["loop"] / figures["ours"], "at least", 25),
        Goal("times faster with a cached reference", figures["ours"] / figures["cached reference"], "at least", 2),
        Goal("MB beyond the tables", figures["extra MB"], "at most", 100),
        Goal("times the decode alone, from Parquet", figures["Parquet, ours"] / figures["Parquet, decode alone"], "at most", 4),
        Goal("MB in all, from Parquet", figures["Parquet, peak MB"], "at most", 600),
    ]
    if peer.get("figures"):
        goals.append(Goal("times the speed of Evidently", figures["Evidently"] / figures["ours, beside Evidently"], "at least", 100))
    return finish("drift", goals, runs=runs, rows=rows, many=many, seconds=figures, evidently=peer.get("error", "0.7.23"))


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
    return medians(interleaved(cases, runs))


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
    return {"figures": medians(found)}


if __name__ == "__main__":
    sys.exit(main())
