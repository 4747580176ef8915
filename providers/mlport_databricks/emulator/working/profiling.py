"""What data profiling measures of a time series: the rows of its two metric tables, computed from all rows of the profiled table.

Names, order and types of the columns are those of tables that Databricks made, as they were dumped and printed in public repositories;
so are that numbers have ks_test, wasserstein_distance and population_stability_index and texts the other metrics, that a statistic of
ks_test has three digits after the point, that its p-value is `scipy.stats.kstwo.sf(statistic, round(n * m / (n + m)))` to the last digit,
that shares are percent, and that a window which is not over is measured, too. What the dialect measures is computed by it. The bins of
the population stability index (deciles of what is compared with, shares of at least 1e-4), the test and the base (e, as SciPy's is) of
the categories, and that each refresh computes all windows anew, are guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlport.dialects import Categories, Numbers
from mlport.errors import UnsupportedError
from mlport_databricks import dialect
from mlport_databricks.emulator.working.monitors import GRANULARITIES

if TYPE_CHECKING:
    import pyarrow as pa

Json = dict[str, Any]
Windows = npt.NDArray[np.int64]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE = ":table"
_WINDOW = 'STRUCT("start" TIMESTAMPTZ, "end" TIMESTAMPTZ)'
_TEST = "STRUCT(statistic DOUBLE, pvalue DOUBLE)"
_KEYS = (("slice_key", "VARCHAR"), ("slice_value", "VARCHAR"), ("column_name", "VARCHAR"))
PROFILE: Sequence[tuple[str, str]] = (
    ("window", _WINDOW),
    ("log_type", "VARCHAR"),
    ("logging_table_commit_version", "INTEGER"),
    ("monitor_version", "BIGINT"),
    ("granularity", "VARCHAR"),
    *_KEYS,
    ("count", "BIGINT"),
    ("data_type", "VARCHAR"),
    ("num_nulls", "BIGINT"),
    ("avg", "DOUBLE"),
    ("quantiles", "DOUBLE[]"),
    *((name, "DOUBLE") for name in ("min", "max", "stddev")),
    ("num_zeros", "BIGINT"),
    ("num_nan", "BIGINT"),
    *((name, "DOUBLE") for name in ("min_length", "max_length", "avg_length")),
    ("non_null_columns", "VARCHAR[]"),
    ("frequent_items", "STRUCT(item VARCHAR, count BIGINT)[]"),
    ("median", "DOUBLE"),
    ("distinct_count", "BIGINT"),
    *((name, "DOUBLE") for name in ("percent_nan", "percent_null", "percent_zeros", "percent_distinct")),
)
DRIFT: Sequence[tuple[str, str]] = (
    ("window", _WINDOW),
    ("granularity", "VARCHAR"),
    ("monitor_version", "BIGINT"),
    *_KEYS,
    ("data_type", "VARCHAR"),
    ("window_cmp", _WINDOW),
    ("drift_type", "VARCHAR"),
    ("count_delta", "BIGINT"),
    *((name, "DOUBLE") for name in ("avg_delta", "percent_null_delta", "percent_zeros_delta", "percent_distinct_delta")),
    ("non_null_columns_delta", "STRUCT(added INTEGER, missing INTEGER)"),
    ("js_distance", "DOUBLE"),
    ("ks_test", _TEST),
    ("wasserstein_distance", "DOUBLE"),
    ("population_stability_index", "DOUBLE"),
    ("chi_squared_test", _TEST),
    ("tv_distance", "DOUBLE"),
    ("l_infinity_distance", "DOUBLE"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of one window, or of the baseline. `told` is its row of the profile table."""

    name: str
    told: Json
    sample: Numbers | Categories | None


Part = Mapping[str, Column]
"""The columns of a window or of the baseline by name, the whole table under TABLE."""


def measured(
    rows: pa.Table, baseline: pa.Table | None, time: str, granularities: Sequence[str], version: int
) -> tuple[list[Json], list[Json]]:
    """The rows of the profile table and of the drift table."""
    against = part(baseline) if baseline is not None else None
    profiles: list[Json] = []
    drifts: list[Json] = []
    for granularity in granularities:
        name, length = GRANULARITIES[granularity]
        own = {"granularity": name, "monitor_version": version, "slice_key": None, "slice_value": None}
        before: tuple[datetime, Part] | None = None
        for start, inside in windows(rows, time, length):
            now, window = part(inside), {"start": start, "end": start + length}
            profiles += [
                {"window": window, "log_type": "INPUT", "logging_table_commit_version": 0, **own, **each.told} for each in now.values()
            ]
            if before is not None and before[0] == start - length:
                compared = {"window": window, **own, "window_cmp": {"start": before[0], "end": start}, "drift_type": "CONSECUTIVE"}
                drifts += [{**compared, **each} for each in drift(now, before[1])]
            if against is not None:
                drifts += [{"window": window, **own, "window_cmp": None, "drift_type": "BASELINE", **each} for each in drift(now, against)]
            before = start, now
    return profiles, drifts


def windows(rows: pa.Table, time: str, length: timedelta) -> Iterator[tuple[datetime, pa.Table]]:
    """The rows of each window in which there are some, by its start. Rows without a time are in none."""
    import pyarrow as pa

    rows = rows.filter(rows.column(time).is_valid())
    micros = np.asarray(rows.column(time).cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
    width = length // timedelta(microseconds=1)
    starts = micros // width * width
    for start in np.unique(starts):
        yield EPOCH + timedelta(microseconds=int(start)), rows.filter(pa.array(starts == start))


# ---------------------------------------------------------------- profiles


def part(table: pa.Table) -> Part:
    """The profile of each column of a window, and of the table as a whole."""
    columns = {name: column(name, table.column(name)) for name in table.column_names}
    filled = sorted(name for name, each in columns.items() if each.told["num_nulls"] < len(table))
    whole = {"column_name": TABLE, "count": len(table), "non_null_columns": filled}
    return {**columns, TABLE: Column(TABLE, whole, None)}


def column(name: str, values: pa.ChunkedArray) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, count, nulls = values.type, len(values), values.null_count
    distinct = int(pc.count_distinct(values).as_py())
    told: Json = {
        "column_name": name,
        "count": count,
        "data_type": _type(kind),
        "num_nulls": nulls,
        "distinct_count": distinct,
        "percent_null": _percent(nulls, count),
        "percent_distinct": _percent(distinct, count),
    }
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = np.asarray(values.drop_null().cast(pa.float64(), safe=False), dtype=np.float64)
        numbers = Numbers(found[~np.isnan(found)], int(np.isnan(found).sum()), nulls)
        return Column(name, {**told, **_of_numbers(numbers, count)}, numbers)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        texts = values.drop_null().cast(pa.string())
        counts = {str(each["values"]): int(each["counts"]) for each in pc.value_counts(texts).to_pylist()}
        return Column(name, {**told, **_of_texts(texts, counts)}, Categories(counts, nulls))
    if pa.types.is_timestamp(kind):
        seconds = np.asarray(values.drop_null().cast(pa.timestamp("us", kind.tz)).cast(pa.int64())) / 1e6
        told |= {"min": seconds.min(), "max": seconds.max(), "median": float(np.median(seconds))} if seconds.size else {}
    return Column(name, told, None)


def _of_numbers(numbers: Numbers, count: int) -> Json:
    values = numbers.values
    told: Json = {
        "num_zeros": int((values == 0).sum()),
        "num_nan": numbers.nan,
        "percent_zeros": _percent(int((values == 0).sum()), count),
        "percent_nan": _percent(numbers.nan, count),
    }
    if not np.isfinite(values).all() or not values.size:
        return told
    spread = float(values.std(ddof=1)) if values.size > 1 else None
    quantiles = [float(each) for each in np.quantile(values, np.linspace(0, 1, 101))]
    ends = {"min": quantiles[0], "max": quantiles[-1], "median": quantiles[50]}
    return {**told, **ends, "avg": float(values.mean()), "stddev": spread, "quantiles": quantiles}


def _of_texts(texts: pa.ChunkedArray, counts: Mapping[str, int]) -> Json:
    import pyarrow.compute as pc

    lengths = np.asarray(pc.utf8_length(texts))
    often = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:10]
    told: Json = {"frequent_items": [{"item": item, "count": count} for item, count in often]}
    if lengths.size:
        told |= {"min_length": float(lengths.min()), "max_length": float(lengths.max()), "avg_length": float(lengths.mean())}
    return told


def _percent(some: int, count: int) -> float | None:
    return 100 * some / count if count else None


def _type(kind: Any) -> str:
    import pyarrow as pa

    names = {"int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint", "bool": "boolean", "large_string": "string"}
    return "timestamp" if pa.types.is_timestamp(kind) else names.get(str(kind), str(kind))


# ---------------------------------------------------------------- drift


def drift(now: Part, before: Part) -> Iterator[Json]:
    """A row for each column of the window that the other side has too, and for the table."""
    for name, one in now.items():
        other = before.get(name)
        if other is None:
            continue
        told: Json = {"column_name": name, "data_type": one.told.get("data_type"), "count_delta": one.told["count"] - other.told["count"]}
        for metric in ("avg", "percent_null", "percent_zeros", "percent_distinct"):
            pair = one.told.get(metric), other.told.get(metric)
            told[f"{metric}_delta"] = pair[0] - pair[1] if pair[0] is not None and pair[1] is not None else None
        if name == TABLE:
            here, there = set(one.told["non_null_columns"]), set(other.told["non_null_columns"]) & set(now)
            told["non_null_columns_delta"] = {"added": len(here - there), "missing": len(there - here)}
        yield {**told, **_compared(other.sample, one.sample)}


def _compared(before: Numbers | Categories | None, now: Numbers | Categories | None) -> Json:
    if isinstance(before, Numbers) and isinstance(now, Numbers) and before.values.size and now.values.size:
        return {
            "ks_test": ks_test(before, now),
            "wasserstein_distance": _or_none(dialect.wasserstein, before, now),
            "population_stability_index": stability(before, now),
        }
    if isinstance(before, Categories) and isinstance(now, Categories) and before.rows and now.rows:
        return {
            "js_distance": distance(before, now),
            "chi_squared_test": chi_squared(before, now),
            "tv_distance": dialect.total_variation(before, now),
            "l_infinity_distance": dialect.l_infinity(before, now),
        }
    return {}


def _or_none(metric: Callable[[Numbers, Numbers], float], before: Numbers, now: Numbers) -> float | None:
    try:
        return metric(before, now)
    except UnsupportedError:  # infinite values
        return None


def ks_test(before: Numbers, now: Numbers) -> Json:
    """Its statistic on a grid of 0.001, and SciPy's asymptotic p-value of that."""
    from scipy.stats import kstwo

    statistic = round(dialect.ks(before, now), 3)
    n, m = before.values.size, now.values.size
    return {"statistic": statistic, "pvalue": float(kstwo.sf(statistic, max(1, round(n * m / (n + m)))))}


def stability(before: Numbers, now: Numbers) -> float:
    """A guess: see above."""
    edges = np.unique(np.quantile(before.values, np.linspace(0.1, 0.9, 9), method="inverted_cdf"))
    shares = [
        np.bincount(np.searchsorted(edges, side.values, side="right"), minlength=edges.size + 1) / side.values.size
        for side in (before, now)
    ]
    a, b = (np.maximum(each, 1e-4) for each in shares)
    return float(((b - a) * np.log(b / a)).sum())


def distance(before: Categories, now: Categories) -> float:
    """A guess: see above."""
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(*_shared(before, now)))


def chi_squared(before: Categories, now: Categories) -> Json:
    """A guess: see above."""
    from scipy.stats import chi2_contingency

    found = chi2_contingency(np.stack(_shared(before, now)), correction=False)
    return {"statistic": float(found.statistic), "pvalue": float(found.pvalue)}


def _shared(before: Categories, now: Categories) -> tuple[Windows, Windows]:
    """The counts of both by the categories of both."""
    names = sorted({*before.counts, *now.counts})
    first, second = ([side.counts.get(name, 0) for name in names] for side in (before, now))
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
