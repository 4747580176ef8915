"""aiplatform: :predict, :rawPredict, :streamRawPredict and invoke of endpoints, answered by the models that are deployed on them."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport.emulation.calls import Reply
from mlport.emulation.faults import of_effect
from mlport.emulation.observed import Observed, Seen
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import OF_STATUS, ApiError, not_found
from mlport_vertex.emulator.protocol.resources import normal
from mlport_vertex.emulator.storing.registry import DEPLOYMENTS, Registry
from mlport_vertex.emulator.storing.traffic_log import LAG, TrafficLog
from mlport_vertex.emulator.working.serving import Serving

Json = dict[str, Any]
PREFIX = "aiplatform.projects.locations.endpoints"
SHARED_BYTES, DEDICATED_BYTES = 3 << 19, 10 << 20  # 1.5 MB and 10 MB (docs/spi/vertex.md, c)
SHARED_SECONDS, DEDICATED_SECONDS = 60.0, 600.0
JSON_TYPE = "application/json"
_dumps = partial(json.dumps, separators=(",", ":"))


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    predictions = Predictions(place)
    return {
        f"{PREFIX}.predict": predictions.predict,
        f"{PREFIX}.rawPredict": predictions.raw_predict,
        f"{PREFIX}.streamRawPredict": predictions.raw_predict,  # the answer comes in one piece
        f"{PREFIX}.invoke.invoke": predictions.invoke,
        f"{PREFIX}.deployedModels.invoke.invoke": predictions.invoke,
    }


class Predictions:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._serving, self._log, self._registry = place, Serving(place), TrafficLog(place), Registry(place)
        self._observed = Observed(place.folder / "observed")

    def predict(self, request: Request) -> Json:
        """The container's predictions, and which deployed model gave them."""
        endpoint, deployment = self._target(request)
        sent = request.call.read()
        if not {"instances", "parameters"}.issuperset(request.body):  # the container gets nothing but these
            sent = _dumps({key: request.body[key] for key in ("instances", "parameters") if key in request.body}).encode()
        response = self._ask(request, endpoint, deployment, sent, {"content-type": JSON_TYPE})
        answer = _parsed(response.data)
        self._keep(request, endpoint, deployment, map(_dumps, request.body["instances"]), map(_dumps, answer["predictions"]))
        deployed = deployment["deployedModel"]
        return {
            "predictions": answer["predictions"],
            **({"metadata": answer["metadata"]} if "metadata" in answer else {}),
            "deployedModelId": deployment["id"],
            "model": deployed["model"],
            "modelDisplayName": deployment["modelDisplayName"],
            "modelVersionId": deployed["modelVersionId"],
        }

    def raw_predict(self, request: Request) -> Reply:
        """The container's answer as it is."""
        endpoint, deployment = self._target(request)
        sent, content_type = _raw(request)
        response = self._ask(request, endpoint, deployment, sent, {"content-type": content_type})
        self._keep(request, endpoint, deployment, [sent.decode("utf-8", "replace")], [response.data.decode("utf-8", "replace")])
        return _passed_on(response, deployment)

    def invoke(self, request: Request) -> Reply:
        """The container's answer at any route of its own; that of the deployment that is named, else of one that is drawn.

        Code and words of what is refused are guesses; that it is refused, the description of invokeRoutePrefix says.
        """
        endpoint, deployment = self._target(request)
        if not endpoint.get("dedicatedEndpointEnabled"):
            raise ApiError("FAILED_PRECONDITION", f"Endpoint {endpoint['name']} is not a dedicated endpoint, and cannot be invoked.")
        model = f"{deployment['model']}@{deployment['version']}"
        if not self._registry.get(model).get("containerSpec", {}).get("invokeRoutePrefix"):
            raise ApiError("FAILED_PRECONDITION", f"The Model {model} has no invoke_route_prefix, and cannot be invoked.")
        sent, content_type = _raw(request)
        route = f"/{request.arguments['invokeId']}"
        return _passed_on(self._ask(request, endpoint, {**deployment, "route": route}, sent, {"content-type": content_type}), deployment)

    # ---------------------------------------------------------------- choosing

    def _target(self, request: Request) -> tuple[Json, Json]:
        """The endpoint, and the deployment that is named, else the one that its split draws."""
        asked = str(request.arguments["endpoint"])
        name = normal(asked)
        kept = self._place.documents.get("endpoints", name)
        if kept is None:
            raise not_found("Endpoint", name)
        endpoint: Json = kept["endpoint"]
        _check_host(request, endpoint)
        split: Mapping[str, int] = endpoint.get("trafficSplit", {})
        if not split:  # seen: GoogleCloudPlatform/explainable_ai_sdk#3
            raise ApiError("FAILED_PRECONDITION", f"Endpoint {asked} doesn't have traffic_split.")
        drawn = random.choices(list(split), list(split.values()))[0]  # noqa: S311 - traffic is no secret
        named = request.arguments.get("deployedModelId")
        deployment = self._place.documents.get(DEPLOYMENTS, f"{name}/deployedModels/{named or drawn}")
        if named and deployment is None:
            raise not_found("DeployedModel", f"{name}/deployedModels/{named}")
        if deployment is None:
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.")
        return endpoint, deployment

    # ---------------------------------------------------------------- asking

    def _ask(self, request: Request, endpoint: Json, deployment: Json, sent: bytes, headers: Mapping[str, str]) -> Any:
        """The container's answer, counted. Raises ApiError with what the container said when it refused."""
        dedicated = endpoint.get("dedicatedEndpointEnabled")
        limit = DEDICATED_BYTES if dedicated else SHARED_BYTES
        if len(sent) > limit:
            raise ApiError("INVALID_ARGUMENT", f"Request payload size exceeds the limit: {limit} bytes.")
        seconds = DEDICATED_SECONDS if dedicated else SHARED_SECONDS
        began, status = time.time(), 503
        try:
            response = self._serving.ask(deployment["engine"], deployment["route"], sent, headers, seconds)
            status = response.status
        except ApiError as error:
            status = error.status
            raise
        finally:
            took, rows = time.time() - began, len((request.body or {}).get("instances", ()))
            self._observed.note(Seen(began, endpoint["name"], deployment["id"], status, took, took, rows))
        if response.status >= 400:
            code = OF_STATUS.get(response.status, "INTERNAL" if response.status >= 500 else "INVALID_ARGUMENT")
            raise ApiError(code, response.data.decode("utf-8", "replace"))
        return response

    def _keep(self, request: Request, endpoint: Json, deployment: Json, sent: Any, answered: Any) -> None:
        if endpoint.get("predictRequestResponseLoggingConfig", {}).get("enabled"):
            lag = of_effect(request.call.befallen, "lag")
            self._log.write(endpoint, deployment["id"], list(sent), list(answered), lag.seconds if lag else LAG)


def _passed_on(response: Any, deployment: Json) -> Reply:
    headers = {
        "content-type": response.headers.get("content-type", JSON_TYPE),
        "X-Vertex-AI-Deployed-Model-Id": deployment["id"],
        "X-Vertex-AI-Model": deployment["deployedModel"]["model"],
        "X-Vertex-AI-Model-Version-Id": deployment["deployedModel"]["modelVersionId"],
    }
    return Reply(200, response.data, headers)


def _check_host(request: Request, endpoint: Json) -> None:
    """An endpoint with a DNS name of its own is asked there only; the direct address of the emulator counts as any host."""
    dns, host = endpoint.get("dedicatedEndpointDns", ""), request.call.host
    if host.endswith(".prediction.vertexai.goog"):
        if host != dns:
            raise not_found("Endpoint", endpoint["name"])
    elif dns and host.endswith(".googleapis.com"):
        raise ApiError(
            "FAILED_PRECONDITION",  # a guess, as are the words
            "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain "
            f"{host}. Please access the endpoint using its dedicated dns name '{dns}'",
        )


def _raw(request: Request) -> tuple[bytes, str]:
    """Body and content type. Google's clients send it as a RawPredictRequest, everyone else as it is."""
    sent = request.call.read()
    if sent.lstrip()[:1] == b"{" and b'"httpBody"' in sent:
        try:
            message = json.loads(sent)
        except ValueError:
            message = {}
        body = message.get("httpBody")
        if message.keys() <= {"httpBody", "endpoint"} and isinstance(body, dict):
            return base64.b64decode(body.get("data", "")), body.get("contentType") or JSON_TYPE
    return sent, request.call.headers.get("content-type", JSON_TYPE)


def _parsed(body: bytes) -> Json:
    try:
        answer = json.loads(body)
        if not isinstance(answer["predictions"], list):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError("INTERNAL", 'The model server did not answer with {"predictions": [...]}.') from error  # a guess
    return dict(answer)
