"""Tuning jobs and training pipelines of the emulator: trials, measurements, ends, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from aids.vertex.jobs import create, ended, get, job, pool, printed, refused, until
from aids.vertex.place import call

from mlport.emulation.server import Ready

Json = dict[str, Any]
KIND = "hyperparameterTuningJobs"
REPORTS = """
import json, os, sys, time
given = dict(each.removeprefix("--").split("=") for each in sys.argv[1:])
x = float(given["x"])
with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as stream:
    for step in range(1, 4):
        stream.write(json.dumps({"timestamp": time.time(), "trial": "0", "loss": str((x - 0.2) ** 2 + abs(step - 2)), "global_step": str(step)}) + "\\n")
        stream.flush()
"""
X = {"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}, "scaleType": "UNIT_LINEAR_SCALE"}


def tuning(program: str = REPORTS, trials: int = 3, parallel: int = 2, *parameters: Json, base: str = "", **study: Any) -> Json:
    spec = {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "parameters": list(parameters or (X,)), **study}
    folder = {"baseOutputDirectory": {"outputUriPrefix": base}} if base else {}
    return {
        "displayName": "tuning",
        "studySpec": spec,
        "maxTrialCount": trials,
        "parallelTrialCount": parallel,
        "trialJobSpec": {**job(pool(program, "--fixed=1"))["jobSpec"], **folder},
    }


def test_trials_are_custom_jobs_with_arguments_measurements_and_folders_of_their_own(emulator: Ready) -> None:
    made = create(emulator, tuning(base="gs://emulated-mlport/study/", measurementSelectionType="BEST_MEASUREMENT"), KIND)
    found = ended(emulator, made["name"])
    assert (made["state"], found["state"]) == ("JOB_STATE_PENDING", "JOB_STATE_SUCCEEDED")
    assert [trial["id"] for trial in found["trials"]] == ["1", "2", "3"]
    assert len({trial["parameters"][0]["value"] for trial in found["trials"]}) == 3
    for trial in found["trials"]:
        x = trial["parameters"][0]["value"]
        custom = get(emulator, trial["customJob"])
        assert trial["state"] == "SUCCEEDED"
        assert custom["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"] == ["--fixed=1", f"--x={x}"]
        assert custom["jobSpec"]["baseOutputDirectory"]["outputUriPrefix"] == f"gs://emulated-mlport/study/{trial['id']}"
        assert [each["stepCount"] for each in trial["measurements"]] == ["1", "2", "3"]
        assert trial["finalMeasurement"]["stepCount"] == "2"
        assert trial["finalMeasurement"]["metrics"] == [{"metricId": "loss", "value": pytest.approx((x - 0.2) ** 2)}]


def test_the_last_measurement_counts_unless_the_best_is_asked_for(emulator: Ready) -> None:
    found = ended(emulator, create(emulator, tuning(trials=1, algorithm="RANDOM_SEARCH"), KIND)["name"])
    assert found["trials"][0]["finalMeasurement"]["stepCount"] == "3"


def test_a_grid_is_run_through_and_then_over(emulator: Ready) -> None:
    parameters = (
        {"parameterId": "x", "integerValueSpec": {"minValue": "0", "maxValue": "1"}},
        {"parameterId": "kind", "categoricalValueSpec": {"values": ["a", "b"]}},
    )
    found = ended(emulator, create(emulator, tuning(REPORTS, 10, 4, *parameters, algorithm="GRID_SEARCH"), KIND)["name"])
    points = {tuple(each["value"] for each in trial["parameters"]) for trial in found["trials"]}
    assert points == {(0, "a"), (0, "b"), (1, "a"), (1, "b")}
    assert found["state"] == "JOB_STATE_SUCCEEDED"


def test_discrete_values_reach_the_program_with_all_their_digits(emulator: Ready) -> None:
    program = REPORTS.replace('x = float(given["x"])', 'x = float(given["x"]); print("x is", given["x"])')
    parameter = {"parameterId": "x", "discreteValueSpec": {"values": [0.1, 1234567, 1e16]}}
    found = ended(emulator, create(emulator, tuning(program, 3, 3, parameter, algorithm="GRID_SEARCH"), KIND)["name"])
    said = [line for trial in found["trials"] for line in printed(emulator, trial["customJob"])]
    assert sorted(said) == ["x is 0.1", "x is 10000000000000000", "x is 1234567"]


def test_too_many_failed_trials_end_it(emulator: Ready) -> None:
    made = create(emulator, {**tuning("raise SystemExit(1)", 5, 1), "maxFailedTrialCount": 2}, KIND)
    found = ended(emulator, made["name"])
    assert found["state"] == "JOB_STATE_FAILED"
    assert [trial["state"] for trial in found["trials"]] == ["INFEASIBLE", "INFEASIBLE"]
    assert "non-zero status of 1" in found["trials"][0]["infeasibleReason"]
    assert "error" in found


def test_cancel_ends_its_trials(emulator: Ready) -> None:
    name = create(emulator, tuning("import time; time.sleep(60)", 4, 2), KIND)["name"]
    found = until(emulator, name, lambda found: [each["state"] for each in found.get("trials", ())] == ["ACTIVE", "ACTIVE"])
    assert found["state"] == "JOB_STATE_RUNNING"
    assert call(emulator, "POST", f"/v1/{name}:cancel", {}) == (200, {})
    found = ended(emulator, name)
    assert found["state"] == "JOB_STATE_CANCELLED"
    assert {get(emulator, trial["customJob"])["state"] for trial in found["trials"]} == {"JOB_STATE_CANCELLED"}


STOPS = """
import json, os, pathlib, sys, time
x = int(sys.argv[-1].removeprefix("--x="))
with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as stream:
    stream.write(json.dumps({"timestamp": time.time(), "trial": "0", "loss": str(x), "global_step": "1"}) + "\\n")
if x == 2:
    time.sleep(60)
"""


def test_a_trial_that_falls_behind_the_median_is_ended_early(emulator: Ready) -> None:
    parameter = {"parameterId": "x", "integerValueSpec": {"minValue": "1", "maxValue": "2"}}
    body = tuning(STOPS, 2, 1, parameter, algorithm="GRID_SEARCH", medianAutomatedStoppingSpec={})
    found = ended(emulator, create(emulator, body, KIND)["name"])
    assert found["state"] == "JOB_STATE_SUCCEEDED"
    assert [trial["state"] for trial in found["trials"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert get(emulator, found["trials"][1]["customJob"])["state"] == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (tuning(trials=0), "hyperparameter_tuning_job.max_trial_count"),
        (tuning(REPORTS, 1, 1, X, X), "study_spec.parameters; Message: The ids must be unique."),
        (tuning(REPORTS, 1, 1, {"parameterId": "x"}), "Exactly one value spec must be set."),
        (tuning(algorithm="GRID_SEARCH"), "Grid search needs parameters that are INTEGER, CATEGORICAL or DISCRETE."),
        (tuning(REPORTS, 1, 1, {**X, "scaleType": "UNIT_LOG_SCALE"}), "A logarithmic scale needs min_value above 0."),
        (
            tuning(REPORTS, 1, 1, {"parameterId": "x", "discreteValueSpec": {"values": [2, 1]}}),
            "discrete_value_spec.values; Message: Values must be in increasing order",
        ),
        ({**tuning(), "studySpec": {"parameters": [X]}}, "study_spec.metrics; Message: Required field is not set."),
        ({**tuning(), "trialJobSpec": job(pool("", count=2))["jobSpec"]}, "trial_job_spec.worker_pool_specs[0].replica_count"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(emulator: Ready, body: Json, said: str) -> None:
    status, error = refused(emulator, body, KIND)
    assert (status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert said in error["message"]


# ---------------------------------------------------------------- training pipelines

CUSTOM = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"


def pipeline(program: str, **more: Any) -> Json:
    """The custom task's inputs carry the names of the protos, as the SDK writes them, and numbers as a Struct has them."""
    spec = {
        "machine_spec": {"machine_type": "m"},
        "replica_count": 1.0,
        "container_spec": {"image_uri": "python:3", "command": ["python3", "-c", program]},
    }
    inputs = {"worker_pool_specs": [spec], "scheduling": {"timeout": None}}
    return {"displayName": "pipeline", "trainingTaskDefinition": CUSTOM, "trainingTaskInputs": inputs, **more}


def test_a_pipeline_ends_as_its_custom_job_does(emulator: Ready) -> None:
    found = ended(emulator, create(emulator, pipeline("raise SystemExit(3)"), "trainingPipelines")["name"])
    custom = get(emulator, found["trainingTaskMetadata"]["backingCustomJob"])
    assert found["state"] == "PIPELINE_STATE_FAILED"
    assert found["error"] == custom["error"]
    found = ended(emulator, create(emulator, pipeline("print(1)"), "trainingPipelines")["name"])
    assert found["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert "modelToUpload" not in found


def test_a_model_that_cannot_be_uploaded_fails_the_pipeline(emulator: Ready) -> None:
    body = pipeline("print(1)", modelToUpload={"displayName": "m", "labels": {"Wrong": "x"}})
    found = ended(emulator, create(emulator, body, "trainingPipelines")["name"])
    assert found["state"] == "PIPELINE_STATE_FAILED"
    assert "labels" in found["error"]["message"]


def test_inputs_are_held_to_the_custom_jobs_spec(emulator: Ready) -> None:
    body = pipeline("")
    body["trainingTaskInputs"]["worker_pool_specs"][0]["disk"] = {}
    status, error = refused(emulator, body, "trainingPipelines")
    assert status == 400
    assert "Unknown name \"disk\" at 'training_pipeline.training_task_inputs.worker_pool_specs[0]'" in error["message"]
