"""What is compared in memory equals SciPy's to rounding, with either kernel, whatever the columns are like."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.spatial import distance

from mlport import drift
from mlport.drift import Bins, Definition, Smoothing, kernels, ordered
from mlport.drift.kernels import Floats, Sizes
from mlport.errors import MissingExtraError

SHAPES = ("normal", "atoms", "heavy", "tiny", "constant", "clustered", "integers")


def sample(shape: str, seed: int, rows: int) -> Floats:
    random = np.random.default_rng(seed)
    return {
        "normal": lambda: random.normal(seed % 3, 1, rows),
        "atoms": lambda: np.where(random.random(rows) < 0.5, 0.0, random.gamma(2, 2, rows)),
        "heavy": lambda: random.standard_cauchy(rows),
        "tiny": lambda: random.normal(size=1 + seed % 4) * 1e-300,
        "constant": lambda: np.full(rows, 7.25),
        "clustered": lambda: np.where(random.random(rows) < 0.01, -5.0, 1e9 + random.normal(0, 1e-6, rows)),
        "integers": lambda: random.poisson(4, rows).astype(float),
    }[shape]()


@pytest.mark.parametrize("first", SHAPES)
@pytest.mark.parametrize("second", SHAPES)
@pytest.mark.parametrize("rows", [(40, 57), (12_000, 9_000)])
def test_numbers_are_scipys(first: str, second: str, rows: tuple[int, int]) -> None:
    a, b = sample(first, 1, rows[0]), sample(second, 2, rows[1])
    column = drift.compare({"x": a}, {"x": b}).column("x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy's own, where its exact p-value underflows
        ks = stats.ks_2samp(a, b)
    assert column["ks"].value == pytest.approx(ks.statistic, rel=1e-12)
    assert column["ks"].p == pytest.approx(ks.pvalue, rel=1e-9, abs=1e-300)
    w = stats.wasserstein_distance(a, b)
    assert column["wasserstein"].value == pytest.approx(w, rel=1e-9)
    assert all(column[name].exact for name in ("ks", "wasserstein", "js", "psi"))
    if spread := (a - np.median(a)).std():  # of values far from zero, a.std() keeps two digits
        assert column["wasserstein_normed"].value == pytest.approx(w / spread, rel=1e-9)
    else:
        assert column["wasserstein_normed"].value is None
        assert "does not vary" in column["wasserstein_normed"].why
    edges = [-np.inf, *np.quantile(a, np.arange(1, 10) / 10, method="inverted_cdf"), np.inf]
    distinct = np.unique(edges)
    p, q = (np.histogram(side, distinct)[0] / side.size for side in (a, b))
    assert column["js_distance"].value == pytest.approx(distance.jensenshannon(p, q, base=2), rel=1e-9, abs=1e-7)
    assert column["js"].value == pytest.approx(distance.jensenshannon(p, q, base=2) ** 2, rel=1e-9, abs=1e-12)
    assert column["tv"].value == pytest.approx(np.abs(p - q).sum() / 2, rel=1e-12)
    assert column["linf"].value == pytest.approx(np.abs(p - q).max(), rel=1e-12)
    assert column["hellinger"].value == pytest.approx(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2), rel=1e-9, abs=1e-12)
    floored = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert column["kl"].value == pytest.approx(special.kl_div(*floored).sum(), rel=1e-9, abs=1e-12)
    assert column["psi"].value == pytest.approx(((floored[0] - floored[1]) * np.log(floored[0] / floored[1])).sum(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("distinct", [1, 2, 7, 300])
def test_categories_are_scipys(distinct: int) -> None:
    random = np.random.default_rng(distinct)
    names = np.array([f"c{at}" for at in range(distinct)])
    a, b = random.choice(names, 2_000), random.choice(names, 1_500, p=random.dirichlet(np.ones(distinct)))
    column = drift.compare({"c": a}, {"c": b}).column("c")
    p, q = (np.array([(side == name).sum() for name in names]) for side in (a, b))
    kept = p + q > 0
    assert column.kind == "category"
    assert column["js_distance"].value == pytest.approx(distance.jensenshannon(p, q, base=2), rel=1e-9, abs=1e-8)
    if distinct > 1:
        chi2 = stats.chi2_contingency(np.vstack([p[kept], q[kept]]))
        assert column["chi2"].value == pytest.approx(chi2.statistic, rel=1e-9)
        assert column["chi2"].p == pytest.approx(chi2.pvalue, rel=1e-9, abs=1e-300)
    else:
        assert (column["chi2"].value, column["chi2"].p) == (0.0, 1.0)


@pytest.mark.parametrize("base", [2.0, math.e, 10.0])
def test_base_bins_and_smoothing_are_as_defined(base: float) -> None:
    a, b = sample("normal", 3, 500), sample("normal", 4, 400)
    metrics = [
        Definition("js", name="even", base=base, bins=Bins("uniform", 12)),
        Definition("js_distance", base=base, bins=Bins("edges", None, (-1.0, 0.0, 2.5))),
        Definition("js", name="sturges", base=base, bins=Bins("uniform", None)),
        Definition("psi", bins=Bins("quantiles", 5), smoothing=Smoothing("add", 1.0)),
    ]
    column = drift.compare({"x": a}, {"x": b}, metrics=metrics).column("x")
    both = np.concatenate([a, b])
    for name, bins in (("even", np.histogram_bin_edges(both, 12)), ("sturges", np.histogram_bin_edges(both, "sturges"))):
        p, q = np.histogram(a, bins)[0], np.histogram(b, bins)[0]
        assert column[name].value == pytest.approx(distance.jensenshannon(p, q, base=base) ** 2, rel=1e-9)
    p, q = (np.histogram(side, [-np.inf, -1, 0, 2.5, np.inf])[0] for side in (a, b))
    assert column["js_distance"].value == pytest.approx(distance.jensenshannon(p, q, base=base), rel=1e-9)
    edges = [-np.inf, *np.quantile(a, [0.2, 0.4, 0.6, 0.8], method="inverted_cdf"), np.inf]
    p, q = ((np.histogram(side, edges)[0] + 1) / (side.size + 5) for side in (a, b))
    assert column["psi"].value == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-9)


floats = st.lists(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, -1e308])), max_size=60
)


@settings(max_examples=100, deadline=None)
@given(floats, floats, st.tuples(*[st.integers(0, 2)] * 4))
def test_both_kernels_give_the_same_bits(first: list[float], second: list[float], infinite: tuple[int, int, int, int]) -> None:
    pytest.importorskip("numba")
    fast, plain = kernels.compiled(), kernels.NUMPY
    a, b = (plain.sort(np.array(values)) for values in (first, second))
    assert np.array_equal(fast.sort(np.array(first)), a)
    sizes = Sizes(infinite[0], infinite[1], len(first) + infinite[0] + infinite[2] + 1, len(second) + infinite[1] + infinite[3] + 1)
    with np.errstate(over="ignore"):
        assert fast.walk(a, b, sizes) == plain.walk(a, b, sizes)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_radix_sort_sorts(shape: str) -> None:
    compiled = pytest.importorskip("mlport.drift.compiled")
    values = sample(shape, 5, 50_000)
    assert np.array_equal(compiled._radix_sort(values.copy()), np.sort(values))


def test_the_whole_report_is_the_same_with_either_kernel() -> None:
    tables = [pa.table({shape: sample(shape, seed, 3_000) for shape in SHAPES if shape != "tiny"}) for seed in (6, 7)]
    one, two = (drift.compare(*tables, kernel=kernel) for kernel in ("numpy", "compiled"))  # type: ignore[arg-type]
    assert one.to_json() == two.to_json()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf, -math.inf, math.nan]), min_size=1, max_size=30), st.data())
def test_weights_are_repetitions(values: list[float], data: st.DataObject) -> None:
    """A row of weight 3 is three rows; integer weights make a weighted report the unweighted one."""
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))
    other = data.draw(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
    weighted = drift.compare({"x": values, "w": np.array(weights, float)}, {"x": other, "w": np.ones(len(other))}, weights="w").column("x")
    repeated = drift.compare({"x": pa.array(np.repeat(values, weights), pa.float64())}, {"x": other}).column("x")
    for name, reading in weighted.readings.items():
        assert reading.value == (None if repeated[name].value is None else pytest.approx(repeated[name].value, rel=1e-9, abs=1e-12)), name
        assert reading.p is None


def test_integers_counted_are_integers_sorted() -> None:
    random = np.random.default_rng(0)
    for values in (random.integers(-50, 50, 5_000), random.integers(-(2**62), 2**62, 500), np.array([2**53 + 1, -(2**63), 2**63 - 1])):
        counted, whole = ordered.of_integers(values, 0, 1.0, kernels.NUMPY), ordered.of_floats(values.astype(float), 0, kernels.NUMPY)
        assert np.array_equal(np.repeat(counted.values, counted.weights.astype(int)), whole.values)
        assert counted.moments == pytest.approx(whole.moments)


def test_without_numba_all_works_and_asking_for_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlport.drift.compiled", None)  # as if it could not be imported
    monkeypatch.delattr("mlport.drift.compiled", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    kernels.compiled.cache_clear()
    try:
        assert kernels.choose("auto", 1 << 40) is kernels.NUMPY
        with pytest.raises(MissingExtraError, match=r"need numba.*\n.*mlport\[drift\]"):
            drift.compare({"x": [1.0]}, {"x": [2.0]}, kernel="compiled")
    finally:
        kernels.compiled.cache_clear()
