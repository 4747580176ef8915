"""Specs: one clear error that names field, value and what would be right; needs derived from the fields that are set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlport.capabilities import Capability as C
from mlport.errors import SpecError
from mlport.fields import parse_duration
from mlport.specs import BatchSpec, Compute, DeploymentSpec, EndpointSpec, JobSpec, ModelRef, ModelSpec, Replicas

REF = ModelRef(name="delays", version="3")


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"name": "train", "entrypoint": ["python", "train.py"], **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"entrypont": ["x"]}, ["JobSpec.entrypont", "did you mean 'entrypoint'?"]),
        ({"zzz": 1}, ["JobSpec.zzz", "valid:", "entrypoint"]),
        ({"name": "Train Delays"}, ["JobSpec.name", "'Train Delays'"]),
        ({"entrypoint": "python train.py"}, ["JobSpec.entrypoint", "'python train.py'"]),
        ({"entrypoint": []}, ["JobSpec.entrypoint"]),
        ({"compute": {"cpu": 2}}, ["JobSpec.compute.cpu", "did you mean 'cpus'?"]),
        ({"compute": {"cpus": 0}}, ["JobSpec.compute.cpus", "(got 0)"]),
        ({"retries": -1}, ["JobSpec.retries", "(got -1)"]),
        ({"timeout": "5 parsecs"}, ["JobSpec.timeout", "'5 parsecs'"]),
        ({"timeout": -5}, ["JobSpec.timeout", "-5"]),
        ({"timeout": 0}, ["JobSpec.timeout"]),
        ({"timeout": float("inf")}, ["JobSpec.timeout"]),
        ({"timeout": float("nan")}, ["JobSpec.timeout"]),
        ({"timeout": True}, ["JobSpec.timeout"]),
        ({"inputs": {"Rows": "x"}}, ["JobSpec.inputs.Rows"]),
        ({"params": {"depth": [1]}}, ["JobSpec.params.depth"]),
        ({"python": "2.7"}, ["JobSpec.python", "'2.7'"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_would_be_right(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        job(**fields)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_field_and_every_problem_at_once() -> None:
    with pytest.raises(SpecError, match=r"JobSpec\.entrypoint: is required; JobSpec\.retries: .*\(got -1\)"):
        JobSpec.model_validate({"name": "train", "retries": -1})


def test_fields_that_contradict_each_other() -> None:
    with pytest.raises(SpecError, match="min 3 is more than max 1"):
        Replicas(min=3, max=1)
    with pytest.raises(SpecError, match="go together"):
        DeploymentSpec(model=REF, runtime="image")
    with pytest.raises(SpecError, match="go together"):
        DeploymentSpec(model=REF, image="x")


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        job().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("250ms", 0.25), ("1.5 h", 5400), (30, 30), (0.5, 0.5)]
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@given(st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=400)))
def test_a_duration_survives_json(value: timedelta) -> None:
    spec = job(timeout=value)
    assert JobSpec.model_validate(spec.to_json()).timeout == spec.timeout


SPECS = [
    job(params={"depth": 6, "rate": 0.1, "fast": True, "kind": "x"}, inputs={"rows": "/x"}, timeout="1h", ttl="2d", compute={"gpus": 1}),
    BatchSpec(name="score", model=REF, input="in.csv", output="out", keep=("id",), timeout="1h"),
    ModelSpec(name="delays", path="/x", job_id="j", tags={"a": "b"}),
    EndpointSpec(name="delays", deployment=DeploymentSpec(model=REF, replicas=Replicas(min=1, max=3)), ttl="1h"),
    EndpointSpec(name="delays", deployment=DeploymentSpec(model=REF), capture=None),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_specs_survive_json(spec: Any) -> None:
    assert type(spec).model_validate(spec.to_json()) == spec


JOB_NEEDS = [
    ({}, set()),
    ({"requirements": ["x"]}, {C.JOB_REQUIREMENTS}),
    ({"python": "3.12"}, {C.JOB_REQUIREMENTS}),
    ({"image": "x"}, {C.JOB_IMAGE}),
    ({"inputs": {"a": "/x", "b": "s3://x/y"}}, {C.JOB_INPUT_LOCAL, C.JOB_INPUT_OBJECT}),
    ({"inputs": {"a": "file:///x"}}, {C.JOB_INPUT_LOCAL}),
    ({"retries": 1, "timeout": 1}, {C.JOB_RETRY, C.JOB_TIMEOUT}),
    ({"compute": Compute(gpus=1, nodes=2, spot=True)}, {C.JOB_GPU, C.JOB_NODES, C.JOB_SPOT}),
    ({"secrets": ["TOKEN"]}, {C.JOB_SECRETS}),
]


@pytest.mark.parametrize(("fields", "needs"), JOB_NEEDS)
def test_a_job_needs_what_its_fields_say(fields: dict[str, Any], needs: set[C]) -> None:
    assert job(**fields).requires() == {C.JOB_RUN, *needs}


ENDPOINT_NEEDS = [
    ({}, {}, {C.ENDPOINT_CAPTURE}),
    ({"auth": "key"}, {}, {C.ENDPOINT_KEY, C.ENDPOINT_CAPTURE}),
    ({"auth": "none", "capture": None}, {}, {C.ENDPOINT_PUBLIC}),
    ({"auth": "identity", "capture": {"rate": 0}}, {}, {C.ENDPOINT_IDENTITY}),
    ({}, {"runtime": "image", "image": "x"}, {C.ENDPOINT_CAPTURE, C.ENDPOINT_IMAGE}),
    ({}, {"runtime": "build", "compute": {"gpus": 1}}, {C.ENDPOINT_CAPTURE, C.ENDPOINT_BUILD, C.ENDPOINT_GPU}),
    ({}, {"replicas": {"min": 2, "max": 2}}, {C.ENDPOINT_CAPTURE, C.ENDPOINT_REPLICAS}),
    (
        {},
        {"replicas": {"min": 0, "max": 2}},
        {C.ENDPOINT_CAPTURE, C.ENDPOINT_REPLICAS, C.ENDPOINT_AUTOSCALE, C.ENDPOINT_SCALE_TO_ZERO},
    ),
]


@pytest.mark.parametrize(("fields", "deployment", "needs"), ENDPOINT_NEEDS)
def test_an_endpoint_needs_what_its_fields_say(fields: dict[str, Any], deployment: dict[str, Any], needs: set[C]) -> None:
    spec = EndpointSpec.model_validate({"name": "delays", "deployment": {"model": REF, **deployment}, **fields})
    assert spec.requires() == {C.ENDPOINT_SERVE, *needs}


def test_the_model_output_always_exists_once() -> None:
    assert job(outputs=["plots", "model"]).output_names == ("model", "plots")
