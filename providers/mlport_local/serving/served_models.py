"""The private copy of a version's files that a deployment serves from."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlport import transfer
from mlport.bundle import tree_digest
from mlport.errors import InputChangedError, NotFoundError
from mlport.faults import fault
from mlport.spi import Json
from mlport_local.engine import process
from mlport_local.engine.database import translated
from mlport_local.engine.process import Identity
from mlport_local.registry.model_files import copy_tree
from mlport_local.serving.endpoint_state import Deployed


@contextmanager
def copied(body: Json, endpoint: Path) -> Iterator[Deployed]:
    """A verified copy under the endpoint's folder, removed again if what it is for fails.

    While it is made, and until it is put to use, a folder beside it claims it: its name says for which process, so that
    what a killed one left is known.

    Raises:
        NotFoundError: there is no folder at the version's URI.
        InputChangedError: its content is not what was registered.
        UnavailableError: the disk is full or read-only.
    """
    folder = endpoint / "models" / f"{body['name']}-{secrets.token_hex(4)}"
    claim = folder.with_name(f".{folder.name}~{process.me()}")
    try:
        with translated(folder):
            endpoint.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for place in (endpoint, endpoint / "models"):  # `parents` would make them for all to enter
                place.mkdir(exist_ok=True, mode=0o700)
            claim.mkdir(mode=0o700)
            _fetch(body["uri"], claim / "files")
        fault("after-model-copied")
        digest = tree_digest(claim / "files")
        if body["digest"] is not None and digest != body["digest"]:
            raise InputChangedError(
                f"the files of {body['model']}:{body['version']} at {body['uri']} are not those registered: expected {body['digest']}, found {digest}",
                hint="register the model anew",
            )
        (claim / "files").rename(folder)
        fault("after-model-named")
        yield Deployed(body["model"], str(body["version"]), str(folder), digest, body["env"], body["runtime"])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(claim, ignore_errors=True)


def _fetch(uri: str, destination: Path) -> None:
    """Copies, not links: what is edited in the registry must not reach what is served."""
    if transfer.is_url(uri):
        transfer.download(uri, destination)
        return
    source = transfer.local_path(uri)
    if not source.is_dir():
        raise NotFoundError(f"there is no model folder at {source}")
    destination.mkdir(mode=0o700)
    copy_tree(source, destination)


def remove_unused(models: Path, used: Callable[[], frozenset[str]]) -> None:
    """Remove the copies that nobody serves from or is making. `used` is asked after the copies were listed."""
    claims = {path: path.name[1:].rpartition("~") for path in models.glob(".*~*")}
    dead = {path for path, (_, _, maker) in claims.items() if not process.alive(Identity.parse(maker))}
    claimed = {name for path, (name, _, _) in claims.items() if path not in dead}
    unclaimed = [folder for folder in models.glob("[!.]*") if folder.name not in claimed]
    in_use = used()
    for folder in [*dead, *(folder for folder in unclaimed if str(folder) not in in_use)]:
        shutil.rmtree(folder, ignore_errors=True)
