"""Azure ML's golden requests against the REST models of the pinned azure-ai-ml, made strict both ways, offline.

The package carries one set of models (those of api-version 2025-12-01) and sends them under a dozen older versions;
each golden's version is compared with the one that the SDK's own client sends. Enums, required fields, discriminators
and types come from the models; patterns and lengths aren't in them.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import pytest

WHY = "azure-ai-ml (extra `azureml`) carries the REST models that the goldens are checked against"
ml = pytest.importorskip("azure.ai.ml", reason=WHY)
models = pytest.importorskip("azure.ai.ml._restclient.arm_ml_service.models", reason=WHY)
builders = pytest.importorskip("azure.ai.ml._restclient.arm_ml_service.operations._operations", reason=WHY)
Model = pytest.importorskip("azure.ai.ml._restclient.arm_ml_service._utils.model_base", reason=WHY).Model

Json = Any
GOLDENS = {path.stem: path for path in sorted((Path(__file__).parent / "azureml").glob("*.json"))}

# call -> (the body's model, where the SDK's client keeps the operations that send it)
ARM: dict[str, tuple[Any, str]] = {
    "BatchDeployments_CreateOrUpdate": (models.BatchDeployment, "_batch_deployments._batch_deployment"),
    "BatchEndpoints_CreateOrUpdate": (models.BatchEndpoint, "_batch_endpoints._batch_operation"),
    "CodeVersions_CreateOrUpdate": (models.CodeVersion, "_code._version_operation"),
    "Compute_CreateOrUpdate": (models.ComputeResource, "_compute._operation"),
    "DataVersions_CreateOrUpdate": (models.DataVersionBase, "_data._operation"),
    "EnvironmentVersions_CreateOrUpdate": (models.EnvironmentVersion, "_environments._version_operations"),
    "Jobs_CreateOrUpdate": (models.JobBase, "_jobs.service_client_01_2025_preview.jobs"),
    "ModelContainers_CreateOrUpdate": (models.ModelContainer, "_models._model_container_operation"),
    "ModelContainers_Get": (None, "_models._model_container_operation"),
    "ModelVersions_CreateOrUpdate": (models.ModelVersion, "_models._model_versions_operation"),
    "OnlineDeployments_CreateOrUpdate": (models.OnlineDeployment, "_online_deployments._online_deployment"),
    "OnlineEndpoints_CreateOrUpdate": (models.OnlineEndpoint, "_online_endpoints._online_operation"),
    "OnlineEndpoints_Get": (None, "_online_endpoints._online_operation"),
    "Schedules_CreateOrUpdate": (models.Schedule, "_schedules.service_client"),
}


class EmailAlert(TypedDict):
    alertNotificationType: Literal["Email"]
    emailNotificationSetting: models.NotificationSetting  # type: ignore[name-defined]


# Schedules go out at 2023-06-01-preview, older than the models: the SDK patches these names by hand, and so do we
# (see test_the_sdk_itself_sends_the_older_names). None: the older version doesn't know it.
OLDER_FIELDS = {models.MonitorDefinition: {"alertNotificationSetting": EmailAlert | None, "alertNotificationSettings": None}}
OLDER_SUBTYPES = {models.MonitoringInputDataBase: {"Trailing": models.RollingInputData, "Rolling": None}}


class Field(NamedTuple):
    kind: Any
    required: bool
    discriminator: bool


def fields(model: Any) -> dict[str, Field]:
    """By name on the wire, without those that only the server writes: sending one is an error."""
    hints = typing.get_type_hints(model, globals(), {"_models": models})
    if typing.is_typeddict(model):
        return {name: Field(kind, True, False) for name, kind in hints.items()}
    declared = {name: f for owner in reversed(model.__mro__) for name, f in vars(owner).items() if type(f).__name__ == "_RestField"}
    known = {
        f._rest_name_input or name: Field(hints[name], types.NoneType not in typing.get_args(hints[name]), f._is_discriminator)
        for name, f in declared.items()
        if f._visibility != ["read"]
    }
    older = {name: kind and Field(kind, False, False) for name, kind in OLDER_FIELDS.get(model, {}).items()}
    return {name: field for name, field in {**known, **older}.items() if field}


def problems(kind: Any, value: Json, at: str = "body") -> Iterator[str]:
    """What the SDK's type `kind` doesn't allow in `value`, one sentence each."""
    outer, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if outer in (typing.Union, types.UnionType):  # Optional[X], or the generator's Union[str, AnEnum]: the enum decides
        kinds = [each for each in inner if each is not types.NoneType]
        yield from problems(next((k for k in kinds if inspect.isclass(k) and issubclass(k, Enum)), kinds[0]), value, at)
    elif outer is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems(inner[0], item, f"{at}[{index}]")
    elif outer is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(inner[1], item, f"{at}.{key}")
    elif typing.is_typeddict(kind) or (inspect.isclass(kind) and issubclass(kind, Model)):
        yield from object_problems(kind, value, at)
    elif outer in (list, dict) or not fits(kind, value):
        yield f"{at}: {value!r} isn't {kind}"


def fits(kind: Any, value: Json) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if issubclass(kind, Enum):
        return isinstance(value, str) and value in [member.value for member in kind]
    if kind is timedelta:  # ISO 8601, as the service writes it
        return bool(re.fullmatch(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?", str(value)))
    return type(value) is kind or (kind is float and type(value) is int)


def object_problems(model: Any, value: Json, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: {value!r} isn't an object"
        return
    known = fields(model)
    subtypes = {**vars(model).get("__mapping__", {}), **OLDER_SUBTYPES.get(model, {})}
    if subtypes:  # an abstract type: its discriminator says which
        tag = next(name for name, field in known.items() if field.discriminator)
        subtype = subtypes.get(value.get(tag))
        yield from (object_problems(subtype, value, at) if subtype else [f"{at}.{tag}: {value.get(tag)!r} isn't one of {list(subtypes)}"])
        return
    yield from (f"{at}.{name}: unknown" for name in value if name not in known)
    yield from (f"{at}.{name}: required" for name, field in known.items() if field.required and name not in value)
    for name, field in known.items():
        if name in value and not field.discriminator:
            yield from problems(field.kind, value[name], f"{at}.{name}")


def published(call: str) -> tuple[str, re.Pattern[str]]:
    """The method and path (query and all) that the SDK's own request builder and client make of a call."""
    noun, verb = (re.sub(r"(?<!^)(?=[A-Z])", "_", part).lower() for part in call.split("_"))
    build = getattr(builders, f"build_{noun}_{verb}_request")
    blanks = {p.name: "BLANK" for p in inspect.signature(build).parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    request = build(**blanks, api_version=attrgetter(ARM[call][1])(client())._config.api_version)
    return request.method, re.compile(re.escape(request.url).replace("BLANK", r"(?:[\w.-]|\$\{[a-z_.]+\})+"))


def client() -> Any:
    return ml.MLClient(credential=object(), subscription_id="s", resource_group_name="g", workspace_name="w", enable_telemetry=False)


def check(request: Json) -> list[str]:
    if request["call"] in OTHER:
        return OTHER[request["call"]](request)
    if request["call"] not in ARM:
        return [f"call: {request['call']} isn't known"]
    model = ARM[request["call"]][0]
    method, path = published(request["call"])
    found = list(problems(model, request["body"])) if model and "body" in request else []
    if (model is None) is ("body" in request):
        found.append(f"body: {'required' if model else 'not allowed'}")
    if request["method"] != method or not path.fullmatch(request["path"]):
        found.append(f"path: not {method} {path.pattern}")
    return found


def check_invocation(request: Json) -> list[str]:
    """A batch invocation has no REST model in this package: the SDK's own serializer must give the same back."""
    from azure.ai.ml._schema._deployment.batch.batch_job import BatchJobSchema

    schema: Any = BatchJobSchema
    kinds = {wire: kind for kind, wire in schema._JOB_DATA_TYPE_MAP.items()}
    body = request["body"]["properties"]
    try:
        inputs = {k: ml.Input(type=kinds[v["jobInputType"]], path=v["uri"]) for k, v in body["inputData"].items()}
        outputs = {k: ml.Output(type=kinds[v["jobOutputType"]], path=v["uri"]) for k, v in body["outputData"].items()}
        asked = {"job_name": body["name"], "input_data": inputs, "output_data": outputs}
    except KeyError as missing:
        return [f"body: {missing} is missing or isn't a known type"]
    with warnings.catch_warnings(action="ignore"):  # marshmallow deprecates what the SDK itself does
        wire = schema(context={"base_path": Path(), "params_override": [asked]}).load({})
    sent = {"call": request["call"], "method": "POST", "path": "${scoring_uri}", "body": {"properties": wire}}
    return [] if request | sent == request else [f"the SDK would send {sent}"]


def check_autoscale(request: Json) -> list[str]:
    """Azure Monitor's models drop what they don't know, so a request must survive the round trip."""
    monitor = pytest.importorskip("azure.mgmt.monitor", reason="azure-mgmt-monitor carries the autoscale models")
    from azure.mgmt.monitor.operations import _autoscale_settings_operations as operations

    built = operations.build_create_or_update_request("BLANK", "BLANK", "BLANK", json={})
    path = re.compile(re.escape(built.url).replace("BLANK", r"[\w.-]+"))
    setting = monitor.models.AutoscaleSettingResource.deserialize(request["body"])
    found = [*unset(setting), *([] if path.fullmatch(request["path"]) else [f"path: not {path.pattern}"])]
    found += [] if built.method == request["method"] else [f"method: not {built.method}"]
    return found + ([] if setting.serialize() == request["body"] else ["body: doesn't survive the round trip"])


def unset(value: Any) -> Iterator[str]:
    """Required attributes of an Azure Monitor model that are None."""
    for item in value if isinstance(value, list) else [value]:
        for name in getattr(item, "_attribute_map", ()):
            if getattr(item, name) is None and item._validation.get(name, {}).get("required"):
                yield f"{type(item).__name__}.{name}: required"
            yield from unset(getattr(item, name))


OTHER: dict[str, Callable[[Json], list[str]]] = {
    "AutoscaleSettings_CreateOrUpdate": check_autoscale,
    "BatchEndpoints_Invoke": check_invocation,
}


def requests(name: str) -> list[Json]:
    return [*json.loads(GOLDENS[name].read_text("utf-8"))["requests"]]


CASES = [pytest.param(request, id=f"{name}-{index}-{request['call']}") for name in GOLDENS for index, request in enumerate(requests(name))]


@pytest.mark.parametrize("request_", CASES)
def test_golden_is_what_the_schema_allows(request_: Json) -> None:
    assert check(request_) == []


def test_every_part_of_the_example_has_its_golden() -> None:
    assert set(GOLDENS) == {"job", "model", "endpoint", "split", "batch", "monitor"}
    for path in GOLDENS.values():
        golden = json.loads(path.read_text("utf-8"))
        assert set(golden) == {"about", "sources", "requests"}
        assert golden["sources"]


def find(call: str) -> Json:
    return copy.deepcopy(next(r for name in GOLDENS for r in requests(name) if r["call"] == call))


def spoiled(call: str, at: str, value: Json = None) -> Json:
    """A golden with one value changed; None removes it."""
    request = find(call)
    *steps, last = at.split("/")
    place = request
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place.pop(last) if value is None else place.__setitem__(last, value)
    return request


AUTOSCALE, JOB, DEPLOYMENT, ENDPOINT, SCHEDULE = (
    f"{noun}_CreateOrUpdate" for noun in ("AutoscaleSettings", "Jobs", "OnlineDeployments", "OnlineEndpoints", "Schedules")
)
INVOKE = "BatchEndpoints_Invoke"
PROPERTIES = "body/properties"
MONITOR = f"{PROPERTIES}/action/monitorDefinition"
DRIFT = f"{MONITOR}/signals/mlport_drift"
RULE = f"{PROPERTIES}/profiles/0/rules/0"
JOB_PATH = find(JOB)["path"]
BITES = {
    "unknown field": (JOB, f"{PROPERTIES}/retries", 1, "retries: unknown"),
    "unknown field, nested": (DEPLOYMENT, f"{PROPERTIES}/requestSettings/minReplicas", 1, "minReplicas: unknown"),
    "written by the server alone": (ENDPOINT, f"{PROPERTIES}/scoringUri", "https://x", "scoringUri: unknown"),
    "wrong type": (DEPLOYMENT, "body/sku/capacity", "1", "capacity: '1' isn't"),
    "true is no integer": (ENDPOINT, f"{PROPERTIES}/traffic", {"blue": True}, "traffic.blue: True isn't"),
    "a percentage is whole": (ENDPOINT, f"{PROPERTIES}/traffic", {"blue": 99.5}, "traffic.blue: 99.5 isn't"),
    "not a duration": (JOB, f"{PROPERTIES}/limits/timeout", "3600s", "timeout: '3600s' isn't"),
    "wrong enum": (ENDPOINT, f"{PROPERTIES}/authMode", "key", "authMode: 'key' isn't"),
    "wrong enum in a list": (SCHEDULE, f"{DRIFT}/metricThresholds/0/metric", "KL", "metric: 'KL' isn't"),
    "wrong discriminator": (JOB, f"{PROPERTIES}/jobType", "Train", "jobType: 'Train' isn't one of"),
    "newer discriminator": (SCHEDULE, f"{DRIFT}/productionData/inputDataType", "Rolling", "'Rolling' isn't one of"),
    "newer field": (SCHEDULE, f"{MONITOR}/alertNotificationSettings", {}, "alertNotificationSettings: unknown"),
    "missing required": (JOB, f"{PROPERTIES}/environmentId", None, "environmentId: required"),
    "missing required, nested": (SCHEDULE, f"{DRIFT}/productionData/windowSize", None, "windowSize: required"),
    "missing discriminator": (DEPLOYMENT, f"{PROPERTIES}/endpointComputeType", None, "None isn't one of"),
    "missing body": (JOB, "body", None, "body: required"),
    "wrong path": (JOB, "path", JOB_PATH.replace("/jobs/", "/job/"), "path: not PUT"),
    "path with a part too many": (JOB, "path", JOB_PATH.replace("?", "/versions/1?"), "path: not PUT"),
    "version the SDK doesn't send": (
        JOB,
        "path",
        JOB_PATH.replace("2025-01-01-preview", "2025-12-01"),
        "path: not PUT",
    ),
    "wrong method": (ENDPOINT, "method", "PATCH", "path: not PUT"),
    "unknown call": (JOB, "call", "Jobs_Create", "Jobs_Create isn't known"),
    "invocation, unknown field": (INVOKE, f"{PROPERTIES}/inputs", {}, "the SDK would send"),
    "invocation, wrong type name": (INVOKE, f"{PROPERTIES}/inputData/rows/jobInputType", "uri_folder", "known type"),
    "invocation, wrong path": (INVOKE, "path", "/jobs", "the SDK would send"),
    "autoscale, unknown field": (AUTOSCALE, f"{PROPERTIES}/min", 1, "round trip"),
    "autoscale, missing required": (AUTOSCALE, f"{PROPERTIES}/profiles", None, "profiles: required"),
    "autoscale, missing required, nested": (AUTOSCALE, f"{RULE}/metricTrigger/threshold", None, "threshold: required"),
    "autoscale, wrong path": (AUTOSCALE, "path", "/autoscalesettings/x", "path: not"),
}


@pytest.mark.parametrize("case", BITES.values(), ids=BITES)
def test_validator_bites(case: tuple[str, str, Json, str]) -> None:
    call, at, value, complaint = case
    assert any(complaint in problem for problem in check(spoiled(call, at, value)))


def test_the_sdk_itself_sends_the_older_names() -> None:
    """Holds OLDER_FIELDS and OLDER_SUBTYPES to what the SDK makes of its own entities."""
    entities = pytest.importorskip("azure.ai.ml.entities", reason=WHY)
    window = entities.BaselineDataRange(lookback_window_size="P1D")
    folder = ml.Input(type="uri_folder", path="x")
    data = entities.ProductionData(input_data=folder, data_context="model_inputs", data_window=window)
    alert = entities.AlertNotification(emails=["ada@example.com"])._to_rest_object()
    monitor = find(SCHEDULE)["body"]["properties"]["action"]["monitorDefinition"]
    assert data._to_rest_object()["inputDataType"] == "Trailing"
    assert dict(alert["emailNotificationSetting"]) == monitor["alertNotificationSetting"]["emailNotificationSetting"]
    assert alert["alertNotificationType"] == monitor["alertNotificationSetting"]["alertNotificationType"]


def test_traffic_cannot_be_patched() -> None:
    assert set(fields(models.PartialMinimalTrackedResourceWithIdentity)) == {"identity", "tags"}


def test_a_split_is_whole() -> None:
    traffic = [r["body"]["properties"].get("traffic", {}) for r in (*requests("endpoint"), *requests("split")) if r["call"] == ENDPOINT]
    assert [sum(shares.values()) for shares in traffic] == [0, 100, 100]
