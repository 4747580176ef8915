"""What `mlport doctor` looks at: credentials, the region, each service that is used, and the permissions that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote

from mlport.errors import MlportError
from mlport.spi import Finding, Json
from mlport_vertex.compute.machines import stand_in
from mlport_vertex.google.api import VertexApi
from mlport_vertex.google.objects import split
from mlport_vertex.serving.build_calls import Builds

BUCKET_PERMISSIONS = ("storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list")
PROJECT_PERMISSIONS = (
    "aiplatform.customJobs.cancel",
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.delete",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.list",
    "aiplatform.endpoints.create",
    "aiplatform.endpoints.delete",
    "aiplatform.endpoints.deploy",
    "aiplatform.endpoints.get",
    "aiplatform.endpoints.list",
    "aiplatform.endpoints.predict",
    "aiplatform.endpoints.undeploy",
    "aiplatform.hyperparameterTuningJobs.cancel",
    "aiplatform.hyperparameterTuningJobs.create",
    "aiplatform.hyperparameterTuningJobs.delete",
    "aiplatform.hyperparameterTuningJobs.get",
    "aiplatform.hyperparameterTuningJobs.list",
    "aiplatform.endpoints.update",
    "aiplatform.models.delete",
    "aiplatform.models.get",
    "aiplatform.models.list",
    "aiplatform.models.update",
    "aiplatform.models.upload",
    "bigquery.jobs.create",
    "logging.logEntries.list",
    "monitoring.timeSeries.list",
)

BUILD_PERMISSIONS = (
    "artifactregistry.repositories.get",
    "artifactregistry.tags.get",
    "cloudbuild.builds.create",
    "cloudbuild.builds.get",
    "cloudbuild.builds.list",
    "cloudbuild.builds.update",
)


def findings(api: VertexApi) -> Iterator[Finding]:
    """One finding each, the first that the others depend on; what fails is told and does not end the looking."""
    yield _looked("credentials", lambda: _credentials(api), "log in with `gcloud auth application-default login`")
    yield _region(api)
    yield _looked("Vertex AI", lambda: _services(api), "enable aiplatform.googleapis.com in the project")
    yield _looked("Cloud Logging", lambda: _logging(api), "enable logging.googleapis.com in the project")
    yield from _bucket(api)
    if api.config.build_repository:
        yield _looked("builds", lambda: _builds(api), "enable cloudbuild.googleapis.com and artifactregistry.googleapis.com in the project")
    yield _looked(
        "project permissions", lambda: _project_permissions(api), "docs/vertex.md has the least roles; docs/vertex/main.tf makes them"
    )


def _looked(check: str, look: Callable[[], str], hint: str) -> Finding:
    """A finding that is well unless the look fails; Google's own words say what is missing."""
    try:
        return Finding(check, True, look())
    except MlportError as error:
        return Finding(check, False, error.message, error.hint or hint)


class _MissingError(MlportError):
    """Permissions that are not granted."""


def _credentials(api: VertexApi) -> str:
    api.connection.token()
    account = getattr(api.connection.credentials, "service_account_email", None)
    return str(account or type(api.connection.credentials).__module__)


def _region(api: VertexApi) -> Finding:
    location = api.config.location
    other = stand_in(location)
    basis = f"; this region's prices are not known, and machines are chosen by those of {other}" if other else ""
    return Finding("region", True, f"{api.config.project} in {location}{basis}")


def _services(api: VertexApi) -> str:
    for method in ("customJobs.list", "models.list", "endpoints.list"):
        api.call(method, pageSize=1)
    return f"jobs, models and endpoints of {api.config.parent} can be listed"


def _logging(api: VertexApi) -> str:
    api.logging({"resourceNames": [f"projects/{api.config.project}"], "filter": 'resource.type="ml_job"', "pageSize": 1})
    return "entries can be read"


def _builds(api: VertexApi) -> str:
    builds = Builds(api)
    builds.need_repository(builds.repository())
    builds.find("0" * 32)
    return f"{api.config.build_repository} is there, and builds can be listed"


def _bucket(api: VertexApi) -> Iterator[Finding]:
    """Of the staging and the state folder: their buckets' permissions."""
    hint = "make the bucket, or grant roles/storage.objectAdmin on it"
    for bucket in sorted({split(api.config.staging)[0], split(api.config.state)[0]}):
        yield _looked(f"bucket {bucket}", partial(_bucket_permissions, api, bucket), hint)


def _bucket_permissions(api: VertexApi, bucket: str) -> str:
    url = f"https://storage.googleapis.com/storage/v1/b/{quote(bucket)}/iam/testPermissions"
    query = {"permissions": list(BUCKET_PERMISSIONS)}
    answer = api.connection.send("GET", url, operation="buckets.testIamPermissions", query=query, repeatable=True)
    _require(BUCKET_PERMISSIONS, answer, f"on gs://{bucket}")
    return "objects can be written, read, listed and removed"


def _project_permissions(api: VertexApi) -> str:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{api.config.project}:testIamPermissions"
    wanted = (*PROJECT_PERMISSIONS, *(BUILD_PERMISSIONS if api.config.build_repository else ()))
    body: Json = {"permissions": list(wanted)}
    answer = api.connection.send("POST", url, operation="projects.testIamPermissions", body=body, repeatable=True)
    _require(wanted, answer, f"on project {api.config.project}")
    return f"all {len(wanted)} are granted"


def _require(wanted: tuple[str, ...], answer: Json, where: str) -> None:
    if missing := sorted(set(wanted) - set(answer.get("permissions", ()))):
        raise _MissingError(f"missing {where}: {', '.join(missing)}")
