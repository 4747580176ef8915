"""What a comparison finds besides numbers: columns that came, went or changed; ranges left; categories new and vanished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from mlport.drift.columns import Family
from mlport.drift.definitions import Kind
from mlport.drift.observed import Observed
from mlport.drift.records import Finding
from mlport.errors import UsageError

NAMED = 5
"""Categories that a message names."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a column can be read as, None if as nothing; its type in words; the unit of its numbers; whether a profile has settled it."""

    family: Family | None
    type: str
    unit: str
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """A side's name and columns."""

    name: str
    fields: Mapping[str, Field]


def of_schemas(
    reference: Schema, current: Schema, columns: Sequence[str] | None, kinds: Mapping[str, str], aside: set[str]
) -> tuple[list[str], dict[str, Family], list[Finding]]:
    """The columns to compare, how each is read, and what is found of the others. Those `aside` only weight or slice.

    Raises:
        UsageError: a column was asked for that neither side has, or that one side lacks to weight or slice by.
    """
    everything = [*reference.fields, *current.fields]
    for name in [*(columns or ()), *kinds, *sorted(aside)]:
        _there(name, reference, current, name in aside)
    wanted = list(dict.fromkeys(columns if columns is not None else everything))
    families: dict[str, Family] = {}
    found: list[Finding] = []
    for name in (name for name in wanted if name not in aside):
        family, told = _alike(name, reference.fields.get(name), current.fields.get(name), kinds.get(name))
        found += [told] if told is not None else []
        if family is not None:
            families[name] = family
    return list(families), families, found


def _there(name: str, reference: Schema, current: Schema, aside: bool) -> None:
    """Refuse a name that neither side has; one to weight or slice by must be on both, as something that can be read."""
    lacking = [side.name for side in (reference, current) if name not in side.fields]
    if len(lacking) == 2 or (lacking and aside):
        near = get_close_matches(name, [*reference.fields, *current.fields], 1)
        raise UsageError(f"{' and '.join(lacking)} have no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if odd := [field for side in (reference, current) if aside and (field := side.fields[name]).family is None]:
        raise UsageError(f"column {name!r} is {odd[0].type}: by it nothing can be weighted or cut into slices")


def _alike(name: str, a: Field | None, b: Field | None, kind: str | None) -> tuple[Family | None, Finding | None]:
    """What a column is read as on both sides, None if it is not compared; and what is found of it."""
    if a is None or b is None:
        return None, _one_sided(name, a, b)
    if "null" in (a.type, b.type):
        return None, _void(name, a, b)
    families = _read_as(name, a, b, kind)
    same = families[0] == families[1] and a.unit == b.unit
    if families[0] is families[1] is None or (a.type == b.type and not same):
        return None, Finding("not compared", name, f"{name}: columns of type {a.type} are not compared", a.type, b.type)
    if a.type == b.type:
        return families[0], None
    then = f"compared as {families[0]}s" if same else "not compared"
    finding = Finding("type changed", name, f"{name}: {a.type} became {b.type}; {then}", a.type, b.type)
    return families[0] if same else None, finding


def _read_as(name: str, a: Field, b: Field, kind: str | None) -> list[Family | None]:
    """What each side is read as: numbers as categories where that is asked for, or a profile was made so."""
    settled = [each for each in (a, b) if each.settled]
    if kind == "category" and any(each.family == "number" for each in settled):
        raise UsageError(f"kinds: the profile has column {name!r} as numbers", hint="make the profile with the same kinds")
    category = kind == "category" or any(each.family == "string" for each in settled)
    return ["string" if category and each.family == "number" and not each.settled else each.family for each in (a, b)]


def _one_sided(name: str, a: Field | None, b: Field | None) -> Finding:
    if b is None and a is not None:
        return Finding("missing column", name, f"{name}: the current sample does not have it", a.type, None)
    return Finding("new column", name, f"{name}: the reference does not have it", None, b.type if b else None)


def _void(name: str, a: Field, b: Field) -> Finding:
    """A column without a type has no value."""
    if a.type == b.type:
        return Finding("both missing", name, f"{name}: every value of both is missing")
    side = "reference" if a.type == "null" else "current sample"
    return Finding("all missing", name, f"{name}: every value of the {side} is missing", a.type, b.type)


def without_rows(found: Sequence[Finding], reference: int, current: int) -> list[Finding]:
    """What is found of the schemas where a side has no rows: what type its columns are is not known then."""
    empty = [side for side, rows in (("reference", reference), ("current sample", current)) if not rows]
    if not empty:
        return list(found)
    return [
        Finding("no rows", each.column, f"{each.column}: the {' and the '.join(empty)} has no rows", each.reference, each.current)
        if each.kind in ("all missing", "both missing", "type changed", "not compared")
        else each
        for each in found
    ]


def of_column(name: str, kind: Kind, reference: Observed, current: Observed) -> list[Finding]:
    """What is found of a column that both sides have."""
    found = [*_emptiness(name, reference, current)]
    if kind == "category":
        return found + _categories(name, reference, current)
    if kind == "number":
        found += _infinities(name, reference, current) + _range(name, reference, current)
    return found


def _emptiness(name: str, reference: Observed, current: Observed) -> list[Finding]:
    if reference.whole and current.whole and not reference.sample.total and not current.sample.total:
        return [Finding("both missing", name, f"{name}: every value of both is missing")]
    found = []
    for side, observed in (("reference", reference), ("current sample", current)):
        if not observed.whole:
            found.append(Finding("no rows", name, f"{name}: the {side} has no rows"))
        elif not observed.sample.total:
            found.append(Finding("all missing", name, f"{name}: every value of the {side} is missing"))
    return found


def _infinities(name: str, reference: Observed, current: Observed) -> list[Finding]:
    a, b = (side.sample.low + side.sample.high for side in (reference, current))
    if not a and not b:
        return []
    return [Finding("infinite values", name, f"{name}: {a:,.15g} infinite values in the reference, {b:,.15g} in the current sample", a, b)]


def _range(name: str, reference: Observed, current: Observed) -> list[Finding]:
    a, b = reference.sample, current.sample
    if a.minimum is None or a.maximum is None or b.minimum is None or b.maximum is None:
        return []
    if b.minimum >= a.minimum and b.maximum <= a.maximum:
        return []
    message = f"{name}: from {b.minimum:.6g} to {b.maximum:.6g}; in the reference from {a.minimum:.6g} to {a.maximum:.6g}"
    return [Finding("range left", name, message, [a.minimum, a.maximum], [b.minimum, b.maximum])]


def _categories(name: str, reference: Observed, current: Observed) -> list[Finding]:
    a, b = reference.counts(), current.counts()
    if a is None or b is None or not reference.sample.total or not current.sample.total:
        return []
    found = []
    for kind, there, other in (("new categories", b, a), ("vanished categories", a, b)):
        only = sorted((value for value in there if value not in other), key=lambda value: (-there[value], value))
        if only:
            share = sum(there[value] for value in only) / sum(there.values())
            listed = ", ".join(repr(value) for value in only[:NAMED]) + (f" and {len(only) - NAMED:,} more" if len(only) > NAMED else "")
            message = f"{name}: {listed}, {share:.2%} of the {'current sample' if kind == 'new categories' else 'reference'}"
            sides = (None, only) if kind == "new categories" else (only, None)
            found.append(Finding(kind, name, message, *sides))  # type: ignore[arg-type]
    return found
