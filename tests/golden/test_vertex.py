"""Every Vertex AI golden against Google's own discovery documents, offline, from google-api-python-client.

The documents give methods, paths, fields, types, formats and enums. They carry no flag for a required field; Google's
generator copies the proto's comment, which begins with "Required." (as in the GAPIC docstrings): that is the rule here.
Not checked, because the documents say it in prose only: oneofs, lengths, and MachineSpec.machineType in a worker pool.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("googleapiclient", reason="needs google-api-python-client: it ships the schema")

Json = Any
GOLDENS = {path.stem: path for path in sorted((Path(__file__).parent / "vertex").glob("*.json"))}
PLACEHOLDER = re.compile(r"\$\{[a-z_.]+\}")  # ${token}, or an id from an earlier answer


def _decodes(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


FORMATS: dict[str, Callable[[str], bool]] = {
    "int64": lambda text: bool(re.fullmatch(r"-?\d+", text)),
    "uint64": lambda text: bool(re.fullmatch(r"\d+", text)),
    "google-duration": lambda text: bool(re.fullmatch(r"-?\d+(\.\d{1,9})?s", text)),
    "google-datetime": lambda text: _decodes(datetime.fromisoformat, text),
    "google-fieldmask": lambda text: bool(re.fullmatch(r"[a-z][\w.]*(,[a-z][\w.]*)*", text)),
    "byte": lambda text: _decodes(lambda value: base64.b64decode(value, validate=True), text),
}
TYPES: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


@cache
def document(version: str) -> Json:
    """The discovery document that the installed package ships."""
    name = f"discovery_cache/documents/aiplatform.{version}.json"
    return json.loads(files("googleapiclient").joinpath(name).read_text("utf-8"))


def _walk(node: Json) -> Iterator[Json]:
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from _walk(child)


@cache
def methods(version: str) -> dict[str, Json]:
    return {method["id"]: method for method in _walk(document(version))}


def _required(spec: Json) -> bool:
    return bool(spec.get("required")) or spec.get("description", "").startswith("Required.")


def _string(spec: Json, text: str, at: str) -> Iterator[str]:
    names, fits = spec.get("enum", []), FORMATS.get(spec.get("format", ""))
    if names and text not in names:
        yield f"{at}: {text!r} is not one of {names}"
    elif names and spec.get("enumDeprecated", [False] * len(names))[names.index(text)]:
        yield f"{at}: {text!r} is deprecated"
    elif fits and not fits(text) and not PLACEHOLDER.fullmatch(text):
        yield f"{at}: {text!r} is not a {spec['format']}"


def _object(api: Json, spec: Json, value: dict[str, Json], at: str) -> Iterator[str]:
    fields, other = spec.get("properties", {}), spec.get("additionalProperties")
    for name, field in fields.items():
        if _required(field) and value.get(name) in (None, "", [], {}):
            yield f"{at}.{name}: missing required field"
    for name, item in value.items():
        field = fields.get(name, other)
        if field is None:
            yield f"{at}.{name}: unknown field"
        elif field.get("readOnly"):
            yield f"{at}.{name}: output only"
        else:
            yield from _value(api, field, item, f"{at}.{name}")


def _value(api: Json, spec: Json, value: Json, at: str) -> Iterator[str]:
    spec = api["schemas"][spec["$ref"]] if "$ref" in spec else spec
    kind = spec.get("type", "any")
    if kind == "any":
        return
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{at}: {value!r} is not of type {kind}"
    elif kind == "object":
        yield from _object(api, spec, value, at)
    elif kind == "array":
        for index, item in enumerate(value):
            yield from _value(api, spec["items"], item, f"{at}[{index}]")
    elif kind == "string":
        yield from _string(spec, value, at)


def problems(request: Json) -> list[str]:
    """What Google's description of the API has against one request; empty when nothing."""
    url = urlsplit(request["path"])
    version = url.path.split("/")[1]
    if version not in ("v1", "v1beta1"):
        return [f"path {url.path} is of no known API version"]
    api, method = document(version), methods(version).get(request["call"])
    if method is None:
        return [f"{request['call']} is no method of {version}"]
    found = []
    if request["method"] != method["httpMethod"]:
        found.append(f"{request['call']} is a {method['httpMethod']}")
    template = re.sub(r"\\{\w+\\}", "[^/:?]+", re.escape("/" + method["flatPath"]))
    if not re.fullmatch(template, url.path):
        found.append(f"path {url.path} is not /{method['flatPath']}")
    known = {name: spec for name, spec in method["parameters"].items() if spec["location"] == "query"}
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    found += _object(api, {"properties": known}, query, "query")
    if "request" in method:
        found += _value(api, method["request"], request.get("body"), "body")
    elif "body" in request:
        found.append(f"{request['call']} takes no body")
    return found


def load(name: str) -> Json:
    return json.loads(GOLDENS[name].read_text("utf-8"))


def test_the_common_example_is_whole() -> None:
    assert set(GOLDENS) == {"job", "model", "endpoint", "split", "batch", "batch_native", "monitor"}


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_fits_the_published_schema(name: str) -> None:
    golden = load(name)
    assert set(golden) == {"about", "sources", "requests"}
    assert golden["sources"]
    assert golden["requests"]
    for request in golden["requests"]:
        assert problems(request) == [], request["call"]


@pytest.mark.parametrize("name", GOLDENS)
def test_labels_and_splits_keep_the_rules_that_are_prose_only(name: str) -> None:
    for request in load(name)["requests"]:
        resource = request["body"].get("model") if "models:upload" in request["path"] else request["body"]
        for key, value in resource.get("labels", {}).items():
            assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
            assert PLACEHOLDER.fullmatch(value) or re.fullmatch(r"[a-z0-9_-]{0,63}", value)
        split = request["body"].get("trafficSplit")
        assert split is None or sum(split.values()) == 100


def _set(*path: str | int, to: Json) -> Callable[[Json], None]:
    def change(request: Json) -> None:
        node = request
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[Json], None]:
    def change(request: Json) -> None:
        node = request
        for step in path[:-1]:
            node = node[step]
        del node[path[-1]]

    return change


SPEC = ("body", "jobSpec")
POOL = (*SPEC, "workerPoolSpecs", 0)


@pytest.mark.parametrize(
    ("golden", "change", "complaint"),
    [
        ("job", _set("body", "cpus", to=4), "body.cpus: unknown field"),
        ("job", _set(*POOL, "machineSpec", "vcpus", to=4), "machineSpec.vcpus: unknown field"),
        ("job", _set(*POOL, "replicaCount", to=1), "replicaCount: 1 is not of type string"),
        ("job", _set(*POOL, "replicaCount", to="one"), "replicaCount: 'one' is not a int64"),
        ("job", _set(*POOL, "containerSpec", "args", to="--fast"), "args: '--fast' is not of type array"),
        ("job", _set(*SPEC, "scheduling", "disableRetries", to=1), "disableRetries: 1 is not of type boolean"),
        ("job", _set(*SPEC, "scheduling", "timeout", to="1h"), "timeout: '1h' is not a google-duration"),
        ("job", _set(*SPEC, "scheduling", "strategy", to="CHEAP"), "strategy: 'CHEAP' is not one of"),
        ("job", _set(*SPEC, "scheduling", "strategy", to="ON_DEMAND"), "strategy: 'ON_DEMAND' is deprecated"),
        ("job", _set("body", "state", to="JOB_STATE_QUEUED"), "body.state: output only"),
        ("job", _drop("body", "displayName"), "body.displayName: missing required field"),
        ("job", _drop(*POOL, "containerSpec", "imageUri"), "containerSpec.imageUri: missing required field"),
        ("job", _drop("body"), "body: None is not of type object"),
        ("job", _set("path", to="/v1/projects/acme-ml/customJobs"), "path /v1/projects/acme-ml/customJobs is not"),
        ("job", _set("path", to="/v2/projects/acme-ml/customJobs"), "of no known API version"),
        ("job", _set("method", to="PUT"), "is a POST"),
        ("job", _set("call", to="aiplatform.projects.locations.customJobs.submit"), "is no method of v1"),
        ("endpoint", _set("path", to="/v1/projects/p/locations/l/endpoints?id=delays"), "query.id: unknown field"),
        ("split", _set("body", "trafficSplit", to={"1": 99.5, "2": 0.5}), "99.5 is not of type integer"),
        ("split", _set("path", to="/v1/projects/p/locations/l/endpoints/e"), "query.updateMask: missing required"),
    ],
)
def test_the_validator_bites(golden: str, change: Callable[[Json], None], complaint: str) -> None:
    request = copy.deepcopy(load(golden)["requests"][0])
    change(request)
    found = problems(request)
    assert any(complaint in problem for problem in found), found
