"""A session of the local provider: everything under one root, opened without touching it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlport import transfer
from mlport.bundle import file_digest, tree_bytes, tree_digest
from mlport.errors import NotFoundError, stamped
from mlport.specs import JobSpec, Spec
from mlport.spi import Collected, Finding, InputFact, Json
from mlport.state.sqlite import SqliteStateStore
from mlport_local.config import LocalConfig
from mlport_local.gpus import gpu_names

if TYPE_CHECKING:
    from mlport.scheduling.stored import StoredSchedules
    from mlport_local.endpoints import LocalEndpoints
    from mlport_local.jobs import LocalJobs
    from mlport_local.models import LocalModels
    from mlport_local.operations import LocalOperations


@stamped("local", "session")
class LocalSession:
    """The roles of one root. Submits are idempotent by token, so `find` lags by nothing."""

    find_lag = 0.0

    def __init__(self, config: LocalConfig) -> None:
        self.config = config

    @cached_property
    def state(self) -> SqliteStateStore:
        return SqliteStateStore(self.config.layout.state)

    @cached_property
    def jobs(self) -> LocalJobs:
        from mlport_local.jobs import LocalJobs

        return LocalJobs(self.config)

    @cached_property
    def models(self) -> LocalModels:
        from mlport_local.models import LocalModels

        return LocalModels(self.config)

    @cached_property
    def endpoints(self) -> LocalEndpoints:
        from mlport_local.endpoints import LocalEndpoints

        return LocalEndpoints(self.config)

    @cached_property
    def schedules(self) -> StoredSchedules:
        from mlport.scheduling.stored import StoredSchedules

        return StoredSchedules(self.state, self.config.layout.root / "schedules")

    @cached_property
    def operations(self) -> LocalOperations:
        from mlport_local.operations import LocalOperations

        return LocalOperations(self.config)

    def facts(self, spec: Spec) -> Json:
        """This machine: cores, memory in GiB, GPUs, and which of the spec's commands it has."""
        import psutil

        commands = {program: shutil.which(program) for program in _programs(spec)}
        return {
            "host": socket.gethostname(),
            "cpus": os.cpu_count() or 1,
            "memory_gib": psutil.virtual_memory().total / 2**30,
            **_gpus(self.config),
            "commands": commands,
        }

    def input(self, uri: str) -> InputFact:
        if transfer.is_url(uri):
            return transfer.identify(uri)
        path = transfer.local_path(uri)
        if not path.exists():
            raise NotFoundError(f"{path} does not exist")
        digest = tree_digest(path) if path.is_dir() else file_digest(path)
        return InputFact(str(path), "sha256", digest, tree_bytes(path))

    def doctor(self) -> Iterator[Finding]:
        from mlport_local.registry.tracking import findings

        yield _writable(self.config.root)
        yield _space(self.config.root)
        yield Finding("python", True, f"{sys.version.split()[0]} at {self.config.python or sys.executable}")
        yield _uv()
        yield from findings(self.config)

    def reconcile(self) -> None:
        """See that jobs and endpoints that should run do, for example after a reboot."""
        self.jobs.reconcile()
        self.endpoints.reconcile()

    def collect(self, unused_for: timedelta, *, dry_run: bool = False) -> Collected:
        """Remove packed sources and environments that nothing needs and nobody has used for so long."""
        return self.jobs.collect(unused_for, dry_run=dry_run)

    def close(self) -> None:
        self.__dict__.pop("schedules", None)  # it stands on `state`
        for role in ("state", "endpoints", "operations", "jobs", "models"):
            opened = self.__dict__.pop(role, None)
            if opened is not None and hasattr(opened, "close"):
                opened.close()


def _gpus(config: LocalConfig) -> Json:
    return {"gpus": config.gpus, "gpu_names": list(gpu_names()) if config.gpus else []}


def _programs(spec: Spec) -> list[str]:
    if not isinstance(spec, JobSpec) or spec.requirements:
        return []
    program = spec.entrypoint[0]
    return [] if program.startswith("python") or "/" in program else [program]


def _writable(root: Path) -> Finding:
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    ok = os.access(place, os.W_OK)
    return Finding("root", ok, str(root), "" if ok else f"{place} cannot be written: set root in the profile, or MLPORT_ROOT")


def _space(root: Path) -> Finding:
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    return Finding(
        "disk", free >= 1, f"{free:.1f} GiB free", "" if free >= 1 else "free some space: jobs, models and captured traffic need it"
    )


def _uv() -> Finding:
    try:
        from uv import find_uv_bin

        return Finding("uv", True, find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        return Finding("uv", False, str(error), "pip install uv: it builds environments for jobs with requirements")
