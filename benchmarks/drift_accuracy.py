"""Drift: thousands of generated columns and all real ones at hand, held against SciPy; and the bounds of stored profiles against the truth.

In memory each value must be SciPy's to a stated tolerance; between two stored profiles, and between a profile and a table, the exact
value must lie within the bounds, always. Generated: distributions x sizes x changes x what spoils them, and categories. Real: the
data sets that come with scikit-learn, class against class or half against half, and the flights, month against month.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from _measure import Goal, finish, show
from scipy import stats
from scipy.spatial import distance

from mlport import drift
from mlport.drift import ColumnReport, Definition, Profile
from mlport.drift.definitions import BINNED, DECILES

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], Floats]
FEW = 2_500
"""Rows up to which p-values are compared, too: SciPy counts paths for them, which takes long."""
METRICS = (
    "ks", "wasserstein", *BINNED, "chi2", "missing", Definition("kl", name="entropy", base=2.0, bins=DECILES),
)  # fmt: skip
TOLERANCE = {"ks": 1e-15, "ks p": 1e-9, "wasserstein": 1e-12, "js_distance": 1e-7, "entropy": 1e-12, "chi2": 1e-9, "chi2 p": 1e-9}
"""Of `ks` and of `js_distance`, which is a root, absolute; of `wasserstein` as a share of the distance, to which one rounding of the largest
value comes; of p-values as a share; of the others as a share of the value, or absolute below 1."""

DISTRIBUTIONS: Mapping[str, Draw] = {
    "normal": lambda r, n, d: r.normal(d, 1, n),
    "lognormal": lambda r, n, d: r.lognormal(d, 2, n),
    "exponential": lambda r, n, d: r.exponential(1 + d, n),
    "uniform": lambda r, n, d: r.uniform(d, 1 + d, n),
    "cauchy": lambda r, n, d: r.standard_cauchy(n) + d,
    "gamma": lambda r, n, d: r.gamma(0.5 + d, 3, n),
    "U-shaped": lambda r, n, d: r.beta(0.3, 0.3 + d, n),
    "two peaks": lambda r, n, d: np.where(r.random(n) < 0.4 + d / 3, r.normal(-5, 1, n), r.normal(5, 0.1, n)),
    "an atom": lambda r, n, d: np.where(r.random(n) < 0.6 - d / 3, 0.0, r.gamma(2, 2, n)),
    "counts": lambda r, n, d: r.poisson(30 + 5 * d, n).astype(float),
    "two values": lambda r, n, d: (r.random(n) < 0.3 + d / 3).astype(float),
    "rounded": lambda r, n, d: np.round(r.normal(d, 1, n), 1),
    "a constant": lambda r, n, d: np.full(n, 7.25 + d),
    "tiny": lambda r, n, d: r.normal(d, 1, n) * 1e-300,
    "huge": lambda r, n, d: r.normal(d, 1, n) * 1e300,
    "clustered": lambda r, n, d: np.where(r.random(n) < 0.01, -5.0, 1e9 + r.normal(d, 1, n) * 1e-6),
    "times": lambda r, n, d: 1.7e9 + r.exponential(60 * (1 + d), n),
    "two far": lambda r, n, d: np.where(r.random(n) < 0.5, r.normal(0, 1e-9, n), 1e12 + r.normal(d, 1, n)),
}
SPOILT: Mapping[str, Callable[[np.random.Generator, Floats], Floats]] = {
    "whole": lambda r, x: x,
    "NaN": lambda r, x: np.where(r.random(x.size) < 0.1, np.nan, x),
    "infinite": lambda r, x: np.where(r.random(x.size) < 0.04, np.inf, np.where(r.random(x.size) < 0.02, -np.inf, x)),
    "repeated": lambda r, x: r.choice(x[: max(2, x.size // 20)], x.size),
}
SIZES = ((10, 12), (37, 50), (300, 1_000), (2_000, 2_400), (20_000, 5_000), (30_000, 30_000))
CHANGES = (0.0, 0.02, 0.3, 1.5)


@dataclass
class Found:
    """What was compared, how far from SciPy at most, and what was outside its bounds."""

    columns: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)
    bounded: int = 0
    outside: list[str] = field(default_factory=list)
    widest: float = 0.0

    def compared(self, what: str, ours: float | None, theirs: float, scale: float, where: str) -> None:
        self.values[what] += 1
        apart = 0.0 if ours == theirs else math.inf if ours is None else abs(ours - theirs) / scale
        apart = math.inf if math.isnan(apart) else float(apart)
        if apart >= self.worst.get(what, (0.0, ""))[0]:
            self.worst[what] = (apart, where)


def numbers(found: Found, column: ColumnReport, a: Floats, b: Floats, where: str) -> None:
    """A column of numbers in memory, held against SciPy."""
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    exact = max(a.size, b.size) <= FEW
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy's, where its p-value underflows, and of infinite values
        ks = stats.ks_2samp(a, b, method="auto" if exact else "asymp")
        theirs = _wasserstein(a, b)
    found.compared("ks", column["ks"].value, float(ks.statistic), 1.0, where)
    if exact:
        found.compared("ks p", column["ks"].p, float(ks.pvalue), max(float(ks.pvalue), 1e-300), where)
    if theirs is not None:
        largest = max(float(np.abs(side[np.isfinite(side)]).max(initial=0.0)) for side in (a, b))
        scale = theirs + largest * np.finfo(float).eps / TOLERANCE["wasserstein"] if math.isfinite(theirs) else 1.0
        found.compared("wasserstein", column["wasserstein"].value, theirs, max(scale, 5e-324), where)
    edges = np.unique(np.quantile(a, np.arange(1, 10) / 10, method="inverted_cdf"))
    p, q = (np.diff(np.searchsorted(np.sort(side), edges), prepend=0, append=side.size) / side.size for side in (a, b))
    _histograms(found, column, p, q, where)


def _wasserstein(a: Floats, b: Floats) -> float | None:
    """SciPy's distance; of infinite values, for which it has none, infinity where their shares differ, and nothing else."""
    shares = [((side == -np.inf).mean(), (side == np.inf).mean()) for side in (a, b)]
    if shares[0] != shares[1]:
        return math.inf
    if any(shares[0]):
        return None
    found = float(stats.wasserstein_distance(a, b))
    return found if math.isfinite(found) else None


def _histograms(found: Found, column: ColumnReport, p: Floats, q: Floats, where: str) -> None:
    found.compared("js_distance", column["js_distance"].value, float(distance.jensenshannon(p, q, base=2)), 1.0, where)
    theirs = float(stats.entropy(p, q, base=2))
    found.compared("entropy", column["entropy"].value, theirs, max(theirs, 1.0), where)


def categories(found: Found, column: ColumnReport, a: Sequence[Any], b: Sequence[Any], where: str) -> None:
    """A column of strings in memory, held against SciPy."""
    one, two = (Counter(value for value in side if value is not None) for side in (a, b))
    names = sorted({*one, *two})
    p, q = (np.array([side[name] for name in names], float) for side in (one, two))
    _histograms(found, column, p / p.sum(), q / q.sum(), where)
    if len(names) > 1:
        chi2 = stats.chi2_contingency(np.vstack([p, q]))
        found.compared("chi2", column["chi2"].value, float(chi2.statistic), max(float(chi2.statistic), 1.0), where)
        found.compared("chi2 p", column["chi2"].p, float(chi2.pvalue), max(float(chi2.pvalue), 1e-300), where)


def within(found: Found, exact: ColumnReport, sketched: ColumnReport, where: str) -> None:
    """Whether a profile's bounds contain each exact value, to the rounding of either."""
    for name, reading in exact.readings.items():
        interval = sketched[name].interval
        if reading.value is None or interval is None:
            if (reading.value is None) != (interval is None):
                found.outside.append(f"{where}: {name} is {reading.value} and {interval}")
            continue
        found.bounded += 1
        slack = 1e-12 * abs(reading.value) + 1e-14 if math.isfinite(reading.value) else 0.0
        if not interval[0] - slack <= reading.value <= interval[1] + slack:
            found.outside.append(f"{where}: {name} is {reading.value!r}, not within {interval}")
        if name == "ks":
            found.widest = max(found.widest, interval[1] - interval[0])


def compared(found: Found, kind: str, a: pa.Table, b: pa.Table, where: str, profiles: Sequence[Profile] | None = None) -> None:
    """Two tables of one schema: all columns against SciPy, and with one or both as a stored profile."""
    report = drift.compare(a, b, metrics=METRICS)
    one, two = (Profile.from_bytes(each.to_bytes()) for each in (profiles or (drift.profile(a), drift.profile(b))))
    sketched = [drift.compare(*sides, metrics=METRICS) for sides in ((one, two), (one, b))]
    for name, column in report.columns.items():
        here = f"{where}, {name}"
        found.columns[kind] += 1
        if column.kind == "category":
            categories(found, column, *(_texts(side[name]) for side in (a, b)), here)
        elif column["ks"].value is not None:
            numbers(found, column, *(np.asarray(side[name].to_numpy(zero_copy_only=False), float) for side in (a, b)), here)
        for other in sketched:
            within(found, column, other.column(name), here)


def _texts(column: pa.ChunkedArray) -> list[Any]:
    return [str(value).lower() if isinstance(value, bool) else value for value in column.to_pylist()]


def generated(quick: bool) -> Iterator[tuple[pa.Table, pa.Table, str]]:
    sizes, seeds, changes = (SIZES[1:3], (1,), CHANGES[1::2]) if quick else (SIZES, (1, 2), CHANGES)
    for seed, (n, m), change in itertools.product(seeds, sizes, changes):
        random = np.random.default_rng([seed, n, m, int(100 * change)])
        tables = [
            {
                f"{name}, {how}": spoil(random, draw(random, rows, amount))
                for (name, draw), (how, spoil) in itertools.product(DISTRIBUTIONS.items(), SPOILT.items())
            }
            for rows, amount in ((n, 0.0), (m, change))
        ]
        yield pa.table(tables[0]), pa.table(tables[1]), f"{n:,} and {m:,} rows, changed by {change:g}"
        yield _named(random, n, 0.0), _named(random, m, change), f"{n:,} and {m:,} rows, changed by {change:g}"


def _named(random: np.random.Generator, rows: int, change: float) -> pa.Table:
    columns = {}
    for distinct in (1, 2, 3, 10, 100, 900):
        names = pa.array([f"c{at}" for at in range(distinct)])
        shares = np.arange(1, distinct + 1) ** -(1 + change)
        chosen = random.choice(distinct, rows, p=shares / shares.sum())
        columns[f"{distinct} categories"] = names.take(pa.array(chosen))
        columns[f"{distinct} categories, missing"] = names.take(pa.array(chosen, mask=(random.random(rows) < 0.2) & (np.arange(rows) > 0)))
    columns["a flag"] = pa.array(random.random(rows) < 0.4)
    return pa.table(columns)


def bundled(quick: bool) -> Iterator[tuple[pa.Table, pa.Table, str]]:
    """The data sets that come with scikit-learn: class against class; without classes, the first half against the second."""
    from sklearn import datasets

    for name in ("breast_cancer", "wine", "iris", "digits"):
        data = getattr(datasets, f"load_{name}")()
        names = [str(each) for each in getattr(data, "feature_names", range(data.data.shape[1]))]
        classes = np.unique(data.target)[: 2 if quick else None]
        tables = {value: pa.table(dict(zip(names, data.data[data.target == value].T, strict=True))) for value in classes}
        for a, b in itertools.combinations(classes, 2):
            yield tables[a], tables[b], f"{name}, class {a} against {b}"
    for name, columns in (("diabetes", datasets.load_diabetes().data), ("linnerud", np.hstack(datasets.load_linnerud(return_X_y=True)))):
        half = len(columns) // 2
        halves = [pa.table({f"x{at}": column for at, column in enumerate(part.T)}) for part in (columns[:half], columns[half:])]
        yield halves[0], halves[1], f"{name}, first half against second"


def flights(found: Found) -> None:
    from mlport.demo.flights import FEATURES, TARGET, months
    from mlport.demo.flights import flights as read

    whole = read()
    tables = [pa.Table.from_pandas(months(whole, month, month)[[*FEATURES, TARGET]], preserve_index=False) for month in range(1, 13)]
    profiles = [drift.profile(table) for table in tables]
    for a, b in itertools.combinations(range(12), 2):
        compared(found, "flights", tables[a], tables[b], f"flights, month {a + 1} against {b + 1}", (profiles[a], profiles[b]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small samples and few of the real ones")
    options = parser.parse_args()
    found = Found()
    for a, b, where in generated(options.quick):
        compared(found, "generated", a, b, where)
    for a, b, where in bundled(options.quick):
        compared(found, "scikit-learn's", a, b, where)
    if not options.quick:
        flights(found)
    show(("pairs of columns", "count"), found.columns.items())
    show(("in memory, against SciPy", "values", "worst", "allowed"), [(n, found.values[n], f"{w:.2g}", f"{TOLERANCE[n]:g}") for n, (w, _) in found.worst.items()])  # fmt: skip
    for name, (apart, where) in found.worst.items():
        if apart > TOLERANCE[name]:
            print(f"{name}: {apart:.3g} at {where}")
    print(
        f"\nwithin the bounds of stored profiles: {found.bounded - len(found.outside):,} of {found.bounded:,} values; of ks they are at most {found.widest:.4f} apart"
    )
    print(*found.outside[:20], sep="\n")
    goals = [
        Goal("generated pairs of columns", found.columns["generated"], "at least", 300 if options.quick else 3_000),
        *(Goal(f"{name}: farthest from SciPy", apart, "at most", TOLERANCE[name]) for name, (apart, _) in found.worst.items()),
        Goal("values outside the bounds of profiles", len(found.outside), "at most", 0),
    ]
    worst = {name: apart for name, (apart, _) in found.worst.items()}
    return finish("drift_accuracy", goals, columns=dict(found.columns), values=dict(found.values), worst=worst, bounded=found.bounded,
                  outside=len(found.outside), widest_ks=found.widest)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
