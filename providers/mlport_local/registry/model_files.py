"""The files of versions: copied in whole, kept apart from what made them, copied out again.

A version's home holds `files`, as they were registered, and `mlflow`, hard links to them, which is what MLflow is
told of: whenever MLflow loads a version from a folder it writes a file of its own there, and the digest would be off.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlport.bundle import tree_digest, tree_files
from mlport.errors import InputChangedError, NotFoundError, SpecError
from mlport.spi import Json
from mlport.transfer import deliver, is_url, local_path
from mlport.transfer import download as download_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILES, FOR_MLFLOW = "files", "mlflow"
LEFT_BY_MLFLOW = "registered_model_meta"
"""The file that MLflow writes, or overwrites."""


@contextmanager
def staged(path: str, digest: str | None, beside: Path) -> Iterator[tuple[Path, str]]:
    """A private copy of the model at a path or URL, next to where it will be kept, and the digest that it has.

    Raises:
        NotFoundError: there is no folder at `path`.
        SpecError: the folder is empty, or holds a symbolic link.
        InputChangedError: its content is not what it was when the plan was made.
    """
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=beside) as scratch:
        folder = Path(scratch, "version", FILES)
        _fetch(path, folder)
        found = tree_digest(folder)
        if digest is not None and found != digest:
            raise InputChangedError(
                f"the model at {path} changed since the plan was made: expected {digest}, found {found}",
                hint="plan and register again",
            )
        yield folder, found


def _fetch(path: str, folder: Path) -> None:
    if is_url(path):
        download_url(path, folder)
        return
    source = local_path(path)
    if not source.is_dir():
        raise NotFoundError(f"ModelSpec.path: {source} is not a folder", hint="name the folder that holds the model's files")
    if not copy_tree(source, folder):
        raise SpecError(f"ModelSpec.path: {source} holds no files", hint="a model's folder holds at least one file")


def copy_tree(source: Path, destination: Path) -> int:
    """Copy the regular files below `source`, durably; how many there were."""
    files = {file: destination / relative for relative, file in tree_files(source)}
    for file, target in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for path in {*files.values(), *(target.parent for target in files.values())}:
        _sync(path)
    return len(files)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep(folder: Path, home: Path) -> str:
    """Move a staged folder to its version's home in one step; the URI for MLflow. What a crashed try left is replaced."""
    _link_tree(folder, folder.with_name(FOR_MLFLOW))
    if home.exists():
        shutil.rmtree(home)
    folder.parent.rename(home)
    _sync(home.parent)
    return (home / FOR_MLFLOW).as_uri()


def _link_tree(source: Path, destination: Path) -> None:
    for relative, file in tree_files(source):
        target = destination / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if relative != LEFT_BY_MLFLOW:
            target.hardlink_to(file)


def as_registered(uri: str) -> str:
    """The URI of a version's files as they were registered, for the URI that MLflow has."""
    return f"{uri.removesuffix(FOR_MLFLOW)}{FILES}" if uri.endswith(f"/{FOR_MLFLOW}") else uri


def upload(mlflow: MlflowClient, folder: Path, run_id: str, token: str) -> str:
    """Send a staged folder through a server's artifact API, under the run; its URI."""
    where = f"mlport/{token}"
    mlflow.log_artifacts(run_id, str(folder), artifact_path=where)
    return f"{mlflow.get_run(run_id).info.artifact_uri.rstrip('/')}/{where}"


def fetch(address: str, uri: str, destination: Path) -> Path:
    """Copy a version's files to `destination` in one step: all of them or nothing.

    Raises:
        ConflictError: `destination` exists.
        NotFoundError: the files are gone.
    """
    return deliver(destination, lambda folder: _read(address, uri, folder))


def _read(address: str, uri: str, folder: Path) -> None:
    if _is_local(uri):
        source = local_path(uri)
        if not source.is_dir():
            raise NotFoundError(f"the version's files are gone from {source}", hint="register the model again")
        copy_tree(source, folder)
    else:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        folder.mkdir()
        get_artifact_repository(uri, tracking_uri=address).download_artifacts("", dst_path=str(folder))


def drop(uri: str, below: Path) -> None:
    """Remove the home of a version if it is one that `keep` made; the folders of others are theirs."""
    home = local_path(uri).parent
    if _is_local(uri) and below in home.parents and home.exists():
        shutil.rmtree(home)


def _is_local(uri: str) -> bool:
    """Whether MLflow's URI is a path; its own schemes, such as `mlflow-artifacts:/`, do without a second slash."""
    return urlsplit(uri).scheme in ("", "file")


def describe(folder: Path) -> tuple[Json | None, tuple[str, ...]]:
    """The signature and the flavors that a folder's MLmodel file declares; None and none for any other folder.

    Raises:
        SpecError: the MLmodel file cannot be read.
    """
    if not folder.joinpath("MLmodel").is_file():
        return None, ()
    import yaml

    try:
        declared = yaml.safe_load(folder.joinpath("MLmodel").read_text(encoding="utf-8"))
        flavors = tuple(declared["flavors"])
        signature = declared.get("signature") or {}
        decoded = {part: json.loads(text) for part, text in signature.items() if text}
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        raise SpecError(f"{folder / 'MLmodel'} cannot be read: {error}", hint="save the model again with MLflow") from error
    return decoded or None, flavors
