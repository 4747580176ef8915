"""aiplatform: endpoints. What is deployed on them is in `deployments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport.emulation.documents import Exists
from mlport_vertex.emulator.place import NUMBER, Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import camel, document
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import EMPTY, Work, shown, typed
from mlport_vertex.emulator.protocol.resources import etag, listing, masked, new_id, normal, parse
from mlport_vertex.emulator.protocol.rules import check_endpoint_id, check_etag, check_resource, check_split, invalid
from mlport_vertex.emulator.services.deployments import Deployments
from mlport_vertex.emulator.storing.registry import DEPLOYMENTS
from mlport_vertex.emulator.storing.traffic_log import check_logging, prepare_logging

Json = dict[str, Any]
KIND = "endpoints"
PREFIX = "aiplatform.projects.locations.endpoints"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    endpoints, deployments = Endpoints(place), Deployments(place)
    place.operations.register("endpoints.create", endpoints.created)
    place.operations.register("endpoints.delete", endpoints.deleted)
    place.operations.register("endpoints.deploy", deployments.deployed, deployments.undo)
    place.operations.register("endpoints.undeploy", deployments.undeployed)
    place.operations.register("endpoints.mutate", deployments.mutated)
    return {
        f"{PREFIX}.create": endpoints.create,
        f"{PREFIX}.get": endpoints.get,
        f"{PREFIX}.list": endpoints.list,
        f"{PREFIX}.patch": endpoints.patch,
        f"{PREFIX}.delete": endpoints.delete,
        f"{PREFIX}.deployModel": deployments.deploy,
        f"{PREFIX}.undeployModel": deployments.undeploy,
        f"{PREFIX}.mutateDeployedModel": deployments.mutate,
    }


class Endpoints:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._deployments = place, Deployments(place)

    def create(self, request: Request) -> Json:
        """Begin to make one; the operation stands under it."""
        body = dict(request.body)
        chosen = request.arguments.get("endpointId")
        check_resource("endpoint", body)
        if chosen:
            check_endpoint_id(chosen)
        if body.get("trafficSplit"):
            check_split("endpoint.traffic_split", body["trafficSplit"], set())
        check_logging(self._place, body.get("predictRequestResponseLoggingConfig"))
        name = f"{normal(request.parent)}/endpoints/{chosen or new_id(self._place)}"
        if self._place.documents.get(KIND, name) is not None or self._place.operations.under_way(name):
            raise ApiError("ALREADY_EXISTS", f"The Endpoint already exists: {name}")
        content = {key: value for key, value in body.items() if key not in ("name", "etag", "trafficSplit")}
        return shown(self._place.operations.begin(name, "CreateEndpointOperationMetadata", "endpoints.create", content), request)

    def created(self, work: Work) -> Json:
        name, moment = parse(work.resource), now()
        body: Json = {"name": work.resource, **work.args, "createTime": moment, "updateTime": moment}
        if body.get("dedicatedEndpointEnabled"):
            body["dedicatedEndpointDns"] = f"{name.id}.{name.location}-{NUMBER}.prediction.vertexai.goog"
        if config := body.get("predictRequestResponseLoggingConfig"):
            body["predictRequestResponseLoggingConfig"] = prepare_logging(self._place, work.resource, body["displayName"], config)
        body = {**body, "etag": etag(body)}
        try:
            self._place.documents.insert(KIND, work.resource, {"endpoint": body, "operation": work.operation})
        except Exists as error:
            kept = self._place.documents.get(KIND, work.resource)
            if kept is None or kept["operation"] != work.operation:
                raise ApiError("ALREADY_EXISTS", f"The Endpoint already exists: {work.resource}") from error
        return typed("Endpoint", {"name": work.resource, "displayName": body["displayName"]})

    def get(self, request: Request) -> Json:
        return self._shown(self._kept(request.name))

    def list(self, request: Request) -> Any:
        return listing(self._place, request, KIND, "endpoints", self._shown)

    def _kept(self, name: str) -> Json:
        kept = self._place.documents.get(KIND, normal(name))
        if kept is None:
            raise not_found("Endpoint", normal(name))
        return kept

    def _shown(self, kept: Json) -> Json:
        body: Json = kept["endpoint"]
        deployed = self._deployments.of(body["name"])
        return {**body, **({"deployedModels": deployed} if deployed else {})}

    def patch(self, request: Request) -> Json:
        """Change what the mask names, at once; the traffic split with it."""
        mask, sent, name = str(request.arguments.get("updateMask", "")), request.body, normal(request.name)
        self._kept(name)
        _check_mask(mask)
        check_resource("endpoint", sent)
        if "trafficSplit" in {camel(path) for path in mask.split(",")}:
            known = {body["id"] for _, body in self._place.documents.list(DEPLOYMENTS, f"{name}/") if body["state"] == "deployed"}
            check_split("endpoint.traffic_split", sent.get("trafficSplit", {}), known)
        config = sent.get("predictRequestResponseLoggingConfig")
        if config and "predictRequestResponseLoggingConfig" in {camel(path.partition(".")[0]) for path in mask.split(",")}:
            sent = {**sent, "predictRequestResponseLoggingConfig": self._logging(name, config)}

        def change(kept: Json) -> Json:
            check_etag("Endpoint", sent.get("etag"), kept["endpoint"]["etag"])
            body = {**masked(kept["endpoint"], mask, sent), "updateTime": now()}
            return {**kept, "endpoint": {**body, "etag": etag(body)}}

        kept = self._place.documents.change(KIND, name, change)
        if kept is None:
            raise not_found("Endpoint", name)
        return self._shown(kept)

    def _logging(self, name: str, config: Json) -> Json:
        before = self._kept(name)["endpoint"]
        if before.get("predictRequestResponseLoggingConfig", {}).get("bigqueryDestination") != config.get("bigqueryDestination"):
            check_logging(self._place, config)
            return prepare_logging(self._place, name, before["displayName"], config)
        return config

    def delete(self, request: Request) -> Json:
        name = normal(request.name)
        self._kept(name)
        self._refuse_deployed(name)
        return shown(self._place.operations.begin(name, "DeleteOperationMetadata", "endpoints.delete", {}), request)

    def deleted(self, work: Work) -> Json:
        with self._place.documents.together():
            self._refuse_deployed(work.resource)
            self._place.documents.delete(KIND, work.resource)
        return EMPTY

    def _refuse_deployed(self, name: str) -> None:
        """The first words were seen with Terraform."""
        found = [body["id"] for _, body in self._place.documents.list(DEPLOYMENTS, f"{name}/")]
        if found:
            raise ApiError("FAILED_PRECONDITION", f"Endpoint has deployed or being-deployed DeployedModel(s): {', '.join(found)}")


def _check_mask(mask: str) -> None:
    """A mask is required, and may name only what can be changed."""
    properties = document("aiplatform.v1").schemas["GoogleCloudAiplatformV1Endpoint"]["properties"]
    for path in mask.split(",") if mask else [""]:
        field = camel(path.partition(".")[0])
        described = str(properties.get(field, {}).get("description", ""))
        if field not in properties:
            raise invalid("update_mask", f"Invalid field mask: {mask!r}.")
        if described.startswith(("Output only.", "Identifier.")) or field in ("encryptionSpec", "network", "dedicatedEndpointEnabled"):
            raise invalid("update_mask", f"The field {path} cannot be updated.")
