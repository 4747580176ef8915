"""Google's published API descriptions: which method a request means, and whether its fields are what they say.

The documents come with google-api-python-client. They give methods, paths, fields, types, formats and enums; a required
field is one whose description begins with "Required.", which Google's generator copies from the protos' comments where
they say `field_behavior = REQUIRED` (docs/spi/vertex.md), and "Output only." says that what a caller sends is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

Json = dict[str, Any]

OPTIONAL = {
    ("LogEntry", "logName"),
    ("LogEntry", "resource"),
    ("MonitoredResource", "labels"),
    ("GoogleCloudAiplatformV1beta1ExplanationSpec", "parameters"),
}
"""Said to be required, and left out all the same: what WriteLogEntriesRequest says for all its entries, an empty map, and the empty
explanation_spec that the SDK's ModelMonitor.create_schedule sends where there is none."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SNAKE = re.compile(r"_([a-z0-9])")
_PLACE = re.compile(r"\{(\+?)(\w+)\}")


def snake(name: str) -> str:
    """A name as the protos spell it.

    >>> snake("workerPoolSpecs"), snake("CustomJob")
    ('worker_pool_specs', 'custom_job')
    """
    return _CAMEL.sub("_", name).lower()


def camel(name: str) -> str:
    """A name as JSON spells it.

    >>> camel("worker_pool_specs")
    'workerPoolSpecs'
    """
    return _SNAKE.sub(lambda match: match[1].upper(), name)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a document. `template` matches a path, percent-encoded, without the leading slash."""

    id: str
    http: str
    template: re.Pattern[str]
    parameters: Mapping[str, Json]
    request: str | None
    response: str | None
    literal: int  # how many letters of the path are given: the more, the closer the match

    def arguments(self, path: str) -> dict[str, str] | None:
        """The path's parameters, decoded; None if the path is of another method."""
        match = self.template.fullmatch(path)
        return {name: unquote(value) for name, value in match.groupdict().items()} if match else None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field. `field` is its path as the protos spell it."""

    kind: str  # "unknown", "value" or "required"
    field: str
    name: str
    said: str = ""


@dataclass(slots=True)
class Checked:
    """A body with names, integers and enums spelled as the document does, and what was wrong with it."""

    value: Any = None
    problems: list[Problem] = field(default_factory=list)


class Document:
    """One API in one version, such as `aiplatform.v1`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._json: Json = json.loads(files("googleapiclient").joinpath(f"discovery_cache/documents/{name}.json").read_text("utf-8"))
        self.schemas: Mapping[str, Json] = self._json["schemas"]
        self.parameters: Mapping[str, Json] = self._json["parameters"]
        self.prefix: str = self._json["servicePath"]
        verbs = any("}:" in found["path"] for found in _walk(self._json))
        self._segment = "(?:[^/:]|(?<=sha256):)+" if verbs else "[^/]+"  # a colon begins a verb, but that of a digest
        self.match = lru_cache(maxsize=4096)(self._match)  # one path is asked for again and again: a thousand patterns take a while

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        return {found["id"]: self._method(found) for found in _walk(self._json)}

    @cached_property
    def _by_verb(self) -> Mapping[str, Sequence[Method]]:
        verbs: dict[str, list[Method]] = {}
        for method in sorted(self.methods.values(), key=lambda each: -each.literal):
            verbs.setdefault(method.http, []).append(method)
        return verbs

    def _method(self, found: Json) -> Method:
        parameters = found.get("parameters", {})
        path = self.prefix + found["path"]
        return Method(
            found["id"],
            found["httpMethod"],
            _template(path, parameters, self._segment),
            {name: each for name, each in parameters.items() if each["location"] == "query"},
            found.get("request", {}).get("$ref"),
            found.get("response", {}).get("$ref"),
            len(_PLACE.sub("", path)),
        )

    def _match(self, http: str, path: str) -> tuple[Method, Mapping[str, str]] | None:
        """The method that a request means, and the parameters in its path; None where no method has that path."""
        for method in self._by_verb.get(http, ()):
            if (arguments := method.arguments(path)) is not None:
                return method, arguments
        return None

    def has_path(self, path: str) -> bool:
        """Whether any method, of whatever verb, has this path."""
        return any(method.arguments(path) is not None for methods in self._by_verb.values() for method in methods)

    # ---------------------------------------------------------------- checking

    def request(self, method: Method, body: Any) -> Checked:
        """Hold a request's body to its schema."""
        checked = Checked()
        if method.request is None:
            return checked
        checked.value = self._object(self.schemas[method.request], {} if body is None else body, "", checked.problems, sent=True)
        return checked

    def value(self, schema: str, value: Any) -> Checked:
        """Hold a value of a named type to its schema, such as one that a request carries as a free-form object."""
        checked = Checked()
        checked.value = self._object(self.schemas[schema], value, "", checked.problems, sent=True)
        return checked

    def reply(self, method: Method, body: Any) -> list[Problem]:
        """What is wrong with an answer of ours."""
        if method.response is None:
            return []
        checked = Checked()
        self._object(self.schemas[method.response], body, "", checked.problems, sent=False)
        return checked.problems

    def message(self, schema: str, value: Any) -> list[Problem]:
        """What is wrong with a value of ours of a named type, such as what an operation answers with."""
        checked = Checked()
        self._object(self.schemas[schema], value, "", checked.problems, sent=False)
        return checked.problems

    def _object(self, schema: Json, value: Any, at: str, problems: list[Problem], *, sent: bool) -> Any:
        if not isinstance(value, dict):
            problems.append(Problem("value", at, at.rpartition(".")[2], f"{json.dumps(value)} is not an object"))
            return None
        properties = schema.get("properties")
        if properties is None:
            each = schema.get("additionalProperties", {"type": "any"})
            return {key: self._value(each, item, f"{at}[{key}]", problems, sent=sent) for key, item in value.items()}
        found: Json = {}
        for key, item in value.items():
            name = key if key in properties else camel(key)
            if name not in properties:
                if key != "@type":
                    problems.append(Problem("unknown", at, key))
                continue
            spec = properties[name]
            if item is None or (sent and _is_output(spec)):
                continue
            found[name] = self._value(spec, item, f"{at}.{snake(name)}".lstrip("."), problems, sent=sent)
        problems += [
            Problem("required", f"{at}.{snake(name)}".lstrip("."), name)
            for name, spec in properties.items()
            if _is_required(spec) and (schema.get("id"), name) not in OPTIONAL and found.get(name) in (None, "", [], {})
        ]
        return found

    def _value(self, spec: Json, value: Any, at: str, problems: list[Problem], *, sent: bool) -> Any:
        if "$ref" in spec:
            named = self.schemas[spec["$ref"]]
            return value if named.get("type") == "any" else self._object(named, value, at, problems, sent=sent)
        kind = spec.get("type", "any")
        if kind == "array":
            if not isinstance(value, list):
                problems.append(Problem("value", at, at.rpartition(".")[2], f"{json.dumps(value)} is not a list"))
                return None
            return [self._value(spec["items"], item, f"{at}[{index}]", problems, sent=sent) for index, item in enumerate(value)]
        if kind == "object":
            return self._object(spec, value, at, problems, sent=sent)
        plain = _plain(spec, kind, value)
        if plain is _WRONG:
            wanted = spec.get("format") or ("one of " + ", ".join(spec["enum"]) if "enum" in spec else kind)
            problems.append(Problem("value", at, at.rpartition(".")[2], f"{json.dumps(value)} is not {wanted}"))
            return None
        return plain


@cache
def document(name: str) -> Document:
    """A document by its name, such as `aiplatform.v1`, read once."""
    return Document(name)


# ---------------------------------------------------------------- values

_WRONG = object()
_FORMATS = {
    "google-duration": re.compile(r"-?\d{1,12}(\.\d{1,9})?s"),
    "google-datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"),
    "google-fieldmask": re.compile(r"[a-zA-Z][\w.*]*(,[a-zA-Z][\w.*]*)*"),
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
}


def _plain(spec: Json, kind: str, value: Any) -> Any:
    """A value of a simple type as the document spells it, `_WRONG` if it is of another."""
    if kind == "any":
        return value
    if kind == "boolean":
        return value if isinstance(value, bool) else _WRONG
    if kind in ("integer", "number") or spec.get("format") in ("int64", "uint64"):
        return _number(spec, kind, value)
    if not isinstance(value, str):
        return _WRONG
    if "enum" in spec:
        return value if value in spec["enum"] else _WRONG
    pattern = _FORMATS.get(spec.get("format", ""))
    return value if pattern is None or pattern.fullmatch(value) else _WRONG


def _number(spec: Json, kind: str, value: Any) -> Any:
    """Whole numbers of 64 bits are texts in JSON, and every number may be sent as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _WRONG
    if kind == "number":
        if value in ("NaN", "Infinity", "-Infinity"):
            return value
        try:
            return float(value)
        except ValueError:
            return _WRONG
    try:
        whole = int(value)
    except ValueError:
        return _WRONG
    if isinstance(value, float) and value != whole:
        return _WRONG
    return str(whole) if kind == "string" else whole


def _is_required(spec: Json) -> bool:
    """Not so for numbers and truth values: Google's clients leave out a zero, which nobody can tell from one that was not given."""
    if spec.get("type") in ("integer", "number", "boolean") or spec.get("format") in ("int64", "uint64"):
        return False
    return str(spec.get("description", "")).startswith("Required.")


def _is_output(spec: Json) -> bool:
    return bool(spec.get("readOnly")) or str(spec.get("description", "")).startswith("Output only.")


# ---------------------------------------------------------------- reading a document


def _walk(node: Json) -> Iterator[Json]:
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from _walk(child)


def _template(path: str, parameters: Mapping[str, Json], segment: str) -> re.Pattern[str]:
    """A pattern with a group for each parameter. In an API with verbs a segment ends at a colon too: what follows is one.

    `{+name}` without a pattern takes all that is left, slashes and colons with it.
    """
    parts, last = [], 0
    for place in _PLACE.finditer(path):
        parts.append(re.escape(path[last : place.start()]))
        pattern = parameters[place[2]].get("pattern", "").removeprefix("^").removesuffix("$")
        inner = (pattern.replace("[^/]+", segment) or ".+") if place[1] else segment
        parts.append(f"(?P<{place[2]}>{inner})")
        last = place.end()
    return re.compile("".join(parts) + re.escape(path[last:]))
