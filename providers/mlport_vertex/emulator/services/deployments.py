"""aiplatform: deployModel, undeployModel and mutateDeployedModel.

A document of the kind `deployments`, named `ENDPOINT/deployedModels/ID`, holds `{"endpoint", "id", "model", "version",
"modelDisplayName", "engine", "state": "deploying" | "deployed", "deployedModel", "route" once deployed}`.
"""

from __future__ import annotations

from typing import Any

from mlport.emulation.documents import Exists
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Request
from mlport_vertex.emulator.protocol.discovery import snake
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.long_running import Work, shown, typed
from mlport_vertex.emulator.protocol.resources import etag, masked, new_id, normal
from mlport_vertex.emulator.protocol.rules import check_deployed_id, check_split, invalid
from mlport_vertex.emulator.storing.registry import DEPLOYMENTS, Registry
from mlport_vertex.emulator.working.serving import Serving, contract, engine_name

Json = dict[str, Any]
ENDPOINTS = "endpoints"
NEW = "0"  # what a split calls the model that is being deployed
MACHINE = "n1-standard-2"  # aiplatform.v1, MachineSpec.machineType
MUTABLE = (
    "dedicated_resources.min_replica_count",
    "dedicated_resources.max_replica_count",
    "dedicated_resources.required_replica_count",
    "dedicated_resources.autoscaling_metric_specs",
    "automatic_resources.min_replica_count",
    "automatic_resources.max_replica_count",
    "disable_container_logging",
)


class Deployments:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._registry, self._serving = place, Registry(place), Serving(place)

    def of(self, endpoint: str) -> list[Json]:
        """The DeployedModels of an endpoint, oldest first, with how well they are now."""
        found = [body for _, body in self._place.documents.list(DEPLOYMENTS, f"{endpoint}/deployedModels/") if body["state"] == "deployed"]
        return [self._shown(body) for body in reversed(found)]

    def _shown(self, deployment: Json) -> Json:
        deployed: Json = deployment["deployedModel"]
        ready = self._serving.is_ready(deployment["engine"])
        wanted = deployed.get("dedicatedResources", {}).get("minReplicaCount", 1)
        return {**deployed, "status": {"availableReplicaCount": wanted if ready else 0, "lastUpdateTime": now()}}

    # ---------------------------------------------------------------- deploy

    def deploy(self, request: Request) -> Json:
        """Begin to deploy. Everything that can be refused is refused now."""
        endpoint = normal(str(request.arguments["endpoint"]))
        sent, split = dict(request.body["deployedModel"]), request.body.get("trafficSplit", {})
        self._refuse_busy(endpoint)
        model, version = self._registry.resolve(_given(sent, "model"))
        registered = self._registry.get(f"{model}@{version}")
        _check_resources(sent, registered)
        if sent.get("id"):
            check_deployed_id(sent["id"])
        deployed = str(sent.get("id") or new_id(self._place))
        check_split("traffic_split", split, {NEW, *self._ids(endpoint)})
        name = f"{endpoint}/deployedModels/{deployed}"
        content = {**sent, "id": deployed, "model": model, "modelVersionId": version, "createTime": now()}
        content.setdefault("displayName", registered["displayName"])
        deployment = {
            "endpoint": endpoint,
            "id": deployed,
            "model": model,
            "version": version,
            "modelDisplayName": registered["displayName"],
            "engine": engine_name(f"{name} {now()}"),
            "state": "deploying",
            "deployedModel": content,
        }
        arguments = {"name": name, "split": {deployed if key == NEW else key: share for key, share in split.items()}}
        with self._place.documents.together():
            try:
                self._place.documents.insert(DEPLOYMENTS, name, deployment)
            except Exists as error:
                raise ApiError("ALREADY_EXISTS", f"The DeployedModel {deployed} already exists in {endpoint}.") from error
            begun = self._place.operations.begin(endpoint, "DeployModelOperationMetadata", "endpoints.deploy", arguments)
        return shown(begun, request)

    def deployed(self, work: Work) -> Json | None:
        """Start the model server; once it answers, put the model on the endpoint and its split in force."""
        deployment = self._kept(work.args["name"])
        if deployment["state"] == "deployed":  # an emulator that ended just then had done it
            return typed("DeployModelResponse", {"deployedModel": deployment["deployedModel"]})
        work.tell(deploymentStage="STARTING_MODEL_SERVER")
        try:
            registered = self._registry.get(f"{deployment['model']}@{deployment['version']}")
            container, artifacts = registered["containerSpec"], registered.get("artifactUri", "")
            machine = deployment["deployedModel"].get("dedicatedResources", {}).get("machineSpec", {}).get("machineType", MACHINE)
            env = contract(deployment["endpoint"], deployment["id"], container, artifacts, machine)
            if not self._serving.start(deployment["engine"], container, artifacts, env, _told(deployment)):
                return None
        except ApiError:
            work.tell(deploymentStage="FAILED_TO_DEPLOY")
            self._place.documents.delete(DEPLOYMENTS, work.args["name"])
            raise
        work.tell(deploymentStage="SUCCESSFULLY_DEPLOYED")
        with self._place.documents.together():
            kept = {**deployment, "state": "deployed", "route": env["AIP_PREDICT_ROUTE"]}
            self._place.documents.change(DEPLOYMENTS, work.args["name"], lambda _: kept)
            self._touch(deployment["endpoint"], work.args["split"] or None)
        return typed("DeployModelResponse", {"deployedModel": deployment["deployedModel"]})

    def undo(self, work: Work) -> bool:
        """A cancelled deployment leaves nothing; whether it has done so."""
        deployment = self._place.documents.get(DEPLOYMENTS, work.args["name"])
        if deployment is not None:
            if not self._serving.stop(deployment["engine"]):
                return False
            self._place.documents.delete(DEPLOYMENTS, work.args["name"])
        return True

    # ---------------------------------------------------------------- undeploy

    def undeploy(self, request: Request) -> Json:
        """Begin to take a model away. The last one may have all the traffic; another must have none, or lose it in this call."""
        endpoint = normal(str(request.arguments["endpoint"]))
        deployed, split = request.body["deployedModelId"], request.body.get("trafficSplit")
        kept = self._endpoint(endpoint)
        known = self._ids(endpoint)
        if deployed not in known:
            raise ApiError("INVALID_ARGUMENT", f"The following DeployedModel ID(s) [{deployed}] do not exist.")
        self._refuse_busy(endpoint)
        if known == {deployed}:
            split = {}
        elif split:
            check_split("traffic_split", split, known)
        after = kept["endpoint"].get("trafficSplit", {}) if split is None else split
        if after.get(deployed):
            raise ApiError(
                "FAILED_PRECONDITION",
                f"DeployedModel {deployed} has {after[deployed]}% of the traffic of {endpoint}. It can be undeployed only without any.",
            )
        arguments = {"name": f"{endpoint}/deployedModels/{deployed}"}
        with self._place.documents.together():
            self._touch(endpoint, {key: share for key, share in after.items() if key != deployed})
            begun = self._place.operations.begin(endpoint, "UndeployModelOperationMetadata", "endpoints.undeploy", arguments)
        return shown(begun, request)

    def undeployed(self, work: Work) -> Json | None:
        deployment = self._place.documents.get(DEPLOYMENTS, work.args["name"])
        if deployment is not None:
            if not self._serving.stop(deployment["engine"]):
                return None
            with self._place.documents.together():
                self._place.documents.delete(DEPLOYMENTS, work.args["name"])
                self._touch(deployment["endpoint"], None)
        return typed("UndeployModelResponse", {})

    # ---------------------------------------------------------------- mutate

    def mutate(self, request: Request) -> Json:
        """Begin to change what may be: replicas, autoscaling, container logging."""
        endpoint = normal(str(request.arguments["endpoint"]))
        sent, mask = request.body["deployedModel"], request.body["updateMask"]
        if wrong := [path for path in mask.split(",") if _snaked(path) not in MUTABLE]:
            raise invalid("update_mask", f"The field {wrong[0]} cannot be mutated.")
        name = f"{endpoint}/deployedModels/{_given(sent, 'id')}"
        self._kept(name)
        self._refuse_busy(endpoint)
        arguments = {"name": name, "mask": mask, "changes": sent}
        return shown(self._place.operations.begin(endpoint, "MutateDeployedModelOperationMetadata", "endpoints.mutate", arguments), request)

    def mutated(self, work: Work) -> Json:
        def change(kept: Json) -> Json:
            return {**kept, "deployedModel": masked(kept["deployedModel"], work.args["mask"], work.args["changes"])}

        kept = self._place.documents.change(DEPLOYMENTS, work.args["name"], change)
        if kept is None:
            raise not_found("DeployedModel", work.args["name"])
        self._touch(kept["endpoint"], None)
        return typed("MutateDeployedModelResponse", {"deployedModel": kept["deployedModel"]})

    # ---------------------------------------------------------------- the endpoint's side

    def _endpoint(self, name: str) -> Json:
        kept = self._place.documents.get(ENDPOINTS, name)
        if kept is None:
            raise not_found("Endpoint", name)
        return kept

    def _kept(self, name: str) -> Json:
        found = self._place.documents.get(DEPLOYMENTS, name)
        if found is None:
            raise not_found("DeployedModel", name)
        return found

    def _ids(self, endpoint: str) -> set[str]:
        return {body["id"] for _, body in self._place.documents.list(DEPLOYMENTS, f"{endpoint}/") if body["state"] == "deployed"}

    def _refuse_busy(self, endpoint: str) -> None:
        """One mutation at a time. That Vertex AI refuses a second one, and how, was not verified: a guess."""
        self._endpoint(endpoint)
        if busy := self._place.operations.under_way(endpoint):
            raise ApiError("FAILED_PRECONDITION", f"The Endpoint {endpoint} is being changed by {busy}. Try again when that is done.")

    def _touch(self, endpoint: str, split: Json | None) -> None:
        """The endpoint has changed: its time, its etag and, if one is given, its split."""

        def change(kept: Json) -> Json:
            body = {**kept["endpoint"], "updateTime": now(), **({} if split is None else {"trafficSplit": split})}
            body = {key: value for key, value in body.items() if key != "trafficSplit" or value}
            return {**kept, "endpoint": {**body, "etag": etag(body)}}

        self._place.documents.change(ENDPOINTS, endpoint, change)


def _told(deployment: Json) -> Json | None:
    """Whose logs a container's output is, unless it is to have none."""
    if deployment["deployedModel"].get("disableContainerLogging"):
        return None
    return {"endpoint": deployment["endpoint"], "id": deployment["id"]}


def _given(deployed: Json, field: str) -> str:
    if not deployed.get(field):
        raise invalid(f"deployed_model.{field}", "Required field is not set.")
    return str(deployed[field])


def _snaked(path: str) -> str:
    return ".".join(snake(part) for part in path.split("."))


def _check_resources(sent: Json, model: Json) -> None:
    if not model.get("containerSpec"):
        raise ApiError("FAILED_PRECONDITION", f"The Model {model['name']} has no container, and cannot be deployed.")
    kinds = [kind for kind in ("dedicatedResources", "automaticResources", "sharedResources") if sent.get(kind)]
    if kinds != ["dedicatedResources"]:
        said = f"'{_snaked(kinds[0])}' is not supported for Model {model['name']}." if kinds else "Required field is not set."
        raise invalid("deployed_model.prediction_resources" if not kinds else f"deployed_model.{_snaked(kinds[0])}", said)
    resources = sent["dedicatedResources"]
    least, most = resources.get("minReplicaCount", 0), resources.get("maxReplicaCount", resources.get("minReplicaCount", 0))
    if least < 1:
        raise invalid("deployed_model.dedicated_resources.min_replica_count", "It must be greater than or equal to 1.")
    if most < least:
        raise invalid("deployed_model.dedicated_resources.max_replica_count", f"It must not be less than min_replica_count, {least}.")
