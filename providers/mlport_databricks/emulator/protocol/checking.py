"""Whether JSON is what the description says: unknown fields, wrong types, unknown enum values and missing fields are problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlport_databricks.emulator.protocol import described
from mlport_databricks.emulator.protocol.kinds import Field, Kind

UNREQUIRED = {
    ("EndpointCoreConfigInput", "name"),  # in truth the path's; databricks/cli sends configs without it
}
MORE_VALUES = {
    "Privilege": ("CREATE_MODEL_VERSION",),  # documented for registered models; the SDK's enum lags
}
LONGEST_INT = 2**63
_PYTHON = {"str": str, "bool": bool, "list": list, "map": dict}


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` is unknown, missing, type or value. `where` is the path of the field, such as tasks[0].max_retries."""

    kind: str
    where: str
    said: str


def problems(fields: Mapping[str, Field], given: Any, where: str = "", owner: str = "", *, is_answer: bool = False) -> Iterator[Problem]:
    """What is wrong with an object. A field that is null counts as left out."""
    if not isinstance(given, dict):
        yield Problem("type", where, f"Expected an object, got {_named(given)}")
        return
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            yield Problem("unknown", _under(where, name), "unknown field")
        elif value is not None:
            yield from value_problems(field.kind, value, _under(where, name), is_answer=is_answer)
    for name, field in fields.items():
        if field.required and given.get(name) is None and (owner, name) not in UNREQUIRED:
            yield Problem("missing", _under(where, name), "missing")


def value_problems(kind: Kind, given: Any, where: str, *, is_answer: bool = False) -> Iterator[Problem]:
    """What is wrong with a value of this type."""
    if kind.what == "any":
        return
    if kind.what == "named":
        yield from _named_problems(kind, given, where, is_answer)
    elif kind.what == "page":
        yield from _page_problems(kind, given, where)
    elif not _fits(kind.what, given):
        yield Problem("type", where, f"Expected {kind.what}, got {_named(given)}")
    elif kind.item is not None:
        pairs = enumerate(given) if kind.what == "list" else given.items()
        for key, value in pairs:
            if value is not None or not is_answer:  # a statement's result has nulls in its rows
                yield from value_problems(kind.item, value, f"{where}[{key}]", is_answer=is_answer)


def _named_problems(kind: Kind, given: Any, where: str, is_answer: bool) -> Iterator[Problem]:
    if described.is_enum(kind.module, kind.name):
        allowed = (*described.values(kind.module, kind.name), *MORE_VALUES.get(kind.name, ()))
        if given not in allowed:
            yield Problem("value", where, f"{given!r} is not one of {', '.join(allowed)}")
    else:
        yield from problems(described.structure(kind.module, kind.name), given, where, kind.name, is_answer=is_answer)


def _page_problems(kind: Kind, given: Any, where: str) -> Iterator[Problem]:
    """A page of a list: its items, and whatever the dataclass with such a list has beside them."""
    if kind.item is None:
        return
    if not isinstance(given, dict):
        yield Problem("type", where, f"Expected an object, got {_named(given)}")
        return
    for name in given.keys() - _page_fields(kind):
        yield Problem("unknown", _under(where, name), "unknown field")
    for number, item in enumerate(given.get(kind.name) or ()):
        yield from value_problems(kind.item, item, f"{where}{kind.name}[{number}]", is_answer=True)


def _page_fields(kind: Kind) -> set[str]:
    """`{"runs": [...], "next_page_token": "..."}` and what else such a response of the module has."""
    found = {kind.name, "next_page_token"}
    for name in described.module(kind.module):
        if name.startswith(("List", "Get")) and not described.is_enum(kind.module, name) and not name.endswith("API"):
            fields = described.structure(kind.module, name)
            if kind.name in fields and fields[kind.name].kind.item == kind.item:
                found |= fields.keys()
    return found


def _fits(what: str, given: Any) -> bool:
    if what == "int":
        return isinstance(given, int) and not isinstance(given, bool) and abs(given) < LONGEST_INT
    if what == "float":
        return isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(given, _PYTHON.get(what, object))


def _named(given: Any) -> str:
    """A JSON value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return names[type(given)]


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
