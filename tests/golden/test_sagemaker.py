"""Do the SageMaker goldens hold against the service models that AWS publishes in botocore?

Strict both ways, offline: unknown and missing members, types, enums, patterns, lengths and ranges
(botocore itself checks neither pattern nor maximum), the request's path, and what botocore would send.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

WHY = "AWS's service models come with botocore (dev group: boto3)"
loaders = pytest.importorskip("botocore.loaders", reason=WHY)
models = pytest.importorskip("botocore.model", reason=WHY)
serialize = pytest.importorskip("botocore.serialize", reason=WHY)

HERE = Path(__file__).parent / "sagemaker"
GOLDENS = ("job", "model", "endpoint", "split", "batch", "monitor")
ARN = "arn:aws:sagemaker:eu-west-1:123456789012"
SAMPLES = {  # one plausible value for each placeholder; a placeholder that is not here fails
    "${token}": "tk-0123456789abcdef",
    "${modelArtifacts}": "s3://acme-ml/mlport/jobs/tk-0123456789abcdef/output/delays-tk-0123456789abcdef/output/model/",
    "${trainingJobArn}": f"{ARN}:training-job/delays-tk-0123456789abcdef",
    "${modelPackageGroupArn}": f"{ARN}:model-package-group/delays",
    "${modelPackageArn}": f"{ARN}:model-package/delays/1",
    "${modelVersion}": "1",
    "${modelDigest}": "sha256:" + "0123456789abcdef" * 4,
    "${topicArn}": "arn:aws:sns:eu-west-1:123456789012:mlport-delays-drift",
    "<aws.scheduler.execution-id>": "d32c5kddcf5bb8c3",
    "<aws.scheduler.scheduled-time>": "2022-03-22T18:59:43Z",
}
UNICODE = {  # the models' Java classes, cut to ASCII: never wider than AWS's
    "L": "a-zA-Z", "N": "0-9", "Z": " ", "M": "", "S": r"$+<=>^`|~", "P": r"!-#%-*,-/:;?@\[-\]_{}",
    "Alnum": "a-zA-Z0-9", "Print": r"\x20-\x7e", "ASCII": r"\x00-\x7f",
}  # fmt: skip


@cache
def model(service: str) -> dict[str, Any]:
    return dict(loaders.create_loader().load_service_model(service, "service-2"))


@cache
def pattern(java: str) -> re.Pattern[str]:
    """AWS's pattern for Python, where it must match the whole value."""
    java = re.sub(r"\$\{\d+,\d+\}$", "", java)  # CustomerMetadata's ends in `${1,128}`: a length, as min and max say
    java = java.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")  # surrogates

    def plain(found: re.Match[str]) -> str:
        inside = java.rfind("[", 0, found.start()) > java.rfind("]", 0, found.start())
        return UNICODE[found[1]] if inside else f"[{UNICODE[found[1]]}]"

    return re.compile(re.sub(r"\\p\{(\w+)\}", plain, java))


def fill(value: Any) -> Any:
    if isinstance(value, dict):
        return {fill(key): fill(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{\w+\}|<aws\.scheduler\.[\w-]+>", lambda found: SAMPLES[found[0]], value)
    return value


def outside(size: float, shape: dict[str, Any]) -> bool:
    return not shape.get("min", size) <= size <= shape.get("max", size)


def faults(service: str, name: str, value: Any, at: str) -> Iterator[str]:
    """What is wrong with `value` as the shape `name`; nothing if all is well."""
    shape = model(service)["shapes"][name]
    kind = shape["type"]
    if kind == "structure" and isinstance(value, dict):
        members = shape["members"]
        yield from (f"{at}: unknown member {key}" for key in value.keys() - members.keys())
        yield from (f"{at}: missing {key}" for key in set(shape.get("required", ())) - value.keys())
        if shape.get("union") and len(value) != 1:
            yield f"{at}: a union takes exactly one member"
        for key in value.keys() & members.keys():
            yield from faults(service, members[key]["shape"], value[key], f"{at}.{key}")
    elif kind == "list" and isinstance(value, list):
        if outside(len(value), shape):
            yield f"{at}: {len(value)} items"
        for index, item in enumerate(value):
            yield from faults(service, shape["member"]["shape"], item, f"{at}[{index}]")
    elif kind == "map" and isinstance(value, dict):
        if outside(len(value), shape):
            yield f"{at}: {len(value)} entries"
        for key, item in value.items():
            yield from faults(service, shape["key"]["shape"], key, f"{at} key {key!r}")
            yield from faults(service, shape["value"]["shape"], item, f"{at}[{key!r}]")
    elif kind == "string" and isinstance(value, str):
        if value not in shape.get("enum", [value]):
            yield f"{at}: {value!r} is not in the enum"
        if outside(len(value), shape):
            yield f"{at}: length {len(value)}"
        if "pattern" in shape and not pattern(shape["pattern"]).fullmatch(value):
            yield f"{at}: {value!r} does not match {shape['pattern']}"
    elif kind in {"integer", "long", "float", "double"} and not isinstance(value, bool):
        if not isinstance(value, int if kind in {"integer", "long"} else int | float):
            yield f"{at}: {value!r} is not {kind}"
        elif outside(value, shape):
            yield f"{at}: {value} out of range"
    elif not (kind == "boolean" and isinstance(value, bool)):
        yield f"{at}: {value!r} is not {kind}"


def bind(request: dict[str, Any]) -> tuple[str, str, dict[str, Any], list[str]]:
    """Service, operation, the call's parameters (the path's among them), and faults of the envelope."""
    wrong = [f"request has {sorted(request)}"] if set(request) != {"call", "method", "path", "body"} else []
    service, operation = request["call"].split(".")
    if operation not in model(service)["operations"]:
        return service, operation, {}, [f"no operation {operation}"]
    described = model(service)["operations"][operation]
    http, shape = described["http"], model(service)["shapes"][described["input"]["shape"]]
    if request["method"] != http["method"]:
        wrong.append(f"method {request['method']}, not {http['method']}")
    template = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(http["requestUri"]))
    found = re.fullmatch(template, request["path"])
    if not found:
        wrong.append(f"path {request['path']}, not {http['requestUri']}")
    elsewhere = {key for key, member in shape["members"].items() if "location" in member} & request["body"].keys()
    wrong += [f"{key} does not belong in the body" for key in elsewhere]
    return service, operation, (found.groupdict() if found else {}) | request["body"], wrong


def check(request: dict[str, Any]) -> list[str]:
    request = fill(request)
    service, operation, parameters, wrong = bind(request)
    if wrong:
        return wrong
    shape = model(service)["operations"][operation]["input"]["shape"]
    return list(faults(service, shape, parameters, request["call"]))


def golden(name: str) -> dict[str, Any]:
    return dict(json.loads((HERE / f"{name}.json").read_text()))


def requests(name: str) -> list[dict[str, Any]]:
    return [*golden(name)["requests"], *golden(name).get("existing_customers", ())]


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_says_what_it_is(name: str) -> None:
    document = golden(name)
    assert all(document[key] for key in ("about", "sources", "requests"))
    assert document.keys() <= {"about", "sources", "requests", "existing_customers"}


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_holds_against_the_published_model(name: str) -> None:
    assert [fault for request in requests(name) for fault in check(request)] == []


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_is_what_botocore_would_send(name: str) -> None:
    for request in fill(requests(name)):
        service, operation, parameters, _ = bind(request)
        described = models.ServiceModel(model(service), service)
        protocol = next(kind for kind in ("json", "rest-json", "query") if kind in described.metadata["protocols"])
        sent = serialize.create_serializer(protocol).serialize_to_request(parameters, described.operation_model(operation))
        assert (sent["method"], sent["url_path"]) == (request["method"], request["path"])
        if protocol != "query":  # SNS: the same members as form fields
            assert json.loads(sent["body"]) == request["body"]


def test_what_the_schedule_will_send_holds_too() -> None:
    (schedule,) = (each for each in requests("monitor") if each["call"] == "scheduler.CreateSchedule")
    target = schedule["body"]["Target"]
    service, action = target["Arn"].removeprefix("arn:aws:scheduler:::aws-sdk:").split(":")
    call = f"{service}.{action[0].upper()}{action[1:]}"
    assert check({"call": call, "method": "POST", "path": "/", "body": json.loads(target["Input"])}) == []


def test_replies_are_held_to_the_model_as_well() -> None:
    reply = {"ModelPackageArn": SAMPLES["${modelPackageArn}"]}
    assert list(faults("sagemaker", "CreateModelPackageOutput", reply, "reply")) == []
    assert list(faults("sagemaker", "CreateModelPackageOutput", {"Arn": "x"}, "reply")) != []


def put(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(request: dict[str, Any]) -> None:
        spot: Any = request
        for step in path[:-1]:
            spot = spot[step]
        spot[path[-1]] = to

    return change


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(request: dict[str, Any]) -> None:
        spot = request
        for step in path[:-1]:
            spot = spot[step]
        del spot[path[-1]]

    return change


BITES = [
    ("unknown member", put("body", "JobName", to="delays"), "unknown member JobName"),
    ("unknown nested member", put("body", "ResourceConfig", "Spot", to=True), "unknown member Spot"),
    ("missing member", drop("body", "RoleArn"), "missing RoleArn"),
    ("missing nested member", drop("body", "AlgorithmSpecification", "TrainingInputMode"), "missing TrainingInputMode"),
    ("number as string", put("body", "ResourceConfig", "InstanceCount", to="1"), "is not integer"),
    ("boolean as number", put("body", "ResourceConfig", "InstanceCount", to=True), "is not integer"),
    ("fraction as integer", put("body", "ResourceConfig", "InstanceCount", to=1.5), "is not integer"),
    ("string as boolean", put("body", "EnableManagedSpotTraining", to="false"), "is not boolean"),
    ("number in a string map", put("body", "HyperParameters", "max_depth", to=6), "is not string"),
    ("list for structure", put("body", "OutputDataConfig", to=[]), "is not structure"),
    ("null", put("body", "Tags", to=None), "is not list"),
    ("enum", put("body", "ResourceConfig", "InstanceType", to="ml.m5.tiny"), "not in the enum"),
    ("pattern of a name", put("body", "TrainingJobName", to="delays_1"), "does not match"),
    ("pattern of a tag", put("body", "Tags", 0, "Value", to="50%"), "does not match"),
    ("too long", put("body", "TrainingJobName", to="a" * 64), "length 64"),
    ("too short", put("body", "RoleArn", to="arn:aws:iam"), "length 11"),
    ("too few", put("body", "InputDataConfig", to=[]), "0 items"),
    ("too many", put("body", "Tags", to=[{"Key": f"k{n}", "Value": ""} for n in range(51)]), "51 items"),
    ("too many entries", put("body", "Environment", to={f"K{n}": "" for n in range(101)}), "101 entries"),
    ("out of range", put("body", "RetryStrategy", "MaximumRetryAttempts", to=31), "out of range"),
    ("operation", put("call", to="sagemaker.CreateTraining"), "no operation"),
    ("method", put("method", to="GET"), "method GET"),
    ("path", put("path", to="/training-jobs"), "path /training-jobs"),
    ("envelope", put("headers", to={}), "request has"),
]


@pytest.mark.parametrize(("change", "says"), [bite[1:] for bite in BITES], ids=[bite[0] for bite in BITES])
def test_the_validator_bites(change: Callable[[dict[str, Any]], None], says: str) -> None:
    request = copy.deepcopy(requests("job")[0])
    change(request)
    assert any(says in fault for fault in check(request))


def test_it_bites_on_a_path_template_and_on_a_path_member_in_the_body() -> None:
    (schedule,) = (each for each in requests("monitor") if each["call"] == "scheduler.CreateSchedule")
    assert check(schedule | {"path": "/schedules/a/b"}) == ["path /schedules/a/b, not /schedules/{Name}"]
    assert any("does not match" in fault for fault in check(schedule | {"path": "/schedules/a b"}))
    assert check(schedule | {"body": schedule["body"] | {"Name": "x"}}) == ["Name does not belong in the body"]


def test_an_unknown_placeholder_fails() -> None:
    with pytest.raises(KeyError, match="nobody"):
        fill("${nobody}")
