"""What a study searches, and how: its space in mlport's own terms, its metric, and what a trial reported of it.

The search itself is that of mlport's sweeps: grid, random, or Optuna's TPE where Vertex AI has its own Bayesian method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlport import JobSpec, Range, SweepSpec
from mlport.specs import Stopping
from mlport.spi import Trial, TrialState
from mlport.sweeping.stopping import behind
from mlport.sweeping.suggesting import suggest

Json = dict[str, Any]
Point = dict[str, Any]

ALGORITHMS = {"GRID_SEARCH": "grid", "RANDOM_SEARCH": "random"}
VALUE_SPECS = ("doubleValueSpec", "integerValueSpec", "categoricalValueSpec", "discreteValueSpec")
MOST_VALUES, LEAST_GAP = 1000, 1e-10  # the description of DiscreteValueSpec.values
TESTED = 1  # so many trials must have ended before any is ended early; Vertex AI does not say


def problems(study: Json, at: str) -> list[tuple[str, str]]:
    """What is wrong with a StudySpec beyond its description, as (field, sentence) pairs; the sentences are ours."""
    found: list[tuple[str, str]] = []
    for key, name in (("metrics", "metricId"), ("parameters", "parameterId")):
        ids = [each[name] for each in study[key]]
        if len(set(ids)) < len(ids):
            found.append((f"{at}.{key}", "The ids must be unique."))
        found += [
            (f"{at}.{key}[{number}]", "The id must not contain whitespaces.") for number, each in enumerate(ids) if len(each.split()) != 1
        ]
    if len(study["metrics"]) > 1:
        found.append((f"{at}.metrics", "The emulator tunes for one metric only."))
    for number, parameter in enumerate(study["parameters"]):
        found += _parameter_problems(parameter, f"{at}.parameters[{number}]", study.get("algorithm", ""))
    return found


def _parameter_problems(parameter: Json, at: str, algorithm: str) -> list[tuple[str, str]]:
    specs = [name for name in VALUE_SPECS if name in parameter]
    if len(specs) != 1:
        return [(f"{at}.parameter_value_spec", "Exactly one value spec must be set.")]
    if parameter.get("conditionalParameterSpecs"):
        return [(f"{at}.conditional_parameter_specs", "The emulator has no conditional parameters.")]
    if algorithm == "GRID_SEARCH" and specs == ["doubleValueSpec"]:
        return [(f"{at}.double_value_spec", "Grid search needs parameters that are INTEGER, CATEGORICAL or DISCRETE.")]
    values = parameter[specs[0]].get("values", ()) if specs == ["discreteValueSpec"] else ()
    if len(values) > MOST_VALUES or any(after - before < LEAST_GAP for before, after in pairwise(values)):
        said = f"Values must be in increasing order, at least {LEAST_GAP:g} apart, and at most {MOST_VALUES}."
        return [(f"{at}.discrete_value_spec.values", said)]
    low, high = _bounds(parameter[specs[0]])
    if low > high:
        return [(f"{at}.{'double' if specs == ['doubleValueSpec'] else 'integer'}_value_spec", "min_value must not be above max_value.")]
    if parameter.get("scaleType", "").endswith("LOG_SCALE") and "values" not in parameter[specs[0]] and low <= 0:
        return [(f"{at}.scale_type", "A logarithmic scale needs min_value above 0.")]
    return []


def sweep(study: Json, trials: int) -> SweepSpec:
    """The study as a sweep of mlport's; what its trials run is not known to it."""
    metric = study["metrics"][0]
    stopping = Stopping(min_trials=TESTED) if "medianAutomatedStoppingSpec" in study else None
    return SweepSpec.model_validate(
        {
            "name": "study",
            "job": JobSpec(name="trial", entrypoint=("python3",)),
            "space": {each["parameterId"]: _dimension(each) for each in study["parameters"]},
            "metric": metric["metricId"],
            "direction": metric["goal"].lower(),
            "algorithm": ALGORITHMS.get(study.get("algorithm", ""), "bayesian"),
            "max_trials": trials,
            "stopping": stopping,
        }
    )


def _bounds(spec: Json) -> tuple[float, float]:
    """Both ends of a range; one that is zero is left out by Google's clients."""
    return float(spec.get("minValue", 0)), float(spec.get("maxValue", 0))


def _dimension(parameter: Json) -> Range | list[Any]:
    log = parameter.get("scaleType") == "UNIT_LOG_SCALE"
    if "doubleValueSpec" in parameter:
        low, high = _bounds(parameter["doubleValueSpec"])
        return Range(low=low, high=high, log=log)
    if "integerValueSpec" in parameter:
        low, high = _bounds(parameter["integerValueSpec"])
        return Range(low=int(low), high=int(high), log=log)
    return list((parameter.get("categoricalValueSpec") or parameter["discreteValueSpec"])["values"])


def next_point(spec: SweepSpec, seed: int, trials: Sequence[Json]) -> Point | None:
    """The parameters of the next trial; None when every point was tried."""
    try:
        return suggest(spec, seed, [_known(spec, trial) for trial in trials])
    except StopIteration:
        return None


def _known(spec: SweepSpec, trial: Json) -> Trial:
    """A Vertex trial as mlport's searches know trials."""
    states = {"SUCCEEDED": TrialState.SUCCEEDED, "INFEASIBLE": TrialState.FAILED}
    value = metric_of(trial.get("finalMeasurement", {}), spec.metric)
    state = states.get(trial["state"], TrialState.RUNNING)
    known = TrialState.FAILED if state is TrialState.SUCCEEDED and value is None else state
    params = {each["parameterId"]: _plain(spec, each) for each in trial["parameters"]}
    return Trial(int(trial["id"]), params, datetime.now(UTC), known, value=value, curve=curve(trial, spec.metric))


def _plain(spec: SweepSpec, parameter: Json) -> Any:
    """The value in the space's own type: JSON has only one kind of number."""
    where, value = spec.space[parameter["parameterId"]], parameter["value"]
    return int(value) if isinstance(where, Range) and where.whole else value


def curve(trial: Json, metric: str) -> tuple[tuple[int, float], ...]:
    """Step and value of each measurement."""
    found = {int(each["stepCount"]): metric_of(each, metric) for each in trial.get("measurements", ())}
    return tuple(sorted((step, value) for step, value in found.items() if value is not None))


def metric_of(measurement: Json, metric: str) -> float | None:
    """The value of a metric in a measurement, None if it has none."""
    return next((float(each["value"]) for each in measurement.get("metrics", ()) if each["metricId"] == metric), None)


def falls_behind(spec: SweepSpec, trial: Json, others: Sequence[Json]) -> bool:
    """Whether a running trial is to be ended early."""
    mine = curve(trial, spec.metric)
    if spec.stopping is None or not mine:
        return False
    told = [curve(other, spec.metric) for other in others if other["state"] == "SUCCEEDED"]
    return behind(spec.stopping, mine, told, maximize=spec.direction == "maximize") is not None


def measurements(path: Path, metric: str, began: float) -> list[Json]:
    """What a trial reported, in the order of the steps; the file is that of cloudml-hypertune (its hypertune.py).

    A line is `{"timestamp": ..., "trial": ..., "<metric>": "0.9", "global_step": "10"}`; the last one of a step counts.
    `began` is when the trial did, as seconds since 1970.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: dict[int, Json] = {}
    for line in lines:
        reported = _line(line)
        if metric in reported:
            step = int(reported.get("global_step", 0))
            seconds = max(0.0, float(reported.get("timestamp", began)) - began)
            found[step] = {
                "stepCount": str(step),
                "elapsedDuration": f"{seconds:.6f}s",
                "metrics": [{"metricId": metric, "value": float(reported[metric])}],
            }
    return [found[step] for step in sorted(found)]


def _line(line: bytes) -> Mapping[str, Any]:
    """One report; nothing for a line that is being written, which the next look will see whole."""
    try:
        reported = json.loads(line)
    except ValueError:
        return {}
    return reported if isinstance(reported, dict) else {}


def final(found: Sequence[Json], spec: SweepSpec, selection: str) -> Json | None:
    """The measurement that counts for a trial: the last, or the best; None if it reported none."""
    if not found:
        return None
    if selection != "BEST_MEASUREMENT":
        return found[-1]
    sign = 1 if spec.direction == "maximize" else -1
    return max(found, key=lambda each: sign * float(each["metrics"][0]["value"]))


def arguments(parameters: Sequence[Json]) -> list[str]:
    """A trial's parameters as its program gets them: `--name=value` each."""
    return [f"--{each['parameterId']}={_said(each['value'])}" for each in parameters]


def _said(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
