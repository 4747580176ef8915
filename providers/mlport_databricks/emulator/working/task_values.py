"""Dynamic value references: `{{job.run_id}}` and the like in the parameters of a task.

What there is: https://docs.databricks.com/en/jobs/parameter-value-references.html; with the older names of the same
(`{{run_id}}`, `{{parent_run_id}}`, ...), and `{{input}}` of a for-each task. An unknown reference stays as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

_REFERENCE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
PARTS = ("year", "month", "day", "hour", "minute", "second")


def resolved(value: Any, known: Mapping[str, str]) -> Any:
    """The same value with every reference in its texts replaced.

    >>> resolved(["{{job.run_id}}-{{ input }}", "{{unknown}}"], {"job.run_id": "17", "input": "a"})
    ['17-a', '{{unknown}}']
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: known.get(found[1].replace("`", ""), found[0]), value)
    if isinstance(value, list):
        return [resolved(each, known) for each in value]
    if isinstance(value, dict):
        return {name: resolved(each, known) for name, each in value.items()}
    return value


def of_job(run: Json, host: str, workspace_id: str) -> dict[str, str]:
    """What every task of a run may refer to."""
    parameters = {parameter["name"]: parameter["value"] for parameter in run["job_parameters"]}
    return {
        "job.id": str(run["job_id"]),
        "job.name": run["name"],
        "job.run_id": str(run["run_id"]),
        "job.repair_count": str(len(run.get("history", ()))),
        "job.trigger.type": run["trigger"].lower(),
        "workspace.id": workspace_id,
        "workspace.url": f"https://{host}",
        **_times("job.start_time", run["created"]),
        **_times("job.trigger.time", run["created"]),
        **{f"job.parameters.{name}": value for name, value in parameters.items()},
        **parameters,
        "job_id": str(run["job_id"]),
        "parent_run_id": str(run["run_id"]),
        "start_date": _moment(run["created"]).date().isoformat(),
        "start_time": str(run["created"]),
    }


def of_task(key: str, attempt: Json, spec: Json) -> dict[str, str]:
    """What one attempt of a task may refer to besides."""
    notebook = spec.get("notebook_task", {}).get("notebook_path")
    return {
        "task.name": key,
        "task.run_id": str(attempt["run_id"]),
        "task.execution_count": str(attempt["number"] + 1),
        **({"task.notebook_path": notebook} if notebook else {}),
        "task_key": key,
        "run_id": str(attempt["run_id"]),
        "task_retry_count": str(attempt["number"]),
    }


def of_others(attempts: Mapping[str, Json]) -> dict[str, str]:
    """Of the tasks before: the run id, and how it ended in small letters."""
    return {
        name: value
        for key, attempt in attempts.items()
        for name, value in {
            f"tasks.{key}.run_id": str(attempt["run_id"]),
            f"tasks.{key}.result_state": str((attempt["outcome"] or {}).get("result", "")).lower(),
        }.items()
    }


def of_input(element: Any) -> dict[str, str]:
    """One element of a for-each task's inputs; a field of it by `{{input.name}}`.

    >>> of_input({"a": 1, "b": "x"})["input.b"], of_input(7)
    ('x', {'input': '7'})
    """
    fields = element if isinstance(element, dict) else {}
    return {"input": text(element), **{f"input.{name}": text(value) for name, value in fields.items()}}


def text(element: Any) -> str:
    """An element as the parameter of a program."""
    return element if isinstance(element, str) else json.dumps(element)


def _times(name: str, millis: int) -> dict[str, str]:
    moment = _moment(millis)
    parts = {part: str(getattr(moment, part)) for part in PARTS}
    more = {
        "iso_date": moment.date().isoformat(),
        "iso_datetime": moment.isoformat(timespec="seconds").removesuffix("+00:00"),
        "iso_weekday": str(moment.isoweekday()),
        "is_weekday": str(moment.isoweekday() < 6).lower(),
        "timestamp_ms": str(millis),
    }
    return {f"{name}.{part}": value for part, value in {**parts, **more}.items()}


def _moment(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)
