"""Every Databricks golden is, field for field, what databricks-sdk would send, with its dataclasses taken strictly.

The published schema is the SDK itself: a golden's body is read into the method's own parameters and dataclasses
(unknown, missing, mistyped fields and unknown enum values are refused), then the real method is called on an HTTP
client of ours and must produce the golden's method, path and body again. Model versions go through MLflow, whose
protos carry routes and required fields.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union, get_args, get_origin, get_type_hints
from unittest.mock import MagicMock

import pytest

pytest.importorskip("databricks.sdk", reason="databricks-sdk is not installed; its dataclasses are the schema here")

GOLDEN = sorted((Path(__file__).parent / "databricks").glob("*.json"))
PLACEHOLDER = re.compile(r"\$\{\w+\}")  # a value only the server knows: any string or number
Json = dict[str, Any]


class RefusedError(ValueError):
    """The request is not one the published schema allows."""


def bound(call: str, wire: Any) -> Callable[..., Any]:
    """The SDK's method, on an HTTP client of ours."""
    module, owner, name = call.split(".")
    method: Callable[..., Any] = getattr(getattr(importlib.import_module(f"databricks.sdk.service.{module}"), owner)(wire), name)
    return method


def send(call: str, arguments: Mapping[str, Any]) -> Json:
    """What the SDK hands to its HTTP client for these arguments."""
    wire = MagicMock(_cfg=SimpleNamespace(workspace_id=None))
    bound(call, wire)(**arguments)
    (method, path), options = wire.do.call_args
    return {"method": method, "path": path, "query": options.get("query") or {}, "body": options.get("body") or {}}


def strict(hint: Any, value: Any, where: str) -> Any:
    """`value` as an instance of `hint`, or RefusedError: nothing is dropped, guessed or coerced."""
    if hint is Any:
        return value
    if get_origin(hint) is Union:  # Optional; an explicit null is never sent
        return strict(get_args(hint)[0], value, where)
    if get_origin(hint) in (list, dict):
        return strict_collection(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return strict_dataclass(hint, value, where)
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        if value not in [member.value for member in hint]:
            raise RefusedError(f"{where}: {value!r} is not a {hint.__name__}")
        return hint(value)
    if isinstance(value, str) and PLACEHOLDER.fullmatch(value):
        return value
    if type(value) is not hint and not (hint is float and type(value) is int):
        raise RefusedError(f"{where}: {value!r} is not {hint}")
    return value


def strict_collection(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, get_origin(hint)):
        raise RefusedError(f"{where}: {value!r} is not {hint}")
    if isinstance(value, list):
        return [strict(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    return {key: strict(get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}


def strict_dataclass(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RefusedError(f"{where}: {value!r} is not an object")
    required = {
        field.name
        for field in dataclasses.fields(hint)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    same_fields(value, required, get_type_hints(hint), where)
    return hint(**{key: strict(get_type_hints(hint)[key], item, f"{where}.{key}") for key, item in value.items()})


def same_fields(value: Json, required: set[str], known: Mapping[str, Any], where: str) -> None:
    if unknown := value.keys() - known.keys():
        raise RefusedError(f"{where}: unknown {sorted(unknown)}")
    if missing := required - value.keys():
        raise RefusedError(f"{where}: missing {sorted(missing)}")


def check(request: Json) -> None:
    """Refuse a request that the SDK's method, made strict, would not send exactly so."""
    call, body = request["call"], request["body"] or {}
    if call.startswith("mlflow."):
        return check_mlflow(request)
    method = bound(call, MagicMock())
    hints = {name: hint for name, hint in get_type_hints(method).items() if name != "return"}
    parameters = inspect.signature(method).parameters.values()
    required = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    whole = [name for name in required if dataclasses.is_dataclass(hints[name])]  # a parameter that is all of the body
    given = {whole[0]: body} if whole else body
    template = send(call, {name: MagicMock() if name in whole else f"{{{name}}}" for name in required})
    in_path = match_route(template, request)
    same_fields(given | in_path, required, hints, call)
    sent = send(call, in_path | {key: strict(hints[key], value, key) for key, value in given.items()})
    if sent != {"method": request["method"], "path": request["path"], "query": {}, "body": body}:
        raise RefusedError(f"the SDK would send {sent}")
    return None


def match_route(template: Json, request: Json) -> Json:
    """The path's parameters; the template is what the SDK makes of placeholders for them."""
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template["path"]))
    matched = re.fullmatch(pattern, request["path"])
    if matched is None or request["method"] != template["method"]:
        raise RefusedError(f"{request['method']} {request['path']} is not {template['method']} {template['path']}")
    return matched.groupdict()


def check_mlflow(request: Json) -> None:
    service = pytest.importorskip(
        "mlflow.protos.databricks_uc_registry_service_pb2",
        reason="mlflow is not installed; its protos are the schema of Unity Catalog model versions",
    )
    options = importlib.import_module("mlflow.protos.databricks_pb2")
    json_format = importlib.import_module("google.protobuf.json_format")
    message_factory = importlib.import_module("google.protobuf.message_factory")
    _, owner, name = request["call"].split(".")
    method = service.DESCRIPTOR.services_by_name[owner].methods_by_name[name]
    routes = [(to.method, f"/api/2.0{to.path}") for to in method.GetOptions().Extensions[options.rpc].endpoints]
    if (request["method"], request["path"]) not in routes:
        raise RefusedError(f"{request['method']} {request['path']} is not among {routes}")
    fields = {field.name: field.GetOptions().Extensions[options.validate_required] for field in method.input_type.fields}
    same_fields(request["body"], {field for field, needed in fields.items() if needed}, fields, name)
    try:
        json_format.ParseDict(request["body"], message_factory.GetMessageClass(method.input_type)())
    except json_format.ParseError as error:
        raise RefusedError(str(error)) from error


def requests(name: str) -> list[Json]:
    found: list[Json] = json.loads((Path(__file__).parent / "databricks" / f"{name}.json").read_text())["requests"]
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_is_what_the_sdk_would_send(path: Path) -> None:
    golden = json.loads(path.read_text())
    assert all(golden[key] for key in ("about", "sources", "requests"))
    for request in golden["requests"]:
        check(request)


def test_every_case_of_the_common_example_is_here() -> None:
    assert {path.stem for path in GOLDEN} == {"job", "model", "endpoint", "split", "batch", "monitor"}


def test_traffic_is_whole_percent_of_deployed_names_and_adds_up_to_100() -> None:
    for config in (requests("endpoint")[0]["body"]["config"], requests("split")[0]["body"]):
        routes = {route["served_model_name"]: route["traffic_percentage"] for route in config["traffic_config"]["routes"]}
        assert sum(routes.values()) == 100
        assert set(routes) == {entity["name"] for entity in config["served_entities"]}


def test_model_tag_keys_are_ones_unity_catalog_allows() -> None:
    keys = [tag["key"] for request in requests("model") for tag in request["body"].get("tags", [])]
    assert keys
    assert not any(set(key) & set(".,-=/:") for key in keys)


SPOILS: dict[str, tuple[str, int, Callable[[Json], Any]]] = {
    "unknown parameter": ("job", 0, lambda r: r["body"].update(priority=1)),
    "unknown nested field": ("job", 0, lambda r: r["body"]["tasks"][0]["new_cluster"].update(nodes=1)),
    "wrong type": ("job", 0, lambda r: r["body"]["tasks"][0].update(timeout_seconds="3600")),
    "a string for a flag": (
        "endpoint",
        0,
        lambda r: r["body"]["config"]["served_entities"][0].update(scale_to_zero_enabled="no"),
    ),
    "an object for a list": ("split", 0, lambda r: r["body"]["traffic_config"].update(routes={"blue": 90})),
    "a fraction of traffic": (
        "split",
        0,
        lambda r: r["body"]["traffic_config"]["routes"][0].update(traffic_percentage=0.9),
    ),
    "null": ("split", 0, lambda r: r["body"].update(served_entities=None)),
    "bad enum": ("endpoint", 0, lambda r: r["body"]["config"]["served_entities"][0].update(workload_type="CPU_HUGE")),
    "missing required field": ("batch", 0, lambda r: r["body"]["tasks"][0]["for_each_task"].pop("inputs")),
    "missing required parameter": ("endpoint", 0, lambda r: r["body"].pop("name")),
    "missing field of a whole body": ("monitor", 5, lambda r: r["body"].pop("object_id")),
    "wrong path": ("split", 0, lambda r: r.update(path="/api/2.0/serving-endpoints/delays/traffic")),
    "wrong version of the API": ("job", 0, lambda r: r.update(path="/api/2.1/jobs/runs/submit")),
    "wrong method": ("split", 0, lambda r: r.update(method="PATCH")),
    "mlflow: unknown field": ("model", 1, lambda r: r["body"].update(digest="sha256")),
    "mlflow: wrong type": ("model", 1, lambda r: r["body"].update(source=1)),
    "mlflow: bad enum": ("model", 2, lambda r: r["body"].update(operation="WRITE")),
    "mlflow: missing required field": ("model", 3, lambda r: r["body"].pop("version")),
    "mlflow: wrong path": ("model", 3, lambda r: r.update(path="/api/2.0/mlflow/model-versions/finalize")),
}


@pytest.mark.parametrize("name", SPOILS)
def test_the_validator_bites(name: str) -> None:
    golden, index, spoil = SPOILS[name]
    request = copy.deepcopy(requests(golden)[index])
    spoil(request)
    with pytest.raises(RefusedError):
        check(request)
