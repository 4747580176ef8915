"""What an endpoint is asked: one of its served entities answers, drawn by the traffic's percentages for each request.

The words of refusals are those of the real one where they were seen (a missing endpoint; a model's own failure, as MLflow's scoring
server has it and https://docs.databricks.com/machine-learning/model-serving/model-serving-debug.html quotes it); else guesses.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

from mlport.emulation.calls import Reply
from mlport.emulation.faults import of_effect
from mlport.emulation.observed import Seen
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request, read_json
from mlport_databricks.emulator.protocol.errors import ApiError, missing
from mlport_databricks.emulator.storing.inference_tables import LAG, written
from mlport_databricks.emulator.storing.serving_access import QUERY, Access
from mlport_databricks.emulator.working.deploying import ENDPOINTS, IDLE

Json = dict[str, Any]
MOST_BYTES = 16 << 20  # of a request: docs.databricks.com, model-serving-limits
JSON_TYPE = "application/json"
OWN = ("client_request_id", "usage_context")  # what the endpoint itself takes; the rest is the model server's
NOT_OURS = ("extra_params", "input", "max_tokens", "messages", "n", "prompt", "stop", "stream", "temperature")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The call, which takes more than JSON, and more than its description says: `params`."""
    return {"* POST /serving-endpoints/{name}/invocations": Invocations(place).invoke}


class Invocations:
    """Answers for all endpoints of a place."""

    def __init__(self, place: Place) -> None:
        self._place, self._access, self._serving = place, Access(place), place.serving

    def invoke(self, request: Request) -> Reply:
        """The model server's answer, counted and logged."""
        endpoint = self._place.documents.get(ENDPOINTS, f"{request.workspace}/{request.arguments['name']}")
        if endpoint is None:
            raise missing(
                "The given endpoint does not exist, please retry after checking the specified model and version deployment exists."
            )
        self._access.require(request.workspace, request.user, endpoint, QUERY)
        if endpoint["config"] is None:
            raise ApiError("TEMPORARILY_UNAVAILABLE", f"Endpoint {endpoint['name']} is not ready to be queried yet.")
        sent = request.call.read()
        if len(sent) > MOST_BYTES:
            raise ApiError("REQUEST_TOO_LARGE", f"The request of {len(sent)} bytes exceeds the maximum of {MOST_BYTES} bytes.")
        content_type = request.call.headers.get("content-type", JSON_TYPE)
        forwarded, own = _split(request, sent) if content_type.startswith(JSON_TYPE) else (sent, {})
        entity = _drawn(endpoint["config"])
        idle = of_effect(request.call.befallen, "idle")
        self._serving.deploying.asked(entity["worker"], idle.seconds if idle else IDLE)
        began, number = time.time(), str(uuid.uuid4())
        try:
            answer = self._serving.servers.ask(entity["worker"], forwarded, {"content-type": content_type, "x-request-id": number})
            reply = _reply(answer.status, answer.data, answer.headers.get("content-type", JSON_TYPE))
        except ApiError as error:
            reply = error.reply()
        took = time.time() - began
        self._serving.observed.note(Seen(began, endpoint["id"], entity["id"], reply.status, took, took, 1))
        self._keep(request, endpoint, entity, sent, own, reply, (began, took, number))
        return Reply(reply.status, reply.body, {**reply.headers, "served-model-name": entity["name"], "x-databricks-request-id": number})

    def _keep(
        self, request: Request, endpoint: Json, entity: Json, sent: bytes, own: Json, reply: Reply, when: tuple[float, float, str]
    ) -> None:
        """Log the exchange. Of a request that its size or its sender forbids nothing is logged: it never came this far."""
        began, took, number = when
        lag = of_effect(request.call.befallen, "lag")
        assert isinstance(reply.body, bytes)  # noqa: S101 - it is made above
        row = {
            "databricks_request_id": number,
            "request_date": written(began)[:10],
            "client_request_id": own.get("client_request_id"),
            "request_time": written(began),
            "status_code": reply.status,
            "sampling_fraction": 1.0,
            "execution_duration_ms": round(1000 * took),
            "request": sent.decode("utf-8", "replace"),
            "response": reply.body.decode("utf-8", "replace"),
            "served_entity_id": entity["id"],
            "requester": request.user,
        }
        self._serving.inference.write(request.workspace, endpoint, row, own.get("usage_context"), lag.seconds if lag else LAG)


def _split(request: Request, sent: bytes) -> tuple[bytes, Json]:
    """What goes to the model server, and what the endpoint itself takes. Raises ApiError."""
    if not any(name.encode() in sent for name in (*OWN, *NOT_OURS)):  # parsed by the model server alone
        return sent, {}
    body = read_json(request.call)
    if elsewhere := [name for name in NOT_OURS if name in body]:
        raise ApiError("BAD_REQUEST", f"{elsewhere[0]}: only external and foundation models take it, and the emulator has none.")
    own = {name: body.pop(name) for name in OWN if name in body}
    if not isinstance(own.get("client_request_id", ""), str) or not isinstance(own.get("usage_context", {}), dict):
        raise ApiError("BAD_REQUEST", "client_request_id must be a string, and usage_context an object of strings.")
    return (json.dumps(body).encode() if own else sent), own


def _drawn(config: Json) -> Json:
    """The entity that answers, by the percentages."""
    routes = config["traffic_config"]["routes"]
    name = random.choices([each["served_model_name"] for each in routes], [each["traffic_percentage"] for each in routes])[0]  # noqa: S311
    return next(dict(each) for each in config["served_entities"] if each["name"] == name)


def _reply(status: int, body: bytes, content_type: str) -> Reply:
    """The answer as Databricks gives it on: what the model raised is a 400, and an answer of 5xx would be of its own making."""
    if status < 400:
        return Reply(200, body, {"content-type": content_type})
    said = str(json.loads(body).get("error", ""))
    if status in (429, 503):
        return ApiError("REQUEST_LIMIT_EXCEEDED", said, status=429).reply()
    if status >= 500:
        said = (
            "Encountered an unexpected error while evaluating the model. Verify that the input is compatible with the model for inference. "
            f"Error '{said.removeprefix('the model failed: ')}'"
        )
    return ApiError("BAD_REQUEST", said).reply()
