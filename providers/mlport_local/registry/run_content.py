"""What an ended job looks like as an MLflow run: parameters, tags, and metrics with steps. Pure."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlport.metrics import entries
from mlport.spi import Json, State
from mlport_local.registry.tracking import JOB_TAG

STATUS = {State.SUCCEEDED: "FINISHED", State.FAILED: "FAILED", State.CANCELLED: "KILLED"}
"""MLflow's word for each end of a job."""

_NOT_IN_KEYS = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric; `time` in milliseconds since 1970."""

    name: str
    value: float
    step: int
    time: int


@dataclass(frozen=True, slots=True)
class EndedJob:
    """What export needs of a job that ended. `spec` and `facts` are those of its plan."""

    id: str
    name: str
    state: State
    reason: str
    started: datetime
    ended: datetime
    spec: Json
    facts: Json
    labels: Mapping[str, str]
    metrics: Path | None = None
    exit_code: int | None = None


def key(text: str) -> str:
    """A name that MLflow takes: its alphabet, at most 250 characters, and as a path already in its shortest form.

    >>> key("f1@0.5"), key("train/../auc")
    ('f1_0.5', 'train____auc')
    """
    name = _NOT_IN_KEYS.sub("_", text)[:250]
    is_path = posixpath.normpath(name) == name and not name.startswith(("/", "..")) and name != "."
    return name if is_path else re.sub(r"[/.]", "_", name) or "_"


def params(job: EndedJob) -> dict[str, str]:
    """The job's parameters as MLflow keeps them, as text."""
    return {key(name): str(value) for name, value in job.spec.get("params", {}).items()}


def tags(job: EndedJob) -> dict[str, str]:
    """The job's id, end and lineage; what is not known is left out."""
    facts = job.facts
    known: dict[str, Any] = {
        JOB_TAG: job.id,
        "mlport.state": job.state.value,
        "mlport.reason": job.reason or None,
        "mlport.exit_code": job.exit_code,
        "mlport.bundle": facts.get("bundle"),
        "mlport.git_commit": facts.get("git_commit"),
        "mlport.git_dirty": facts.get("git_dirty"),
        "mlport.entrypoint": json.dumps(job.spec.get("entrypoint", [])),
        **{f"mlport.input.{name}": _input(fact) for name, fact in (facts.get("inputs") or {}).items()},
        **{key(name): value for name, value in job.labels.items()},
    }
    return {name: _text(value) for name, value in known.items() if value is not None}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _input(fact: Mapping[str, Any]) -> str:
    return f"{fact['uri']} {fact['kind']}:{fact['digest']}"


def points(lines: Iterable[bytes], default_time: int) -> Iterator[Point]:
    """The values in a job's metrics file; one without a time gets the default, so that the same file gives the same points."""
    for name, value, step, seconds in entries(lines):
        yield Point(key(name), value, step, default_time if seconds is None else int(seconds * 1000))
