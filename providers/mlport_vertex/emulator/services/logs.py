"""Google Cloud: logs."""

from __future__ import annotations

from collections.abc import Mapping

from mlport_vertex.emulator.api import Handler
from mlport_vertex.emulator.place import Place


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    return {}
