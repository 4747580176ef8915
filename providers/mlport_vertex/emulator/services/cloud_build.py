"""Cloud Build: builds with docker steps, of sources in Cloud Storage; they really build. Other builders: UNIMPLEMENTED."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import normal, page
from mlport_vertex.emulator.working.builds import DOCKER, ENDED, KIND, TYPE, Builds

Json = dict[str, Any]
GLOBAL = "global"
ERRORS = {"CANCELLED": "CANCELLED", "TIMEOUT": "DEADLINE_EXCEEDED", "EXPIRED": "DEADLINE_EXCEEDED", "INTERNAL_ERROR": "INTERNAL"}
TAG = re.compile(r"[\w][\w.-]{0,127}")
LOGS = (
    "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket', (b) use the REGIONAL_USER_OWNED_BUCKET "
    "build.options.default_logs_bucket_behavior option, or (c) use either CLOUD_LOGGING_ONLY / NONE logging options"
)  # quoted in many public reports


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids: those of a location, and those of none, which is `global`."""
    service = CloudBuild(place)
    methods: dict[str, Handler] = {}
    for under in ("projects", "projects.locations"):
        for verb in ("create", "get", "list", "cancel"):
            methods[f"cloudbuild.{under}.builds.{verb}"] = getattr(service, verb)
    for under in ("operations", "projects.locations.operations"):
        methods[f"cloudbuild.{under}.get"] = service.operation
        methods[f"cloudbuild.{under}.cancel"] = service.cancel_operation
    return methods


class CloudBuild:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._builds = place, Builds(place)

    def create(self, request: Request) -> Json:
        project, location = _where(request)
        _check(request.body)
        return self._operation(self._builds.begin(project, location, request.body))

    def get(self, request: Request) -> Json:
        return self._need(_name(request))

    def list(self, request: Request) -> Any:
        project, location = _where(request)
        under = f"{normal(f'projects/{project}')}/locations/{location}/builds/"
        return page(request, "builds", ((number, body) for number, body in self._place.documents.list(KIND, under)))

    def cancel(self, request: Request) -> Json:
        name = _name(request)
        if self._need(name)["status"] in ENDED:
            raise ApiError("FAILED_PRECONDITION", f"build {name.rpartition('/')[2]} is already finished")  # a guess at the words
        self._builds.cancel(name)
        return self._need(name)

    def operation(self, request: Request) -> Json:
        return self._operation(self._need(_of_operation(request.name)))

    def cancel_operation(self, request: Request) -> Json:
        self._builds.cancel(_of_operation(request.name))
        return {}

    def _need(self, name: str) -> Json:
        found = self._builds.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return found

    @staticmethod
    def _operation(build: Json) -> Json:
        """The operation that a build is, as it stands: it is made of the build, so that both say the same."""
        head = build["name"].rpartition("/builds/")[0]
        encoded = base64.urlsafe_b64encode(build["name"].encode()).decode().rstrip("=")
        operation: Json = {
            "name": f"{head}/operations/{encoded}" if f"/{GLOBAL}" not in head else f"operations/{encoded}",
            "metadata": {"@type": TYPE + "BuildOperationMetadata", "build": build},
        }
        if build["status"] == "SUCCESS":
            return {**operation, "done": True, "response": {"@type": TYPE + "Build", **build}}
        if build["status"] in ENDED:
            said = f"Build failed; check build logs for details ({build['status']})"  # a guess at the words
            error = ApiError(ERRORS.get(build["status"], "UNKNOWN"), said)
            return {**operation, "done": True, "error": error.rpc()}
        return operation


def _where(request: Request) -> tuple[str, str]:
    """Project and location, as the caller calls the project."""
    parts = str(request.arguments.get("parent", "")).split("/")
    if len(parts) == 4 and parts[0] == "projects":
        return parts[1], parts[3]
    return str(request.arguments["projectId"]), GLOBAL


def _name(request: Request) -> str:
    given = request.arguments
    if "/builds/" in str(given.get("name", "")):
        return normal(str(given["name"]))
    return normal(f"projects/{given['projectId']}/locations/{GLOBAL}/builds/{given['id']}")


def _of_operation(name: str) -> str:
    encoded = name.rpartition("/")[2]
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ApiError("NOT_FOUND", "Requested entity was not found.") from error


def _check(build: Json) -> None:
    """Raise ApiError for what Cloud Build refuses, and for what is not here."""
    if not build.get("steps"):
        raise ApiError("INVALID_ARGUMENT", "invalid build: build must have at least one step")
    for number, step in enumerate(build["steps"]):
        if step["name"].partition(":")[0] not in DOCKER or "script" in step or "entrypoint" in step:
            raise ApiError("UNIMPLEMENTED", f"The emulator's builds have docker steps only, not {step['name']!r} (steps[{number}]).")
        verb = (step.get("args") or [""])[0]
        if verb not in ("build", "push", "tag"):
            raise ApiError("UNIMPLEMENTED", f"The emulator does docker build, push and tag, not {verb!r} (steps[{number}].args).")
    sources = [kind for kind in build.get("source", {}) if kind != "storageSource"]
    if sources:
        raise ApiError("UNIMPLEMENTED", f"The emulator fetches sources from Cloud Storage only, not {sources[0]}.")
    if wrong := [tag for tag in build.get("tags", ()) if not TAG.fullmatch(tag)]:
        raise ApiError("INVALID_ARGUMENT", f"invalid build: invalid build tag {wrong[0]!r}: must match format {TAG.pattern}")
    options = build.get("options", {})
    kept = build.get("logsBucket") or options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET"
    if build.get("serviceAccount") and not kept and options.get("logging") not in ("CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"):
        raise ApiError("INVALID_ARGUMENT", LOGS)
