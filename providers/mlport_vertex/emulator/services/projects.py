"""cloudresourcemanager: what the caller may do in a project. Here everybody may do everything."""

from __future__ import annotations

from collections.abc import Mapping

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.api import Handler, Request

PREFIX = "cloudresourcemanager.projects"


def handlers(place: Place) -> Mapping[str, Handler]:
    """By method."""
    return {f"{PREFIX}.testIamPermissions": _permissions}


def _permissions(request: Request) -> object:
    return {"permissions": list(request.body.get("permissions", ()))}
