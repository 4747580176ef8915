"""Google's services, one module each: what each method does. `services` puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlport_vertex.emulator.place import Place
    from mlport_vertex.emulator.running import Service


def services(place: Place) -> Sequence[Service]:
    """All of them, in the order in which a path on the direct address is offered to them."""
    return ()
