"""A spec in a file: TOML or JSON, at the top level or under a table of its kind, such as `[job]`, `[monitor]` or `[workload]`.

The job of a sweep or of a monitor's `[retrain]`, the job or batch of a schedule, and the job or endpoint of a workload may be named by
their own file: `job = "job.toml"`.

Relative paths in it are relative to the file's folder, so it means the same wherever it is called from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport import tables
from mlport.cli.values import literal
from mlport.errors import SpecError
from mlport.fields import Place, dotted

if TYPE_CHECKING:
    from mlport.specs import Spec

KINDS = ("job", "batch", "model", "endpoint", "sweep", "schedule", "monitor")
_TELLS = {
    "job": {"entrypoint"},
    "batch": {"input", "output"},
    "endpoint": {"deployment"},
    "model": {"path"},
    "sweep": {"space"},
    "schedule": {"cron"},
    "monitor": {"endpoint", "reference"},
}
_PATHS = {
    "job": ("source",),
    "batch": ("input", "output"),
    "model": ("path",),
    "endpoint": (),
    "sweep": (),
    "schedule": (),
    "monitor": ("reference", "labels_from"),
    "workload": (),
}
_INSIDE = {"sweep": ("job",), "schedule": ("job", "batch"), "workload": ("job", "endpoint")}  # specs within specs


def load(file: str, *, kinds: Sequence[str] = KINDS, sets: Iterable[tuple[str, str]] = ()) -> Spec:
    """The spec that a file describes, which must be one of `kinds`; the first of them where the file does not tell.

    Raises:
        SpecError: the file cannot be read or describes another kind of thing, or a field of it is wrong.
    """
    path = Path(file)
    written = tables.read(path)
    kind, table = _section(path, written.table, kinds)
    above: Place = () if table is written.table else (kind,)
    table = _rebased(kind, table, path.absolute().parent)
    for name, text in sets:
        _assign(table, name.split("."), literal(text), name)
    told = [name.split(".") for name, _ in sets]

    def say(place: Place) -> str:
        names = [str(part) for part in place]
        set_here = bool(names) and any(name[: len(names)] == names[: len(name)] for name in told)
        return f"--set {dotted(place)}" if set_here else written.say((*above, *place))

    return tables.checked(table, _model(kind), say)


def _section(path: Path, table: dict[str, Any], kinds: Sequence[str]) -> tuple[str, dict[str, Any]]:
    if kinds == ("workload",):
        inner = table.get("workload")
        if isinstance(inner, dict) and (beside := sorted(table.keys() - {*KINDS, "workload"})):
            raise SpecError(
                f"{path}: {', '.join(beside)}: stands beside [workload], and would not be counted", hint="put it under [workload]"
            )
        return "workload", inner if isinstance(inner, dict) else table
    if table and all(name in KINDS and isinstance(section, dict) for name, section in table.items()):
        fitting = [name for name in table if name in kinds]
        if len(fitting) == 1:
            return fitting[0], table[fitting[0]]
        raise SpecError(f"{path}: has {_listed(table)}, and exactly one of {_listed(kinds)} is wanted")
    kind = next((name for name, tells in _TELLS.items() if tells <= table.keys()), kinds[0])
    if kind not in kinds:
        raise SpecError(f"{path}: describes a {kind}, and one of {_listed(kinds)} is wanted")
    return kind, table


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)


def _rebased(kind: str, table: dict[str, Any], folder: Path) -> dict[str, Any]:
    moved = {name: _located(table[name], folder) for name in _PATHS[kind] if name in table}
    if kind == "job" and isinstance(table.get("inputs"), dict):
        moved["inputs"] = {name: _located(uri, folder) for name, uri in table["inputs"].items()}
    if kind == "workload" and isinstance(table.get("targets"), dict):
        moved["targets"] = {name: _hardware(target, folder) for name, target in table["targets"].items()}
    if kind == "monitor" and isinstance(retrain := table.get("retrain"), dict) and "job" in retrain:
        moved["retrain"] = {**retrain, "job": _inside("job", retrain["job"], folder)}
    moved |= {inner: _inside(inner, table[inner], folder) for inner in _INSIDE.get(kind, ()) if inner in table}
    return {**table, **moved}


def _hardware(target: Any, folder: Path) -> Any:
    """A target of a workload; the hardware book of one's own machines is a file beside the workload."""
    return {**target, "hardware": _located(target["hardware"], folder)} if isinstance(target, dict) and "hardware" in target else target


def _inside(kind: str, value: Any, folder: Path) -> Any:
    """A spec within a spec: a table, or the name of a file that holds it."""
    if isinstance(value, dict):
        return _rebased(kind, value, folder)
    if not isinstance(value, str):
        return value
    path = folder / value
    return _rebased(kind, _section(path, tables.read(path).table, (kind,))[1], path.parent)


def _located(value: Any, folder: Path) -> Any:
    return str(folder / Path(value).expanduser()) if isinstance(value, str) and "://" not in value else value


def _assign(table: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    *parents, last = path
    for parent in parents:
        table[parent] = dict(table.get(parent) or {}) if isinstance(table.get(parent, {}), dict) else _no_table(name, parent)
        table = table[parent]
    table[last] = value


def _no_table(name: str, parent: str) -> dict[str, Any]:
    raise SpecError(f"--set {name}: {parent} is not a table of fields")


def _model(kind: str) -> type[Spec]:
    from mlport import specs

    models: dict[str, type[Spec]] = {
        "job": specs.JobSpec,
        "batch": specs.BatchSpec,
        "model": specs.ModelSpec,
        "endpoint": specs.EndpointSpec,
        "sweep": specs.SweepSpec,
        "schedule": specs.ScheduleSpec,
    }
    if kind == "workload":
        from mlport.costs.workload import Workload

        return Workload
    if kind == "monitor":
        from mlport.monitoring.specs import MonitorSpec

        return MonitorSpec
    return models[kind]
