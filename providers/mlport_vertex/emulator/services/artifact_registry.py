"""Artifact Registry: Docker repositories, and the images that Cloud Build pushed to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from mlport.emulation.documents import Exists
from mlport_vertex.emulator.place import LOCATION, PROJECTS, Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import new_id, normal, page
from mlport_vertex.emulator.storing.image_store import ImageStore
from mlport_vertex.emulator.working.builds import REPOSITORIES

Json = dict[str, Any]
TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1."
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
FIRST = "mlport"  # the repository that every emulated project has from the start


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    service = ArtifactRegistry(place)
    service.begin()
    at = "artifactregistry.projects.locations"
    methods: dict[str, Handler] = {f"{at}.operations.get": service.operation}
    methods |= {f"{at}.repositories.{verb}": getattr(service, f"{verb}_repository") for verb in ("create", "get", "list", "delete")}
    methods |= {f"{at}.repositories.dockerImages.{verb}": getattr(service, f"{verb}_image") for verb in ("get", "list")}
    methods |= {f"{at}.repositories.packages.tags.{verb}": getattr(service, f"{verb}_tag") for verb in ("get", "list", "delete")}
    methods |= {f"{at}.repositories.packages.versions.{verb}": getattr(service, f"{verb}_version") for verb in ("get", "list", "delete")}
    return methods


class ArtifactRegistry:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._store = place, ImageStore(place)

    def begin(self) -> None:
        """The repositories that are there from the start."""
        for project in PROJECTS:
            name = normal(f"projects/{project}/locations/{LOCATION}/repositories/{FIRST}")
            if self._place.documents.get(REPOSITORIES, name) is None:
                self._place.documents.insert(REPOSITORIES, name, _repository(name, project, {"format": "DOCKER"}))

    # ---------------------------------------------------------------- repositories

    def create_repository(self, request: Request) -> Json:
        parent, chosen = request.parent, str(request.arguments.get("repositoryId", ""))
        if not chosen:
            raise ApiError("INVALID_ARGUMENT", "repository_id is required")
        if request.body.get("format") != "DOCKER":
            raise ApiError("UNIMPLEMENTED", "The emulator has repositories of the format DOCKER only.")
        name = f"{normal(parent)}/repositories/{chosen}"
        made = _repository(name, parent.split("/")[1], request.body)
        try:
            self._place.documents.insert(REPOSITORIES, name, made)
        except Exists as error:
            raise ApiError("ALREADY_EXISTS", "the repository already exists") from error
        return self._done(normal(parent), {"@type": TYPE + "Repository", **made})

    def get_repository(self, request: Request) -> Json:
        return self._need(normal(request.name))

    def list_repository(self, request: Request) -> Any:
        return page(request, "repositories", self._place.documents.list(REPOSITORIES, f"{normal(request.parent)}/repositories/"))

    def delete_repository(self, request: Request) -> Json:
        found = self._need(normal(request.name))
        for tagged in self._store.tags(f"{found['registryUri']}/"):
            self._store.untag(tagged["image"], tagged["tag"])
        self._place.documents.delete(REPOSITORIES, found["name"])
        return self._done(found["name"].partition("/repositories/")[0], {"@type": "type.googleapis.com/google.protobuf.Empty"})

    def _need(self, name: str) -> Json:
        found = self._place.documents.get(REPOSITORIES, name)
        if found is None:
            raise _absent()
        return found

    # ---------------------------------------------------------------- images

    def _images(self, repository: Json) -> Iterator[Json]:
        """The images of a repository, one for each digest of each name."""
        found: dict[tuple[str, str], Json] = {}
        for tagged in self._store.tags(f"{repository['registryUri']}/"):
            kept = self._store.described(tagged["digest"])
            if kept is None:
                continue
            known = found.setdefault((tagged["image"], tagged["digest"]), _image(repository, tagged, kept))
            known["tags"].append(tagged["tag"])
        yield from found.values()

    def list_image(self, request: Request) -> Any:
        repository = self._need(normal(request.parent))
        return page(_unfiltered(request), "dockerImages", ((number, image) for number, image in enumerate(self._images(repository))))

    def get_image(self, request: Request) -> Json:
        head, _, last = request.name.partition("/dockerImages/")
        wanted = unquote(last)
        found = [each for each in self._images(self._need(normal(head))) if wanted in _names(each)]
        if not found:
            raise _absent()
        return found[0]

    # ---------------------------------------------------------------- tags and versions

    def _of_package(self, name: str) -> tuple[Json, str, str]:
        """The repository, the image's address, and the package's own name of `.../repositories/R/packages/P[/...]`."""
        head, _, rest = name.partition("/packages/")
        repository = self._need(normal(head))
        package = rest.partition("/")[0]
        return repository, f"{repository['registryUri']}/{unquote(package)}", f"{repository['name']}/packages/{package}"

    def _tags(self, name: str) -> list[Json]:
        _, image, package = self._of_package(name)
        return [
            {"name": f"{package}/tags/{each['tag']}", "version": f"{package}/versions/{each['digest']}"}
            for each in self._store.tags(f"{image}:")
        ]

    def list_tag(self, request: Request) -> Any:
        return page(_unfiltered(request), "tags", enumerate(self._tags(request.parent)))

    def get_tag(self, request: Request) -> Json:
        wanted = normal(request.name)
        found = next((tag for tag in self._tags(request.name) if tag["name"] == wanted), None)
        if found is None:
            raise _absent()
        return found

    def delete_tag(self, request: Request) -> Json:
        _, image, _ = self._of_package(request.name)
        if not self._store.untag(image, request.name.rpartition("/")[2]):
            raise _absent()
        return {}

    def _versions(self, name: str) -> list[Json]:
        repository, image, package = self._of_package(name)
        return [
            {
                "name": f"{package}/versions/{each['name'].rpartition('@')[2]}",
                "createTime": each["uploadTime"],
                "updateTime": each["updateTime"],
                "metadata": {key: each[key] for key in ("imageSizeBytes", "mediaType", "buildTime", "name")},
                "relatedTags": [{"name": f"{package}/tags/{tag}"} for tag in each["tags"]],
            }
            for each in self._images(repository)
            if each["uri"].partition("@")[0] == image
        ]

    def list_version(self, request: Request) -> Any:
        return page(_unfiltered(request), "versions", enumerate(self._versions(request.parent)))

    def get_version(self, request: Request) -> Json:
        wanted = normal(request.name)
        found = next((each for each in self._versions(request.name) if each["name"] == wanted), None)
        if found is None:
            raise _absent()
        return found

    def delete_version(self, request: Request) -> Json:
        _, image, _ = self._of_package(request.name)
        version = self.get_version(request)
        tags = [each["name"].rpartition("/")[2] for each in version["relatedTags"]]
        if tags and not request.arguments.get("force"):
            said = f"manifest is tagged: {', '.join(tags)}"  # a guess at the words
            raise ApiError("FAILED_PRECONDITION", said)
        for tag in tags:
            self._store.untag(image, tag)
        return self._done(normal(request.name).partition("/repositories/")[0], {"@type": "type.googleapis.com/google.protobuf.Empty"})

    # ---------------------------------------------------------------- operations

    def _done(self, parent: str, response: Json) -> Json:
        """An operation that has ended: nothing here takes long."""
        operation: Json = {
            "name": f"{parent}/operations/{new_id(self._place)}",
            "metadata": {"@type": TYPE + "OperationMetadata"},
            "done": True,
            "response": response,
        }
        self._place.documents.insert("registryOperations", operation["name"], operation)
        return operation

    def operation(self, request: Request) -> Json:
        found = self._place.documents.get("registryOperations", normal(request.name))
        if found is None:
            raise _absent()
        return found


def _absent() -> ApiError:
    return ApiError("NOT_FOUND", "Requested entity was not found.")


def _unfiltered(request: Request) -> Request:
    """Raises ApiError for what these lists do not do here."""
    for name in ("filter", "orderBy"):
        if request.arguments.get(name):
            raise ApiError("UNIMPLEMENTED", f"The emulator's Artifact Registry has no {name} here.")
    return request


def _repository(name: str, project: str, body: Json) -> Json:
    location, made = name.split("/")[3], now()
    own = {"mode": "STANDARD_REPOSITORY", **body, "name": name, "createTime": made, "updateTime": made}
    return {**own, "registryUri": f"{location}-docker.pkg.dev/{project}/{name.rpartition('/')[2]}"}


def _image(repository: Json, tagged: Json, kept: Json) -> Json:
    short = quote(tagged["image"].removeprefix(f"{repository['registryUri']}/"), safe="")
    return {
        "name": f"{repository['name']}/dockerImages/{short}@{tagged['digest']}",
        "uri": f"{tagged['image']}@{tagged['digest']}",
        "tags": [],
        "imageSizeBytes": str(kept["size"]),
        "mediaType": MANIFEST,
        "uploadTime": tagged["made"],
        "updateTime": tagged["made"],
        "buildTime": kept["made"],
    }


def _names(image: Json) -> set[str]:
    """What an image may be asked for by: its digest, and each of its tags."""
    own = unquote(image["name"].rpartition("/dockerImages/")[2])
    return {own, *(f"{own.partition('@')[0]}:{tag}" for tag in image["tags"])}
