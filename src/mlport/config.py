"""Where to run: mlport.toml, its profiles, and target URLs.

A profile is a table that names a provider and what that provider needs. `connect` takes a profile's name, a URL,
or nothing: then the file's `default`, `$MLPORT_PROFILE`, or plain `local`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlport.errors import ConfigError
from mlport.fields import Name, describe_problems

FILE_NAME = "mlport.toml"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Config(BaseModel):
    """Base of each provider's configuration: what is set in a profile's table or a target URL."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    scheme: ClassVar[str] = ""

    profile: str = ""
    """The profile's name, or the URL that it was made from."""
    labels: dict[str, str] = {}
    """Labels for everything that this profile creates."""
    owner: str = Field(default_factory=lambda: os.environ.get("MLPORT_OWNER") or os.environ.get("USER") or "unknown")
    """Who is named on what is created; `$MLPORT_OWNER`, else the user's name."""
    monthly_budget: str | None = None
    """What may be spent in a calendar month, such as `400 USD`; the objective's if not set."""
    over_budget: Literal["refuse", "warn"] = "refuse"
    """Whether work that does not fit into the budget is refused, or only warned of."""

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        """The fields that the URL's host and path stand for. Query arguments are added by `from_url`."""
        raise ConfigError(f"{cls.__name__} has no URL form", hint="name a profile of mlport.toml instead")

    @classmethod
    def from_url(cls, text: str, *, profile: str | None = None) -> Self:
        """Configuration from a URL such as `local:///data/mlport?max_jobs=2`; `profile` is the name it goes by, the URL if not given."""
        url = urlsplit(text)
        return cls.load({"profile": profile or text, **cls.fields_of_url(url), **dict(parse_qsl(url.query))}, where=text)

    @classmethod
    def load(cls, table: Mapping[str, Any], *, where: str, base: Path | None = None) -> Self:
        """Validate a table; a ConfigError says which field, what was wrong and the nearest valid one.

        Relative paths are meant from `base`, the folder of mlport.toml; from the working directory if not given.
        """
        try:
            return cls.model_validate(dict(table), context={"base": base or Path.cwd()})
        except ValidationError as error:
            raise ConfigError(f"{where}: {describe_problems(error, cls)}") from error

    @property
    def target(self) -> str:
        """A printable address of the place, without secrets."""
        return self.scheme

    @property
    def priced(self) -> bool:
        """Whether there is anything to price work here by."""
        return True


class Objective(BaseModel):
    """Scoping: what good means for this project. Gates, guards and plans read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    metric: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    p99_ms: float | None = Field(None, gt=0)
    monthly_budget: str | None = None


class Prices(BaseModel):
    """What one pays instead of list prices."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    book: Path | None = None
    """The price book, a TOML file; relative to mlport.toml."""


class ConfigFile(BaseModel):
    """The whole of mlport.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    default: Name | None = None
    objective: Objective = Objective()
    prices: Prices = Prices()
    profiles: dict[Name, dict[str, Any]] = {}


def find_file(start: Path | None = None) -> Path | None:
    """The nearest mlport.toml from `start` (default: the working directory) upward, None if there is none."""
    here = (start or Path.cwd()).resolve()
    return next((place / FILE_NAME for place in (here, *here.parents) if (place / FILE_NAME).is_file()), None)


def read_file(path: Path) -> ConfigFile:
    """Parse and validate mlport.toml. `${NAME}` is left as it is: only the chosen profile's need be set."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="`mlport init` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return ConfigFile.model_validate({**table, "objective": expand(table.get("objective", {}), f"{path}: objective")})
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_problems(error, ConfigFile)}") from error


def expand(value: Any, where: str) -> Any:
    """`value` with every `${NAME}` in its texts replaced; a name that is not set is an error."""
    if isinstance(value, dict):
        return {key: expand(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, where) for item in value]
    return _VARIABLE.sub(lambda match: _variable(match[1], where), value) if isinstance(value, str) else value


def _variable(name: str, where: str) -> str:
    try:
        return os.environ[name]
    except KeyError as error:
        raise ConfigError(f"{where}: the environment variable {name} is not set", hint=f"export {name}=...") from error


def choose(target: str | None, file: Path | None) -> tuple[str, dict[str, Any], Path | None, Objective]:
    """The provider's name, its table, the file it came from and the objective, for a profile's name or URL.

    Raises:
        ConfigError: when the profile is not in the file, naming the nearest that is.
    """
    path = file or find_file()
    content = read_file(path) if path else ConfigFile()
    wanted = target or os.environ.get("MLPORT_PROFILE") or content.default or "local"
    if "://" in wanted:
        return urlsplit(wanted).scheme, {"url": wanted}, path, content.objective
    if wanted in content.profiles:
        table = expand(dict(content.profiles[wanted]), f"{path}: profiles.{wanted}")
        provider = table.pop("provider", None)
        if not isinstance(provider, str):
            raise ConfigError(f"{path}: profiles.{wanted}.provider is required", hint='for example provider = "local"')
        return provider, {"profile": wanted, **table}, path, content.objective
    if wanted == "local":
        return "local", {"profile": "local"}, path, content.objective
    if emulated := _emulated(wanted):
        return urlsplit(emulated).scheme, {"url": emulated, "profile": wanted}, path, content.objective
    known = sorted({*content.profiles, "local"})
    near = difflib.get_close_matches(wanted, known, n=1)
    raise ConfigError(
        f"no profile named {wanted!r} in {path or 'any mlport.toml from here upward'}",
        hint=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}; or give a URL such as local:///data/mlport",
    )


def _emulated(wanted: str) -> str | None:
    """The target URL of the emulator that `NAME-emulated` or `NAME-emulated?field=value` means, started if need be; None for any other."""
    from mlport.emulation import emulator_of, registry, with_query

    name, query = emulator_of(wanted)
    if name not in registry.names():
        return None
    from mlport.emulation.background import ensure

    return with_query(str(ensure(name)["connect"]), query)
