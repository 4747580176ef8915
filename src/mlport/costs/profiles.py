"""A target by a profile of mlport.toml or a URL: whose prices, and what the profile says of the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlport import registry
from mlport.config import choose
from mlport.costs import pricing
from mlport.costs.catalogue import nearest
from mlport.emulation import emulator_of
from mlport.errors import ConfigError


def profile(name: str, file: Path | None = None) -> tuple[str, Mapping[str, Any]]:
    """The pricing's name and its settings, from the provider's own configuration. Nothing is opened, and no vendor's package loaded.

    Args:
        name: a profile of `file` (the nearest mlport.toml if not given) or a URL.

    Raises:
        ConfigError: there is no such profile, a field of it is wrong, or nobody knows its provider's prices.
    """
    if emulated := emulator_of(name)[0]:
        raise ConfigError(f"{name!r} is an emulator, and costs nothing", hint=f"name the provider, {emulated!r}, or a profile of it")
    provider, table, path, _ = choose(name, file)
    if provider not in pricing.names():
        raise ConfigError(f"{name}: no prices of {provider!r} are known", hint=nearest(provider, pricing.names()))
    if provider not in registry.names():
        raise ConfigError(
            f"{name}: {provider!r} has prices here, and no adapter that reads its profiles",
            hint=f'put [targets.{provider}] with its region into the workload, and name the target "{provider}"',
        )
    kind = registry.load(provider).config
    if url := table.get("url"):
        config = kind.from_url(url, profile=name)
    else:
        config = kind.load(table, where=f"{path}: profiles.{name}" if path else name, base=path.parent if path else None)
    return provider, {field: value for field, value in pricing.load(provider).settings_of(config).items() if value is not None}
