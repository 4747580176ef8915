"""Rows of Python values as the one object that an estimator takes: an array or a table, typed by the signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from mlport.serving.signature import NUMBERS, Row, Signature

Gather = Callable[[list[Row]], Any]


def dtype_of(signature: Signature) -> np.dtype[Any]:
    """The dtype that pandas would find common to the columns, all of which are numbers."""
    return np.result_type(*{np.dtype(NUMBERS[kind]) for kind in signature.kinds})


def as_array(signature: Signature) -> Gather | None:
    """Rows to an array of shape (rows, columns). A float32 among others would lose its rounding: then there is none."""
    if not signature.numeric or ("float" in signature.kinds and len(set(signature.kinds)) > 1):
        return None
    dtype = dtype_of(signature)
    return lambda rows: np.array(rows, dtype)


def as_frame(signature: Signature) -> Gather | None:
    """Rows to a pandas DataFrame with the dtypes that MLflow's enforcement would leave."""
    if signature.tensor:
        return None
    import pandas as pd

    makers = [_column_maker(kind) for kind in signature.kinds]
    labels = signature.names if signature.named else range(len(signature.names))

    def frame(rows: list[Row]) -> Any:
        columns = zip(labels, makers, zip(*rows, strict=True), strict=True)
        return pd.DataFrame({name: make(values) for name, make, values in columns}, copy=False)

    return frame


def _column_maker(kind: str) -> Callable[[Any], Any]:
    if kind == "string":
        import pandas as pd

        return pd.Series  # pandas' own inference, as it happens in MLflow
    dtype = np.dtype(NUMBERS.get(kind, "bool"))
    return lambda values: np.array(values, dtype)


GATHERERS: Mapping[Literal["ndarray", "dataframe"], Callable[[Signature], Gather | None]] = {"ndarray": as_array, "dataframe": as_frame}
