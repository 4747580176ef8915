"""Finding providers: entry points of the group `mlport.providers`, loaded when first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint

from mlport.errors import ConfigError, MissingExtraError
from mlport.plugins import installed
from mlport.spi import Provider

GROUP = "mlport.providers"


def _found() -> Mapping[str, EntryPoint]:
    return installed(GROUP)


def names() -> list[str]:
    """The providers that are installed, by name."""
    return sorted(_found())


def load(name: str) -> Provider:
    """The provider of that name; its vendor's SDK is not imported yet.

    Raises:
        ConfigError: no such provider is installed; names the nearest.
    """
    point = _found().get(name)
    if point is None:
        near = difflib.get_close_matches(name, names(), n=1)
        raise ConfigError(
            f"no provider named {name!r} is installed",
            hint=f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(names()) or 'none'}",
        )
    provider: Provider = point.load()
    return provider


def missing_extra(provider: Provider, error: ImportError) -> MissingExtraError:
    """What to install when opening a provider found a package missing."""
    return MissingExtraError(
        f"the {provider.name} provider needs the package {error.name!r}, which is not installed",
        hint=f"pip install 'mlport[{provider.extra}]'",
        provider=provider.name,
    )
