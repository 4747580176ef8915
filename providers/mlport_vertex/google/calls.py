"""The calls of Vertex AI that are used: their HTTP form and their gRPC form. A test holds the table to Google's description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method. Over HTTP its path is the resource's name and `suffix`; over gRPC that name goes to the request's `field`.

    `body` is the field of the request that the body is, `*` if it is the whole, empty if there is none. `repeatable`:
    made twice, it does what it does once. `version` is the API's: v1beta1 for what v1 does not have.
    """

    service: str
    name: str
    verb: str
    suffix: str = ""
    body: str = ""
    field: str = "name"
    repeatable: bool = False
    version: str = "v1"


def _kind(service: str, plural: str, noun: str) -> dict[str, Rpc]:
    """What every kind of job has."""
    return {
        f"{plural}.create": Rpc(service, f"Create{noun}", "POST", f"/{plural}", noun[0].lower() + noun[1:], "parent"),
        f"{plural}.get": Rpc(service, f"Get{noun}", "GET", repeatable=True),
        f"{plural}.list": Rpc(service, f"List{noun}s", "GET", f"/{plural}", field="parent", repeatable=True),
        f"{plural}.cancel": Rpc(service, f"Cancel{noun}", "POST", ":cancel", "*", repeatable=True),
        f"{plural}.delete": Rpc(service, f"Delete{noun}", "DELETE", repeatable=True),
    }


def _beta(service: str, collection: str, noun: str, body: str) -> dict[str, Rpc]:
    """What kinds of resources have that v1beta1 alone can make."""
    plural, version = collection.rpartition(".")[2], "v1beta1"
    return {
        f"{collection}.create": Rpc(service, f"Create{noun}", "POST", f"/{plural}", body, "parent", version=version),
        f"{collection}.get": Rpc(service, f"Get{noun}", "GET", repeatable=True, version=version),
        f"{collection}.list": Rpc(service, f"List{noun}s", "GET", f"/{plural}", field="parent", repeatable=True, version=version),
        f"{collection}.delete": Rpc(service, f"Delete{noun}", "DELETE", repeatable=True, version=version),
    }


CALLS: Mapping[str, Rpc] = {
    **_kind("JobService", "customJobs", "CustomJob"),
    **_kind("JobService", "batchPredictionJobs", "BatchPredictionJob"),
    **_kind("JobService", "hyperparameterTuningJobs", "HyperparameterTuningJob"),
    "models.upload": Rpc("ModelService", "UploadModel", "POST", "/models:upload", "*", "parent"),
    "models.get": Rpc("ModelService", "GetModel", "GET", repeatable=True),
    "models.list": Rpc("ModelService", "ListModels", "GET", "/models", field="parent", repeatable=True),
    "models.listVersions": Rpc("ModelService", "ListModelVersions", "GET", ":listVersions", repeatable=True),
    "models.patch": Rpc("ModelService", "UpdateModel", "PATCH", "", "model", "model.name", repeatable=True),
    "models.mergeVersionAliases": Rpc("ModelService", "MergeVersionAliases", "POST", ":mergeVersionAliases", "*", repeatable=True),
    "models.deleteVersion": Rpc("ModelService", "DeleteModelVersion", "DELETE", ":deleteVersion", repeatable=True),
    "models.delete": Rpc("ModelService", "DeleteModel", "DELETE", repeatable=True),
    "endpoints.create": Rpc("EndpointService", "CreateEndpoint", "POST", "/endpoints", "endpoint", "parent"),
    "endpoints.get": Rpc("EndpointService", "GetEndpoint", "GET", repeatable=True),
    "endpoints.list": Rpc("EndpointService", "ListEndpoints", "GET", "/endpoints", field="parent", repeatable=True),
    "endpoints.patch": Rpc("EndpointService", "UpdateEndpoint", "PATCH", "", "endpoint", "endpoint.name", repeatable=True),
    "endpoints.deployModel": Rpc("EndpointService", "DeployModel", "POST", ":deployModel", "*", "endpoint"),
    "endpoints.undeployModel": Rpc("EndpointService", "UndeployModel", "POST", ":undeployModel", "*", "endpoint"),
    "endpoints.mutateDeployedModel": Rpc("EndpointService", "MutateDeployedModel", "POST", ":mutateDeployedModel", "*", "endpoint"),
    "endpoints.delete": Rpc("EndpointService", "DeleteEndpoint", "DELETE", repeatable=True),
    "endpoints.predict": Rpc("PredictionService", "Predict", "POST", ":predict", "*", "endpoint", repeatable=True),
    **_beta("ModelMonitoringService", "modelMonitors", "ModelMonitor", "modelMonitor"),
    **_beta("ModelMonitoringService", "modelMonitors.modelMonitoringJobs", "ModelMonitoringJob", "modelMonitoringJob"),
    "modelMonitors.searchModelMonitoringStats": Rpc(
        "ModelMonitoringService",
        "SearchModelMonitoringStats",
        "POST",
        ":searchModelMonitoringStats",
        "*",
        "model_monitor",
        repeatable=True,
        version="v1beta1",
    ),
    **_beta("ScheduleService", "schedules", "Schedule", "schedule"),
    "operations.get": Rpc("Operations", "GetOperation", "GET", repeatable=True),
    "operations.list": Rpc("Operations", "ListOperations", "GET", "/operations", repeatable=True),
}
