"""Configuration of the local provider, and where everything of one root lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult, unquote

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mlport.config import Config
from mlport.errors import ConfigError
from mlport_local.gpus import gpu_count
from mlport_local.layout import Layout

__all__ = ["Layout", "LocalConfig", "default_root"]


def default_root() -> Path:
    """`$MLPORT_ROOT`, else mlport's folder under the user's data directory."""
    if chosen := os.environ.get("MLPORT_ROOT"):
        return Path(os.path.abspath(chosen))
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "mlport"


class LocalConfig(Config):
    """Your own machine: jobs as supervised processes, MLflow as registry, endpoints on loopback."""

    scheme: ClassVar[str] = "local"

    root: Path = Field(default_factory=default_root)
    """The folder that holds everything; one root is one account."""
    max_jobs: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """How many jobs run at once; the others wait."""
    gpus: int = Field(default_factory=gpu_count, ge=0)
    """How many GPUs there are for jobs; the default is as many as the NVIDIA driver shows."""
    log_limit_mib: float = Field(256, ge=1)
    """How much of a job's log is kept on disk, MiB: its beginning and its end."""
    keep_work: bool = False
    """Keep the working directories of jobs that succeeded, too."""
    mlflow: str | None = Field(None, repr=False)
    """An MLflow server's address; the default is SQLite under the root."""
    python: str | None = None
    """The interpreter for jobs without requirements; the default is the one that mlport runs in."""
    wheelhouse: Path | None = None
    """A folder of wheels to install requirements from."""
    hardware: Path | None = None
    """The hardware book that says what this machine costs (docs/costs.md): without it the costs of work here are not known."""
    offline: bool = False
    """Install from the wheelhouse and the cache only."""
    host: str = "127.0.0.1"
    """The address that endpoints bind to."""
    certificate: Path | None = None
    """A PEM file with the certificate chain of new endpoints: they then serve TLS, version 1.2 and up."""
    certificate_key: Path | None = None
    """The PEM file of its private key."""
    ca: Path | None = None
    """A PEM file of the authorities that calls to endpoints trust; the default is the system's."""
    most_body_mib: int = Field(64, ge=1, le=4096)
    """The largest request body that new endpoints take, MiB."""
    most_connections: int = Field(1000, ge=1)
    """How many callers may be connected to a new endpoint at once."""
    head_seconds: float = Field(10.0, gt=0)
    """How long a caller of a new endpoint may take to send a request's head."""
    answer_seconds: float = Field(120.0, gt=0)
    """How long a new endpoint waits for a model's answer."""
    silence_seconds: float = Field(30.0, ge=5)
    """After so long without a sign of life, a new endpoint's router or worker is started again."""

    @field_validator("root", "wheelhouse", "hardware", "certificate", "certificate_key", "ca", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base") or Path.cwd()
        return Path(os.path.abspath(base / value.expanduser())) if value else None

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError(f"certificate and certificate_key go together (got {self.certificate} and {self.certificate_key})")
        return self

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
    def priced(self) -> bool:
        return self.hardware is not None

    @property
    def layout(self) -> Layout:
        return Layout(self.root)
