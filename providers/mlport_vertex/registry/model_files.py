"""A version's files: into the staging folder before it is registered, and out of it again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.bundle import tree_digest, tree_files
from mlport.errors import InputChangedError, NotFoundError, SpecError
from mlport.spi import Json
from mlport.transfer import deliver, is_url, local_path
from mlport_vertex.google.objects import split

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi

DESCRIPTION = "MLmodel"
PICKLES = ("model.pkl", "model.joblib")


def store(api: VertexApi, source: str, digest: str | None, destination: str) -> Json:
    """Copy a model's files below `destination`; what is known of them now: `digest`, `flavors`, `signature`.

    A job's output whose digest is known, in the bucket of the staging folder, is copied by Cloud Storage itself; its digest
    is compared when it is downloaded.

    Raises:
        NotFoundError, SpecError: there is no folder with files at `source`.
        InputChangedError: they are not what they were when the plan was made.
    """
    if is_url(source) and digest is not None and split(source)[0] == split(destination)[0]:
        _copied(api, source, destination)
        described = api.objects.get(f"{destination}/{DESCRIPTION}")
        return {"digest": digest, **describe(described)}
    with tempfile.TemporaryDirectory(prefix="mlport-") as scratch:
        folder = local_path(source)
        if is_url(source):
            folder = Path(scratch)
            if not api.objects.download(source, folder):
                raise NotFoundError(f"ModelSpec.path: there is nothing below {source}")
        return _uploaded(api, folder, digest, destination)


def _uploaded(api: VertexApi, folder: Path, digest: str | None, destination: str) -> Json:
    if not folder.is_dir():
        raise NotFoundError(f"ModelSpec.path: {folder} is not a folder", hint="name the folder that holds the model's files")
    if not any(True for _ in tree_files(folder)):
        raise SpecError(f"ModelSpec.path: {folder} holds no files", hint="a model's folder holds at least one file")
    api.objects.upload(folder, destination)
    found = tree_digest(folder)  # after the upload: a file that changes during it is seen
    if digest is not None and found != digest:
        api.objects.delete_below(destination)
        raise InputChangedError(
            f"the model at {folder} changed since the plan was made: expected {digest}, found {found}", hint="plan and register again"
        )
    described = folder / DESCRIPTION
    return {"digest": found, **describe(described.read_bytes() if described.is_file() else None)}


def _copied(api: VertexApi, source: str, destination: str) -> None:
    count = 0
    for address, _ in api.objects.list(source):
        api.objects.copy(address, f"{destination}/{address.removeprefix(source.rstrip('/') + '/')}")
        count += 1
    if not count:
        raise NotFoundError(f"ModelSpec.path: there is nothing below {source}")


def describe(content: bytes | None) -> Json:
    """What an MLmodel file declares; nothing for a folder that has none.

    `flavors`, `signature`, `sklearn` (the version that it was saved with) and `pickled`: whether it is a scikit-learn model in
    the one form that Google's prebuilt image reads.

    Raises:
        SpecError: it cannot be read.
    """
    if content is None:
        return {"flavors": [], "signature": None, "sklearn": None, "pickled": False}
    import yaml

    try:
        declared = yaml.safe_load(content)
        signature = {part: json.loads(text) for part, text in (declared.get("signature") or {}).items() if text}
        sklearn = declared["flavors"].get("sklearn", {})
        return {
            "flavors": list(declared["flavors"]),
            "signature": signature or None,
            "sklearn": sklearn.get("sklearn_version"),
            "pickled": sklearn.get("pickled_model") in PICKLES,
        }
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SpecError(f"ModelSpec.path: its {DESCRIPTION} cannot be read: {error}", hint="save the model again with MLflow") from error


def fetch(api: VertexApi, uri: str, destination: Path) -> Path:
    """Copy a version's files to `destination` in one step: all of them or nothing.

    Raises:
        ConflictError: `destination` exists.
        NotFoundError: the files are gone.
    """

    def fill(folder: Path) -> None:
        if not api.objects.download(uri, folder):
            raise NotFoundError(f"the version's files are gone from {uri}", hint="register the model again")

    return deliver(destination, fill)
