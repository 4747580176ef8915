"""An endpoint as it should be and as it is: frozen records that live as JSON in the engine's database."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlport.errors import UnavailableError

Json = dict[str, Any]
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # as `mlport.specs.Name`
LONGEST_SOCKET_PATH = 90  # bytes; the kernel takes 107, and some names are longer than others


@dataclass(frozen=True, slots=True)
class Deployed:
    """One deployment: which version, and where its private copy lies."""

    model: str
    version: str
    folder: str
    digest: str
    env: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "prebuilt"


@dataclass(frozen=True, slots=True)
class Key:
    """A key's digest, and when it ends (seconds since 1970; None: when it is rotated)."""

    sha256: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """The PEM files of a certificate chain and its private key."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may ask of an endpoint, and how long anyone is waited for.

    Attributes:
        body_bytes: A larger body is refused with 413.
        connections: Open at once; further ones are turned away with 503.
        head_seconds: For a request's head to arrive.
        answer_seconds: For a worker's answer.
        silence_seconds: A router or worker that does not answer its keeper for so long is started again.
    """

    body_bytes: int = 64 * 2**20
    connections: int = 1000
    head_seconds: float = 10.0
    answer_seconds: float = 120.0
    silence_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Desired:
    """An endpoint as it should be. `port` 0 means: any, until the keeper has chosen one."""

    host: str
    port: int
    auth: str
    capture_rate: float
    labels: Mapping[str, str]
    keys: tuple[Key, ...]
    deployments: Mapping[str, Deployed]
    split: Mapping[str, int]
    tls: Tls | None = None
    limits: Limits = Limits()
    deleted: bool = False

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Desired:
        deployments = {name: Deployed(**given) for name, given in data["deployments"].items()}
        keys = tuple(Key(**key) for key in data["keys"])
        tls = Tls(**data["tls"]) if data.get("tls") else None
        return cls(**{**data, "keys": keys, "deployments": deployments, "tls": tls, "limits": Limits(**data.get("limits", {}))})

    def without(self, deployment: str) -> Desired:
        """The same, without one deployment."""
        left = {name: deployed for name, deployed in self.deployments.items() if name != deployment}
        return dataclasses.replace(self, deployments=left, split={name: self.split[name] for name in left})

    @property
    def url(self) -> str:
        """The base address; empty until the port is chosen. Any-address binds are reached through loopback."""
        if not self.port:
            return ""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Process:
    """A router or worker as its keeper sees it. `identity` is a `process.Identity` as text, None while there is none."""

    identity: str | None = None
    ready: bool = False
    reason: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """An endpoint as it is: what its keeper last saw, and the generation that it has brought about."""

    generation: int = 0
    router: Process = Process()
    workers: Mapping[str, Process] = field(default_factory=dict)

    def to_json(self) -> Json:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Observed:
        workers = {name: Process(**given) for name, given in data.get("workers", {}).items()}
        return cls(data.get("generation", 0), Process(**data.get("router", {})), workers)


def is_name(text: str) -> bool:
    """Whether an endpoint or a deployment may be called so.

    >>> is_name("delays-2"), is_name("../delays")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None


def run_folder(folder: Path) -> Path:
    """Where an endpoint's sockets lie: in its own folder, or where that path is too long, in one of our own under /tmp."""
    own = folder / "run"
    if len(os.fsencode(own)) + len("/w-0123456789abcdef.sock") <= LONGEST_SOCKET_PATH:
        return own
    return Path("/tmp", f"mlport-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}")  # noqa: S108 - see private


def private(folder: Path) -> Path:
    """Make the folder for this user alone; UnavailableError if it belongs to someone else or others may enter it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UnavailableError(f"{folder} belongs to someone else", hint="remove it, or choose a root with a shorter path")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def worker_socket(folder: Path, deployment: str) -> Path:
    """The unix socket of a deployment's worker; deployments may have names longer than sockets may."""
    return run_folder(folder) / f"w-{hashlib.sha256(deployment.encode()).hexdigest()[:16]}.sock"
