"""What all of Vertex AI's resources share: names, numbers, lists with filter, order and pages, etags and update masks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from mlport.emulation.calls import Reply
from mlport.emulation.faults import of_effect
from mlport_vertex.emulator.place import Place, number_of
from mlport_vertex.emulator.protocol.api import Request
from mlport_vertex.emulator.protocol.discovery import camel, snake
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.filters import Holds, Path, compared, fits, predicate, refused

Json = dict[str, Any]
View = Callable[[Json], Json]

DEFAULT_PAGE = 100  # what schedules.list documents; the other lists do not say
LARGEST_PAGE = 1000  # a guess
SCHEDULED = ("create_pipeline_job_request", "create_notebook_execution_job_request", "create_model_monitoring_job_request")
_MIX = 0x9E3779B97F4A7C15  # odd, so that multiplying by it modulo a power of two meets no number twice


# ---------------------------------------------------------------- names


@dataclass(frozen=True, slots=True)
class Name:
    """A resource's name in parts: `Name("424242424242", "us-central1", (("customJobs", "1"),))`."""

    project: str
    location: str
    path: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The last segment."""
        return self.path[-1][1]


def parse(name: str) -> Name:
    """The parts of a resource's name, the project as its number. Raises ApiError.

    >>> parse("projects/p/locations/us-central1/models/7").path
    (('models', '7'),)
    """
    parts = normal(name).split("/")
    if len(parts) < 4 or len(parts) % 2 or parts[0] != "projects" or parts[2] != "locations" or not all(parts):
        raise ApiError("INVALID_ARGUMENT", f"Invalid resource name: {name}")  # a guess at the words
    return Name(parts[1], parts[3], tuple(zip(parts[4::2], parts[5::2], strict=True)))


def normal(name: str) -> str:
    """The name as answers carry it: with the project's number, whichever of number and id was asked for.

    >>> normal("projects/emulated/locations/us-central1")
    'projects/424242424242/locations/us-central1'
    """
    return re.sub(r"^projects/(?!\d+(?:/|$))([^/]+)", lambda found: f"projects/{number_of(found[1])}", name)


def new_id(place: Place) -> str:
    """19 digits, as Vertex AI's ids have; never the same again."""
    return str((place.documents.next_number("ids") * _MIX) % 2**62 + 2**62)


def etag(body: Json) -> str:
    """What changes when the resource does."""
    content = json.dumps({key: value for key, value in body.items() if key != "etag"}, sort_keys=True).encode()
    return base64.b64encode(hashlib.sha256(content).digest()[:24]).decode()


# ---------------------------------------------------------------- masks


def masked(body: Json, update_mask: str, changes: Json) -> Json:
    """The body with the fields that the mask names taken from `changes`. Names may be spelled either way; * is all of `changes`.

    >>> masked({"labels": {"a": "1"}, "displayName": "x"}, "labels.b,display_name", {"labels": {"b": "2"}})
    {'labels': {'a': '1', 'b': '2'}}
    """
    merged: Json = json.loads(json.dumps(body))
    paths = sorted(changes) if update_mask == "*" else [each.strip() for each in update_mask.split(",") if each.strip()]
    for path in paths:
        _assign(merged, changes, path.split("."))
    return merged


def _assign(target: Json, source: Json, path: Sequence[str]) -> None:
    key = _spelled(path[0], source, target)
    if len(path) == 1:
        if key in source:
            target[key] = source[key]
        else:
            target.pop(key, None)
        return
    inner = source.get(key, {})
    _assign(target.setdefault(key, {}), inner if isinstance(inner, dict) else {}, path[1:])


def _spelled(name: str, *places: Mapping[str, Any]) -> str:
    return name if any(name in place for place in places) else camel(name)


def picked(body: Json, mask: str) -> Json:
    """The fields that a read mask names, and nothing else.

    >>> picked({"name": "n", "displayName": "d", "labels": {}}, "name,display_name")
    {'name': 'n', 'displayName': 'd'}
    """
    wanted = {camel(path.strip().partition(".")[0]) for path in mask.split(",")}
    return dict(body) if "*" in mask else {key: value for key, value in body.items() if key in wanted}


# ---------------------------------------------------------------- lists


def listing(place: Place, request: Request, kind: str, key: str, view: View = lambda body: body) -> Any:
    """The answer of a list method: documents of a kind under the request's parent, newest first unless `orderBy` says otherwise.

    `key` is the answer's field; `view` makes of a kept document what is answered, and is what filters look at.
    """
    parent = normal(str(request.arguments.get("parent") or request.arguments["name"]))
    return page(request, key, visible(request, ((number, view(body)) for number, body in place.documents.list(kind, f"{parent}/"))))


def visible(request: Request, found: Iterator[tuple[int, Json]]) -> Iterator[tuple[int, Json]]:
    """Without those made within the seconds of the fault "lag"."""
    lag = of_effect(request.call.befallen, "lag")
    if lag is None:
        return found
    since = datetime.now(UTC) - timedelta(seconds=lag.seconds)
    return ((number, body) for number, body in found if moment(body["createTime"]) <= since)


def page(request: Request, key: str, found: Iterator[tuple[int, Json]]) -> Any:
    """Filter, order and cut into pages what `found` gives with its numbers; the numbers grow as resources are made.

    A token says after which resource to go on, so that what is made or removed meanwhile shifts nothing.
    """
    arguments = request.arguments
    said = predicate(str(arguments.get("filter", "")))
    chosen = [(number, body) for number, body in found if said(_holds(request, body))]
    order = _order(request)
    ranked = sorted((_rank(order, number, body), number, body) for number, body in chosen)
    after = _after(request)
    if after is not None:
        ranked = [each for each in ranked if each[0] > _ranked(order, after)]
    size = _size(arguments)
    shown, mask = ranked[:size], str(arguments.get("readMask", ""))
    answer: Json = {key: [picked(body, mask) if mask else body for _, _, body in shown]} if shown else {}
    if len(ranked) > size:
        _, number, body = shown[-1]
        answer["nextPageToken"] = _token(request, [*(_plain(body, field) for field, _ in order), number])
    return Reply.of(answer) if mask else answer  # a masked resource lacks fields that the description requires


def moment(text: str) -> datetime:
    """A time as Google writes it. Raises ApiError.

    >>> moment("2021-05-18T00:00:00Z").year
    2021
    """
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid time: {text} is not in RFC 3339 format") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _size(arguments: Mapping[str, Any]) -> int:
    size = int(arguments.get("pageSize", 0))
    if size < 0:
        raise ApiError("INVALID_ARGUMENT", f"Invalid page_size: {size}. It must not be negative.")
    return min(size or DEFAULT_PAGE, LARGEST_PAGE)


class _Descending(str):
    """A text that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


Order = Sequence[tuple[str, bool]]


def _rank(order: Order, number: int, body: Json) -> tuple[Any, ...]:
    return _ranked(order, [*(_plain(body, field) for field, _ in order), number])


def _ranked(order: Order, values: Sequence[Any]) -> tuple[Any, ...]:
    directed = (_Descending(value) if descending else value for value, (_, descending) in zip(values, order, strict=False))
    return (*directed, -int(values[-1]))


def _plain(body: Json, field: str) -> str:
    return str(body.get(field, ""))


def _order(request: Request) -> Order:
    """The fields to sort by and whether each descends. Raises ApiError for one that the method's description does not name."""
    found = []
    described = str(request.method.parameters.get("orderBy", {}).get("description", ""))
    for said in filter(None, (each.strip() for each in str(request.arguments.get("orderBy", "")).split(","))):
        field, _, direction = said.partition(" ")
        if f"`{snake(field)}`" not in described or direction.strip() not in ("", "asc", "desc"):
            raise ApiError("INVALID_ARGUMENT", f"Invalid order_by: {said}")  # a guess at the words
        found.append((camel(field), direction.strip() == "desc"))
    return found


def _question(request: Request) -> str:
    """What a page token belongs to."""
    asked = [str(request.arguments.get(name, "")) for name in ("parent", "name", "filter", "orderBy")]
    return hashlib.sha256("\0".join((request.method.id, *asked)).encode()).hexdigest()[:12]


def _token(request: Request, last: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([_question(request), *last]).encode()).decode()


def _after(request: Request) -> list[Any] | None:
    """The last resource of the page before; None on the first page."""
    token = str(request.arguments.get("pageToken", ""))
    if not token:
        return None
    try:
        question, *last = json.loads(base64.urlsafe_b64decode(token))
        int(last[-1])
    except (ValueError, IndexError, TypeError):
        question, last = "", []
    if question != _question(request):
        raise ApiError("INVALID_ARGUMENT", "Invalid page token.")  # a guess at the words
    return list(last)


# ---------------------------------------------------------------- filters


@cache
def _filterable(described: str) -> frozenset[str]:
    """The fields that a method's description of its filter lists; none if it lists none.

    Where `request` is one of them, a field is named by the request's own name, as in the description's example.
    """
    found = re.findall(r"\* `(\w+)`", described)
    return frozenset([*found, *SCHEDULED] if "request" in found else found)


def _holds(request: Request, body: Json) -> Holds:
    """What a comparison of a filter says about one resource."""
    described = str(request.method.parameters.get("filter", {}).get("description", ""))
    allowed = _filterable(described)
    whole = str(request.arguments.get("filter", ""))

    def holds(path: Path, operator: str, value: str) -> bool:
        field = snake(path[0]) if path and "camelCase" in described else "".join(path[:1])
        if not path or (allowed and field not in allowed):
            raise refused(whole, f"unknown field {'.'.join(path) or value}")
        if operator in ("=~", "!~"):
            raise refused(whole, f"operator {operator} is not supported")
        return _matches(_field(body, (field, *path[1:])), operator, value)

    return holds


def _field(body: Json, path: Path) -> Any:
    """The value at a path; None where there is nothing. A resource's own noun, such as `endpoint`, stands for its id."""
    collection = str(body.get("name", "")).split("/")[-2:]
    if len(path) == 1 and len(collection) == 2 and snake(collection[0]) == f"{path[0]}s":
        return collection[1].partition("@")[0]
    found: Any = body
    for number, part in enumerate(path):
        if not isinstance(found, dict):
            return None
        found = found.get(part) if number else found.get(camel(part))
    return found


def _matches(found: Any, operator: str, value: str) -> bool:
    if operator == ":":
        return _has(found, value)
    if found is None:
        return operator == "!=" and value != ""
    if isinstance(found, list) and operator == "=":  # as Cloud Build has it for tags
        return value in found
    if isinstance(found, bool):
        return compared(operator, str(found).lower(), value.lower())
    if isinstance(found, int | float):
        return compared(operator, float(found), _number(value))
    if operator not in ("=", "!="):
        return compared(operator, moment(str(found)), moment(value))
    return compared(operator, str(found), value)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid filter: {value} is not a number") from error


def _has(found: Any, value: str) -> bool:
    if found is None:
        return False
    if isinstance(found, Mapping):
        return value == "*" or value in found
    if isinstance(found, list):
        return any(fits(value, str(item)) for item in found)
    return fits(value, str(found))
