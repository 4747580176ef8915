"""The SDK's source as the description of Databricks' APIs: what is read from it, and that requests and answers are held to it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from mlport.emulation.calls import Call
from mlport_databricks.emulator.protocol import described
from mlport_databricks.emulator.protocol.api import Api, Request, Route
from mlport_databricks.emulator.protocol.mlflow_messages import routes

SUBMIT = "POST /api/2.2/jobs/runs/submit"


def asked(verb: str, path: str, body: Any = None, **query: str) -> Call:
    content = b"" if body is None else json.dumps(body).encode()
    return Call(verb, "host", path, tuple(query.items()), {}, io.BytesIO(content))


def answered(api: Api, call: Call) -> tuple[int, Any]:
    reply = api.answer(call, "workspace", "user")
    assert isinstance(reply.body, bytes)
    return reply.status, json.loads(reply.body)


def test_every_method_of_the_sdk_is_read() -> None:
    assert len(described.index()) > 1000
    for key in described.index():
        assert described.method(key).key == key


def test_a_method_has_its_parameters_body_and_answer() -> None:
    submit = described.method(SUBMIT)
    assert submit.id == "jobs.JobsAPI.submit"
    assert submit.body is not None
    assert str(submit.body["idempotency_token"].kind) == "str"
    assert submit.body["tasks"].kind.item is not None
    assert submit.body["tasks"].kind.item.name == "SubmitTask"
    assert described.structure("jobs", "SubmitTask")["task_key"].required
    assert str(submit.answer) == "SubmitRunResponse"
    runs = described.method("GET /api/2.2/jobs/runs/list")
    assert runs.body is None
    assert {"limit": "int", "active_only": "bool", "run_type": "RunType"}.items() <= {
        name: str(field.kind) for name, field in runs.arguments.items()
    }.items()
    assert described.method("PUT /api/2.0/fs/files{file_path}").body is None, "its body is the file"
    assert described.values("jobs", "RunType") == ("JOB_RUN", "SUBMIT_RUN", "WORKFLOW_RUN")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"tasks": [{}]}, "INVALID_PARAMETER_VALUE", "Missing required field: tasks[0].task_key"),
        ({"task": []}, "INVALID_PARAMETER_VALUE", "Could not parse request object: unknown field 'task'"),
        ({"tasks": {}}, "MALFORMED_REQUEST", "Could not parse request object: Expected list, got an object at 'tasks'"),
        ({"tasks": [{"task_key": "a", "max_retries": "1"}]}, "MALFORMED_REQUEST", "Expected int, got a string at 'tasks[0].max_retries'"),
        ({"tasks": [{"task_key": "a", "run_if": "NEVER"}]}, "MALFORMED_REQUEST", "'NEVER' is not one of"),
        ({"queue": {"enabled": 1}}, "MALFORMED_REQUEST", "Expected bool, got a number at 'queue.enabled'"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_its_field(body: Any, code: str, message: str) -> None:
    api = Api({SUBMIT: lambda request: {"run_id": 1}})
    status, said = answered(api, asked(*SUBMIT.split(), body))
    assert (status, said["error_code"]) == (400, code)
    assert message in said["message"]


@pytest.mark.parametrize(("answer", "what"), [({"run_id": "1"}, "run_id"), ({"run": 1}, "run: unknown field"), ([], "Expected an object")])
def test_an_answer_of_our_own_that_does_not_fit_is_a_500_that_says_so(answer: Any, what: str) -> None:
    status, said = answered(Api({SUBMIT: lambda request: answer}), asked(*SUBMIT.split(), {}))
    assert (status, said["error_code"]) == (500, "INTERNAL_ERROR")
    assert what in said["message"]


def test_a_page_is_held_to_its_items() -> None:
    api = Api({"GET /api/2.2/jobs/runs/list": lambda request: {"runs": [{"run_id": 1}], "has_more": False}})
    assert answered(api, asked("GET", "/api/2.2/jobs/runs/list", limit="5"))[0] == 200
    wrong = Api({"GET /api/2.2/jobs/runs/list": lambda request: {"runs": [{"id": 1}], "more": 1}})
    status, said = answered(wrong, asked("GET", "/api/2.2/jobs/runs/list"))
    assert status == 500
    assert "more: unknown field" in said["message"]
    assert "runs[0].id: unknown field" in said["message"]


def test_a_handler_sees_typed_arguments_and_a_fixed_path_goes_first() -> None:
    seen: list[Request] = []

    def look(request: Request) -> None:
        seen.append(request)

    api = Api(
        {"GET /api/2.2/jobs/runs/list": look, "* GET /own/{name}": look, "* GET /own/fixed": lambda request: {}, "* GET /files{path}": look}
    )
    answered(api, asked("GET", "/api/2.2/jobs/runs/list", limit="5", active_only="true"))
    answered(api, asked("GET", "/own/a%20b"))
    answered(api, asked("GET", "/own/fixed"))
    answered(api, asked("GET", "/files/a/b%2Fc"))
    assert [dict(request.arguments) for request in seen] == [{"limit": 5, "active_only": True}, {"name": "a b"}, {"path": "/a/b/c"}]
    assert [request.given("name", "none") for request in seen[:2]] == ["none", "a b"]


def test_a_method_without_a_handler_is_not_there_and_a_handler_without_a_method_is_a_mistake() -> None:
    assert answered(Api({}), asked(*SUBMIT.split(), {}))[1]["error_code"] == "NOT_IMPLEMENTED"
    assert answered(Api({}), asked("GET", "/api/9.9/x"))[1]["error_code"] == "ENDPOINT_NOT_FOUND"
    with pytest.raises(ValueError, match=r"no such methods in the SDK: GET /api/2\.2/jobs/typo"):
        Api({"GET /api/2.2/jobs/typo": lambda request: {}})
    with pytest.raises(ValueError, match="no such messages in MLflow's protos: Typo"):
        list(routes({"Typo": lambda request: {}}))


def test_mlflow_calls_are_held_to_their_protos_both_ways() -> None:
    answers: list[Any] = [{"registered_model": {"name": "a"}}, {"registered_model": {"title": "a"}}]

    def more() -> list[Route]:
        return list(routes({"GetRegisteredModel": lambda request: answers.pop(0)}))

    api = Api({}, {"/api/2.0/mlflow/unity-catalog/": more})
    path = "/api/2.0/mlflow/unity-catalog/registered-models/get"
    assert answered(api, asked("GET", path, name="a"))[0] == 200
    status, said = answered(api, asked("GET", path, name="a"))
    assert status == 500
    assert "title" in said["message"]
    assert answered(api, asked("GET", path, names="a"))[1]["error_code"] == "MALFORMED_REQUEST"
    assert answered(api, asked("GET", path))[1]["message"] == "Missing required field: name"
    assert answered(api, asked("POST", "/api/2.0/mlflow/unity-catalog/registered-models/create", {"name": "a"}))[0] == 501
