"""Names on Databricks: three-level names, paths of volume and workspace, and what stands in a plan for what only the sending knows."""

from __future__ import annotations

import json
import re

from mlport.errors import NotFoundError
from mlport.spi import TOKEN, Json
from mlport_databricks.config import DatabricksConfig

RUN_NAME = re.compile(r"mlport (?P<name>\S+) (?P<token>[0-9A-Za-z_-]{1,64})")


def model_name(config: DatabricksConfig, name: str) -> str:
    """`catalog.schema.name`. Unity Catalog takes `-` in names; SQL needs back-ticks around such a one."""
    return f"{config.namespace}.{name}"


def short_name(full: str) -> str:
    """The last part of a three-level name.

    >>> short_name("main.ml.delays")
    'delays'
    """
    return full.rpartition(".")[2]


def version_number(name: str, version: str) -> str:
    """The version as Unity Catalog numbers them. Raises NotFoundError for what is no number."""
    if not version.isdecimal():
        raise NotFoundError(f"{name} has no version {version!r}", hint="versions are numbers; a name such as champion is an alias")
    return version


def run_name(name: str, token: str = TOKEN) -> str:
    """The name of a run or of a native job: the one thing of ours that a listing shows."""
    return f"mlport {name} {token}"


def of_run_name(text: str) -> tuple[str, str] | None:
    """Name and token in a run's name, None if it is none of ours.

    >>> of_run_name("mlport delays 0a1b"), of_run_name("nightly")
    (('delays', '0a1b'), None)
    """
    found = RUN_NAME.fullmatch(text)
    return (found["name"], found["token"]) if found else None


def job_folder(config: DatabricksConfig, token: str = TOKEN) -> str:
    """The volume's folder of what one job needs and leaves."""
    return f"{config.staging}/jobs/{token}"


def model_folder(config: DatabricksConfig, digest: str) -> str:
    """Where the files of a registered version lie for batches."""
    return f"{config.staging}/models/{digest}"


def settled(body: Json, token: str) -> Json:
    """A plan's body with the token in place of what stands for it."""
    found: Json = json.loads(json.dumps(body).replace(TOKEN, token))
    return found


def volume_uri(path: str) -> str:
    """The address of what lies in a volume, as artifacts and inputs name it: a path alone would be one of this machine.

    >>> volume_uri("/Volumes/main/ml/mlport/x")
    'dbfs:///Volumes/main/ml/mlport/x'
    """
    return f"dbfs://{path}"


def volume_path(uri: str) -> str | None:
    """The path in a volume that an address or a path means, None for any other.

    >>> volume_path("dbfs:/Volumes/a/b/c/x"), volume_path("/Volumes/a/b/c/x"), volume_path("s3://b/x")
    ('/Volumes/a/b/c/x', '/Volumes/a/b/c/x', None)
    """
    found = re.fullmatch(r"(?:dbfs:(?://)?)?(/Volumes/.+)", uri)
    return found[1] if found else None
