"""Configuration of the local provider, and where everything of one root lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote

from pydantic import Field, field_validator

from mlport.config import Config
from mlport.errors import ConfigError
from mlport_local.layout import Layout

__all__ = ["Layout", "LocalConfig", "default_root"]


def default_root() -> Path:
    """`$MLPORT_ROOT`, else mlport's folder under the user's data directory."""
    if chosen := os.environ.get("MLPORT_ROOT"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mlport"


class LocalConfig(Config):
    """Your own machine: jobs as supervised processes, MLflow as registry, endpoints on loopback."""

    scheme: ClassVar[str] = "local"

    root: Path = Field(default_factory=default_root)
    """The folder that holds everything; one root is one account."""
    max_jobs: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """How many jobs run at once; the others wait."""
    mlflow: str | None = None
    """An MLflow server's address; the default is SQLite under the root."""
    python: str | None = None
    """The interpreter for jobs without requirements; the default is the one that mlport runs in."""
    wheelhouse: Path | None = None
    """A folder of wheels to install requirements from."""
    offline: bool = False
    """Install from the wheelhouse and the cache only."""
    host: str = "127.0.0.1"
    """The address that endpoints bind to."""

    @field_validator("root", "wheelhouse", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return Path(os.path.abspath(value.expanduser())) if value else None

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        if url.netloc:
            raise ConfigError(
                f"local://{url.netloc}{url.path}: a host makes no sense on your own machine",
                hint="write three slashes: local:///data/mlport",
            )
        return {"root": unquote(url.path)} if url.path and url.path != "/" else {}

    @property
    def target(self) -> str:
        return f"local://{self.root}"

    @property
    def layout(self) -> Layout:
        return Layout(self.root)
