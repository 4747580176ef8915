"""aiplatform: long-running operations of every resource, under /v1/ and under the /ui/ of Google's REST clients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.long_running import KIND, shown
from mlport_vertex.emulator.protocol.resources import normal, page

Json = dict[str, Any]
LONGEST_WAIT = 60.0  # seconds that :wait holds a call at most; a guess
PAUSE = 0.05


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids, for every collection that has operations."""
    verbs = {"get": _get, "list": _list, "cancel": _cancel, "delete": _delete, "wait": _wait}
    return {
        method: partial(verbs[verb], place)
        for version in ("v1", "v1beta1")
        for method in document(f"aiplatform.{version}").methods
        if method.startswith("aiplatform.projects.locations.") and ".operations." in method and (verb := method.rpartition(".")[2]) in verbs
    }


def _get(place: Place, request: Request) -> Json:
    return shown(place.operations.get(normal(request.name)), request)


def _list(place: Place, request: Request) -> Any:
    """Those of one resource; of a location, those of everything in it."""
    found = ((number, shown(body, request)) for number, body in place.documents.list(KIND, f"{normal(request.name)}/"))
    return page(request, "operations", found)


def _cancel(place: Place, request: Request) -> Json:
    place.operations.cancel(normal(request.name))
    return {}


def _delete(place: Place, request: Request) -> Json:
    place.operations.delete(normal(request.name))
    return {}


def _wait(place: Place, request: Request) -> Json:
    """The operation once it is done, or as it is after `timeout`."""
    until = time.monotonic() + min(_seconds(str(request.arguments.get("timeout", "")) or "60s"), LONGEST_WAIT)
    while not (found := place.operations.get(normal(request.name))).get("done") and time.monotonic() < until:
        time.sleep(PAUSE)
    return shown(found, request)


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'timeout' (type.googleapis.com/google.protobuf.Duration), {text}") from error
