"""Finding emulators: entry points of the group `mlport.emulators`, loaded when first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint

from mlport.emulation.spi import Emulator
from mlport.errors import ConfigError, MissingExtraError
from mlport.plugins import installed

GROUP = "mlport.emulators"
EXTRA = "emulate"


def _found() -> Mapping[str, EntryPoint]:
    return installed(GROUP)


def names() -> list[str]:
    """The emulators that are installed, by name."""
    return sorted(_found())


def load(name: str) -> Emulator:
    """The emulator of that name.

    Raises:
        ConfigError: there is none; names the nearest.
        MissingExtraError: a package that it needs is not installed.
    """
    point = _found().get(name)
    if point is None:
        near = difflib.get_close_matches(name, names(), n=1)
        known = f"there are: {', '.join(names())}" if names() else "none is installed"
        raise ConfigError(f"no emulator named {name!r}", hint=f"did you mean {near[0]!r}?" if near else known)
    try:
        found: Emulator = point.load()
    except ModuleNotFoundError as error:
        raise missing_extra(name, error) from error
    return found


def missing_extra(name: str, error: ModuleNotFoundError) -> MissingExtraError:
    """What to install when an emulator found a package missing."""
    return MissingExtraError(
        f"the {name} emulator needs the package {error.name!r}, which is not installed", hint=f"pip install 'mlport[{EXTRA}]'"
    )
