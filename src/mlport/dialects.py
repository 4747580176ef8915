"""What a cloud's own monitor measures, as data and pure functions: each provider's dialect, a plug-in of the group `mlport.dialects`.

A number means something only together with its bins, base, smoothing and what becomes of NaN. A dialect says these of each metric that
its cloud has, measures raw columns as that cloud does, and says what a threshold set here is over there: the same number, a translated
one, or a refusal with the reason. It imports no vendor's SDK and asks nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from mlport.drift.definitions import CATEGORIES, Bins, Definition, Norm, Smoothing
from mlport.errors import NotFoundError, UnsupportedError, UsageError
from mlport.plugins import installed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GROUP = "mlport.dialects"
Kind = Literal["number", "category"]
NO_SMOOTHING = Smoothing()


@dataclass(frozen=True, slots=True)
class Numbers:
    """A numeric column: the values that are neither null nor NaN (infinities are values), and how many are NaN and null."""

    values: npt.NDArray[np.float64]
    nan: int = 0
    nulls: int = 0


@dataclass(frozen=True, slots=True)
class Categories:
    """A column of categories: how often each occurs, above 0, by its text; and how many rows have none."""

    counts: Mapping[str, int]
    nulls: int = 0

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a cloud's monitor, under its name there.

    `definition` says base, root, smoothing, norm and NaN as mlport's own engine has them. What a `Definition` cannot say stands beside
    it: `binning` describes bins that no `Bins` gives, `formula` an own formula. Numbers of two metrics agree only where both are equal.
    """

    name: str
    kind: Kind
    definition: Definition
    source: str
    binning: str = ""
    formula: str = ""
    value: Literal["statistic", "p-value"] = "statistic"
    alarm: Literal["above", "below"] = "above"
    compute: Callable[[Any, Any], float] | None = None
    refusal: str = ""
    """Why it cannot be measured here: what of its rules is unpublished."""


@dataclass(frozen=True, slots=True)
class Default:
    """The metric and threshold that the vendor takes where none is said, for one kind of column."""

    kind: Kind
    metric: str
    threshold: float
    source: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold in the words of a cloud: it alarms when the metric is `alarm` the value. `how` says how the value came about."""

    metric: str
    kind: Kind
    value: float
    alarm: Literal["above", "below"]
    how: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """All that one cloud's monitor measures. `notes` say what no single metric does; `no_zero` why a threshold cannot be 0."""

    name: str
    metrics: tuple[Metric, ...]
    defaults: tuple[Default, ...]
    notes: tuple[str, ...] = ()
    no_zero: str = ""
    kind_of: Callable[[Any], Kind] | None = None
    """The cloud's own rule of what is a number and what a category, given the reference as Arrow; None for that of the types."""

    def metric(self, name: str, kind: Kind) -> Metric:
        """Raises NotFoundError that lists what there is."""
        found = [metric for metric in self.metrics if metric.name == name and metric.kind == kind]
        if not found:
            raise NotFoundError(f"{self.name} has no metric {name!r} of a {kind}", hint=f"it has {', '.join(self._names(kind))}")
        return found[0]

    def default(self, kind: Kind) -> Default | None:
        """None where the vendor has no default."""
        return next((each for each in self.defaults if each.kind == kind), None)

    def measure(self, metric: str, reference: Any, current: Any, *, kind: Kind | None = None) -> float:
        """One metric of two columns, as this cloud computes it.

        Args:
            metric: the vendor's name of it.
            reference: a NumPy or Arrow array, a pandas or polars series, a list, or a mapping of categories to counts.
            current: likewise.
            kind: whether the columns hold numbers or categories; by default as the cloud decides it, by the reference.

        Raises:
            NotFoundError: it has no such metric for this kind of column.
            UnsupportedError: the vendor has not published how it is computed, or its own code fails on such columns.
            UsageError: the columns are not of this kind.
        """
        reference, current = _arrow(reference, "reference"), _arrow(current, "current")
        kind = kind or (self.kind_of or kind_of)(reference)
        found = self.metric(metric, kind)
        if found.compute is None:
            raise UnsupportedError(self.name, [(found.name, found.refusal)], hint="read its value back from the cloud instead")
        read = _numbers if kind == "number" else _categories
        return found.compute(read(reference, "reference"), read(current, "current"))

    def threshold(self, said: Definition | Metric, value: float, *, kind: Kind | None = None) -> Threshold:
        """What a threshold of one of mlport's definitions, or of another cloud's metric, is here.

        Args:
            said: what the threshold is of, such as `reading.definition` of a report.
            value: the threshold.
            kind: of the column; by default as the definition's bins say: categories, or else numbers. mlport's readings of texts and
                embeddings are of lengths and norms, which no cloud measures: a threshold of those is for a column of such numbers.

        Raises:
            UnsupportedError: this cloud has no metric whose number says the same, with the reason.
            UsageError: the value is none that the metric can exceed.
        """
        wanted = said if isinstance(said, Metric) else _as_metric(said, kind)
        alike = [own for own in self.metrics if own.kind == wanted.kind and _family(own) == _family(wanted)]
        what = f"{wanted.name} of a {wanted.kind}"
        if not alike:
            raise UnsupportedError(self.name, [(what, f"its monitor has only {', '.join(self._names(wanted.kind)) or 'none'}")])
        reasons = {own.name: differs(wanted, own) for own in alike}
        same = next((own for own in alike if reasons[own.name] is None), None)
        if same is None:
            raise UnsupportedError(self.name, [(what, f"{name}: {why}") for name, why in reasons.items()][:1], hint=self._advice(alike[0]))
        _check(wanted, value)
        if value == 0 and self.no_zero:
            raise UnsupportedError(self.name, [(f"{what}: a threshold of 0", self.no_zero)], hint="take a small one, such as 1e-6")
        translated, how = _translated(wanted.definition, same.definition, value)
        return Threshold(same.name, same.kind, translated, same.alarm, how)

    def _names(self, kind: Kind) -> list[str]:
        return [metric.name for metric in self.metrics if metric.kind == kind]

    def _advice(self, own: Metric) -> str:
        return f"set a threshold on {own.name} itself: dialects.load({self.name!r}).metric({own.name!r}, {own.kind!r}) says what it is"


def names() -> list[str]:
    """The providers whose dialects are installed."""
    return sorted(installed(GROUP))


def load(name: str) -> Dialect:
    """The dialect of a provider. Raises NotFoundError that lists those there are."""
    point = installed(GROUP).get(name)
    if point is None:
        raise NotFoundError(f"no dialect of {name!r} is known", hint=f"there are: {', '.join(names())}")
    dialect: Dialect = point.load()
    return dialect


def differs(said: Metric, own: Metric) -> str | None:
    """Why a number of one metric says nothing exact about the other's; None where one gives the other by a formula."""
    a, b = said.definition, own.definition
    if said == own:
        return None
    if said.refusal or own.refusal:
        return own.refusal or said.refusal
    if said.value != own.value:
        return f"a {said.value} is no {own.value}: which one belongs to which depends on the rows of each window"
    if said.formula != own.formula:
        return f"the formula differs: {said.formula or 'the plain metric'} here, {own.formula or 'the plain metric'} there"
    if (said.binning, _bins(said)) != (own.binning, _bins(own)):
        return f"the bins differ: {_binned(said)} here, {_binned(own)} there; no formula leads from one to the other"
    if (a.smoothing or NO_SMOOTHING) != (b.smoothing or NO_SMOOTHING):
        return f"the smoothing differs: {_smoothed(a)} here, {_smoothed(b)} there; what it changes depends on the counts"
    if _norm(a) != _norm(b):
        return f"the divisor differs: {_divisor(a)} here, {_divisor(b)} there; how much that is depends on the column"
    return None


def _as_metric(definition: Definition, kind: Kind | None) -> Metric:
    categories = definition.metric == "chi2" or (definition.bins is not None and definition.bins.rule == "categories")
    return Metric(definition.key, kind or ("category" if categories else "number"), definition, "mlport")


def _family(metric: Metric) -> str:
    return {"js_distance": "js", "wasserstein_normed": "wasserstein"}.get(metric.definition.metric, metric.definition.metric)


def _bins(metric: Metric) -> Bins | None:
    bins = metric.definition.bins
    return CATEGORIES if bins is not None and metric.kind == "category" else bins


def _binned(metric: Metric) -> str:
    bins = _bins(metric)
    if metric.binning or bins is None:
        return metric.binning or "none"
    return f"edges {list(bins.edges)}" if bins.edges else f"{bins.count or 'a number by rows of'} {bins.rule}"


def _smoothed(definition: Definition) -> str:
    smoothing = definition.smoothing or NO_SMOOTHING
    return {"none": "none", "add": f"add {smoothing.amount:g} to each count", "floor": f"shares of at least {smoothing.amount:g}"}[
        smoothing.rule
    ]


def _norm(definition: Definition) -> Norm | None:
    return (definition.norm or Norm()) if definition.metric == "wasserstein_normed" else None


def _divisor(definition: Definition) -> str:
    norm = _norm(definition)
    return f"the reference's deviation (ddof {norm.ddof}, at least {norm.floor:g})" if norm else "none"


def _largest(definition: Definition) -> float:
    """The largest value that a metric can have."""
    if definition.metric in ("js", "js_distance"):
        bound = math.log(2) / math.log(definition.base or math.e)
        return math.sqrt(bound) if definition.root else bound
    return 1.0 if definition.metric in ("ks", "tv", "linf", "hellinger") else math.inf


def _check(said: Metric, value: float) -> None:
    largest = 1.0 if said.value == "p-value" else _largest(said.definition)
    never = value <= 0 if said.alarm == "below" else value >= largest
    if not math.isfinite(value) or value < 0 or never:
        low = "above 0" if said.alarm == "below" else "0 or more"
        high = f" and below {largest:g}" if math.isfinite(largest) else ""
        raise UsageError(f"threshold of {said.name}: {value} never tells anything; it must be a number {low}{high}")


def _translated(a: Definition, b: Definition, value: float) -> tuple[float, str]:
    """The value in the base and root of `b`, and how it came about; the divergence in nats lies between the two."""
    if _same_units(a, b):
        return value, "the same number"
    nats = (value**2 if a.root else value) * math.log(a.base or math.e)
    found = nats / math.log(b.base or math.e)
    base = f"from base {a.base or math.e:.4g} to {b.base or math.e:.4g}" if (a.base or math.e) != (b.base or math.e) else ""
    root = {(False, True): "square root", (True, False): "square"}.get((bool(a.root), bool(b.root)), "")
    return math.sqrt(found) if b.root else found, ", ".join(part for part in (root, base) if part)


def _same_units(a: Definition, b: Definition) -> bool:
    return (a.base or math.e, a.root) == (b.base or math.e, b.root)


def kind_of(column: Any) -> Kind:
    """Numbers are integers, floats and decimals; a mapping of counts, texts, truth values and dates are categories."""
    import pyarrow.types as types

    if isinstance(column, Mapping):
        return "category"
    return "number" if types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type) else "category"


def _arrow(column: Any, side: str) -> Any:
    """An Arrow array, in which NaN is no null; or the mapping of counts that was given."""
    import pyarrow as pa

    if isinstance(column, Mapping | pa.Array | pa.ChunkedArray):
        return column
    try:
        return column.to_arrow() if hasattr(column, "to_arrow") else pa.array(column, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise UsageError(f"{side}: cannot be read as one column: {error}", hint="a column holds values of one type, or None") from error


def _numbers(column: Any, side: str) -> Numbers:
    import numpy as np
    import pyarrow as pa

    if isinstance(column, Mapping):
        raise UsageError(f"{side}: counts of categories were given where numbers are needed")
    try:
        values = np.asarray(column.drop_null().cast(pa.float64(), safe=False), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"{side}: {column.type} is no column of numbers: {error}") from error
    nan = np.isnan(values)
    return Numbers(values[~nan], int(nan.sum()), int(column.null_count))


def _categories(column: Any, side: str) -> Categories:
    if isinstance(column, Mapping):
        return _counted(column, side)
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        found = pc.value_counts(column.drop_null().cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"{side}: {column.type} is no column of categories: {error}") from error
    pairs = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    return Categories(dict(pairs), int(column.null_count))


def _counted(counts: Mapping[Any, Any], side: str) -> Categories:
    for category, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 0:
            raise UsageError(f"{side}: the count of {category!r} is {count!r}; it must be a whole number, 0 or more")
    return Categories({str(key): int(count) for key, count in counts.items() if key is not None and count}, int(counts.get(None, 0)))


def ks(reference: Numbers, current: Numbers) -> float:
    """The largest distance of two distribution functions, neither side empty."""
    import numpy as np

    points = np.unique(np.concatenate([reference.values, current.values]))
    a, b = (np.searchsorted(np.sort(side.values), points, side="right") / side.values.size for side in (reference, current))
    return float(np.abs(a - b).max())


def some(dialect: str, metric: str, sides: Sequence[tuple[str, int]], why: str) -> None:
    """Raises UnsupportedError where a side has no rows to measure, with what the vendor does then."""
    for side, rows in sides:
        if rows == 0:
            raise UnsupportedError(
                dialect, [(metric, f"the {side} column has no values, or only missing ones: {why}")], hint="widen the window"
            )
