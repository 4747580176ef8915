"""The private copy of a version's files that a deployment serves from."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlport import transfer
from mlport.bundle import tree_digest, tree_files
from mlport.errors import InputChangedError, NotFoundError
from mlport.spi import Json
from mlport_local.serving.endpoint_state import Deployed


@contextmanager
def copied(body: Json, endpoint: Path) -> Iterator[Deployed]:
    """A verified copy under the endpoint's folder, removed again if what it is for fails.

    Raises:
        NotFoundError: there is no folder at the version's URI.
        InputChangedError: its content is not what was registered.
    """
    models = endpoint / "models"
    models.mkdir(parents=True, exist_ok=True, mode=0o700)
    part, folder = models / f".{body['name']}-{secrets.token_hex(4)}", models / f"{body['name']}-{secrets.token_hex(4)}"
    try:
        _fetch(body["uri"], part)
        digest = tree_digest(part)
        if body["digest"] is not None and digest != body["digest"]:
            raise InputChangedError(
                f"the files of {body['model']}:{body['version']} at {body['uri']} are not those registered: expected {body['digest']}, found {digest}",
                hint="register the model anew",
            )
        part.rename(folder)
        yield Deployed(body["model"], str(body["version"]), str(folder), digest, body["env"], body["runtime"])
    except BaseException:
        for left in (part, folder):
            shutil.rmtree(left, ignore_errors=True)
        raise


def _fetch(uri: str, destination: Path) -> None:
    if transfer.is_url(uri):
        transfer.download(uri, destination)
        return
    source = transfer.local_path(uri)
    if not source.is_dir():
        raise NotFoundError(f"there is no model folder at {source}")
    destination.mkdir(mode=0o700)
    for relative, file in tree_files(source):
        target = destination / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(file, target)


def _link(file: Path, target: Path) -> None:
    """The same file under another name where the file system can, a copy elsewhere."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
