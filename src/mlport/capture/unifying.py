"""One schema for tables whose features or predictions differ, and each table brought to it.

Structs are merged field by field. Numbers widen, to float64 where one of them is a float. What has nothing in common
becomes text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that all of these can be brought to; fields in the order in which they first appear."""
    merged = reduce(_common, (pa.struct(list(one)) for one in schemas))
    return pa.schema([merged.field(i) for i in range(merged.num_fields)])


def _common(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if left == right or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        fields = {part.name: part.type for part in left}
        for part in right:
            fields[part.name] = _common(fields[part.name], part.type) if part.name in fields else part.type
        return pa.struct([pa.field(name, type_) for name, type_ in fields.items()])
    if pa.types.is_list(left) and pa.types.is_list(right):
        return pa.list_(_common(left.value_type, right.value_type))
    if _is_number(left) and _is_number(right):
        return pa.int64() if pa.types.is_integer(left) and pa.types.is_integer(right) else pa.float64()
    return pa.string()


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the schema that `unify` made of its own and others; what it lacks is null."""
    if table.schema.equals(schema):
        return table
    arrays = [
        _as(table.column(part.name).combine_chunks(), part.type) if part.name in table.column_names else pa.nulls(len(table), part.type)
        for part in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if array.type == type_:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), type_)
    if pa.types.is_struct(array.type) and pa.types.is_struct(type_):
        own = {array.type.field(i).name: i for i in range(array.type.num_fields)}
        children = [
            _as(pc.struct_field(array, [own[part.name]]), part.type) if part.name in own else pa.nulls(len(array), part.type)
            for part in type_
        ]
        return pa.StructArray.from_arrays(children, fields=list(type_), mask=pc.is_null(array)) if children else pa.nulls(len(array), type_)
    if pa.types.is_string(type_) and pa.types.is_nested(array.type):
        return pa.array([None if value is None else json.dumps(value) for value in array.to_pylist()], type_)
    return array.cast(type_)
