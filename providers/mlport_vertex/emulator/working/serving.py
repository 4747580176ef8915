"""Deployed models at work: each is a container that a job of the engine keeps alive, whatever image it is of.

A document of the kind `containers`, named as the container, has `seconds` (until it must be healthy) besides what
mlport.emulation.model_servers keeps of each, and `failed` once it is to end; one of the kind `containerLogs` stays when it is gone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from mlport.emulation.documents import Exists
from mlport.emulation.model_servers import ModelServers
from mlport_vertex.emulator.place import NUMBER, Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.object_records import StorageError
from mlport_vertex.emulator.working import containers, images, sklearn_container
from mlport_vertex.emulator.working.runs import tail

Json = dict[str, Any]
KIND, LOGS, FOLDER = "containers", "containerLogs", "serving"
MODEL = "model"  # what it is called in the server's own protocols, and the one replica of its pod
GRACE = 10.0  # seconds between SIGTERM and SIGKILL; not documented: a guess
PATIENCE = 1800.0  # seconds for a container that names no deploymentTimeout to be healthy; not documented: a guess
EXITS = 2  # before it was ever healthy, after which a deployment has failed: a guess


def engine_name(deployment: str) -> str:
    """The container for a deployed model, which has this full name."""
    return f"m{hashlib.sha256(deployment.encode()).hexdigest()[:20]}"


def default_route(endpoint: str, deployed: str, verb: str = "predict") -> str:
    """Where a container is asked that names no route (aiplatform.v1, ModelContainerSpec.predictRoute)."""
    return f"/v1/endpoints/{endpoint.rpartition('/')[2]}/deployedModels/{deployed}" + (":predict" if verb == "predict" else "")


def folder_of(place: Place, name: str) -> Path:
    """Where a container's pod keeps its files."""
    return place.folder / FOLDER / name


class Serving:
    """The containers of one place, as deployments use them. Safe for threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers = ModelServers(place, KIND, FOLDER, Path(containers.POD), ("log.jsonl",))

    # ---------------------------------------------------------------- starting

    def start(self, name: str, container: Json, artifacts: str, env: Mapping[str, str], told: Json | None = None) -> bool:
        """Begin to serve, or look how far it is: whether it answers. May be called again and again, also after a restart.

        Args:
            name: From `engine_name`.
            container: The Model's containerSpec.
            artifacts: The gs:// folder with the model.
            env: The variables of Vertex AI's container contract.
            told: Whose logs its output is: the `endpoint`'s full name and the deployed model's `id`; nobody's if left out.

        Raises:
            ApiError: it cannot be served; as the deployment's operation fails.
        """
        kept = self._servers.get(name)
        if kept is None:
            self._prepare(name, container, artifacts, env)
            with self._place.documents.together():
                kept = self._servers.insert(name, seconds=_seconds(container))
                if told:
                    with suppress(Exists):
                        self._place.documents.insert(LOGS, name, {"name": name, **told})
        state = self._servers.look(kept)
        if state.get("ready"):
            return True
        failed = kept.get("failed") or self._failure(kept, state)
        if not failed or not self.stop(name, failed):
            return False
        raise ApiError("FAILED_PRECONDITION", _exited(failed))

    def _failure(self, kept: Json, state: Json) -> str:
        """Why it will not serve; empty while it may."""
        if state.get("restarts", 0) >= EXITS:
            return self._last_words(kept["name"]) or f"It exited with a status of {state['code']}."
        return f"It was not healthy within {kept['seconds']:g} s." if time.time() - kept["begun"] > kept["seconds"] else ""

    def _prepare(self, name: str, container: Json, artifacts: str, env: Mapping[str, str]) -> None:
        """Write what the pod runs; a killed emulator does it again."""
        folder = self._servers.fresh(name)
        made = self._container(container, artifacts, folder)
        replica = {
            "name": MODEL,
            "pool": MODEL,
            "index": 0,
            "trial": "",
            "steps": [made.argv],
            "folder": str(made.folder),
            "env": {**containers.surroundings(self._place, folder), **made.env, **containers.declared(container), **env},
        }
        rules: Json = {
            "timeout": None,
            "grace": GRACE,
            "transient": [],
            "job_restarts": 0,
            "worker_restarts": 0,
            "restart_all": False,
            "preempt": [],
        }
        manifest = folder / "pod.json"
        manifest.touch(mode=0o600)
        manifest.write_text(json.dumps({"replicas": [replica], **rules, "keep": {"health": env["AIP_HEALTH_ROUTE"]}}), "utf-8")

    def _container(self, container: Json, artifacts: str, folder: Path) -> images.Container:
        """What is run: a server that stands for a prebuilt image, its model fetched; else what the image itself says."""
        kind = images.server(self._place, container["imageUri"])
        command, args = container.get("command", []), container.get("args", [])
        if kind is None:
            return images.container(self._place, container["imageUri"], command, args, folder)
        self._fetch(kind, artifacts, folder / MODEL)
        own = {word: value for word, value in pairwise([*command, *args]) if word.startswith("--model")}
        names = ["--model", own.get("--model", MODEL), "--model-version", own.get("--model-version", "1")]
        argv = [sys.executable, "-m", "mlport.serving", str(folder / MODEL), "--host", "127.0.0.1", *names]
        return images.Container(argv, {}, folder / "work")

    def _fetch(self, kind: images.Server, artifacts: str, folder: Path) -> None:
        folder.mkdir()
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

    def _last_words(self, name: str) -> str:
        """What it said last on stderr: a server's error and its hint."""
        said = [entry["message"].strip() for entry in tail(self._servers.folder(name) / "log.jsonl") if entry["severity"] == "ERROR"]
        return " ".join(dict.fromkeys(said[-2:]))

    # ---------------------------------------------------------------- while it serves

    def is_ready(self, name: str) -> bool:
        """Whether it answers now."""
        return bool(self._servers.look(self._servers.get(name)).get("ready"))

    def ask(self, name: str, route: str, body: bytes, headers: Mapping[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
        """The container's answer, of whatever status. Raises ApiError (UNAVAILABLE, DEADLINE_EXCEEDED) if there is none."""
        try:
            return self._servers.post(name, route, body, headers, timeout, lambda: self._address(name))
        except urllib3.exceptions.TimeoutError as error:
            raise ApiError("DEADLINE_EXCEEDED", "Deadline exceeded while waiting for the model server.") from error
        except HTTPError as error:
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.") from error

    def _address(self, name: str) -> str:
        state = self._servers.look(self._servers.get(name))
        if not state.get("ready"):
            raise ApiError("UNAVAILABLE", "The service is currently unavailable.")
        return f"http://127.0.0.1:{state['port']}"

    # ---------------------------------------------------------------- ending

    def stop(self, name: str, failed: str = "") -> bool:
        """Begin to end it, or look how far that is: whether it is gone. What it printed stays, and what was counted of it.

        `failed` is why it ends, where it did not come to serve.
        """
        return self._servers.stop(name, failed=failed)


def _seconds(container: Json) -> float:
    given = str(container.get("deploymentTimeout", ""))
    return float(given.removesuffix("s")) if given else PATIENCE


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
