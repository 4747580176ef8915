"""What specs are made of: durations, names, and a base that refuses unknown keys and names the nearest valid one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import timedelta
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


def describe_problems(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: the field, what was wrong, the value, and the nearest valid name."""
    return "; ".join(_describe(problem, model) for problem in error.errors(include_url=False))


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    where = f"{model.__name__}.{path}" if path else model.__name__
    if problem["type"] == "extra_forbidden":
        valid = sorted(_model_at(model, problem["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(problem["loc"][-1]), valid, n=1)
        advice = f", did you mean {near[0]!r}?" if near else f"; valid: {', '.join(valid)}"
        return f"{where}: unknown field{advice}"
    if problem["type"] == "missing":
        return f"{where}: is required"
    right = _RIGHT.get(str(problem.get("ctx", {}).get("pattern")), problem["msg"].removeprefix("Value error, "))
    return f"{where}: {right} (got {problem['input']!r})"


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """The model whose field a path ends in; the outermost where the way is not through plain fields."""
    here = model
    for part in path:
        if isinstance(part, str) and part in here.model_fields:
            here = next(_models_in(here.model_fields[part].annotation), model)
    return here


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `tuple[Rule, ...]` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


class Spec(BaseModel):
    """Base of all specs: frozen, strict about keys, and its errors are `SpecError`s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_clearly(cls, data: Any, handler: Any) -> Self:
        try:
            validated: Self = handler(data)
        except ValidationError as error:
            raise SpecError(describe_problems(error, cls)) from error
        if said := validated._contradiction():
            raise SpecError(f"{cls.__name__}: {said}")
        return validated

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
