"""What SCIM (RFC 7643 and 7644) asks of resources: filters, patches, what is shown of a list, and how it tells errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlport.emulation.calls import Reply
from mlport_databricks.emulator.protocol.errors import ApiError

Json = dict[str, Any]
ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_CLAUSE = re.compile(r'\s*([\w.]+)\s+(eq|ne|co|sw|ew)\s+(?:"([^"]*)"|(true|false))\s*', re.IGNORECASE)
_SELECTED = re.compile(r'(\w+)\[\s*value\s+eq\s+"([^"]*)"\s*\]')
_CODES = {400: "INVALID_PARAMETER_VALUE", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST", 409: "RESOURCE_CONFLICT"}
_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda has, wanted: has == wanted,
    "ne": lambda has, wanted: has != wanted,
    "co": lambda has, wanted: wanted in has,
    "sw": lambda has, wanted: has.startswith(wanted),
    "ew": lambda has, wanted: has.endswith(wanted),
}


class ScimError(ApiError):
    """A refusal as RFC 7644 section 3.12 has it, which the SDK knows by its `detail` (errors/deserializer.py)."""

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(_CODES[status], detail, status=status)
        self.kind = kind

    def reply(self) -> Reply:
        kind = {"scimType": self.kind} if self.kind else {}
        return Reply.of({"schemas": [ERROR_SCHEMA], "detail": self.message, "status": str(self.status), **kind}, self.status)


def matches(resource: Json, text: str) -> bool:
    """Whether a resource fits a filter: comparisons of attributes, joined by `and`, which binds tighter, and `or`. Raises ScimError.

    >>> matches({"userName": "a@b"}, 'userName eq "A@b" and userName sw "a" or userName eq "x"')
    True
    """
    return any(all(_fits(resource, clause, text) for clause in _split(each, "and")) for each in _split(text, "or"))


def _split(text: str, word: str) -> list[str]:
    """At the word, where it stands outside of quotes."""
    return re.split(rf'(?i)\s+{word}\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', text)


def _fits(resource: Json, clause: str, whole: str) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        raise ScimError(400, f"The filter {whole!r} cannot be read: attribute eq|ne|co|sw|ew value, joined by and, or.", "invalidFilter")
    name, test, text, flag = found.groups()
    wanted = (text if text is not None else flag).lower()
    has = [_text(each) for each in _values(resource, name)]
    return not any(each == wanted for each in has) if test.lower() == "ne" else any(_TESTS[test.lower()](each, wanted) for each in has)


def _values(resource: Any, path: str) -> list[Any]:
    """What stands at a path such as `emails.value`; names are compared without their case."""
    name, _, rest = path.partition(".")
    if isinstance(resource, list):
        return [value for each in resource for value in _values(each, path)]
    if not isinstance(resource, dict):
        return []
    found = [value for key, value in resource.items() if key.lower() == name.lower()]
    values = [value for each in found for value in (_values(each, rest) if rest else [each])]
    return [value for value in values if not isinstance(value, dict)]


def _text(value: Any) -> str:
    return str(value).lower()


def selected(resource: Json, only: str | None, without: str | None) -> Json:
    """Those attributes that were asked for; the id always (RFC 7644 section 3.9)."""
    names, dropped = _names(only), _names(without)
    return {
        name: value
        for name, value in resource.items()
        if name in ("id", "schemas") or ((not names or name.lower() in names) and name.lower() not in dropped)
    }


def _names(text: str | None) -> set[str]:
    return {each.strip().partition(".")[0].lower() for each in (text or "").split(",") if each.strip()}


def patched(resource: Json, operations: Iterable[Mapping[str, Any]], attributes: Mapping[str, type]) -> Json:
    """The resource after these operations (RFC 7644 section 3.5.2). `attributes` says which it has, and of what type.

    Raises:
        ScimError: an attribute that there is not, or a value that does not fit.
    """
    found = {name: list(value) if isinstance(value, list) else value for name, value in resource.items()}
    for each in operations:
        op, path, value = str(each.get("op", "")), str(each.get("path") or ""), each.get("value")
        if path:
            _apply(found, op, path, value, attributes)
        elif isinstance(value, dict):
            for name, part in value.items():
                _apply(found, op, name, part, attributes)
        else:
            raise ScimError(400, "A patch without a path needs an object as its value.", "noTarget")
    return found


def _apply(found: Json, op: str, path: str, value: Any, attributes: Mapping[str, type]) -> None:
    chosen = _SELECTED.fullmatch(path)
    name, _, part = (chosen[1] if chosen else path).partition(".")
    if name not in attributes or (part and attributes[name] is not dict):
        raise ScimError(400, f"The attribute {path} cannot be patched; there are {', '.join(attributes)}.", "invalidPath")
    if part:
        found[name] = {key: each for key, each in {**found.get(name, {}), part: value}.items() if op != "remove" or key != part}
    elif attributes[name] is list:
        _apply_to_list(found, op, name, value, chosen[2] if chosen else None)
    elif op == "remove":
        found.pop(name, None)
    else:
        found[name] = _typed(name, value, attributes[name])


def _apply_to_list(found: Json, op: str, name: str, value: Any, only: str | None) -> None:
    given = value if isinstance(value, list) else [value] if value is not None else []
    items = [each if isinstance(each, dict) else {"value": each} for each in given]
    values = {only} if only else {each.get("value") for each in items}
    kept = found.get(name, [])
    if op == "remove":
        found[name] = [each for each in kept if (only or items) and each.get("value") not in values]
    else:
        before = [] if op == "replace" else [each for each in kept if each.get("value") not in values]
        found[name] = [*before, *items]


def _typed(name: str, value: Any, wanted: type) -> Any:
    """Databricks takes booleans as texts, too: the SDK's own examples send `"false"`."""
    if wanted is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if not isinstance(value, wanted):
        raise ScimError(400, f"The attribute {name} cannot be {value!r}.", "invalidValue")
    return value
