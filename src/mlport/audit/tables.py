"""Tables as callers have them (Arrow, pandas, polars, a path, columns by name) as one pandas frame, and refusals that name the column."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.errors import MissingExtraError, NotFoundError, SpecError, UsageError

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1e38
"""Below the largest single-precision number, which scikit-learn's trees work with."""


def frame(table: Any, what: str = "table") -> pd.DataFrame:
    """`table` as a pandas frame with columns by name and rows numbered from 0.

    Raises:
        NotFoundError: the path leads nowhere.
        SpecError: it is no table, cannot be read, has no rows, or two columns have one name.
    """
    import pandas as pd

    found = table if isinstance(table, pd.DataFrame) else _read(table, what)
    names = [str(name) for name in found.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"{what}: two columns are named {doubled[0]!r}", hint="rename one of them")
    if found.empty:
        raise SpecError(f"{what}: has no {'columns' if len(found) else 'rows'}", hint="an audit needs at least one row of data")
    return found.set_axis(names, axis=1).reset_index(drop=True)


def _read(table: Any, what: str) -> pd.DataFrame:
    if isinstance(table, str | Path):
        return _of_path(Path(table), what)
    if isinstance(table, Mapping):
        return _of_columns(table, what)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "to_table") or hasattr(table, "collect_schema"):
        return _of_source(table, what)
    raise SpecError(
        f"{what}: a {type(table).__name__} is no table", hint="give an Arrow, pandas or polars table, a path, or columns by name"
    )


def _of_path(path: Path, what: str) -> pd.DataFrame:
    if not path.exists():
        raise NotFoundError(f"{what}: there is no {path}")
    return _of_source(path, what)


def _of_source(table: Any, what: str) -> pd.DataFrame:
    """As the drift engine reads it: structs as columns of their own, and what cannot be read refused by name."""
    import pandas as pd
    import pyarrow as pa

    from mlport.drift.ingest import source

    try:
        found = source(table, what)
        if found.mixed:
            name, types = next(iter(found.mixed.items()))
            raise SpecError(f"{what}: its files have {name!r} as types that do not go together: {types}")
        data = found.table()
    except UsageError as error:
        raise error if isinstance(error, SpecError) else SpecError(error.message, hint=error.hint) from error
    fields = [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in data.schema]
    return pd.DataFrame(data.cast(pa.schema(fields)).to_pandas())


def _of_columns(columns: Mapping[Any, Any], what: str) -> pd.DataFrame:
    import pandas as pd

    lengths = {str(name): len(values) for name, values in columns.items() if hasattr(values, "__len__") and not isinstance(values, str)}
    if len(lengths) < len(columns) or not columns:
        wrong = [str(name) for name in columns if str(name) not in lengths]
        raise SpecError(f"{what}: {wrong[0]!r} is not a column of values" if wrong else f"{what}: has no columns")
    if len(set(lengths.values())) > 1:
        raise SpecError(f"{what}: columns differ in length: {', '.join(f'{name} has {rows}' for name, rows in lengths.items())}")
    if deep := [str(name) for name, values in columns.items() if getattr(values, "ndim", 1) != 1]:
        raise SpecError(f"{what}: {deep[0]!r} has several dimensions", hint="one column for each, or a list of lists")
    return pd.DataFrame({name: list(values) if isinstance(values, tuple) else values for name, values in columns.items()})


def as_array(values: Any) -> Any:
    """As NumPy; a list of several types stays as its objects are, for NumPy would make text of numbers and gaps."""
    if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1:
        numeric = all(isinstance(value, int | float | np.number) or value is None for value in values)
        return np.array(values, dtype=float if numeric else object)
    return np.asarray(values)


def needed(found: Iterable[str], wanted: Iterable[str], field: str) -> list[str]:
    """`wanted`, all of which must be among the columns `found`. Raises SpecError with the nearest name that is."""
    columns, names = list(found), list(wanted)
    for name in names:
        if name not in columns:
            near = difflib.get_close_matches(str(name), columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(columns[:20])}"
            raise SpecError(f"{field}: there is no column {name!r}", hint=hint)
    return names


def names_of(value: str | Iterable[str] | None) -> list[str]:
    """One name, several, or none, as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def comparable(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column with lists, arrays and mappings as text or tuples, so that equal values compare and hash as equal."""
    if column.dtype != object:
        return column
    return column.map(lambda value: value if isinstance(value, str | bytes) else _hashable(value), na_action="ignore")


def _hashable(value: Any) -> Any:
    if hasattr(value, "tolist") and value.ndim:
        return repr(value.tolist())
    return repr(value) if isinstance(value, list | dict | set) else value


def is_number(column: pd.Series[Any]) -> bool:
    """Whether its values are numbers; booleans are not."""
    import pandas as pd

    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def is_nested(column: pd.Series[Any]) -> bool:
    """Whether its values are lists, arrays or mappings."""
    present = column.dropna() if column.dtype == object else column.iloc[:0]
    return len(present) > 0 and isinstance(present.iloc[0], list | dict | set | np.ndarray)


def is_time(column: pd.Series[Any]) -> bool:
    """Whether its values are instants or dates."""
    import pandas as pd

    return pd.api.types.is_datetime64_any_dtype(column.dtype) or _holds(column, "date", "datetime")


def _holds(column: pd.Series[Any], *types: str) -> bool:
    """Whether its first value present is of one of these types."""
    present = column.dropna()
    return column.dtype == object and len(present) > 0 and type(present.iloc[0]).__name__ in types


def numbers(column: pd.Series[Any]) -> NDArray[np.float64] | None:
    """Numbers as they are, instants as seconds since 1970, spans as seconds, booleans as 0 and 1, missing as NaN; None for others."""
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return np.asarray(column.dt.total_seconds(), np.float64)
    if is_time(column):
        instants = pd.to_datetime(column, utc=True).astype("datetime64[ns, UTC]")
        seconds = instants.astype("int64").to_numpy(float) / 1e9
        return np.asarray(np.where(instants.isna(), np.nan, seconds), float)
    if pd.api.types.is_bool_dtype(column.dtype) or is_number(column) or _holds(column, "Decimal"):
        return np.asarray(column.astype("float64").to_numpy(float, na_value=np.nan), np.float64)
    return None


def bounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with infinities as the largest that trees and quantiles can work with."""
    return np.asarray(np.clip(values, -LARGEST, LARGEST), np.float64)


def codes(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Each row's number of its value and the values, the most frequent first; -1 where it is missing."""
    import pandas as pd

    values = comparable(column)
    counts = values.value_counts(sort=True)
    found = pd.Index(counts.index).get_indexer(values.to_numpy(dtype=object) if values.dtype == object else values)
    return np.asarray(found, np.int64), list(counts.index)


def require(package: str, of: str) -> None:
    """Raises MissingExtraError if the package that `of` needs is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{of} needs {package}, which is not installed", hint="pip install 'mlport[audit]'")
