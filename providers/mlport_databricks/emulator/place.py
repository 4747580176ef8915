"""What the services of this emulator share, beside what every emulator has: files, grants, the object store."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.emulation.faults import Faults
from mlport.emulation.place import Place as AnyPlace
from mlport_databricks.emulator.accounts import (
    ADMIN,
    CATALOG,
    HOST,
    HOSTS,
    OTHER_HOST,
    PLAIN,
    REGION,
    SCHEMAS,
    STATE_BUCKET,
    UNITY_BUCKET,
    VOLUME,
    token_of,
)
from mlport_databricks.emulator.storing.files import Files
from mlport_databricks.emulator.storing.grants import Grants
from mlport_databricks.emulator.storing.models import Models
from mlport_databricks.emulator.storing.permissions import Permissions
from mlport_databricks.emulator.storing.principals import Principals
from mlport_databricks.emulator.storing.secrets import Secrets
from mlport_databricks.emulator.storing.tokens import Tokens
from mlport_databricks.emulator.storing.unity import Unity
from mlport_databricks.emulator.storing.workspace_objects import WorkspaceObjects

if TYPE_CHECKING:
    from mlport.emulation.s3 import S3
    from mlport_databricks.emulator.storing.tables import Tables
    from mlport_databricks.emulator.working.clusters import Clusters
    from mlport_databricks.emulator.working.contexts import Contexts
    from mlport_databricks.emulator.working.jobs import Jobs
    from mlport_databricks.emulator.working.libraries import Libraries
    from mlport_databricks.emulator.working.monitors import Monitors
    from mlport_databricks.emulator.working.runs import Runs
    from mlport_databricks.emulator.working.serving import Serving

__all__ = [
    "ADMIN",
    "CATALOG",
    "HOST",
    "HOSTS",
    "OTHER_HOST",
    "PLAIN",
    "REGION",
    "SCHEMAS",
    "STATE_BUCKET",
    "VOLUME",
    "Place",
    "now_ms",
    "token_of",
]


class Place(AnyPlace):
    """One emulator's folder, opened. Every document's name begins with the workspace's host and a slash."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__(folder, faults)
        self.files = Files(folder / "files")
        self.workspace_objects = WorkspaceObjects(self.files, self.documents)
        self.principals = Principals(self.documents)
        self.permissions = Permissions(self)
        self.secrets = Secrets(self)
        self.grants = Grants(self)
        self.unity = Unity(self)
        self.models = Models(self)
        self.tokens = Tokens(self.documents)
        for host in HOSTS:
            self.unity.furnish(host)
            self.principals.furnish(host)
            self.secrets.furnish(host)

    @cached_property
    def s3(self) -> S3:
        """The object store: Unity Catalog's bucket and the user's own."""
        from mlport.emulation.s3 import S3
        from mlport.emulation.s3_keys import Grant, Key

        s3 = S3(self.folder / "s3", closed=(UNITY_BUCKET,))
        for bucket in (UNITY_BUCKET, STATE_BUCKET):
            s3.make_bucket(bucket)
        for host in HOSTS:
            s3.keys.allow(Key(*self.keys_of(host), (Grant("*"),)))
        self.at_end(s3.close)
        return s3

    def start(self) -> None:
        self.s3.make_bucket(STATE_BUCKET)  # before calls come by several threads
        super().start()

    def credentials_for(self, location: str, *, write: bool, seconds: int) -> dict[str, object]:
        """Temporary credentials for what lies under an `s3://` location, as MLflow's protos and Databricks' APIs have them."""
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        key = self.s3.temporary_key(bucket, prefix, write=write, seconds=seconds)
        aws = {"access_key_id": key.id, "secret_access_key": key.secret, "session_token": key.token}
        return {"aws_temp_credentials": aws, "expiration_time": int(key.until * 1000)}

    @cached_property
    def tables(self) -> Tables:
        """The rows of Unity Catalog's tables."""
        from mlport_databricks.emulator.storing.tables import Tables

        return Tables(self)

    @cached_property
    def monitors(self) -> Monitors:
        """The monitors of tables, and what their schedules begin."""
        from mlport_databricks.emulator.working.monitors import Monitors

        return Monitors(self)

    @cached_property
    def serving(self) -> Serving:
        """The servers and updates of serving endpoints."""
        from mlport_databricks.emulator.working.serving import Serving

        return Serving(self)

    def keys_of(self, workspace: str) -> tuple[str, str]:
        """Access key id and secret that the owner of a workspace has for their own buckets."""
        number = HOSTS.index(workspace)
        return f"AKIAEMULATEDMLPORT0{number}", f"emulated-secret-of-account-{number}"

    @staticmethod
    def warehouse_of(workspace: str) -> str:
        """The id of the SQL warehouse that each workspace has from the start."""
        return f"{0xE0E0E0E0E0E0E0E0 + HOSTS.index(workspace):016x}"

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters, all-purpose ones and those of job runs."""
        from mlport_databricks.emulator.working.clusters import Clusters

        return Clusters(self, now_ms)

    @cached_property
    def contexts(self) -> Contexts:
        """The execution contexts of the all-purpose clusters."""
        from mlport_databricks.emulator.working.contexts import Contexts

        return Contexts(self, self.clusters)

    @cached_property
    def libraries(self) -> Libraries:
        """What is installed on the all-purpose clusters."""
        from mlport_databricks.emulator.working.libraries import Libraries

        return Libraries(self, self.clusters)

    @cached_property
    def runs(self) -> Runs:
        """The runs at work."""
        from mlport_databricks.emulator.working.run_records import Records
        from mlport_databricks.emulator.working.runs import Runs

        return Runs(self, Records(self), self.clusters)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs, and what their schedules begin."""
        from mlport_databricks.emulator.working.jobs import Jobs

        return Jobs(self, self.runs.records)

    def dbfs(self, workspace: str) -> Path:
        """The folder that stands for DBFS, which programs see as `/dbfs`."""
        folder = self.folder / "dbfs" / workspace
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def environment_of(self, workspace: str, user_name: str) -> dict[str, str]:
        """What a program that runs as this user finds in its environment, so that the SDK and MLflow reach this workspace."""
        from mlport_databricks.emulator.accounts import USERS

        return {
            **{name: value for name, value in self.environment.items() if not name.startswith("DATABRICKS_")},
            "DATABRICKS_HOST": f"https://{workspace}",
            "DATABRICKS_TOKEN": token_of(workspace, USERS[user_name]),
        }


def now_ms() -> int:
    """This moment in milliseconds since 1970, as Databricks writes it."""
    return time.time_ns() // 1_000_000
