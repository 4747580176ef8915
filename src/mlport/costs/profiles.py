"""A target by a profile of mlport.toml or a URL: whose prices, and what the profile says of the place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

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
    try:
        provider, table, path, _ = choose(name, file)
    except ConfigError as error:
        known = nearest(name, pricing.names())
        hint = known if known.startswith("did you mean") else error.hint
        raise ConfigError(
            f"{name!r} is no provider with prices, no table of [targets] and no profile: {error.message}", hint=hint
        ) from error
    if provider not in pricing.names():
        raise ConfigError(f"{name}: no prices of {provider!r} are known", hint=nearest(provider, pricing.names()))
    if url := table.get("url"):
        return provider, _of_url(pricing.load(provider), str(url))
    if provider not in registry.names():
        raise ConfigError(
            f"{name}: {provider!r} has prices here, and no adapter that reads its profiles",
            hint=f'put [targets.{provider}] with its region into the workload, and name the target "{provider}"',
        )
    kind = registry.load(provider).config
    config = kind.load(table, where=f"{path}: profiles.{name}" if path else name, base=path.parent if path else None)
    return provider, {field: value for field, value in pricing.load(provider).settings_of(config).items() if value is not None}


def _of_url(rules: pricing.Pricing, text: str) -> Mapping[str, Any]:
    """What a URL says of the place: its region, and those arguments that are settings. What only work needs may be left out."""
    url = urlsplit(text)
    told = {name: value for name, value in parse_qsl(url.query) if name in rules.settings.model_fields}
    region = rules.region_of(url)
    return {**({"region": region} if region else {}), **told}
