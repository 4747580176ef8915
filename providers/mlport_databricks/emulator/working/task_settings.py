"""The settings of a task as one run has them: what run-now overrides, and the inputs of a for-each task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.working.task_commands import TaskRefused
from mlport_databricks.emulator.working.task_states import refused
from mlport_databricks.emulator.working.task_values import resolved

Json = dict[str, Any]
MOST_INPUTS = 5000  # docs.databricks.com/jobs/for-each: of an array in JSON


def effective(run: Json, spec: Json) -> Json:
    """A task with the parameters of its run.

    Those of the job reach notebooks as widgets, and take precedence over a task's own (docs.databricks.com/jobs/job-parameters).
    """
    given = run["overrides"]
    found = dict(spec)
    if "spark_python_task" in found and given.get("python_params"):
        found["spark_python_task"] = {**found["spark_python_task"], "parameters": given["python_params"]}
    if "python_wheel_task" in found:
        task = dict(found["python_wheel_task"])
        if given.get("python_params"):
            task["parameters"] = given["python_params"]
        if given.get("python_named_params"):
            task["named_parameters"] = {**task.get("named_parameters", {}), **given["python_named_params"]}
        found["python_wheel_task"] = task
    if "notebook_task" in found:
        of_job = {parameter["name"]: parameter["value"] for parameter in run["job_parameters"]}
        base = {**found["notebook_task"].get("base_parameters", {}), **of_job, **given.get("notebook_params", {})}
        found["notebook_task"] = {**found["notebook_task"], "base_parameters": base}
    return found


def inputs_of(spec: Json, known: Mapping[str, str]) -> list[Any]:
    """The elements over which a for-each task goes. Raises TaskRefused where they are no array in JSON."""
    text = resolved(spec["for_each_task"]["inputs"], known)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or len(found) > MOST_INPUTS:
        said = (
            f"The inputs of the for-each task {spec['task_key']} must be a JSON array of 1 to {MOST_INPUTS} elements, not {text[:200]!r}."
        )
        raise TaskRefused(refused("INVALID_RUN_CONFIGURATION", said))
    return found
