"""What a container image stands for here: nothing is pulled, and no container is started.

A prebuilt training image, `python:*` and an image of mlport's model server stand for the interpreter that the emulator runs in, with all that is installed
there. Other images are what `images.toml` in the emulator's folder says, or they are not found:

    "europe-docker.pkg.dev/acme/train/*" = ["python", "/srv/acme/train.py"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from mlport_vertex.emulator.errors import ApiError

TRAINING = ("*-docker.pkg.dev/vertex-ai/training/*", "gcr.io/cloud-aiplatform/training/*", "python:*", "docker.io/*python:*", "python")
SKLEARN = ("*-docker.pkg.dev/vertex-ai/prediction/sklearn-*", "gcr.io/cloud-aiplatform/prediction/sklearn-*")
OURS = ("*/mlport/server*", "mlport/server*")
FILE = "images.toml"

Server = Literal["sklearn", "mlflow"]


def _bare(image: str) -> str:
    """The image's name without its digest."""
    return image.partition("@")[0]


def _is(image: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(_bare(image), pattern) for pattern in patterns)


def not_found(image: str) -> ApiError:
    """Which words Vertex AI finds was not seen: a guess."""
    return ApiError("NOT_FOUND", f"Image {image} not found.")


def mapped(folder: Path, image: str) -> list[str] | None:
    """The command that `images.toml` gives an image, None if it gives none. Raises ApiError for a file that cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ApiError("INTERNAL", f"{path}: {error}") from error
    for pattern, command in table.items():
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise ApiError("INTERNAL", f'{path}: {pattern}: must be a command such as ["python", "/srv/train.py"]')
        if fnmatchcase(_bare(image), pattern):
            return command
    return None


def command(folder: Path, image: str, command: Sequence[str], args: Sequence[str]) -> list[str]:
    """What a container of this image runs, as Kubernetes joins them: `command` in the place of the image's own, then `args`.

    The images that stand for this interpreter have no entrypoint, so that arguments alone are the command, and without any
    it is `python3`. Raises ApiError for an image that stands for nothing.
    """
    own = mapped(folder, image)
    if own is None and not _is(image, (*TRAINING, *OURS)):
        raise not_found(image)
    return [*(command or own or ()), *args] or ["python3"]


def executes_packages(folder: Path, image: str) -> bool:
    """Whether it can be the executor of a Python package."""
    return _is(image, TRAINING) or mapped(folder, image) is not None


def server(image: str) -> Server | None:
    """Which of the servers that are known here an image stands for; None for any other."""
    if _is(image, SKLEARN):
        return "sklearn"
    return "mlflow" if _is(image, OURS) else None
