"""Rows to try a model with, and the proof that two ways of calling it answer alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from mlport.serving.pyfunc import JSON, Pyfunc
from mlport.serving.refusals import RefusedError
from mlport.serving.signature import Row, Signature

_MOST = 32  # rows of the example; more prove nothing new and delay the start
_VALUES: dict[str, tuple[Any, ...]] = {
    "double": (0.0, 1.0, -1.5, 0.1, 250.25),
    "float": (0.0, 1.0, -1.5, 0.5, 250.25),
    "long": (0, 1, 2, 5, 300),
    "integer": (0, 1, 2, 5, 300),
    "boolean": (False, True),
    "string": ("a", "b", ""),
}


class MismatchError(Exception):
    """The native way does not answer as pyfunc does; the message says how."""


@dataclass(frozen=True)
class Probe:
    """Rows, and what pyfunc answered for them."""

    rows: list[Row]
    expected: np.ndarray[Any, Any]


def probes(signature: Signature, pyfunc: Pyfunc, example: Any) -> list[Probe]:
    """The model's example and rows made from its signature, each with pyfunc's answer to the same JSON.

    Rows that pyfunc refuses, or does not answer with an array, are left out.
    """
    candidates = [_example_rows(signature, example), _made_rows(signature)]
    tried = (_ask(signature, pyfunc, rows) for rows in candidates if rows)
    return [probe for probe in tried if probe is not None]


def _example_rows(signature: Signature, example: Any) -> list[Row] | None:
    """The example's rows as the strict decoder reads them, None where they do not fit it."""
    if hasattr(example, "to_dict"):
        if signature.named and set(signature.names) != set(map(str, example.columns)):
            return None
        example = example[list(signature.names)] if signature.named else example
        values = example.head(_MOST).to_dict(orient="split")["data"]
    elif isinstance(example, np.ndarray) and example.ndim == 2:
        values = example[:_MOST].tolist()
    else:
        return None
    try:
        return signature.rows.decode(msgspec.json.encode(values))
    except (msgspec.MsgspecError, TypeError):
        return None


def _made_rows(signature: Signature) -> list[Row]:
    """Eight rows that differ in every column."""
    cycles = [itertools.islice(itertools.cycle(_VALUES[kind]), i, i + 8) for i, kind in enumerate(signature.kinds)]
    return list(zip(*cycles, strict=True))


def _ask(signature: Signature, pyfunc: Pyfunc, rows: list[Row]) -> Probe | None:
    columns = {"columns": signature.names} if signature.named else {}
    body: dict[str, Any] = {"inputs": rows} if signature.tensor else {"dataframe_split": {**columns, "data": rows}}
    try:
        answer = pyfunc.score(msgspec.json.encode(body), JSON)
    except RefusedError:
        return None
    except Exception:  # noqa: BLE001 - the model's own code may raise anything at rows that it never saw; then they prove nothing
        return None
    return Probe(rows, answer) if isinstance(answer, np.ndarray) else None


def compare(predict: Callable[[list[Row]], Any], tried: list[Probe]) -> None:
    """Check that `predict` answers every probe as pyfunc did, and each row as it does alone and doubled.

    Raises:
        MismatchError: at the first difference.
    """
    for probe in tried:
        _same(_run(predict, probe.rows), probe.expected, "the values differ from pyfunc's")
        alone = np.concatenate([_run(predict, [row]) for row in probe.rows])
        _same(alone, probe.expected, "a row's answer depends on the rows beside it")
        doubled = np.concatenate([probe.expected, probe.expected])
        _same(_run(predict, probe.rows * 2), doubled, "a row's answer depends on the rows beside it")


def _run(predict: Callable[[list[Row]], Any], rows: list[Row]) -> Any:
    try:
        return predict(rows)
    except Exception as error:  # any failure of the native way means: not this way
        raise MismatchError(f"{type(error).__name__}: {error}") from error


def _same(got: Any, expected: np.ndarray[Any, Any], how: str) -> None:
    if got.dtype != expected.dtype or got.shape != expected.shape:
        raise MismatchError(f"{got.dtype}{list(got.shape)} instead of {expected.dtype}{list(expected.shape)}")
    if expected.dtype.kind == "f":
        close = np.allclose(got, expected, rtol=1e-5 if expected.dtype.itemsize < 8 else 1e-9, atol=1e-12, equal_nan=True)
    else:
        close = np.array_equal(got, expected)
    if not close:
        raise MismatchError(how)
