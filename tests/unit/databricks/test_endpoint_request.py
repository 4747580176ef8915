"""Plans of endpoints and deployments, and whole configurations: pure, equal to the goldens."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport.errors import ConflictError, SpecError
from mlport.specs import Capture, Compute, DeploymentSpec, EndpointSpec, ModelRef, Replicas
from mlport.spi import TOKEN, Facts, Plan
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.serving.compute import workload_type
from mlport_databricks.serving.configs import body_of, changed, digest, entities_of, is_so, split_of

FIELDS = {
    "host": "acme.cloud.databricks.com",
    "catalog": "main",
    "schema": "ml",
    "state": "s3://acme/mlport",
    "region": "eu-central-1",
    "token": "dapi0",
}
CONFIG = DatabricksConfig.model_validate(FIELDS)
STAMPS = {"mlport": "delays", "mlport_profile": "prod", "mlport_owner": "ada", "mlport_token": TOKEN}
MODEL = {"name": "delays", "version": "1", "flavors": ["sklearn", "python_function"], "lineage": {"job": "7"}}
MEDIUM = Compute(cpus=2, memory_gib=8)


def golden(name: str) -> Any:
    return json.loads((Path(__file__).parents[2] / "golden" / "databricks" / f"{name}.json").read_text())["requests"][0]


def deployment(name: str = "blue", version: str = "1", **fields: Any) -> DeploymentSpec:
    asked = {"compute": MEDIUM, "replicas": Replicas(min=1, max=3), **fields}
    return DeploymentSpec(model=ModelRef(name="delays", version=version), name=name, **asked)


def plan(spec: Any, **facts: Any) -> Plan:
    return PROVIDER.plan(CONFIG, spec, Facts(**{"labels": STAMPS, "model": MODEL, **facts}))


def told(made: Plan) -> dict[str, Any]:
    (request,) = made.requests
    return {"call": request.call, "method": request.method, "path": request.path, "body": request.body}


def serving(*entities: dict[str, Any], **split: int) -> dict[str, Any]:
    """A configuration as GET tells it: entities with their state, routes that name them both ways."""
    states = [{**entity, "creator": "ada", "creation_timestamp": 1, "state": {"deployment": "DEPLOYMENT_READY"}} for entity in entities]
    routes = [{"served_model_name": name, "served_entity_name": name, "traffic_percentage": share} for name, share in split.items()]
    return {"config_version": 3, "served_entities": states, "traffic_config": {"routes": routes}}


BLUE, GREEN = golden("split")["body"]["served_entities"]


# ---------------------------------------------------------------- plans


def test_the_plan_of_an_endpoint_is_the_golden() -> None:
    spec = EndpointSpec(name="delays", deployment=deployment())
    assert told(plan(spec)) == golden("endpoint")
    assert plan(spec) == plan(spec)


def test_adding_and_splitting_lead_to_the_golden() -> None:
    made = plan(deployment("green", "2", endpoint="delays"), model={**MODEL, "version": "2"})
    (request,) = made.requests
    added = request.body["served_entities"][-1]
    assert added == GREEN
    assert request.body["traffic_config"]["routes"][-1] == {"served_model_name": "green", "traffic_percentage": 0}
    both = changed("delays", serving(BLUE, blue=100), {"add": added})
    assert split_of(both) == {"blue": 100, "green": 0}
    assert changed("delays", both, {"split": {"blue": 90, "green": 10}}) == golden("split")["body"]


def test_capture_is_all_or_nothing() -> None:
    assert "ai_gateway" not in told(plan(EndpointSpec(name="delays", deployment=deployment(), capture=None)))["body"]
    assert "ai_gateway" not in told(plan(EndpointSpec(name="delays", deployment=deployment(), capture=Capture(rate=0))))["body"]
    with pytest.raises(SpecError, match=r"capture\.rate"):
        plan(EndpointSpec(name="delays", deployment=deployment(), capture=Capture(rate=0.5)))


def test_the_plan_says_what_is_a_guess() -> None:
    assert any("guess" in note for note in plan(EndpointSpec(name="delays", deployment=deployment())).notes)
    small = plan(EndpointSpec(name="delays", deployment=deployment(compute=Compute())))
    assert not any("guess" in note for note in small.notes)
    assert small.resolved == {"workload_type": "CPU", "min_provisioned_concurrency": 4, "max_provisioned_concurrency": 12}


def test_options_choose_what_serves() -> None:
    spec = deployment(options={"databricks": {"workload_type": "GPU_LARGE", "workload_size": "Small"}})
    entity = told(plan(EndpointSpec(name="delays", deployment=spec)))["body"]["config"]["served_entities"][0]
    assert (entity["workload_type"], entity["workload_size"]) == ("GPU_LARGE", "Small")
    assert "min_provisioned_concurrency" not in entity, "a size or a concurrency, never both"
    with pytest.raises(SpecError, match=r"options\.databricks"):
        plan(EndpointSpec(name="delays", deployment=deployment(options={"databricks": {"workload_tpe": "CPU"}})))


def test_scale_to_zero_and_the_runtime_that_was_asked_for() -> None:
    spec = deployment(replicas=Replicas(min=0, max=2), runtime="build", env={"A": "b"})
    entity = told(plan(EndpointSpec(name="delays", deployment=spec)))["body"]["config"]["served_entities"][0]
    assert (entity["min_provisioned_concurrency"], entity["max_provisioned_concurrency"], entity["scale_to_zero_enabled"]) == (0, 8, True)
    assert entity["environment_vars"] == {"A": "b", "MLPORT_RUNTIME": "build"}


def test_what_python_cannot_load_is_not_served() -> None:
    with pytest.raises(SpecError, match="python_function"):
        plan(EndpointSpec(name="delays", deployment=deployment()), model={**MODEL, "flavors": []})


def test_an_endpoint_takes_ten_deployments() -> None:
    full = {"deployments": [{"name": f"d{number}"} for number in range(10)]}
    with pytest.raises(SpecError, match="takes 10"):
        plan(deployment(endpoint="delays"), endpoint=full)
    with pytest.raises(SpecError, match="endpoint: is required"):
        plan(deployment())


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (Compute(), "CPU"),
        (Compute(cpus=1, memory_gib=4), "CPU"),
        (Compute(cpus=1, memory_gib=4.5), "CPU_MEDIUM"),
        (Compute(cpus=4, memory_gib=16), "CPU_LARGE"),
        (Compute(gpus=1), "GPU_SMALL"),
        (Compute(gpus=1, gpu="A10G"), "GPU_MEDIUM"),
        (Compute(gpus=4), "MULTIGPU_MEDIUM"),
    ],
)
def test_the_smallest_type_that_satisfies(compute: Compute, expected: str) -> None:
    assert workload_type(CONFIG, compute) == expected


@pytest.mark.parametrize("compute", [Compute(cpus=5), Compute(memory_gib=17), Compute(gpus=2), Compute(gpus=1, gpu="A100")])
def test_what_no_type_has_is_refused_with_what_there_is(compute: Compute) -> None:
    with pytest.raises(SpecError, match=r"DeploymentSpec\.compute") as caught:
        workload_type(CONFIG, compute)
    assert "options.databricks.workload_type" in (caught.value.hint or "")
    azure = DatabricksConfig.model_validate({**FIELDS, "host": "adb-1.2.azuredatabricks.net"})
    assert workload_type(azure, Compute(gpus=1, gpu="A100")) == "GPU_LARGE"


# ---------------------------------------------------------------- configurations


def test_what_the_server_adds_is_not_sent_back() -> None:
    entity = {**BLUE, "workload_size": "Medium"}
    sent = changed("delays", serving(entity, blue=100), {"split": {"blue": 100}})
    assert sent == body_of({"blue": BLUE}, {"blue": 100}), "concurrency and size are never both sent"
    assert digest(serving(BLUE, blue=100)) == digest(body_of({"blue": BLUE}, {"blue": 100}))


def test_changes_that_do_not_fit_are_conflicts() -> None:
    two = serving(BLUE, GREEN, blue=100, green=0)
    for change in ({"add": BLUE}, {"remove": "blue"}, {"split": {"blue": 100}}, {"split": {"blue": 50, "red": 50}}):
        with pytest.raises(ConflictError):
            changed("delays", two, change)
    assert list(entities_of(changed("delays", two, {"remove": "green"}))) == ["blue"]
    assert changed("delays", two, {"remove": "nobody"}) == body_of({"blue": BLUE, "green": GREEN}, {"blue": 100, "green": 0})


shares = st.lists(st.integers(0, 100), min_size=1, max_size=9)


@given(shares, st.randoms(use_true_random=False))
def test_a_change_made_twice_is_made_once(cuts: list[int], random: Any) -> None:
    """Whatever is there: after the change, what it asks for is so, the shares sum to 100, and nothing else has moved."""
    edges = sorted([0, *cuts, 100])
    split = {f"d{number}": high - low for number, (low, high) in enumerate(pairwise(edges))}
    entities = {name: {**BLUE, "name": name} for name in split}
    there = serving(*entities.values(), **split)
    names = list(split)
    random.shuffle(names)
    moved = dict(zip(names, split.values(), strict=True))
    changes: list[dict[str, Any]] = [{"split": moved}]
    changes += [{"add": {**GREEN, "name": "new"}}] if len(split) < 10 else []
    changes += [{"remove": name} for name in split if not split[name]][:1]
    for change in changes:
        after = changed("e", there, change)
        assert is_so(after, change)
        assert sum(split_of(after).values()) == 100
        kept = set(entities_of(after)) & set(entities)
        assert {name: entities_of(after)[name] for name in kept} == {name: entities[name] for name in kept}
