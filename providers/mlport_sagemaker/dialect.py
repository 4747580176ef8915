"""Amazon SageMaker: how Model Monitor measures drift, by Deequ, the library that the vendor publishes and names for it.

Source: github.com/awslabs/deequ at 0b8cea54 (June 2026), src/main/scala/com/amazon/deequ/analyzers/Distance.scala. Its flag
`correctForLowNumberOfSamples` means the opposite of its name: true gives the simple distance, false subtracts the correction. Model
Monitor takes no new customers.
"""

from __future__ import annotations

import math

from mlport.dialects import Categories, Default, Dialect, Metric, Numbers, some
from mlport.dialects import ks as distance
from mlport.drift import divergences
from mlport.drift.definitions import CATEGORIES, Definition
from mlport.drift.readings import aligned
from mlport.errors import UnsupportedError

NAME = "sagemaker"
SOURCE = "github.com/awslabs/deequ@0b8cea54 src/main/scala/com/amazon/deequ/analyzers/Distance.scala"
C_ALPHA = 1.8
"""The vendor's c(alpha) of alpha = 0.003: D. E. Knuth, TAOCP volume 2, 3.3.1, eq. 15."""
ROBUST = "max(0, simple - 1.8 sqrt((n + m) / (n m))) with n and m rows"
LEAST_EXPECTED, LEAST_OF_TWO, SHARE_BELOW = 5, 10, 0.2
"""Expected counts below which categories are put together: of three or more, where over 20 % are below 5; of two, below 10."""
GROUPED = "goodness of fit of the current counts to the reference's shares, small categories put together"
NO_ROWS = "Deequ divides by zero"


def ks(reference: Numbers, current: Numbers) -> float:
    """The largest distance of the two distribution functions."""
    some(NAME, "numerical_simple", [("reference", reference.values.size), ("current", current.values.size)], NO_ROWS)
    return distance(reference, current)


def ks_robust(reference: Numbers, current: Numbers) -> float:
    return robust(ks(reference, current), reference.values.size, current.values.size)


def l_infinity(reference: Categories, current: Categories) -> float:
    some(NAME, "categorical_LInfinity_simple", [("reference", reference.rows), ("current", current.rows)], NO_ROWS)
    return divergences.value(_LINF, *aligned(reference.counts, current.counts))


def l_infinity_robust(reference: Categories, current: Categories) -> float:
    return robust(l_infinity(reference, current), reference.rows, current.rows)


def robust(simple: float, n: int, m: int, alpha: float | None = None) -> float:
    """The distance less what chance gives samples of `n` and `m` rows; with `alpha`, by `sqrt(-ln(alpha / 2) / 2)` in place of 1.8."""
    c = C_ALPHA if alpha is None else math.sqrt(-math.log(alpha / 2) / 2)
    return max(0.0, simple - c * math.sqrt((n + m) / (n * m)))


def chi_square(reference: Categories, current: Categories) -> float:
    return _chi_square(reference, current)[0]


def chi_square_p_value(reference: Categories, current: Categories) -> float:
    from scipy.special import chdtrc

    statistic, degrees = _chi_square(reference, current)
    return float(chdtrc(degrees, statistic))


def _chi_square(reference: Categories, current: Categories) -> tuple[float, int]:
    """Pearson's statistic and its degrees of freedom. Categories that the reference lacks are left out of the current counts."""
    name = "categorical_ChiSquared"
    some(NAME, name, [("reference", reference.rows), ("current", current.rows)], NO_ROWS)
    rows = sum(count for category, count in current.counts.items() if category in reference.counts)
    expected = {category: count / reference.rows * rows for category, count in reference.counts.items()}
    observed = {category: float(current.counts.get(category, 0)) for category in reference.counts}
    while len(expected) > 1 and _too_small(expected):
        least, next_least = sorted(expected, key=lambda category: (expected[category], category))[:2]
        expected[next_least] += expected.pop(least)
        observed[next_least] += observed.pop(least)
    if len(expected) < 2:
        raise UnsupportedError(NAME, [(name, "fewer than two categories are left once small ones are put together: its value is NaN")])
    return sum((observed[category] - count) ** 2 / count for category, count in expected.items()), len(expected) - 1


def _too_small(expected: dict[str, float]) -> bool:
    least, most = (LEAST_OF_TWO, 0) if len(expected) == 2 else (LEAST_EXPECTED, int(SHARE_BELOW * len(expected)))
    return sum(count < least for count in expected.values()) > most


_KS, _LINF, _CHI = Definition("ks"), Definition("linf", bins=CATEGORIES), Definition("chi2")
SCHEMA = "docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-constraints.html: comparison_threshold and categorical_comparison_threshold 0.1"
DIALECT = Dialect(
    NAME,
    (
        Metric("numerical_simple", "number", _KS, SOURCE, compute=ks),
        Metric("numerical_robust", "number", _KS, SOURCE, formula=ROBUST, compute=ks_robust),
        Metric("categorical_LInfinity_simple", "category", _LINF, SOURCE, compute=l_infinity),
        Metric("categorical_LInfinity_robust", "category", _LINF, SOURCE, formula=ROBUST, compute=l_infinity_robust),
        Metric("categorical_ChiSquared_simple", "category", _CHI, SOURCE, formula=GROUPED, compute=chi_square),
        Metric(
            "categorical_ChiSquared_robust",
            "category",
            _CHI,
            SOURCE,
            formula=GROUPED,
            value="p-value",
            alarm="below",
            compute=chi_square_p_value,
        ),
    ),
    (
        Default("number", "numerical_robust", 0.1, SCHEMA),
        Default("category", "categorical_LInfinity_robust", 0.1, SCHEMA),
    ),
    notes=(
        "the names join what its constraints file says in two fields, such as categorical_drift_method LInfinity and comparison_method Robust",
        "that Model Monitor's container runs this very code is inferred, and that p-values alarm below; robust is taken for the default, as Deequ has it",
        "of equally small categories the vendor joins any, this the first in the alphabet",
        "distribution functions are exact here; the vendor's come of a KLL sketch, which holds the first 2,048 values exactly",
    ),
)
