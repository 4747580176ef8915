"""Databricks: the metrics of the drift table of data profiling (formerly Lakehouse Monitoring), measured where their rules are published.

Its documentation names the columns of the table, and says neither its bins nor its smoothing, nor the base of its Jensen-Shannon
distance, nor which chi-square test and which p-values it computes: those are refused. There are no default thresholds: an alert is a SQL
query on the table.
"""

from __future__ import annotations

import math

import numpy as np

from mlport.dialects import Categories, Dialect, Metric, Numbers, some
from mlport.dialects import ks as distance
from mlport.drift import divergences
from mlport.drift.definitions import CATEGORIES, Definition
from mlport.drift.readings import aligned
from mlport.errors import UnsupportedError

NAME = "databricks"
SOURCE = "docs.databricks.com/aws/en/lakehouse-monitoring/monitor-output: drift metrics table"
NO_ROWS = "what its table says then is not published"
UNPUBLISHED = "an unpublished rule"
BINS = "its bins and what it does with empty ones are not published"
BASE = "its base, and whether it is a divergence or its root, are not published"
TEST = "which test it is, and what becomes of new categories, is not published"
METHOD = "how its p-value is computed is not published"


def ks(reference: Numbers, current: Numbers) -> float:
    _values("ks_test.statistic", reference, current)
    return distance(reference, current)


def wasserstein(reference: Numbers, current: Numbers) -> float:
    from scipy.stats import wasserstein_distance

    name = "wasserstein_distance"
    _values(name, reference, current)
    if not (np.isfinite(reference.values).all() and np.isfinite(current.values).all()):
        raise UnsupportedError(NAME, [(name, "a column has infinite values, and what becomes of them is not published")])
    return float(wasserstein_distance(reference.values, current.values))


def total_variation(reference: Categories, current: Categories) -> float:
    return _between(_TV, reference, current)


def l_infinity(reference: Categories, current: Categories) -> float:
    return _between(_LINF, reference, current)


def _values(metric: str, reference: Numbers, current: Numbers) -> None:
    some(NAME, metric, [("reference", reference.values.size), ("current", current.values.size)], NO_ROWS)


def _between(definition: Definition, reference: Categories, current: Categories) -> float:
    some(NAME, definition.metric, [("reference", reference.rows), ("current", current.rows)], NO_ROWS)
    return divergences.value(definition, *aligned(reference.counts, current.counts))


_TV, _LINF = Definition("tv", bins=CATEGORIES), Definition("linf", bins=CATEGORIES)
DIALECT = Dialect(
    NAME,
    (
        Metric("ks_test.statistic", "number", Definition("ks"), SOURCE, compute=ks),
        Metric("ks_test.pvalue", "number", Definition("ks"), SOURCE, formula=UNPUBLISHED, value="p-value", alarm="below", refusal=METHOD),
        Metric("wasserstein_distance", "number", Definition("wasserstein"), SOURCE, compute=wasserstein),
        Metric(
            "population_stability_index", "number", Definition("psi", base=math.e), SOURCE, binning=BINS, formula=UNPUBLISHED, refusal=BINS
        ),
        Metric("tv_distance", "category", _TV, SOURCE, compute=total_variation),
        Metric("l_infinity_distance", "category", _LINF, SOURCE, compute=l_infinity),
        Metric("js_distance", "category", Definition("js_distance", root=True, bins=CATEGORIES), SOURCE, formula=UNPUBLISHED, refusal=BASE),
        Metric("chi_squared_test.statistic", "category", Definition("chi2"), SOURCE, formula=UNPUBLISHED, refusal=TEST),
        Metric(
            "chi_squared_test.pvalue",
            "category",
            Definition("chi2"),
            SOURCE,
            formula=UNPUBLISHED,
            value="p-value",
            alarm="below",
            refusal=TEST,
        ),
    ),
    (),
    notes=(
        "whether it samples or sketches large tables is not published; the four metrics that are measured are those of all rows",
        "its ks_test.statistic, as printed in a public repository, has three digits after the point: it may be 0.001 off the exact one",
        "it has no thresholds of its own: an alert is a SQL query on the drift table, above or below as the query says",
        "missing values are left out here; what it does with them is not published",
    ),
)
