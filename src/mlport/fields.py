"""What specs are made of: durations, names, and a base that refuses unknown keys and names the nearest valid one."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from mlport.capabilities import Capability
from mlport.errors import SpecError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Seconds as a number, or text such as `90s`, `1h30m` or `2d`, as a timedelta; other types unchanged.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(value, bool):
        raise ValueError("must be a duration, such as 90s or 1h30m")
    if isinstance(value, int | float):
        return _seconds(value)
    if isinstance(value, str):
        parts = _DURATION.findall(value)
        if parts and not _DURATION.sub("", value).strip():
            return _seconds(sum(float(number) * _SECONDS[unit] for number, unit in parts))
        raise ValueError("must be seconds, or text such as '90s', '1h30m' or '2d'")
    return value


def _seconds(value: float) -> timedelta:
    try:
        return timedelta(seconds=value)
    except OverflowError as error:
        raise ValueError("is longer than any duration can be") from error


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    Field(gt=timedelta(0)),
    PlainSerializer(lambda value: value.total_seconds(), return_type=float),
]
_NAME = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_IDENTIFIER = r"^[a-z][a-z0-9_]{0,62}$"
_RIGHT = {
    _NAME: "must be lower-case letters, digits and hyphens, start with a letter, and have at most 63 characters",
    _IDENTIFIER: "must be lower-case letters, digits and underscores, start with a letter, and have at most 63 characters",
}
Name = Annotated[str, Field(pattern=_NAME)]
Identifier = Annotated[str, Field(pattern=_IDENTIFIER)]
Scalar = bool | int | float | str
_QUOTED = re.compile("'([^']*)'")


def plain_number(value: object) -> object:
    """For a number's validator: text and truth are none, for `true` is not 1, and "16 GB" may say another unit than the field's."""
    if isinstance(value, bool | str):
        raise ValueError("must be a plain number, without quotes or a unit")
    return value


Real = Annotated[float, BeforeValidator(plain_number)]
Count = Annotated[int, BeforeValidator(plain_number)]
Place = tuple[int | str, ...]
"""The way to a field, as its user wrote it: `("training", 0, "hours")`."""
_WANTED = {
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "must be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a table of fields"),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"), "must be a day such as 2026-11-23"
    ),
    "tuple_type": "must be a list",
    "string_type": "must be text",
}
"""What pydantic has in the words of programmers."""
_SHOULD = re.compile("^(Input|String|Tuple|List|Dictionary) should")
_LONGEST = 100  # characters of a value that a message repeats


def dotted(path: Place) -> str:
    """A path in words.

    >>> dotted(("training", 0, "hours"))
    'training[0].hours'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def describe_problems(
    error: ValidationError, model: type[BaseModel], data: object = None, say: Callable[[Place], str] | None = None
) -> str:
    """One line a problem: the field, what was wrong, the value, and the nearest valid name.

    Args:
        data: what was validated; paths are then as it has them, without the names that unions give to their kinds.
        say: how to say where a path leads; with the model's name if not given.
    """
    place = say or (lambda path: ".".join(filter(None, (model.__name__, dotted(path)))))
    told: dict[Place, list[str]] = {}
    for problem in error.errors(include_url=False):
        if problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]:
            continue  # it is only short of the items that are refused themselves
        path = problem["loc"] if data is None else _written(problem, data)
        words = _describe(problem, model)
        said = told.setdefault(path, [])
        said.extend([words] if words not in said else [])
    return "; ".join(f"{place(path)}: {' or '.join(said)}" for path, said in told.items())


def _written(problem: ErrorDetails, data: Any) -> Place:
    """A problem's path without what is not in the data: the names of a union's kinds, the parts that a validator made."""
    path: list[int | str] = []
    for part in problem["loc"]:
        inside = part in data if isinstance(data, Mapping) else isinstance(data, list | tuple) and part in range(len(data))
        if inside:
            data = data[part]
            path.append(part)
    return (*path, problem["loc"][-1]) if problem["type"] == "missing" else tuple(path)


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        valid = sorted(field.alias or name for name, field in _model_at(model, problem["loc"][:-1]).model_fields.items())
        return "unknown field" + (_nearest(str(problem["loc"][-1]), valid) or f"; valid: {', '.join(valid)}")
    if problem["type"] == "missing":
        return "is required"
    context, found = problem.get("ctx", {}), str(problem["input"]) if isinstance(problem["input"], Decimal) else repr(problem["input"])
    message = _WANTED.get(problem["type"]) or _SHOULD.sub("must", problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "tuple_type" and isinstance(problem["input"], Mapping):
        return f"must be a list of tables: write [[{problem['loc'][-1]}]]"
    near = _nearest(str(problem["input"]), _QUOTED.findall(message)) if problem["type"] == "literal_error" else ""
    got = found if len(found) <= _LONGEST else f"{found[:_LONGEST]}..."
    whole = problem["type"] == "value_error" and isinstance(problem["input"], Mapping | BaseModel)  # the message says what of it
    return f"{_RIGHT.get(str(context.get('pattern')), message)}{near}{'' if whole else f' (got {got})'}"


def _nearest(name: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose field a path ends in; of several the first, unless the path names one."""
    here = [model]
    for part in path:
        if fields := [each.model_fields[part] for each in here if isinstance(part, str) and part in each.model_fields]:
            here = list(_models_in(fields[0].annotation)) or here
        else:
            here = [each for each in here if each.__name__ == part] or here
    return here[0]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `tuple[Rule, ...]` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _refusal(error: ValidationError, model: type[BaseModel], data: object) -> SpecError:
    if isinstance(data, str | bytes | bytearray):
        try:
            data = json.loads(data)
        except ValueError:
            data = None
    return SpecError(describe_problems(error, model, data))


class Spec(BaseModel):
    """Base of all specs: frozen, strict about keys, and its errors are `SpecError`s."""

    # built when first used: most specs never are, and building one takes as long as a request
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _refusal(error, type(self), fields) from error

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # parts are checked with the whole, which knows where they stand

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise _refusal(error, cls, obj) from error

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise _refusal(error, cls, json_data) from error

    @model_validator(mode="after")
    def _without_contradiction(self) -> Self:
        if said := self._contradiction():
            raise ValueError(said)
        return self

    def _contradiction(self) -> str | None:
        """What one field says against another, if anything."""
        return None

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {name: value for name, value in handler(self).items() if value is not None or fields[name].default is not None}

    def to_json(self) -> dict[str, Any]:
        """The spec as plain data: what was set or defaulted, without the fields that are empty by default."""
        return self.model_dump(mode="json")

    def requires(self) -> frozenset[Capability]:
        """The capabilities that the fields set here need."""
        return frozenset(self._needs())

    def _needs(self) -> Iterator[Capability]:
        yield from ()
