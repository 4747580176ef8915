"""Sweeps on paper: the tuning job as Google gets it, what its tuner cannot express, and what a trial's container does beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("googleapiclient", reason="needs google-api-python-client: it ships the description")

from mlport.errors import SpecError, UnsupportedError
from mlport.mlport_runner import parse_metrics
from mlport.specs import SweepSpec
from mlport.spi import TOKEN, Facts, Plan, State, TrialState
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.in_job.trial import Reporter, params_of, value_of
from mlport_vertex.running.sweep_records import may_be_cut_short, sweep_name, sweep_status

CONFIG = VertexConfig(project="acme-ml", location="europe-west4", staging="gs://acme-ml/mlport", owner="ada", profile="prod")
LABELS = {"mlport": "1", "mlport_token": TOKEN, "team": "Fraud & Risk"}
Json = dict[str, Any]


def spec_of(job: Json | None = None, **fields: Any) -> SweepSpec:
    search = {"space": {"depth": {"low": 2, "high": 12}}, "metric": "auc", "direction": "maximize", "max_trials": 30, "parallel": 4}
    trains = {"name": "delays", "entrypoint": ["python", "train.py"], "params": {"epochs": 3}, **(job or {})}
    return SweepSpec.model_validate({"name": "depths", "job": trains, **search, **fields})


def plan_of(job: Json | None = None, **fields: Any) -> Plan:
    """The plan, once Google's description has nothing against its request."""
    plan = PROVIDER.plan(CONFIG, spec_of(job, **fields), Facts(bundle="0" * 64, labels=LABELS))
    request, described = plan.requests[-1], document("aiplatform.v1")
    found = described.match(request.method, request.path.lstrip("/"))
    assert found is not None
    assert found[0].id == request.call
    assert described.request(found[0], request.body).problems == []
    return plan


def body(**fields: Any) -> Json:
    return plan_of(**fields).requests[-1].body


def test_the_request_spelled_out() -> None:
    space = {
        "depth": {"low": 2, "high": 12},
        "rate": {"low": 0.001, "high": 0.3, "log": True},
        "share": {"low": 0.5, "high": 1.0, "step": 0.25},
        "kind": ["gbtree", 7, True, 7],
    }
    plan = plan_of({"compute": {"cpus": 4, "memory_gib": 16, "spot": True}}, space=space, stopping={}, max_failures=2)
    made = plan.requests[-1].body
    run = made.pop("trialJobSpec")
    assert made == {
        "displayName": "depths",
        "labels": {"mlport": "1", "mlport_token": TOKEN, "team": "fraud---risk", "mlport_kind": "sweep"},
        "studySpec": {
            "metrics": [{"metricId": "auc", "goal": "MAXIMIZE"}],
            "parameters": [
                {"parameterId": "depth", "integerValueSpec": {"minValue": "2", "maxValue": "12"}, "scaleType": "UNIT_LINEAR_SCALE"},
                {"parameterId": "rate", "doubleValueSpec": {"minValue": 0.001, "maxValue": 0.3}, "scaleType": "UNIT_LOG_SCALE"},
                {"parameterId": "share", "discreteValueSpec": {"values": [0.5, 0.75, 1.0]}, "scaleType": "UNIT_LINEAR_SCALE"},
                {"parameterId": "kind", "categoricalValueSpec": {"values": ["gbtree", "7", "true"]}},
            ],
            "measurementSelectionType": "LAST_MEASUREMENT",
            "medianAutomatedStoppingSpec": {"useElapsedDuration": False},
        },
        "maxTrialCount": 30,
        "parallelTrialCount": 4,
        "maxFailedTrialCount": 3,
    }
    (pool,) = run["workerPoolSpecs"]
    work = json.loads(pool["containerSpec"]["env"][0]["value"])
    assert (run["scheduling"]["strategy"], run["baseOutputDirectory"]) == (
        "SPOT",
        {"outputUriPrefix": f"gs://acme-ml/mlport/runs/{TOKEN}/"},
    )
    assert (work["params"], work["run"], work["sweep"]["metric"]) == ({"epochs": 3}, f"gs://acme-ml/mlport/runs/{TOKEN}", "auc")
    assert (plan.kind, plan.resolved["machine"], plan.spec["space"]["rate"]["log"]) == ("sweep", "e2-standard-4", True)
    assert any("Bayesian" in note for note in plan.notes)
    assert any("median rule decides itself" in note for note in plan.notes)


def test_algorithms_goals_and_counts() -> None:
    grid = body(algorithm="grid", space={"x": [1, 2, 3]}, max_trials=None, direction="minimize", parallel=8)
    assert (grid["studySpec"]["algorithm"], grid["maxTrialCount"], grid["parallelTrialCount"]) == ("GRID_SEARCH", 3, 3)
    assert grid["studySpec"]["metrics"][0]["goal"] == "MINIMIZE"
    assert body(algorithm="random")["studySpec"]["algorithm"] == "RANDOM_SEARCH"
    assert "algorithm" not in body()["studySpec"]


CANNOT = [
    ({"seed": 1}, "seed"),
    ({"timeout": "1h"}, "timeout"),
    ({"stopping": {"rule": "halving"}}, "stopping.rule"),
    ({"stopping": {"min_trials": 2}}, "stopping.min_trials"),
    ({"stopping": {"min_steps": 2}}, "stopping.min_steps"),
    ({"metric": "val auc"}, "metric"),
    ({"metric": "trial"}, "metric"),
    ({"space": {"a b": [1]}}, "space.a b"),
    ({"space": {"a=b": [1]}}, "space.a=b"),
    ({"space": {"x": ["1", 1]}}, "space.x"),
    ({"space": {"x": {"low": 0, "high": 2**60}}}, "space.x"),
    ({"space": {"x": {"low": 0, "high": 3000, "step": 2}}}, "space.x"),
    ({"space": {"x": {"low": 0.0, "high": 1e-9, "step": 1e-11}}}, "space.x"),
    ({"options": {"vertex": {"sweep": "composed"}}}, "options.vertex.sweep"),
]


@pytest.mark.parametrize(("fields", "field"), CANNOT)
def test_what_the_tuner_cannot_express_is_named(fields: Json, field: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        plan_of(**fields)
    assert set(caught.value.gaps) == {field}
    if "options" not in fields:
        with pytest.raises(SpecError, match=f"SweepSpec.{field}: "):
            plan_of(**fields, options={"vertex": {"sweep": "native"}})


def test_options_are_checked() -> None:
    with pytest.raises(SpecError, match=r"options.vertex: .*sweeep"):
        plan_of(options={"vertex": {"sweeep": "native"}})
    assert plan_of(options={"vertex": {"sweep": "native"}, "elsewhere": {"x": 1}}).kind == "sweep"
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    made = body(job={"options": {"vertex": {"encryption_key": key, "machine": "n2-standard-8"}}})
    assert made["encryptionSpec"] == {"kmsKeyName": key}
    assert made["trialJobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] == "n2-standard-8"


# ---------------------------------------------------------------- in the container

SPACE = {
    "whole": {"type": "int"},
    "real": {"type": "float"},
    "step": {"type": "numbers", "values": [0.1, 0.2, 0.30000000000000004]},
    "kind": {"type": "choices", "values": {"a b": "a b", "true": True, "7": 7}},
}


def test_arguments_become_values_of_the_spaces_types() -> None:
    words = ["--whole=3", "--real=1e-3", "--step=0.3", "--kind=a b"]
    assert params_of(words, SPACE) == {"whole": 3, "real": 0.001, "step": 0.30000000000000004, "kind": "a b"}
    assert [value_of(SPACE["kind"], said) for said in ("true", "7")] == [True, 7]
    assert [(type(found), found) for said in ("4", 4.0, "4.0") if (found := value_of(SPACE["whole"], said))] == [(int, 4)] * 3
    assert isinstance(value_of(SPACE["real"], 2), float)
    assert value_of({"type": "choices", "values": {"a=b": "a=b", "": ""}}, "a=b") == "a=b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--whole=3"], "no argument for real, step, kind"),
        (["--wholly=3"], "'--wholly=3', and the sweep searches whole"),
        (["whole=3"], "'whole=3'"),
        (["--whole"], "'--whole'"),
        (["--kind=c"], "'c' is none of a b, true, 7"),
        (["--whole=many"], "many"),
    ],
)
def test_arguments_of_another_search_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        params_of(words, SPACE)


def test_the_metric_is_reported_line_by_line_as_hypertune_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported, logged = tmp_path / "hypertune" / "output.metrics", tmp_path / "metrics.jsonl"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(reported))
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "4")
    reporter = Reporter("auc", parse_metrics)

    def lines() -> list[tuple[str, str]]:
        told = [json.loads(line) for line in reported.read_text().splitlines()]
        assert all(set(each) == {"timestamp", "trial", "auc", "global_step"} and each["trial"] == "4" for each in told)
        return [(each["global_step"], each["auc"]) for each in told]

    logged.write_text('{"auc": 0.5}\n{"loss": 1}\n{"name": "auc", "va')
    reporter.report(str(logged))
    assert lines() == [("0", "0.5")]
    reporter.report(str(logged))
    assert lines() == [("0", "0.5")], "nothing twice"
    with logged.open("a") as stream:
        stream.write('lue": 0.75, "step": 7}\nno json\n{"auc": NaN}\n{"auc": 1, "step": -1}\n{"auc": 2}')
    reporter.report(str(logged))
    assert lines() == [("0", "0.5"), ("7", "0.75"), ("0", "1.0")]
    reporter.report(str(logged), final=True)
    assert lines()[3:] == [("3", "2.0")], "the last line needs no newline once the program has ended"


# ---------------------------------------------------------------- what Vertex AI tells


def job(state: str, *trials: Json, stopping: bool = False, **fields: Any) -> Json:
    study = {"metrics": [{"metricId": "auc", "goal": "MAXIMIZE"}], **({"medianAutomatedStoppingSpec": {}} if stopping else {})}
    return {
        "name": "projects/p/locations/l/hyperparameterTuningJobs/12",
        "displayName": "depths",
        "state": f"JOB_STATE_{state}",
        "createTime": "2026-03-02T06:00:00Z",
        "maxTrialCount": 3,
        "studySpec": study,
        "trials": [{"id": str(number), "customJob": f"p/customJobs/{number}", **each} for number, each in enumerate(trials, 9)],
        **fields,
    }


def succeeded(**metric: float) -> Json:
    measurement = {"stepCount": "1", "metrics": [{"metricId": "auc", **metric}]}
    return {"state": "SUCCEEDED", "finalMeasurement": measurement, "measurements": [measurement]}


def test_trials_are_in_the_order_of_their_numbers_and_a_zero_may_be_left_out() -> None:
    found = sweep_status(job("RUNNING", succeeded(value=0.5), succeeded(), {"state": "REQUESTED"}), {})
    assert (found.id, found.road, found.counts) == ("sweep/12", "native", {"running": 1, "succeeded": 2})
    assert [(trial.number, trial.job_id, trial.value) for trial in found.trials] == [
        (0, "custom/9", 0.5),
        (1, "custom/10", 0.0),
        (2, "custom/11", None),
    ]
    assert found.trials[1].curve == ((1, 0.0),)


def test_a_trial_cut_short_is_pruned_or_cancelled() -> None:
    cut = {"p/customJobs/9"}
    states = {
        (state, stopping): sweep_status(job(state, succeeded(value=1), stopping=stopping), {}, cut).trials[0].state
        for state in ("SUCCEEDED", "CANCELLED", "FAILED")
        for stopping in (True, False)
    }
    assert states.pop(("SUCCEEDED", True)) is TrialState.PRUNED
    assert set(states.values()) == {TrialState.CANCELLED}
    plain = job("RUNNING", succeeded(value=1), {"state": "INFEASIBLE"}, {"state": "ACTIVE"})
    assert [may_be_cut_short(plain, trial) for trial in plain["trials"]] == [False, True, False]
    stops = job("RUNNING", succeeded(value=1), {"state": "ACTIVE"}, stopping=True)
    assert [may_be_cut_short(stops, trial) for trial in stops["trials"]] == [True, False]


def test_states_and_reasons() -> None:
    infeasible = {"state": "INFEASIBLE", "infeasibleReason": "exit 1"}
    none = sweep_status(job("SUCCEEDED", infeasible), {})
    assert (none.state, none.reason, none.trials[0].reason) == (State.FAILED, "no trial succeeded", "exit 1")
    other = {"state": "SUCCEEDED", "finalMeasurement": {"metrics": [{"metricId": "loss", "value": 1}]}}
    assert sweep_status(job("RUNNING", other), {}).trials[0].reason == "it logged no 'auc'"
    failed = sweep_status(job("FAILED", error={"code": 9, "message": "too many"}, endTime="2026-03-02T07:00:00Z"), {})
    assert (failed.state, failed.reason, failed.ended is not None) == (State.FAILED, "too many", True)
    assert sweep_status(job("PAUSED"), {}).state is State.UNKNOWN
    with pytest.raises(Exception, match="no sweep 'depths-1'"):
        sweep_name("projects/p/locations/l", "depths-1")
