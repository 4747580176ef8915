"""The files of a version of a registered model, for the server that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from mlport_databricks.emulator.accounts import UNITY_BUCKET
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.errors import ApiError


def check(place: Place, workspace: str, user: str, full_name: str, version: str) -> None:
    """Raises ApiError unless the version is there and ready, and the user may EXECUTE the model."""
    place.unity.need(workspace, "model", full_name)
    place.grants.require(workspace, user, "EXECUTE", "model", full_name)
    found = place.models.version(workspace, full_name, version)
    if found["status"] != "READY":
        raise ApiError("INVALID_STATE", f"Version {version} of model '{full_name}' is not ready: it is {found['status']}.")


def fetch(place: Place, workspace: str, full_name: str, version: str, folder: Path, log: IO[str]) -> None:
    """Copy the version's files into a new folder, and say so. Raises ApiError if it is gone."""
    location = str(place.models.version(workspace, full_name, version)["storage_location"])
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    assert bucket == UNITY_BUCKET  # noqa: S101 - every model is managed
    print(f"Downloading version {version} of model {full_name} from {location}", file=log)
    folder.mkdir()
    place.s3.download(bucket, prefix, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    print(f"Downloaded {len(files)} files, {sum(path.stat().st_size for path in files)} bytes", file=log)
    requirements = folder / "requirements.txt"
    if requirements.is_file():
        print("The model asks for:", *requirements.read_text("utf-8", "replace").split("\n"), sep="\n  ", file=log)
