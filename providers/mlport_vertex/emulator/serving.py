"""Deployed models at work: each is an endpoint of the engine, with a real model server behind it.

The engine's processes outlive the emulator, so that a model goes on answering when the emulator is started again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from mlport.errors import BusyError, MlportError, NotFoundError
from mlport.spi import EndpointState, Facts, State
from mlport_vertex.emulator import images, sklearn_container
from mlport_vertex.emulator.errors import ApiError
from mlport_vertex.emulator.object_records import StorageError
from mlport_vertex.emulator.place import NUMBER, Place

Json = dict[str, Any]
CONNECTIONS = 64  # kept open to each deployed model
MODEL = "model"  # the deployment's name at the engine


def engine_name(deployment: str) -> str:
    """The engine's endpoint for a deployed model, which has this full name."""
    return f"m{hashlib.sha256(deployment.encode()).hexdigest()[:20]}"


def default_route(endpoint: str, deployed: str, verb: str = "predict") -> str:
    """Where a container is asked that names no route (aiplatform.v1, ModelContainerSpec.predictRoute)."""
    return f"/v1/endpoints/{endpoint.rpartition('/')[2]}/deployedModels/{deployed}" + (":predict" if verb == "predict" else "")


class Serving:
    """The engine, as deployments use it. Safe for threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pool = urllib3.PoolManager(num_pools=256, maxsize=CONNECTIONS, retries=False)
        self._urls: dict[str, str] = {}

    # ---------------------------------------------------------------- starting

    def start(self, name: str, container: Json, artifacts: str, env: Mapping[str, str]) -> bool:
        """Begin to serve, or look how far it is: whether it answers. May be called again and again, also after a restart.

        Args:
            name: From `engine_name`.
            container: The Model's containerSpec.
            artifacts: The gs:// folder with the model.
            env: The variables of Vertex AI's container contract.

        Raises:
            ApiError: it cannot be served; as the deployment's operation fails.
        """
        endpoints = self._place.engine.session.endpoints
        begun = endpoints.find(name)
        if begun is None:
            folder = self._place.folder / "serving" / name
            try:
                self._fetch(container["imageUri"], artifacts, folder)
                begun = endpoints.create(self._plan(name, container, folder, env), token=name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        status = self._place.engine.session.operations.advance(begun.id)
        if status.state is State.FAILED:
            self.stop(name)
            raise ApiError("FAILED_PRECONDITION", _exited(status.reason))
        return status.state is State.SUCCEEDED

    def _fetch(self, image: str, artifacts: str, folder: Path) -> None:
        kind = images.server(image)
        if kind is None:
            raise images.not_found(image)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            self._place.objects.download_tree(artifacts, folder) if artifacts else 0
        except StorageError as error:
            raise ApiError("FAILED_PRECONDITION", f"Model directory {artifacts} cannot be read: {error.message}") from error
        if kind == "sklearn":
            present = [file for file in sklearn_container.FILES if (folder / file).is_file()]
            if len(present) != 1:  # the sentence was seen with this container and with TensorFlow's
                wanted = ", ".join(sklearn_container.FILES)
                raise ApiError("FAILED_PRECONDITION", f"Model directory {artifacts} is expected to contain exactly one of: [{wanted}].")
            sklearn_container.wrap(folder)

    def _plan(self, name: str, container: Json, folder: Path, env: Mapping[str, str]) -> Any:
        """The engine's plan. The server's arguments `--model` and `--model-version` are what it is called in its own protocols."""
        from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef

        said = [*container.get("command", []), *container.get("args", [])]
        own = {word: value for word, value in pairwise(said) if word.startswith("--model")}
        model = {"name": own.get("--model", MODEL), "version": own.get("--model-version", "1")}
        variables = {**{each["name"]: each.get("value", "") for each in container.get("env", [])}, **env}
        spec = EndpointSpec(
            name=name,
            deployment=DeploymentSpec(model=ModelRef(**model), name=MODEL, env=variables),
            auth="none",
            capture=None,
        )
        record = {**model, "uri": str(folder), "digest": None, "flavors": ["python_function"]}
        return self._place.engine.plan(spec, Facts(model=record, machine={}))

    # ---------------------------------------------------------------- while it serves

    def is_ready(self, name: str) -> bool:
        """Whether it answers now."""
        try:
            return self._place.engine.session.endpoints.get(name).state is EndpointState.READY
        except NotFoundError:
            return False

    def ask(self, name: str, route: str, body: bytes, headers: Mapping[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
        """The container's answer, of whatever status. Raises ApiError (UNAVAILABLE, DEADLINE_EXCEEDED) if there is none."""
        try:
            return self._send(self._urls.get(name) or self._url(name), route, body, headers, timeout)
        except NewConnectionError:  # the engine has been away, or has another port: nobody has worked on it
            self._urls.pop(name, None)
        except urllib3.exceptions.TimeoutError as error:
            raise ApiError("DEADLINE_EXCEEDED", "Deadline exceeded while waiting for the model server.") from error
        except HTTPError as error:
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.") from error
        try:
            return self._send(self._url(name), route, body, headers, timeout)
        except HTTPError as error:
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.") from error

    def _send(self, url: str, route: str, body: bytes, headers: Mapping[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
        return self._pool.request("POST", url + route, body=body, headers=dict(headers), timeout=timeout)

    def _url(self, name: str) -> str:
        try:
            found = self._place.engine.session.endpoints.get(name).url
        except MlportError as error:
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.") from error
        self._urls[name] = found
        return found

    # ---------------------------------------------------------------- ending

    def stop(self, name: str) -> bool:
        """Begin to end it, or look how far that is: whether it is gone. What was counted of it stays."""
        session = self._place.engine.session
        self._urls.pop(name, None)
        try:
            ending = session.endpoints.delete(name, token=f"{name}-end")
        except BusyError:  # it is still being made
            return False
        return session.operations.advance(ending.id).state.terminal


def contract(endpoint: str, deployed: str, container: Json, artifacts: str, machine: str) -> dict[str, str]:
    """The variables that Vertex AI sets in a serving container.

    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables
    """
    ports: list[Json] = container.get("ports") or [{}]
    return {
        "AIP_ACCELERATOR_TYPE": "",
        "AIP_DEPLOYED_MODEL_ID": deployed,
        "AIP_ENDPOINT_ID": endpoint.rpartition("/")[2],
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_HEALTH_ROUTE": container.get("healthRoute") or default_route(endpoint, deployed, "health"),
        "AIP_HTTP_PORT": str(ports[0].get("containerPort", 8080)),
        "AIP_MACHINE_TYPE": machine,
        "AIP_MODE": "PREDICTION",
        "AIP_PREDICT_ROUTE": container.get("predictRoute") or default_route(endpoint, deployed),
        "AIP_PROJECT_NUMBER": NUMBER,
        "AIP_STORAGE_URI": artifacts,
    }


def _exited(reason: str) -> str:
    """The first sentence was seen often (for example 400 "Model server exited unexpectedly."); the rest is ours."""
    logs = f"https://console.cloud.google.com/logs/viewer?project={NUMBER}&resource=aiplatform.googleapis.com%2FEndpoint"
    return f"Model server exited unexpectedly. Model server logs can be found at {logs}. {reason}".strip()
