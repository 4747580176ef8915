"""Runtime `build` at Google: Cloud Build and Artifact Registry, over the profile's own connection."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlport.errors import InputChangedError, NotFoundError, SpecError
from mlport.spi import Json, Plan
from mlport_vertex.serving import build_image
from mlport_vertex.serving.build_image import NAME, Image, tag_of, tag_of_endpoint
from mlport_vertex.serving.build_wheel import wheel

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

BUILD = "builds.create"
UNDER_WAY = ("STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING")
LAST_LINES = 20
PAGE = "100"


def facts(api: VertexApi, artifacts: str) -> Json:
    """What an image for the model at a `gs://` address is made of, and whether it is there.

    Raises:
        SpecError: the model has no requirements.txt, or the repository does not exist.
    """
    if not api.config.build_repository:
        return {}
    requirements = api.objects.get(f"{artifacts.rstrip('/')}/requirements.txt")
    if requirements is None:
        raise SpecError(
            f"DeploymentSpec.runtime: 'build' installs the model's requirements.txt, and there is none at {artifacts}",
            hint="save the model with MLflow, or use runtime 'image' with an image of yours",
        )
    name, content = wheel()
    found: Json = {
        "requirements": requirements.decode("utf-8", "replace"),
        "python": _python(api.objects.get(f"{artifacts.rstrip('/')}/python_env.yaml")),
        "wheel": name,
        "wheel_digest": hashlib.sha256(content).hexdigest(),
    }
    found["there"] = Builds(api).has(build_image.image(api.config, {"build": found}))
    return {"build": found}


def _python(described: bytes | None) -> str:
    """The version that MLflow's python_env.yaml names; empty where there is none."""
    import yaml

    try:
        declared = yaml.safe_load(described) if described else {}
    except yaml.YAMLError:
        return ""  # it decides nothing but the minor version, and the image's default is as good
    return str(declared.get("python", "")) if isinstance(declared, dict) else ""


def store_context(api: VertexApi, plan: Plan) -> None:
    """Put the build's context where the plan says. Raises InputChangedError for an mlport that changed since."""
    found = (plan.facts.machine or {}).get("build", {})
    name, content = wheel()
    if hashlib.sha256(content).hexdigest() != found["wheel_digest"]:
        raise InputChangedError("mlport's own files changed since the plan was made", hint="plan it again")
    wanted = build_image.image(api.config, plan.facts.machine or {})
    api.objects.put_once(build_image.context_address(api.config, wanted), build_image.context(wanted, found["requirements"], name, content))


class Builds:
    """Builds and images of one profile."""

    def __init__(self, api: VertexApi) -> None:
        self._api, self._config = api, api.config
        self._url = f"https://cloudbuild.googleapis.com/v1/{api.config.parent}/builds"

    # ---------------------------------------------------------------- images

    def has(self, wanted: Image) -> bool:
        """Whether an image is there. Raises SpecError if its repository is not."""
        return self.has_tag(wanted.address)

    def has_tag(self, address: str) -> bool:
        repository = self.repository()
        try:
            self._get(f"{repository}/packages/{NAME}/tags/{address.rpartition(':')[2]}", "tags.get")
        except NotFoundError:
            self.need_repository(repository)
            return False
        return True

    def repository(self) -> str:
        """The resource name of the profile's repository."""
        host, project, name = (self._config.build_repository or "").split("/")
        return f"projects/{project}/locations/{host.removesuffix('-docker.pkg.dev')}/repositories/{name}"

    def need_repository(self, repository: str) -> Json:
        try:
            return self._get(repository, "repositories.get")
        except NotFoundError as error:
            name, location = repository.rpartition("/")[2], repository.split("/")[3]
            raise SpecError(
                f"build_repository: {self._config.build_repository} does not exist",
                hint=f"gcloud artifacts repositories create {name} --repository-format=docker --location={location}",
            ) from error

    def _get(self, name: str, operation: str) -> Json:
        url = f"https://artifactregistry.googleapis.com/v1/{quote(name, safe='/')}"
        return self._api.connection.send("GET", url, operation=operation, repeatable=True)

    # ---------------------------------------------------------------- builds

    def begin(self, body: Json) -> str:
        """A new build's name."""
        answer = self._api.connection.send("POST", self._url, operation=BUILD, body=body, query={"projectId": self._config.project})
        return str(answer["metadata"]["build"]["name"])

    def find(self, token: str) -> str | None:
        """The newest build of a token; None while none is listed."""
        return next((str(build["name"]) for build in self._tagged(tag_of(token))), None)

    def cancel_of(self, endpoint: str) -> None:
        """Cancel what is being built for an endpoint."""
        for build in self._tagged(tag_of_endpoint(endpoint)):
            if build["status"] in UNDER_WAY:
                url = f"https://cloudbuild.googleapis.com/v1/{build['name']}:cancel"
                body = {"id": build["id"], "projectId": self._config.project}
                self._api.connection.send("POST", url, operation="builds.cancel", body=body, repeatable=True)

    def _tagged(self, tag: str) -> list[Json]:
        query = {"filter": f'tags="{tag}"', "projectId": self._config.project, "pageSize": PAGE}
        found = self._api.connection.send("GET", self._url, operation="builds.list", query=query, repeatable=True)
        return list(found.get("builds", ()))

    def look(self, name: str) -> Json:
        """A build in the form of a long-running operation; its error has the end of the build's log."""
        url = f"https://cloudbuild.googleapis.com/v1/{name}"
        query = {"projectId": self._config.project}
        build = self._api.connection.send("GET", url, operation="builds.get", query=query, repeatable=True)
        status = str(build["status"])
        told: Json = {"name": name, "metadata": {"deploymentStage": f"build {status}"}}
        if status in UNDER_WAY:
            return told
        if status == "SUCCESS":
            return {**told, "done": True, "response": {}}
        return {**told, "done": True, "error": {"code": 9, "message": self._why(build)}}

    def _why(self, build: Json) -> str:
        detail = build.get("failureInfo", {}).get("detail") or build.get("statusDetail") or ""
        kept = self._api.objects.get(f"{build_image.log_folder(self._config)}/log-{build['id']}.txt")
        lines = kept.decode("utf-8", "replace").rstrip().splitlines()[-LAST_LINES:] if kept else []
        said = [
            f"the image could not be built: {build['status']}{f', {detail}' if detail else ''}",
            *lines,
            f"The whole log: {build.get('logUrl', '')}",
        ]
        return "\n".join(said)
