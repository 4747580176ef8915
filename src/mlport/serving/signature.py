"""What a model takes: its columns in order, and decoders that check a JSON row against them at C speed.

The decoders are strict on purpose. They accept only rows whose meaning is beyond doubt: as many values as there are
columns, each of the declared type. Whatever else a client sends (a number as text, 1.0 for an integer, NaN) is left to
MLflow's own parsing, so that the answer or the refusal is the one that MLflow would give.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any

import msgspec

from mlport.serving.refusals import RefusedError

Row = tuple[Any, ...]
_INT32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# A missing number is NaN, as it is for pandas. A missing text or integer has no such certain meaning: MLflow decides.
_FLOAT32 = Annotated[float, msgspec.Meta(ge=-3.4028234e38, le=3.4028234e38)]
_JSON_TYPES: dict[str, Any] = {
    "double": float | None,
    "float": _FLOAT32 | None,
    "long": _INT64,
    "integer": _INT32,
    "boolean": bool,
    "string": str,
}
NUMBERS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
_NAMES_OF_DTYPES = {dtype: kind for kind, dtype in NUMBERS.items()}


@dataclass(frozen=True)
class Signature:
    """The inputs of a model.

    Attributes:
        names: The columns in the order that the model takes them; `f0`, `f1`, ... where they have no names.
        kinds: MLflow's type of each: double, float, long, integer, boolean, string, or another.
        named: Whether the names are the model's own.
        required: Whether each must be there.
        tensor: The model takes one array of shape (rows, columns) rather than a table.
        declared: It comes from the model's signature, not from what the estimator knows of itself.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    named: bool = True
    required: tuple[bool, ...] = ()
    tensor: bool = False
    declared: bool = True

    @property
    def decodable(self) -> bool:
        """Whether every column has a type that the strict decoders know."""
        return bool(self.names) and all(kind in _JSON_TYPES for kind in self.kinds) and len(set(self.names)) == len(self.names)

    @property
    def numeric(self) -> bool:
        return all(kind in NUMBERS for kind in self.kinds)

    @cached_property
    def rows(self) -> msgspec.json.Decoder[list[Row]]:
        """Decodes `[[1, 2], [3, 4]]` with the columns in the model's order."""
        return _rows_decoder(self.kinds)

    @cached_property
    def records(self) -> msgspec.json.Decoder[list[Any]]:
        """Decodes `[{"a": 1, "b": 2}]` to structs whose fields lie in the model's order."""
        fields = [(f"f{i}", _JSON_TYPES[kind]) for i, kind in enumerate(self.kinds)]
        rename = {f"f{i}": name for i, name in enumerate(self.names)}
        record: type[msgspec.Struct] = msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True)
        return msgspec.json.Decoder(list[record])  # type: ignore[valid-type]

    def order_of(self, columns: Sequence[str]) -> Order:
        """How rows with these columns become rows in the model's order.

        Raises:
            RefusedError: for a column that the model does not have, or lacks; the message names it.
        """
        self.check_columns(columns)
        position = {name: i for i, name in enumerate(columns)}
        if len(position) != len(columns) or set(position) != set(self.names):
            return Order(None, None)
        kind_of = dict(zip(self.names, self.kinds, strict=True))
        take = tuple(position[name] for name in self.names)
        return Order(_rows_decoder(tuple(kind_of[name] for name in columns)), None if take == tuple(range(len(take))) else take)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuse (400) unknown and missing columns by name; optional ones may be absent."""
        if not (self.named and self.declared):
            return
        given = set(columns)
        required = self.required or (True,) * len(self.names)
        missing = [name for name, needed in zip(self.names, required, strict=True) if needed and name not in given]
        unknown = [str(name) for name in columns if name not in self.names]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the model takes: {_listed(self.names)}"
            raise RefusedError(400, f"unknown column{'s' if len(unknown) > 1 else ''} {_listed(unknown)}{hint}")
        if missing:
            raise RefusedError(400, f"missing column{'s' if len(missing) > 1 else ''} {_listed(missing)}")


@dataclass(frozen=True)
class Order:
    """Columns in a client's order: a decoder of its rows (None: left to MLflow) and which value goes where."""

    decoder: msgspec.json.Decoder[list[Row]] | None
    take: tuple[int, ...] | None

    def arrange(self, rows: list[Row]) -> list[Row]:
        """The rows in the model's order."""
        if self.take is None:
            return rows
        return [tuple(row[i] for i in self.take) for row in rows]


@lru_cache(maxsize=64)
def _rows_decoder(kinds: tuple[str, ...]) -> msgspec.json.Decoder[list[Row]]:
    row: Any = tuple.__class_getitem__(tuple(_JSON_TYPES[kind] for kind in kinds))
    return msgspec.json.Decoder(list[row])


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def from_schema(schema: Any) -> Signature | None:
    """The signature of an MLflow `Schema`; None for none, or for tensors other than one of (rows, columns)."""
    if schema is None:
        return None
    if schema.is_tensor_spec():
        return _from_tensor(schema)
    kinds = tuple(getattr(spec.type, "name", None) or "other" for spec in schema.inputs)
    required = tuple(bool(spec.required) for spec in schema.inputs)
    if schema.has_input_names():
        return Signature(tuple(schema.input_names()), kinds, required=required)
    return Signature(tuple(f"f{i}" for i in range(len(kinds))), kinds, named=False, required=required)


def _from_tensor(schema: Any) -> Signature | None:
    spec = schema.inputs[0]
    if len(schema.inputs) != 1 or schema.has_input_names() or len(spec.shape) != 2 or spec.shape[1] < 1:
        return None
    width = spec.shape[1]
    kind = _NAMES_OF_DTYPES.get(str(spec.type), "other")
    return Signature(tuple(f"f{i}" for i in range(width)), (kind,) * width, named=False, tensor=True)


def from_estimator(estimator: Any) -> Signature | None:
    """What a scikit-learn estimator without a signature knows of itself: names and number of its features."""
    width = getattr(estimator, "n_features_in_", None)
    if not width:
        return None
    names = getattr(estimator, "feature_names_in_", None)
    shown = tuple(map(str, names)) if names is not None else tuple(f"f{i}" for i in range(width))
    return Signature(shown, ("double",) * width, named=names is not None, declared=False)
