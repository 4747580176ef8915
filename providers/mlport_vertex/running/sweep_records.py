"""A hyperparameter tuning job and its trials as Vertex AI tells them, as the SPI's records."""

from __future__ import annotations

from collections.abc import Container, Mapping

from mlport.errors import NotFoundError
from mlport.spi import Json, State, SweepStatus, Trial, TrialState
from mlport_vertex.in_job.trial import value_of
from mlport_vertex.labels import KIND_LABEL, TOKEN_LABEL
from mlport_vertex.running.job_records import moment, number_of, state_of
from mlport_vertex.running.sweep_request import ALGORITHMS

SWEEP = "sweep"
TRIAL_ENDED = ("SUCCEEDED", "INFEASIBLE")
ENDED_BY_FORCE = (State.CANCELLING, State.CANCELLED, State.FAILED)


def sweep_id(job: Json) -> str:
    """Our id of a sweep: its kind and Vertex AI's number."""
    return f"{SWEEP}/{number_of(job)}"


def sweep_name(parent: str, sweep: str) -> str:
    """Vertex AI's name of a sweep. Raises NotFoundError for an id that is none."""
    kind, slash, number = sweep.partition("/")
    if kind != SWEEP or not slash or not number.isdigit():
        raise NotFoundError(f"no sweep {sweep!r} in {parent}", hint="`mlport sweeps list` shows those that there are")
    return f"{parent}/hyperparameterTuningJobs/{number}"


def trial_job(job: Json) -> Json:
    """What each trial runs, in the form of a custom job."""
    return {"jobSpec": job["trialJobSpec"], "labels": job.get("labels", {})}


def metric_of(job: Json) -> str:
    return str(job["studySpec"]["metrics"][0]["metricId"])


def trials_of(job: Json) -> list[Json]:
    """In the order in which they were begun."""
    return sorted(job.get("trials", ()), key=lambda trial: int(trial["id"]))


def may_be_cut_short(job: Json, trial: Json) -> bool:
    """Whether only the custom job of an ended trial tells how it ended: stopped early or cancelled, it may count as a success."""
    stops = any(name.endswith(("StoppingSpec", "StoppingConfig")) for name in job["studySpec"])
    return trial["state"] in TRIAL_ENDED and (stops or trial["state"] == "INFEASIBLE" or state_of(job) in ENDED_BY_FORCE)


def sweep_status(job: Json, space: Mapping[str, Json], cut_short: Container[str] = ()) -> SweepStatus:
    """The status. `space` gives parameters their types; `cut_short` has the names of custom jobs that were cancelled."""
    study = job["studySpec"]
    state, reason = _state(job)
    goal = study["metrics"][0]["goal"]
    return SweepStatus(
        id=sweep_id(job),
        name=job["displayName"],
        state=state,
        native_state=job.get("state", ""),
        road="native",
        metric=metric_of(job),
        direction="maximize" if goal == "MAXIMIZE" else "minimize",
        algorithm=next((ours for ours, theirs in ALGORITHMS.items() if theirs == study.get("algorithm")), "bayesian"),
        planned=int(job["maxTrialCount"]),
        began=moment(job["createTime"]),
        ended=moment(job["endTime"]) if state.terminal and "endTime" in job else None,
        reason=reason,
        token=job.get("labels", {}).get(TOKEN_LABEL),
        labels={name: value for name, value in job.get("labels", {}).items() if name != KIND_LABEL},
        trials=tuple(_trial(job, number, trial, space, cut_short) for number, trial in enumerate(trials_of(job))),
    )


def _state(job: Json) -> tuple[State, str]:
    """A tuning job succeeds when its trials are through; ours only if one of them has a value."""
    state = state_of(job)
    if state is State.UNKNOWN:
        return state, f"Vertex AI calls its state {job.get('state', 'nothing')}"
    if state is State.SUCCEEDED and not any(_final(job, trial) is not None for trial in trials_of(job)):
        return State.FAILED, "no trial succeeded"
    return state, str(job.get("error", {}).get("message", "")) if state is State.FAILED else ""


def _trial(job: Json, number: int, trial: Json, space: Mapping[str, Json], cut_short: Container[str]) -> Trial:
    state, reason = _trial_state(job, trial, is_cut=trial.get("customJob") in cut_short)
    custom = trial.get("customJob")
    return Trial(
        number=number,
        params={each["parameterId"]: _value(space.get(each["parameterId"]), each.get("value")) for each in trial.get("parameters", ())},
        began=moment(trial.get("startTime") or job["createTime"]),
        state=state,
        job_id=f"custom/{custom.rpartition('/')[2]}" if custom else None,
        value=_final(job, trial) if state in (TrialState.SUCCEEDED, TrialState.PRUNED) else None,
        reason=reason,
        curve=_curve(job, trial),
    )


def _trial_state(job: Json, trial: Json, *, is_cut: bool) -> tuple[TrialState, str]:
    native = trial.get("state", "")
    if native not in TRIAL_ENDED:
        return TrialState.RUNNING, ""
    if is_cut:
        if native == "SUCCEEDED" and "medianAutomatedStoppingSpec" in job["studySpec"] and state_of(job) not in ENDED_BY_FORCE:
            return TrialState.PRUNED, "Vertex AI's median rule ended it early"
        return TrialState.CANCELLED, str(trial.get("infeasibleReason", ""))
    if native == "INFEASIBLE":
        return TrialState.FAILED, str(trial.get("infeasibleReason") or native)
    return (TrialState.SUCCEEDED, "") if _final(job, trial) is not None else (TrialState.FAILED, f"it logged no {metric_of(job)!r}")


def _final(job: Json, trial: Json) -> float | None:
    """The value that counts, None for a trial that failed or has not ended."""
    return _measured(job, trial.get("finalMeasurement", {})) if trial.get("state") == "SUCCEEDED" else None


def _measured(job: Json, measurement: Json) -> float | None:
    """A value of zero may be left out by Google's clients."""
    metrics = measurement.get("metrics", ())
    return next((float(each.get("value", 0.0)) for each in metrics if each["metricId"] == metric_of(job)), None)


def _curve(job: Json, trial: Json) -> tuple[tuple[int, float], ...]:
    found = ((int(each.get("stepCount", 0)), _measured(job, each)) for each in trial.get("measurements", ()))
    return tuple(sorted({step: value for step, value in found if value is not None}.items()))


def _value(dimension: Json | None, said: object) -> bool | int | float | str:
    """A parameter in the spec's own type; as Vertex AI says it where mlport did not make the sweep."""
    found: bool | int | float | str = said if dimension is None else value_of(dimension, said)  # type: ignore[assignment]
    return found
