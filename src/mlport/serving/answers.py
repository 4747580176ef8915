"""Predictions as JSON. Numbers that JSON does not have (NaN, the infinities) become null."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""The Open Inference Protocol's datatypes as numpy's, except BYTES, which holds texts."""
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def plain(predictions: Any) -> Any:
    """Predictions of any of the forms that a model may answer in, as MLflow's scoring protocol shows them.

    Arrays become nested lists, tables a list of records, series a list of records of one field.

    >>> plain(np.array([[0.25, 0.75]]))
    [[0.25, 0.75]]
    """
    if isinstance(predictions, np.ndarray):
        return predictions.tolist()
    if hasattr(predictions, "to_frame"):  # a pandas Series; pandas itself may not be loaded
        predictions = predictions.to_frame()
    if hasattr(predictions, "to_dict"):
        return predictions.to_dict(orient="records")
    return predictions


def _unusual(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"the model's answer holds a {type(value).__name__}, which has no JSON form")


encode = msgspec.json.Encoder(enc_hook=_unusual).encode


def predictions(value: Any) -> bytes:
    """`{"predictions": ...}`."""
    return b'{"predictions":' + encode(plain(value)) + b"}"


def error(message: str, request_id: str | None = None) -> bytes:
    """`{"error": ...}`, the form of the Open Inference Protocol; with the id to quote where the fault is the server's."""
    return encode({"error": message} if request_id is None else {"error": message, "request_id": request_id})


def tensors(value: Any) -> list[dict[str, Any]]:
    """Predictions as output tensors: one named `predict`, or one for each column of a table.

    >>> tensors(np.array([1, 0]))
    [{'name': 'predict', 'shape': [2], 'datatype': 'INT64', 'data': [1, 0]}]
    """
    if hasattr(value, "columns"):
        return [_tensor(str(name), value[name].to_numpy()) for name in value.columns]
    if isinstance(value, dict):
        return [_tensor(str(name), np.asarray(values)) for name, values in value.items()]
    return [_tensor("predict", np.asarray(value))]


def _tensor(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    values = array.reshape(-1).tolist()
    datatype = DATATYPES.get(array.dtype.name, "BYTES")
    if datatype == "BYTES":
        values = [value if isinstance(value, str) else encode(value).decode() for value in values]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": values}
