"""Where everything of one root lies. Standard library only: supervisors start without site-packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under one root."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state.db"

    @property
    def engine(self) -> Path:
        return self.root / "engine.db"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def supervisors_log(self) -> Path:
        return self.root / "supervisors.log"

    @property
    def exporting(self) -> Path:
        """The lock of the process that exports ended jobs: there is at most one."""
        return self.root / "locks" / "exporting"

    def bundle(self, digest: str) -> Path:
        return self.root / "bundles" / f"{digest}.tar.gz"

    def job(self, job_id: str) -> Path:
        return self.root / "jobs" / job_id

    def environment(self, digest: str) -> Path:
        return self.root / "environments" / digest

    def endpoint(self, name: str) -> Path:
        return self.root / "endpoints" / name
