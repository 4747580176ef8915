"""Enums sent as numbers, as Google's REST clients do (`$alt=json;enum-encoding=int`), back to the names of the description."""

from __future__ import annotations

from functools import cache
from typing import Any

from mlport_vertex.emulator.protocol.discovery import Document, camel

PACKAGES = {"GoogleCloudAiplatformV1beta1": "google.cloud.aiplatform_v1beta1", "GoogleCloudAiplatformV1": "google.cloud.aiplatform_v1"}


def with_names(described: Document, schema: str, value: Any) -> Any:
    """A body in which every number in the place of an enum is its name; unknown numbers stay, to be refused."""
    spec = described.schemas[schema]
    if not isinstance(value, dict) or "properties" not in spec:
        return value
    return {key: _named(described, schema, spec["properties"].get(camel(key), {}), camel(key), item) for key, item in value.items()}


def _named(described: Document, schema: str, spec: dict[str, Any], name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_named(described, schema, spec.get("items", {}), name, item) for item in value]
    if "$ref" in spec:
        return with_names(described, spec["$ref"], value)
    if isinstance(value, dict):
        inner = spec.get("additionalProperties", {})
        return {key: _named(described, schema, inner, name, item) for key, item in value.items()}
    if "enum" in spec and isinstance(value, int):
        return _numbers(schema).get(name, {}).get(value, value)
    return value


@cache
def _numbers(schema: str) -> dict[str, dict[int, str]]:
    """For each enum field of a message, the names of its numbers, from the SDK's own protos."""
    package = next((prefix for prefix in PACKAGES if schema.startswith(prefix)), None)
    message = _messages(package).get(schema) if package else None
    if message is None:
        return {}
    return {field.json_name: {each.number: each.name for each in field.enum_type.values} for field in message.fields if field.enum_type}


@cache
def _messages(package: str) -> dict[str, Any]:
    """Every message's descriptor by its name in the description."""
    import importlib

    module = importlib.import_module(f"{PACKAGES[package]}.types")
    found: dict[str, Any] = {}
    for name in module.__all__:
        kind = getattr(module, name)
        if hasattr(kind, "pb"):
            _collect(package, kind.pb().DESCRIPTOR, name, found)
    return found


def _collect(package: str, descriptor: Any, name: str, found: dict[str, Any]) -> None:
    found[package + name] = descriptor
    for nested in descriptor.nested_types:
        _collect(package, nested, name + nested.name, found)
