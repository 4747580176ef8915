"""The reference of a monitor, read once: its profile, what its columns are, and how good the model was on it, where it tells that."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlport.errors import NotFoundError, SpecError
from mlport.transfer import is_url, local_path

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.audit.records import Measure
    from mlport.drift import Profile
    from mlport.monitoring.specs import MonitorSpec, PerformanceSpec

Kind = Literal["number", "category"]
FIELD = "MonitorSpec.reference"
WITHOUT = {"mlport_request_id", "time", "provider_id", "caller_id", "row"}
"""Columns that are no features, and no news if they change."""


@dataclass(frozen=True)
class Reference:
    """What a monitor keeps of it. `identity` says whether the file is still the same, without reading it all."""

    profile: Profile
    uri: str
    identity: str
    columns: dict[str, Kind]
    baseline: Measure | None


def read(spec: MonitorSpec, features: Sequence[str] | None, objective: str | None) -> Reference:
    """Read the reference of a monitor.

    Args:
        spec: what it is and which columns are watched.
        features: those that the model's signature names, None where it has none.
        objective: the metric that matters, if one is known.

    Raises:
        SpecError: it is not there, cannot be read, or lacks a column that is to be watched.
    """
    from mlport.drift import profile
    from mlport.drift.profiles import SUFFIX, Profile
    from mlport.errors import UsageError

    with here(spec.reference) as path:
        try:
            whole = Profile.load(path) if path.suffix == SUFFIX else None
            known = dict(_kinds(path) if whole is None else _kinds_of(whole))
            columns = _watched(spec, known, features)
            found = whole or profile(path, columns=list(columns), kinds=spec.kinds)
        except SpecError:
            raise
        except UsageError as error:
            raise SpecError(f"{FIELD}: {error.message}", hint=error.hint) from error
        baseline = _baseline(path, spec.performance, objective) if whole is None and "decay" in spec.watch else None
        return Reference(found, spec.reference, identity(path), columns, baseline)


def table(reference: Reference, path: Path) -> Path:
    """The watched columns of a reference as one Parquet file, for a provider's own monitor. Raises SpecError: only its profile is known."""
    import pyarrow.parquet as pq

    from mlport.drift import ingest
    from mlport.drift.profiles import SUFFIX

    with here(reference.uri) as place:
        if place.suffix == SUFFIX:
            raise SpecError(f"{FIELD}: a provider's monitor needs the data themselves, and this is a profile")
        pq.write_table(ingest.source(place, "the reference").table(list(reference.columns)), path)
    return path


@contextmanager
def here(uri: str) -> Iterator[Path]:
    """The reference as a path of this machine. Raises SpecError: it is not there."""
    from mlport.transfer import copy

    if not is_url(uri):
        path = local_path(uri).expanduser()
        if not path.exists():
            raise SpecError(f"{FIELD}: {path} does not exist")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        path = Path(folder) / uri.rstrip("/").rpartition("/")[2]
        try:
            copy(uri, str(path))
        except NotFoundError as error:
            raise SpecError(f"{FIELD}: {uri} does not exist") from error
        yield path


def identity(path: Path) -> str:
    """What changes when a file, or one of a folder's, is written anew: names, sizes and times. Raises NotFoundError."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if not path.exists():
        raise NotFoundError(f"{path} is not there")
    return ";".join(f"{each.name}:{each.stat().st_size}:{each.stat().st_mtime_ns}" for each in files if each.is_file())


def _kinds(path: Path) -> Iterator[tuple[str, Kind]]:
    from mlport.dialects import kind_of
    from mlport.drift import ingest

    for each in ingest.source(path, "the reference").schema:
        yield each.name, kind_of(each)


def _kinds_of(found: Profile) -> Iterator[tuple[str, Kind]]:
    for name, column in found.columns.items():
        yield name, "category" if column.observed.family in ("string", "boolean", "category") else "number"


def _watched(spec: MonitorSpec, known: Mapping[str, Kind], features: Sequence[str] | None) -> dict[str, Kind]:
    """The columns to watch: those asked for, else the features that the model names, else all but labels and ids; and predictions."""
    label, prediction = spec.performance.label, spec.performance.prediction
    if spec.columns is not None:
        wanted, why = list(spec.columns), "columns"
    elif features is not None:
        wanted, why = [*features, *([prediction] if prediction in known and prediction not in features else [])], "the model's signature"
    else:
        wanted, why = [name for name in known if name != label and name not in WITHOUT], ""
    missing = [name for name in wanted if name not in known]
    if missing:
        raise SpecError(
            f"{FIELD}: has no column {', '.join(map(repr, missing))}, which {why} names",
            hint=f"it has {', '.join(known)}; `columns` says which to watch",
        )
    if not wanted:
        raise SpecError(f"{FIELD}: has no column to watch")
    named = {name: kind for name, kind in spec.kinds.items() if kind in ("category", "number")}
    return {name: named.get(name, known[name]) for name in wanted}


def _baseline(path: Path, spec: PerformanceSpec, objective: str | None) -> Measure | None:
    """The performance on the reference, where it has predictions and labels."""
    from mlport.monitoring.reading.decaying import baseline

    table = _labelled(path, spec)
    return None if table is None else baseline(table, spec, spec.metric or objective)


def _labelled(path: Path, spec: PerformanceSpec) -> pa.Table | None:
    from mlport.drift import ingest

    source = ingest.source(path, "the reference")
    names = [spec.prediction, spec.label]
    return source.table(names) if set(names) <= set(source.schema.names) else None


def columns_of(signature: Mapping[str, Any] | None) -> list[str] | None:
    """The names of a model's inputs, by the signature that MLflow keeps; None where it names none."""
    inputs = (signature or {}).get("inputs")
    if not isinstance(inputs, list):
        return None
    names = [each["name"] for each in inputs if isinstance(each, dict) and isinstance(each.get("name"), str)]
    return names or None
