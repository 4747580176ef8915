"""aiplatform: schedules. Vertex AI's start pipelines and notebooks only, and the emulator runs neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Json, Request
from mlport_vertex.emulator.protocol.errors import ApiError, not_found

REQUESTS = ("createPipelineJobRequest", "createNotebookExecutionJobRequest", "createModelMonitoringJobRequest")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids. There are no schedules, so none is found."""
    each: dict[str, Handler] = dict.fromkeys(("get", "patch", "delete", "pause", "resume"), _missing)
    return {
        f"aiplatform.projects.locations.schedules.{name}": handler for name, handler in {**each, "create": _create, "list": _list}.items()
    }


def _create(request: Request) -> NoReturn:
    """A custom job is none of the requests that a schedule can make: ScheduleService's `oneof request` (docs/spi/vertex.md)."""
    given = [name for name in REQUESTS if name in request.body]
    if not given:
        raise ApiError("INVALID_ARGUMENT", f"One of {', '.join(REQUESTS)} must be set in the Schedule.")
    raise ApiError("UNIMPLEMENTED", f"The emulator runs no pipelines, notebooks or monitors, so no schedule of a {given[0]}.")


def _list(request: Request) -> Json:
    return {}


def _missing(request: Request) -> NoReturn:
    raise not_found("Schedule", request.name)
