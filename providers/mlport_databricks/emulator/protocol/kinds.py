"""Types of fields as the SDK annotates them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

PLAIN = {"str": "str", "int": "int", "float": "float", "bool": "bool", "Any": "any", "any": "any", "dict": "any", "object": "any"}
TEXTUAL = {"Timestamp", "Duration", "FieldMask", "datetime", "timedelta"}  # ISO 8601 texts, seconds with an s, paths with commas


@dataclass(frozen=True, slots=True)
class Kind:
    """`what` is str, int, float, bool, any, bytes, list, map, page (a field `name` with a list, and its token) or named."""

    what: str
    module: str = ""
    name: str = ""
    item: Kind | None = None

    def __str__(self) -> str:
        return self.name or self.what


@dataclass(frozen=True, slots=True)
class Field:
    """A field by its name on the wire."""

    name: str
    kind: Kind
    required: bool


def kind_of(node: ast.expr | None, module: str) -> Kind:
    """The type that an annotation of a service module means."""
    if isinstance(node, ast.Name):
        if node.id in TEXTUAL:
            return Kind("str")
        return Kind(PLAIN[node.id]) if node.id in PLAIN else Kind("bytes") if node.id == "BinaryIO" else Kind("named", module, node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):  # compute.ClusterSpec
        return Kind("str") if node.attr in TEXTUAL else Kind("named", node.value.id, node.attr)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
        if node.value.id in ("Optional", "Wait", "Iterator"):
            return kind_of(inner, module)
        if node.value.id in ("List", "list"):
            return Kind("list", item=kind_of(inner, module))
        if node.value.id in ("Dict", "dict"):
            return Kind("map", item=kind_of(inner, module))
    return Kind("any")
