"""Serving endpoints by Databricks' own SDK and by plain calls: updates, splits, what is refused, a model that cannot be loaded."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, emulator, error, sdk, set_faults
from aids.databricks.serving import BROKEN, MODEL, PATH, ask, entity, predict, register, routes, settled, until

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import ADMIN, PLAIN

__all__ = ["emulator", "sdk"]
ASKED, SHARE = 400, 80
GRANTS = "/api/2.1/unity-catalog/permissions"


@pytest.fixture(scope="module")
def ready(emulator: Ready, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """The emulator, with models to serve."""
    register(emulator, tmp_path_factory.mktemp("models"))
    return emulator


PROGRAM = """
    import json, sys
    from collections import Counter
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import BadRequest, ResourceConflict
    from databricks.sdk.service.serving import *

    w = WorkspaceClient()
    e = w.serving_endpoints
    one = ServedEntityInput(name="blue", entity_name=sys.argv[1], entity_version="1", workload_type=ServingModelWorkloadType.CPU_MEDIUM,
                            min_provisioned_concurrency=4, max_provisioned_concurrency=12, scale_to_zero_enabled=False)
    two = ServedEntityInput(name="green", entity_name=sys.argv[1], entity_version="2", workload_size="Small", scale_to_zero_enabled=True)
    made = e.create_and_wait(
        "whole", config=EndpointCoreConfigInput(name="whole", served_entities=[one]), tags=[EndpointTag("team", "a")],
        ai_gateway=AiGatewayConfig(inference_table_config=AiGatewayInferenceTableConfig("main", True, "ml", "whole")))
    ways = [dict(dataframe_records=[{"0": 1.5}]), dict(dataframe_split=DataframeSplitInput(columns=["0"], data=[[1.5]])), dict(inputs=[[1.5]]), dict(instances=[[1.5]])]
    forms = [e.query("whole", client_request_id=f"mine-{n}", **way).predictions for n, way in enumerate(ways)]
    try:
        e.query("whole", inputs=[["text"]])
    except BadRequest as wrong:
        refused = str(wrong)
    routes = TrafficConfig([Route(served_model_name="blue", traffic_percentage=80), Route(served_model_name="green", traffic_percentage=20)])
    update = e.update_config("whole", served_entities=[one, two], traffic_config=routes)
    try:
        e.update_config("whole", served_entities=[one])
    except ResourceConflict as wrong:
        conflict = str(wrong)
    during = e.get("whole")
    done = update.result()
    kept = [x.creation_timestamp for x in done.config.served_entities if x.name == "blue"] == [x.creation_timestamp for x in made.config.served_entities]
    tags = [(t.key, t.value) for t in e.patch("whole", add_tags=[EndpointTag("cost", "b"), EndpointTag("team", "c")], delete_tags=["absent"]).tags]
    metrics = e.export_metrics("whole").contents.read().decode()
    logs = e.logs("whole", "green").logs
    built = e.build_logs("whole", "green").logs
    levels = [a.user_name for a in e.get_permissions(made.id).access_control_list]
    listed = [x.name for x in e.list()]
    print(json.dumps(dict(
        state=[made.state.ready.value, made.state.config_update.value], routes=[r.as_dict() for r in made.config.traffic_config.routes], forms=forms,
        refused=refused, conflict=conflict, during=[during.state.ready.value, during.state.config_update.value, during.config.config_version, during.pending_config.config_version],
        done=[done.config.config_version, done.pending_config is None, [[x.name, x.entity_version, x.state.deployment.value] for x in done.config.served_entities]],
        kept=kept, tags=tags, metrics=metrics, logs=logs, built=built, levels=levels, listed="whole" in listed)))
"""


@pytest.fixture(scope="module")
def told(ready: Ready, sdk: Sdk) -> Any:
    """What an unmodified program of the SDK saw. Its endpoint is there from then on."""
    return json.loads(sdk(PROGRAM, MODEL))


@pytest.fixture(scope="module")
def served(told: Any) -> str:
    """The endpoint of that program: `blue` and `green`, 80 to 20; the second may scale to zero."""
    return "whole"


def test_the_sdk_makes_an_endpoint_and_asks_it(told: Any) -> None:
    assert told["state"] == ["READY", "NOT_UPDATING"]
    assert told["routes"] == [{"served_entity_name": "blue", "served_model_name": "blue", "traffic_percentage": 100}]
    assert told["forms"] == [[1]] * 4
    assert "could not convert string to float" in told["refused"]


def test_the_sdk_updates_an_endpoint_while_the_old_configuration_serves(told: Any) -> None:
    assert "is currently updating" in told["conflict"]
    assert told["during"] == ["READY", "IN_PROGRESS", 1, 2]
    assert told["done"] == [2, True, [["blue", "1", "DEPLOYMENT_READY"], ["green", "2", "DEPLOYMENT_READY"]]]
    assert told["kept"]


def test_the_sdk_changes_and_reads(told: Any) -> None:
    assert told["tags"] == [["cost", "b"], ["team", "c"]]
    assert "The model server is ready." in told["logs"]
    assert "Downloaded" in told["built"]
    assert ADMIN.name in told["levels"]
    assert told["listed"]


def test_metrics_are_gauges_of_the_last_minute(told: Any) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(told["metrics"])}
    assert {name for name, family in families.items() if family.type == "gauge"} == {
        "cpu_usage_percentage",
        "mem_usage_percentage",
        "provisioned_concurrent_requests_total",
        "request_4xx_count_total",
        "request_5xx_count_total",
        "request_count_total",
    }
    latency = families["request_latency_ms"]
    assert latency.type == "histogram"

    def values(name: str) -> dict[str, float]:
        return {each.labels["served_entity_name"]: each.value for each in families[name].samples}

    assert values("request_count_total")["green"] == 0
    assert 0 <= values("request_4xx_count_total")["blue"] <= values("request_count_total")["blue"] <= 5  # some may be a minute old by now
    assert values("provisioned_concurrent_requests_total") == {"blue": 4, "green": 4}
    assert values("mem_usage_percentage")["blue"] > 0
    counted = {each.labels["served_entity_name"]: each.value for each in latency.samples if each.name.endswith("_count")}
    assert counted == values("request_count_total")


def test_traffic_is_split_by_percentage(ready: Ready, served: str) -> None:
    import http.client
    from urllib.parse import urlsplit

    from aids.databricks.place import ADMIN_TOKEN

    seen: Counter[str] = Counter()
    connection = http.client.HTTPConnection(urlsplit(ready.urls["databricks"]).netloc)
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
    for _ in range(ASKED):
        connection.request("POST", f"/serving-endpoints/{served}/invocations", json.dumps({"inputs": [[1.0]]}), headers)
        answer = connection.getresponse()
        name, said = answer.headers["served-model-name"], json.loads(answer.read())
        assert (answer.status, said) == (200, {"predictions": [1 if name == "blue" else 2]})
        seen[name] += 1
    connection.close()
    deviation = math.sqrt(ASKED * SHARE / 100 * (1 - SHARE / 100))
    assert abs(seen["blue"] - ASKED * SHARE / 100) < 4 * deviation


def test_an_entity_scales_to_zero_and_wakes(ready: Ready, served: str) -> None:
    before = ask(ready, "GET", f"{PATH}/{served}")["config"]["served_entities"]
    sent = [{key: each[key] for key in each if key not in ("state", "creator", "creation_timestamp")} for each in before]
    ask(ready, "PUT", f"{PATH}/{served}/config", {"served_entities": sent, "traffic_config": routes(blue=0, green=100)})
    assert settled(ready, served)["config"]["served_entities"] == before  # a change of traffic starts nothing anew
    set_faults(ready, {"effect": "idle", "match": "*/invocations", "seconds": 0.2})
    assert predict(ready, served) == (200, {"predictions": [2]})
    set_faults(ready)

    def green() -> Any:
        return ask(ready, "GET", f"{PATH}/{served}")["config"]["served_entities"][1]["state"]

    asleep = {"deployment": "DEPLOYMENT_READY", "deployment_state_message": "Scaled to zero"}
    assert until(lambda: found if (found := green())["deployment_state_message"] else None) == asleep
    assert ask(ready, "GET", f"{PATH}/{served}")["state"]["ready"] == "READY"
    assert predict(ready, served) == (200, {"predictions": [2]})
    assert green() == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}


def test_a_model_that_cannot_be_loaded_fails_the_update(ready: Ready, served: str) -> None:
    before = ask(ready, "GET", f"{PATH}/{served}")["config"]
    two = {"served_entities": [entity("blue"), entity("bad", model=BROKEN)], "traffic_config": routes(blue=50, bad=50)}
    ask(ready, "PUT", f"{PATH}/{served}/config", two)
    ask(ready, "POST", PATH, {"name": "bad-alone", "config": {"served_entities": [entity("bad", model=BROKEN)]}})
    after = settled(ready, served)
    assert after["state"] == {"ready": "READY", "config_update": "UPDATE_FAILED"}
    assert after["config"] == before
    states = {each["name"]: each["state"] for each in after["pending_config"]["served_entities"]}
    assert states["bad"]["deployment"] == "DEPLOYMENT_FAILED"
    assert "Please see service logs" in states["bad"]["deployment_state_message"]
    logs = ask(ready, "GET", f"{PATH}/{served}/served-models/bad/logs")["logs"]
    assert "No module named 'nowhere'" in logs
    assert predict(ready, served) == (200, {"predictions": [2]})
    alone = settled(ready, "bad-alone")
    assert (alone["state"], "config" in alone) == ({"ready": "NOT_READY", "config_update": "UPDATE_FAILED"}, False)
    status, said = predict(ready, "bad-alone")
    assert (status, error(said)[0]) == (503, "TEMPORARILY_UNAVAILABLE")
    ask(ready, "DELETE", f"{PATH}/bad-alone")


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({}, "at least one served entity"),
    ({"served_entities": [entity(f"e{number}") for number in range(11)]}, "at most 10 served entities"),
    ({"served_entities": [entity("a"), entity("a", "2")]}, "must be unique across an endpoint"),
    ({"served_entities": [entity("a.b")]}, "can consist of alphanumeric characters"),
    ({"served_entities": [entity("a", model="constant")]}, "models of Unity Catalog"),
    ({"served_entities": [entity("a"), entity("b")]}, "traffic_config must be specified"),
    ({"served_entities": [entity("a")], "traffic_config": routes(b=100)}, "no served entity 'b'"),
    ({"served_entities": [entity("a"), entity("b")], "traffic_config": routes(a=50, b=49)}, "must sum to 100"),
    ({"served_entities": [entity("a"), entity("b")], "traffic_config": routes(a=101, b=-1)}, "between 0 and 100"),
    ({"served_entities": [entity("a", max_provisioned_concurrency=4)]}, "cannot be specified together"),
    ({"served_entities": [{"entity_name": MODEL, "entity_version": "1"}]}, "workload_size or max_provisioned_concurrency"),
    ({"served_entities": [{"entity_name": MODEL, "entity_version": "1", "max_provisioned_concurrency": 6}]}, "multiple of 4"),
    ({"served_entities": [entity("a", workload_size="Huge")]}, "not one of Small, Medium, Large"),
    ({"served_entities": [entity("a", workload_type="TPU")]}, "workload_type"),
    ({"served_entities": [{"name": "a", "external_model": {"name": "gpt", "provider": "openai", "task": "llm/v1/chat"}}]}, "no external models"),
    ({"served_entities": [entity("a", replicas=2)]}, "unknown field 'config.served_entities[0].replicas'"),
    ({"served_entities": [entity("a")], "traffic_config": {"routes": [{"served_model_name": "a"}]}}, "traffic_percentage"),
    ({"served_entities": [entity("a")], "auto_capture_config": {"enabled": True}}, "can no longer be enabled"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "said"), CONFIGS)
def test_a_configuration_that_is_refused(emulator: Ready, config: dict[str, Any], said: str) -> None:
    status, answer = call(
        emulator,
        "POST",
        PATH,
        {"name": "refused", "config": {"name": "refused", **config}} if config else {"name": "refused", "config": {"name": "x"}},
    )
    assert status == 400, answer
    assert said in error(answer)[1]
    assert call(emulator, "GET", f"{PATH}/refused")[0] == 404


def test_names_versions_and_endpoints_that_are_not_there(ready: Ready, served: str) -> None:
    for name in ("", "a b", "x" * 64):
        assert error(call(ready, "POST", PATH, {"name": name})[1])[0] == "INVALID_PARAMETER_VALUE"
    assert error(call(ready, "POST", PATH, {"name": served})[1]) == (
        "RESOURCE_ALREADY_EXISTS",
        f"Serving endpoint with name {served} already exists",
    )
    for model, version in ((MODEL, "9"), ("main.ml.none", "1")):
        status, said = call(ready, "POST", PATH, {"name": "x", "config": {"served_entities": [entity("a", version, model)]}})
        assert (status, error(said)[0]) == (404, "RESOURCE_DOES_NOT_EXIST")
    secret = entity("a", environment_vars={"K": "{{secrets/s/k}}"})
    status, said = call(ready, "POST", PATH, {"name": "x", "config": {"served_entities": [secret]}})
    assert (status, error(said)) == (404, ("RESOURCE_DOES_NOT_EXIST", "Scope s does not exist!"))
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "/config", {"served_entities": [entity("a")]}),
        ("GET", "/metrics", None),
    ):
        assert call(ready, method, f"{PATH}/none{path}", body)[0] == 404
    assert call(ready, "GET", f"{PATH}/{served}/served-models/none/logs")[0] == 404
    assert error(call(ready, "PATCH", f"{PATH}/{served}/telemetry-config", {"name": served})[1])[0] == "NOT_IMPLEMENTED"
    empty = ask(ready, "POST", PATH, {"name": "empty"})
    assert (empty["state"], "config" in empty) == ({"ready": "NOT_READY", "config_update": "NOT_UPDATING"}, False)
    ask(ready, "DELETE", f"{PATH}/empty")


def test_requests_that_an_endpoint_refuses(ready: Ready, served: str) -> None:
    status, said = predict(ready, "none")
    assert (status, "The given endpoint does not exist" in error(said)[1]) == (404, True)
    assert predict(ready, served, token="")[0] == 401
    for body in (b"{", b"[]", {"rows": [[1.0]]}, {"inputs": [["x"]]}, {"messages": []}, {"inputs": [[1.0]], "client_request_id": 7}):
        status, said = predict(ready, served, body)
        assert (status, error(said)[0] in ("BAD_REQUEST", "MALFORMED_REQUEST")) == (400, True), said
    assert predict(ready, served, b'{"inputs": [[' + b" " * (16 << 20) + b"1.0]]}")[0] == 413
    assert call(ready, "POST", f"/serving-endpoints/{served}/served-models/blue/invocations", {"inputs": [[1.0]]})[0] == 404


def test_a_plain_user_needs_permission(ready: Ready, served: str) -> None:
    def plain(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return call(ready, method, path, body, token=PLAIN_TOKEN)

    number = ask(ready, "GET", f"{PATH}/{served}")["id"]
    assert plain("GET", f"{PATH}/{served}")[0] == predict(ready, served, token=PLAIN_TOKEN)[0] == 403
    assert plain("GET", PATH) == (200, {"endpoints": []})
    permissions = f"/api/2.0/permissions/serving-endpoints/{number}"
    ask(ready, "PATCH", permissions, {"access_control_list": [{"user_name": PLAIN.name, "permission_level": "CAN_QUERY"}]})
    assert predict(ready, served, token=PLAIN_TOKEN)[0] == 200
    assert plain("GET", f"{PATH}/{served}")[1]["permission_level"] == "CAN_QUERY"
    assert plain("DELETE", f"{PATH}/{served}")[0] == 403
    new = {"name": "theirs", "config": {"served_entities": [entity("a")]}}
    status, said = plain("POST", PATH, new)
    assert (status, error(said)) == (403, ("PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'main'."))
    ask(ready, "PUT", permissions, {"access_control_list": [{"user_name": ADMIN.name, "permission_level": "CAN_MANAGE"}]})
    assert plain("GET", f"{PATH}/{served}")[0] == 403


def test_the_sdk_deletes(ready: Ready, served: str, sdk: Sdk) -> None:
    program = """
        import sys
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.errors import NotFound

        w = WorkspaceClient()
        w.serving_endpoints.delete(sys.argv[1])
        try:
            w.serving_endpoints.get(sys.argv[1])
        except NotFound as absent:
            print(absent)
    """
    assert f"{served} not found" in sdk(program, served)
    kept = ready.folder / "databricks" / "served"
    until(lambda: not list(kept.glob("w*")))  # its servers end, and their files go
