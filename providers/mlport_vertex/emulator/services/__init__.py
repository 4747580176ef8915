"""Google's services, one module each: what each method does. `services` puts them together."""

from __future__ import annotations

from collections.abc import Sequence

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.rest import RestService, Service
from mlport_vertex.emulator.protocol.tokens import Tokens
from mlport_vertex.emulator.services import (
    artifact_registry,
    batch,
    cloud_build,
    cloud_scheduler,
    custom_jobs,
    endpoints,
    logs,
    metrics,
    models,
    monitors,
    operations,
    predictions,
    projects,
    schedules,
    tables,
    training_pipelines,
    tuning,
)
from mlport_vertex.emulator.services.storage import StorageService

AIPLATFORM = r"([a-z0-9-]+-)?aiplatform\.googleapis\.com|[a-z0-9-]+\.[a-z0-9-]+\.prediction\.vertexai\.goog"


def services(place: Place) -> Sequence[Service]:
    """All of them, in the order in which a path on the direct address is offered to them."""
    rooms = (custom_jobs, tuning, training_pipelines, batch, models, endpoints, predictions, operations, monitors, schedules)
    aiplatform = {name: handler for room in rooms for name, handler in room.handlers(place).items()}
    return (
        RestService(AIPLATFORM, ("aiplatform.v1", "aiplatform.v1beta1"), aiplatform),
        RestService(r"logging\.googleapis\.com", ("logging.v2",), logs.handlers(place)),
        RestService(r"monitoring\.googleapis\.com", ("monitoring.v3",), metrics.handlers(place)),
        RestService(r"bigquery\.googleapis\.com", ("bigquery.v2",), tables.handlers(place)),
        RestService(r"cloudscheduler\.googleapis\.com", ("cloudscheduler.v1",), cloud_scheduler.handlers(place)),
        RestService(r"cloudbuild\.googleapis\.com", ("cloudbuild.v1",), cloud_build.handlers(place)),
        RestService(r"artifactregistry\.googleapis\.com", ("artifactregistry.v1",), artifact_registry.handlers(place)),
        RestService(r"cloudresourcemanager\.googleapis\.com", ("cloudresourcemanager.v1",), projects.handlers(place)),
        StorageService(place),
        Tokens(),
    )
