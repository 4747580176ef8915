"""A sweep's requests: the package into the staging folder, and hyperparameterTuningJobs.create. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from mlport.errors import SpecError, UnsupportedError
from mlport.specs import Dimension, Range, Stopping, SweepSpec
from mlport.spi import Facts, Json, Request
from mlport_vertex.config import VertexConfig
from mlport_vertex.labels import KIND_LABEL, labels
from mlport_vertex.options import VertexJobOptions, VertexSweepOptions, options_of
from mlport_vertex.running.job_request import PACKAGE_IS_THERE, Planned, encryption, job_image, job_notes, job_work, to_run

ALGORITHMS: Mapping[str, str] = {"grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
"""Vertex AI's words; its own Bayesian search is what it does where none is said."""
ID = re.compile(r"[^\s=]+")
REPORTED = ("timestamp", "trial", "global_step")  # other keys of a line that reports a metric
MOST_VALUES = 1000  # of a discrete parameter
LEAST_GAP = 1e-10  # between two of them
EXACT = 2**53  # whole numbers up to here survive as JSON numbers
Gap = tuple[str, str]


def sweep_plan(config: VertexConfig, spec: SweepSpec, facts: Facts) -> Planned:
    """What runs a SweepSpec with Vertex AI's tuner.

    Raises:
        UnsupportedError: it cannot search as the spec says, or was not to; names each field.
        SpecError: the same where it was asked for by options.
    """
    wanted = options_of(VertexSweepOptions, spec.options).sweep
    found = [("options.vertex.sweep", "composed was asked for")] if wanted == "composed" else list(gaps(spec))
    if found and wanted == "native":
        listed = "; ".join(f"SweepSpec.{field}: {why}" for field, why in found)
        raise SpecError(f"options.vertex.sweep: Vertex AI's tuner cannot do this search: {listed}", hint="leave those out, or that option")
    if found:
        raise UnsupportedError("vertex", found)
    work = {**job_work(config, spec.job, facts), "sweep": {"metric": spec.metric, "space": in_job(spec)}}
    options = options_of(VertexJobOptions, spec.job.options)
    staged, job_spec, resolved = to_run(config, spec.job, options, work, job_image(config, spec.job))
    body = {
        "displayName": spec.name,
        "labels": labels({**facts.labels, KIND_LABEL: "sweep"}),
        "studySpec": study(spec),
        "maxTrialCount": spec.trials,
        "parallelTrialCount": min(spec.parallel, spec.trials),
        "maxFailedTrialCount": spec.max_failures + 1,
        "trialJobSpec": job_spec,
        **encryption(config, options),
    }
    call = "aiplatform.projects.locations.hyperparameterTuningJobs.create"
    created = Request(call, body, "POST", f"/v1/{config.parent}/hyperparameterTuningJobs", after=PACKAGE_IS_THERE)
    return "sweep", spec.name, (staged, created), resolved, (*job_notes(spec.job), *_notes(spec))


def gaps(spec: SweepSpec) -> Iterator[Gap]:
    """What of the spec a tuning job cannot express: field and why."""
    if spec.seed is not None:
        yield "seed", "Vertex AI's searches cannot be repeated"
    if spec.timeout is not None:
        yield "timeout", "a tuning job has no time limit that ends what runs"
    if spec.stopping is not None and spec.stopping.rule != "median":
        yield "stopping.rule", f"it has no {spec.stopping.rule}"
    elif spec.stopping is not None:
        for field in ("min_trials", "min_steps"):
            if getattr(spec.stopping, field) != Stopping.model_fields[field].default:
                yield f"stopping.{field}", "it decides itself when its median rule begins"
    if not ID.fullmatch(spec.metric) or spec.metric in REPORTED:
        yield "metric", f"{spec.metric!r} cannot be the id of a metric there"
    for name, each in spec.space.items():
        if (why := _unlike(name, each)) is not None:
            yield f"space.{name}", why


def _unlike(name: str, each: Dimension) -> str | None:
    """Why a dimension cannot be a parameter there."""
    if not ID.fullmatch(name):
        return "its name would be no argument --name=value"
    if not isinstance(each, Range):
        values = _different(each)
        return "two of its choices are the same as text" if len({_text(value) for value in values}) < len(values) else None
    if each.whole and max(abs(each.low), abs(each.high)) > EXACT:
        return "numbers so large lose digits there"
    if each.step is not None and (each.size or 0) > MOST_VALUES:
        return f"{each.size} steps are more than {MOST_VALUES}"
    return f"a step of {each.step} is less than {LEAST_GAP:g}" if each.step is not None and each.step < LEAST_GAP else None


def study(spec: SweepSpec) -> Json:
    """The StudySpec."""
    algorithm = ALGORITHMS.get(spec.algorithm)
    return {
        "metrics": [{"metricId": spec.metric, "goal": spec.direction.upper()}],
        "parameters": [{"parameterId": name, **_parameter(each)} for name, each in spec.space.items()],
        "measurementSelectionType": "LAST_MEASUREMENT",
        **({"algorithm": algorithm} if algorithm else {}),
        **({"medianAutomatedStoppingSpec": {"useElapsedDuration": False}} if spec.stopping else {}),
    }


def _parameter(each: Dimension) -> Json:
    if not isinstance(each, Range):
        return {"categoricalValueSpec": {"values": [_text(value) for value in _different(each)]}}
    if each.step is not None:
        return {"discreteValueSpec": {"values": _steps(each)}, "scaleType": "UNIT_LINEAR_SCALE"}
    scale = {"scaleType": "UNIT_LOG_SCALE" if each.log else "UNIT_LINEAR_SCALE"}
    if each.whole:
        return {"integerValueSpec": {"minValue": str(each.low), "maxValue": str(each.high)}, **scale}
    return {"doubleValueSpec": {"minValue": each.low, "maxValue": each.high}, **scale}


def in_job(spec: SweepSpec) -> Json:
    """The space as `mlport_vertex.in_job.trial` reads it, so that a program gets values of the spec's own types."""
    return {name: _typed(each) for name, each in spec.space.items()}


def _typed(each: Dimension) -> Json:
    if not isinstance(each, Range):
        return {"type": "choices", "values": {_text(value): value for value in each}}
    if each.step is not None:
        return {"type": "numbers", "values": _steps(each)}
    return {"type": "int" if each.whole else "float"}


def _steps(each: Range) -> list[int | float]:
    return [each.at(index) for index in range(each.size or 0)]


def _different(choices: tuple[bool | int | float | str, ...]) -> list[bool | int | float | str]:
    """Without repetitions: 1, 1.0 and True are three values."""
    return list({repr(value): value for value in choices}.values())


def _text(value: bool | float | str) -> str:
    """A choice as a category: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _notes(spec: SweepSpec) -> Iterator[str]:
    chosen = {"grid": "in order", "random": "by chance"}.get(spec.algorithm, "by its own Bayesian search")
    yield f"up to {spec.trials} trials, {min(spec.parallel, spec.trials)} at a time, chosen {chosen} by Vertex AI's tuner"
    if spec.stopping is not None:
        yield "Vertex AI's median rule decides itself when it begins: min_trials and min_steps are not said to it"
