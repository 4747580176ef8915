"""What a container image stands for here: nothing is pulled, and no container is started.

A prebuilt training image, `python:*` and an image of mlport's model server stand for the interpreter that the emulator runs in, with all that is installed
there. Images that were built here have folders of their own (`image_store`). Others are what `images.toml` in the emulator's
folder says, or they are not found:

    "europe-docker.pkg.dev/acme/train/*" = ["python", "/srv/acme/train.py"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.storing.image_store import Config, ImageStore, command_of, copied, layout

PYTHON = ("python:*", "docker.io/*python:*", "python")
TRAINING = ("*-docker.pkg.dev/vertex-ai/training/*", "gcr.io/cloud-aiplatform/training/*", *PYTHON)
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


def is_base(image: str) -> bool:
    """Whether it stands for the emulator's interpreter, so that a Dockerfile may begin with it."""
    return _is(image, (*TRAINING, *SKLEARN, *OURS))


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


class Container:
    """What a container of an image runs here, and with what: the same for a job's replicas and for deployments.

    `argv` has the image's paths made real, `env` is what the image declares, `folder` is where it begins.
    """

    def __init__(self, argv: list[str], env: dict[str, str], folder: Path) -> None:
        self.argv, self.env, self.folder = argv, env, folder


def container(place: Place, image: str, command: Sequence[str], args: Sequence[str], home: Path) -> Container:
    """A container under the folder `home`: what was built here gets a copy of its files there.

    Images that stand for this interpreter have no entrypoint, so that arguments alone are the command, and without any it is
    `python3`. Raises ApiError for an image that stands for nothing.
    """
    own = mapped(place.folder, image)
    if own is None and (built := ImageStore(place).find(image)):
        root = home / "root"
        if not root.exists():
            copied(layout(built.folder).root, root)
        at = layout(built.folder, root)
        env = {"PATH": at.environment({})["PATH"], **at.environment(built.config.env)}
        argv = [at.mapped(word) for word in command_of(built.config, command, args)]
        return Container(argv, env, Path(at.real(built.config.workdir)))
    if own is None and not _is(image, (*TRAINING, *OURS)):
        raise not_found(image)
    return Container(command_of(Config(entrypoint=tuple(own or ())), command, args), {}, home / "work")


def executes_packages(folder: Path, image: str) -> bool:
    """Whether it can be the executor of a Python package."""
    return _is(image, TRAINING) or mapped(folder, image) is not None


def server(place: Place, image: str) -> Server | None:
    """Which of the servers that are known here an image stands for; None for any other."""
    if mapped(place.folder, image) is not None or ImageStore(place).find(image) is not None:
        return None
    if _is(image, SKLEARN):
        return "sklearn"
    return "mlflow" if _is(image, OURS) else None
