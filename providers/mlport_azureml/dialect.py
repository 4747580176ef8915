"""Azure Machine Learning: how its data drift signal measures, by the components that the vendor publishes.

Source: github.com/Azure/azureml-assets at 4b41f8cc (July 2026), assets/model_monitoring/components/src: histogram_utils.py and
{numerical,categorical}_data_drift_metrics.py; the defaults are those of azure-ai-ml 1.35.2, entities/_monitoring/thresholds.py. Counts
in bins are made by PySpark's RDD.histogram. Earlier versions of the components differ: their PSI of categories had another denominator,
and constant columns at or below zero failed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlport.dialects import Categories, Default, Dialect, Kind, Metric, Numbers, kind_of, some
from mlport.drift import divergences
from mlport.drift.definitions import CATEGORIES, Definition, Norm, Smoothing
from mlport.drift.readings import aligned
from mlport.errors import UnsupportedError

Floats = npt.NDArray[np.float64]
NAME = "azureml"
SOURCE = "github.com/Azure/azureml-assets@4b41f8cc assets/model_monitoring/components/src/data_drift_compute_metrics"
BINNING = "ceil(log2(rows of the smaller side) + 1) bins of equal width from the least to the greatest value of both"
NAN = "left out, with every row that lacks any column"
MOST_ROWS = 10_000
"""Its Kolmogorov-Smirnov test fails where either side has as many rows."""
EVEN = 1e-10
"""PySpark divides by the width where all widths are as equal as that, and searches the edges otherwise."""
ADD_ONE = Smoothing("add", 1.0)
LEAST_DEVIATION = 0.001
CATEGORIES_BELOW = 0.05
"""An integer column with fewer distinct values a row than this is taken for categories."""


def azure_kind(column: Any) -> Kind:
    """Integers are categories where less than 5 % of the reference's rows are distinct values."""
    import pyarrow.types as types

    if isinstance(column, Mapping) or not types.is_integer(column.type) or not len(column):
        return kind_of(column)
    return "category" if len(column.unique()) / len(column) < CATEGORIES_BELOW else "number"


def edges(reference: Floats, current: Floats) -> Floats:
    """The edges of the bins, neither side empty; two edges around the value of columns that are constant."""
    least, greatest = (float(end) for end in (min(reference.min(), current.min()), max(reference.max(), current.max())))
    if least == greatest:
        apart = 0.005 if least == 0 else abs(least * 0.005)
        return np.array([least - apart, least + apart])
    bins = math.ceil(math.log2(min(reference.size, current.size)) + 1)
    width = (greatest - least) / bins
    return np.array([least, *(least + (at + 1) * width for at in range(bins))])


def counts(values: Floats, bounds: Floats) -> Floats:
    """What RDD.histogram counts between given edges: values beyond them, such as by rounding of the last, are left out."""
    kept = values[(values >= bounds[0]) & (values <= bounds[-1])]
    steps = np.diff(bounds)
    if steps.max() - steps.min() < EVEN:
        at = ((kept - bounds[0]) / ((bounds[-1] - bounds[0]) / steps.size)).astype(np.int64)
    else:
        at = np.searchsorted(bounds, kept, side="right") - 1
    found = np.bincount(at, minlength=bounds.size).astype(np.float64)
    found[-2] += found[-1]
    return found[:-1]


def js_of_numbers(reference: Numbers, current: Numbers) -> float:
    return divergences.value(_JS, *_histograms("JensenShannonDistance", reference, current))


def psi_of_numbers(reference: Numbers, current: Numbers) -> float:
    a, b = _histograms("PopulationStabilityIndex", reference, current)
    return _psi(a, b, reference.values.size, current.values.size)


def wasserstein(reference: Numbers, current: Numbers) -> float:
    """The first Wasserstein distance over the reference's standard deviation (n - 1), but at least 0.001; 0.001 where it has one row."""
    from scipy.stats import wasserstein_distance

    _values("NormalizedWassersteinDistance", reference, current)
    deviation = float(reference.values.std(ddof=1)) if reference.values.size > 1 else 0.0
    return float(wasserstein_distance(reference.values, current.values)) / max(deviation, LEAST_DEVIATION)


def ks_p_value(reference: Numbers, current: Numbers) -> float:
    from scipy.stats import ks_2samp

    name = "TwoSampleKolmogorovSmirnovTest"
    _values(name, reference, current)
    if max(reference.values.size, current.values.size) >= MOST_ROWS:
        raise UnsupportedError(
            NAME, [(name, f"its job fails where a side has {MOST_ROWS:,} rows or more")], hint="take NormalizedWassersteinDistance"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where it cannot count the paths it says so, and is asymptotic by itself
        return float(ks_2samp(reference.values, current.values).pvalue)


def js_of_categories(reference: Categories, current: Categories) -> float:
    return divergences.value(_JS, *_aligned("JensenShannonDistance", reference, current))


def psi_of_categories(reference: Categories, current: Categories) -> float:
    return _psi(*_aligned("PopulationStabilityIndex", reference, current), reference.rows, current.rows)


def chi_square_p_value(reference: Categories, current: Categories) -> float:
    """The p-value of goodness of fit of the current counts to the reference's shares; 0 as soon as there is a new category."""
    from scipy.stats import chisquare

    name = "PearsonsChiSquaredTest"
    a, b = _aligned(name, reference, current)
    if a.size == 1:
        raise UnsupportedError(NAME, [(name, "both sides have one and the same category: its value is NaN, which never alarms")])
    with np.errstate(divide="ignore"):
        return float(chisquare(b, a / reference.rows * current.rows).pvalue)


def _psi(a: Floats, b: Floats, rows_a: int, rows_b: int) -> float:
    p, q = (a + 1) / (rows_a + a.size), (b + 1) / (rows_b + b.size)
    return float(((q - p) * np.log(q / p)).sum())


def _values(metric: str, reference: Numbers, current: Numbers) -> None:
    sides = (("reference", reference), ("current", current))
    some(NAME, metric, [(side, column.values.size) for side, column in sides], "its job fails")
    for side, column in sides:
        if not np.isfinite(column.values).all():
            raise UnsupportedError(NAME, [(metric, f"the {side} column has infinite values, on which its job fails or gives NaN")])


def _histograms(metric: str, reference: Numbers, current: Numbers) -> tuple[Floats, Floats]:
    _values(metric, reference, current)
    with np.errstate(over="ignore"):
        bounds = edges(reference.values, current.values)
    if not (np.isfinite(bounds).all() and (np.diff(bounds) > 0).all()):
        raise UnsupportedError(
            NAME,
            [(metric, "the values' range is too wide or too narrow for distinct edges of bins; its job fails")],
            hint="scale the column",
        )
    return counts(reference.values, bounds), counts(current.values, bounds)


def _aligned(metric: str, reference: Categories, current: Categories) -> tuple[Floats, Floats]:
    some(NAME, metric, [("reference", reference.rows), ("current", current.rows)], "its job fails or gives NaN")
    return aligned(reference.counts, current.counts)


_JS = Definition("js_distance", base=2.0, root=True, bins=CATEGORIES, nan=NAN)
_PSI = Definition("psi", base=math.e, bins=CATEGORIES, smoothing=ADD_ONE, nan=NAN)
_NUMBERS, _CATEGORIES = f"{SOURCE}/numerical_data_drift_metrics.py", f"{SOURCE}/categorical_data_drift_metrics.py"
DEFAULTS = "azure-ai-ml 1.35.2 azure/ai/ml/entities/_monitoring/thresholds.py"
DIALECT = Dialect(
    NAME,
    (
        Metric(
            "NormalizedWassersteinDistance",
            "number",
            Definition("wasserstein_normed", norm=Norm(1, LEAST_DEVIATION), nan=NAN),
            _NUMBERS,
            compute=wasserstein,
        ),
        Metric(
            "JensenShannonDistance",
            "number",
            Definition("js_distance", base=2.0, root=True, nan=NAN),
            _NUMBERS,
            binning=BINNING,
            compute=js_of_numbers,
        ),
        Metric(
            "PopulationStabilityIndex",
            "number",
            Definition("psi", base=math.e, smoothing=ADD_ONE, nan=NAN),
            _NUMBERS,
            binning=BINNING,
            compute=psi_of_numbers,
        ),
        Metric(
            "TwoSampleKolmogorovSmirnovTest",
            "number",
            Definition("ks", nan=NAN),
            _NUMBERS,
            value="p-value",
            alarm="below",
            compute=ks_p_value,
        ),
        Metric("JensenShannonDistance", "category", _JS, _CATEGORIES, compute=js_of_categories),
        Metric("PopulationStabilityIndex", "category", _PSI, _CATEGORIES, compute=psi_of_categories),
        Metric(
            "PearsonsChiSquaredTest",
            "category",
            Definition("chi2", nan=NAN),
            _CATEGORIES,
            formula="goodness of fit of the current counts to the reference's shares",
            value="p-value",
            alarm="below",
            compute=chi_square_p_value,
        ),
    ),
    (
        Default("number", "NormalizedWassersteinDistance", 0.1, DEFAULTS),
        Default("category", "JensenShannonDistance", 0.1, DEFAULTS),
    ),
    notes=(
        "a row that lacks a value in any column is left out of every column: drop such rows first where columns lack different ones",
        "an integer column is taken for categories where less than 5 % of the reference's rows are distinct values",
        "a value of NaN counts as above every threshold and below none",
    ),
    no_zero="its SDK takes 0 for not set",
    kind_of=azure_kind,
)
