"""The Open Inference Protocol V2 over REST: tensors in, tensors out.

Specification: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
A table may come as one tensor of shape [rows, columns], its columns in the model's order, or as one tensor a column,
named as the column, of shape [rows] or [rows, 1]. Binary data is an extension that is not spoken here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from mlport.serving import answers
from mlport.serving.answers import DATATYPES, DTYPES
from mlport.serving.flavors import Model
from mlport.serving.refusals import RefusedError
from mlport.serving.scoring import BIG, Parsed
from mlport.serving.signature import Row, Signature

_OF_KINDS = {"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": "BOOL"}
MOST_ID = 256  # characters


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Raw
    parameters: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Inference(msgspec.Struct):
    inputs: list[_Input]
    id: str | UnsetType = UNSET
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class Echo(NamedTuple):
    """What the answer must repeat or respect: the caller's id and the outputs asked for."""

    id: str | None
    wanted: tuple[str, ...]


_requests = msgspec.json.Decoder(_Inference)


@dataclass(frozen=True)
class OpenInference:
    """The dialect for one model."""

    model: Model

    def read(self, body: bytes, content_type: str) -> Parsed:
        """Parse an inference request. Raises RefusedError (400), naming the tensor."""
        if not body.strip():
            raise RefusedError(400, 'the body is empty; send {"inputs": [{"name": ..., "shape": [...], "datatype": ..., "data": [...]}]}')
        request = _decoded(body)
        echo = Echo(None if request.id is UNSET else request.id, tuple(output.name for output in request.outputs or ()))
        self._check_outputs(echo.wanted)
        signature = self.model.signature
        if self.model.native and not request.parameters and len(body) <= BIG:
            return Parsed(_rows(request.inputs, signature), None, echo)
        return Parsed([], partial(self._score, request), echo)

    def write(self, predictions: Any, echo: Echo) -> bytes:
        """The inference response."""
        outputs = [output for output in answers.tensors(predictions) if not echo.wanted or output["name"] in echo.wanted]
        answer: dict[str, Any] = {"model_name": self.model.name}
        if self.model.version is not None:
            answer["model_version"] = self.model.version
        if echo.id is not None:
            answer["id"] = echo.id
        return answers.encode({**answer, "outputs": outputs})

    def metadata(self) -> dict[str, Any]:
        """The model metadata response."""
        signature, versions = self.model.signature, [self.model.version] if self.model.version else []
        return {
            "name": self.model.name,
            "versions": versions,
            "platform": self.model.platform,
            "inputs": _described(signature),
            "outputs": [{"name": name, "datatype": datatype, "shape": list(shape)} for name, datatype, shape in self.model.outputs],
        }

    def _score(self, request: _Inference) -> Any:
        """In the thread: the native way for a large request, MLflow's for what it alone can take."""
        signature = self.model.signature
        if self.model.native and not request.parameters:
            return self.model.predict(_rows(request.inputs, signature))
        arrays = {tensor.name: _array(tensor) for tensor in request.inputs}
        params = {key: value for key, value in (request.parameters or {}).items() if key not in ("content_type", "headers")}
        return self.model.pyfunc.predict(_as_mlflow_takes_it(arrays, signature), params or None)

    def _check_outputs(self, wanted: tuple[str, ...]) -> None:
        known = [name for name, _, _ in self.model.outputs]
        unknown = [name for name in wanted if known and name not in known]
        if unknown:
            raise RefusedError(400, f"the model has no output {unknown[0]!r}; it has: {', '.join(known)}")


def _decoded(body: bytes) -> _Inference:
    try:
        request = _requests.decode(body)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"not an inference request: {error}") from error
    except msgspec.DecodeError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if request.id is not UNSET and len(request.id) > MOST_ID:
        raise RefusedError(400, f"id: has {len(request.id)} characters, and at most {MOST_ID} are kept")
    if not request.inputs:
        raise RefusedError(400, "inputs must hold at least one tensor")
    return request


def _rows(tensors: list[_Input], signature: Signature) -> list[Row]:
    """The rows in the model's order; every value is of its column's kind."""
    if len(tensors) == 1 and (len(tensors[0].shape) == 2 or tensors[0].name not in signature.names):
        return _rows_of_matrix(tensors[0], signature)
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) != len(tensors):
        raise RefusedError(400, "two inputs have the same name")
    if signature.named:
        signature.check_columns(list(by_name))
    columns = [_column(by_name[name], kind) for name, kind in zip(signature.names, signature.kinds, strict=True) if name in by_name]
    lengths = {tensor.name: tensor.shape[0] for tensor in tensors}
    if len(set(lengths.values())) != 1:
        raise RefusedError(400, f"the inputs have different numbers of rows: {lengths}")
    if len(columns) != len(signature.names):
        raise RefusedError(400, f"the model takes {len(signature.names)} columns; the inputs have {len(columns)} of them")
    return list(zip(*columns, strict=True))


def _rows_of_matrix(tensor: _Input, signature: Signature) -> list[Row]:
    width = len(signature.names)
    if len(tensor.shape) != 2 or tensor.shape[1] != width:
        raise RefusedError(400, f"input {tensor.name!r}: the shape must be [rows, {width}]; it is {tensor.shape}")
    array = _array(tensor)
    if not len(array):
        raise RefusedError(400, f"input {tensor.name!r} has no rows")
    if len(set(signature.kinds)) == 1:
        return list(map(tuple, _cast(array, signature.kinds[0], tensor.name).tolist()))
    columns = [_cast(array[:, i], kind, tensor.name).tolist() for i, kind in enumerate(signature.kinds)]
    return list(zip(*columns, strict=True))


def _column(tensor: _Input, kind: str) -> list[Any]:
    if not (len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)):
        raise RefusedError(400, f"input {tensor.name!r}: a column's shape must be [rows] or [rows, 1]; it is {tensor.shape}")
    column: list[Any] = _cast(_array(tensor).reshape(-1), kind, tensor.name).tolist()
    return column


def _array(tensor: _Input) -> np.ndarray[Any, Any]:
    """The tensor as an array of its shape and datatype. Raises RefusedError (400) where data, shape and datatype disagree."""
    if tensor.datatype != "BYTES" and tensor.datatype not in DTYPES:
        known = ", ".join((*DTYPES, "BYTES"))
        raise RefusedError(400, f"input {tensor.name!r}: unknown datatype {tensor.datatype!r}; there are: {known}")
    size = math.prod(tensor.shape)
    values = _flat(tensor)
    if len(values) != size or any(dimension < 0 for dimension in tensor.shape):
        raise RefusedError(400, f"input {tensor.name!r}: the shape {tensor.shape} holds {size} values, and data has {len(values)}")
    try:
        dtype = "object" if tensor.datatype == "BYTES" else DTYPES[tensor.datatype]
        return np.array(values, dtype).reshape(tensor.shape)
    except OverflowError as error:
        raise RefusedError(400, f"input {tensor.name!r}: a value is out of range for {tensor.datatype}") from error


def _flat(tensor: _Input) -> list[Any]:
    """The values in row-major order, of the JSON type of the datatype; data may be nested or flat."""
    element: Any = {"B": str if tensor.datatype == "BYTES" else bool, "F": float | None}.get(tensor.datatype[0], int)
    try:
        return msgspec.json.decode(tensor.data, type=list[element])
    except msgspec.DecodeError:
        values = msgspec.json.decode(tensor.data)
    while isinstance(values, list) and values and isinstance(values[0], list):
        values = [value for inner in values for value in (inner if isinstance(inner, list) else [inner])]
    try:
        flat: list[Any] = msgspec.convert(values, list[element])
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"input {tensor.name!r} of datatype {tensor.datatype}: {error}") from error
    return flat


def _cast(array: np.ndarray[Any, Any], kind: str, name: str) -> np.ndarray[Any, Any]:
    """The array in the kind that a column is declared to be, where no value changes. Raises RefusedError (400) otherwise."""
    if kind == "string":
        if array.dtype.kind != "O":
            raise RefusedError(400, f"input {name!r}: the model takes texts here, datatype BYTES; not {DATATYPES[array.dtype.name]}")
        return array
    target = np.dtype({"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool"}[kind])
    number_to_float = array.dtype.kind in "iu" and target.kind == "f"
    if (
        array.dtype.kind == "O"
        or not (np.can_cast(array.dtype, target) or number_to_float)
        or (array.dtype.kind == "b") != (target.kind == "b")
    ):
        sent = "BYTES" if array.dtype.kind == "O" else DATATYPES[array.dtype.name]
        raise RefusedError(400, f"input {name!r}: {sent} cannot safely become {_OF_KINDS[kind]}, which the model takes")
    return array.astype(target)


def _as_mlflow_takes_it(arrays: dict[str, np.ndarray[Any, Any]], signature: Signature) -> Any:
    """Columns as a table, one tensor as it is, several as a dict."""
    import pandas as pd

    flat = all(array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1) for array in arrays.values())
    if signature.named and set(arrays) <= set(signature.names) and flat:
        signature.check_columns(list(arrays))
        return pd.DataFrame({name: pd.Series(array.reshape(-1).tolist()) for name, array in arrays.items()})
    only = next(iter(arrays.values())) if len(arrays) == 1 else None
    if only is not None and only.ndim == 2 and signature.named and only.shape[1] == len(signature.names):
        return pd.DataFrame(only, columns=list(signature.names))
    if signature.named:
        signature.check_columns(list(arrays))
    return arrays if only is None else only


def _described(signature: Signature) -> list[dict[str, Any]]:
    if not signature.named and signature.names and len(set(signature.kinds)) == 1:
        return [{"name": "input", "datatype": _OF_KINDS.get(signature.kinds[0], "BYTES"), "shape": [-1, len(signature.names)]}]
    return [
        {"name": name, "datatype": _OF_KINDS.get(kind, "BYTES"), "shape": [-1]}
        for name, kind in zip(signature.names, signature.kinds, strict=True)
    ]
