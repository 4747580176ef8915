"""`/Workspace` and `/Volumes` of each workspace: folders of this machine, seen by the APIs and by the programs that run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from mlport_databricks.emulator.accounts import HOSTS
from mlport_databricks.emulator.protocol.errors import ApiError

ROOTS = ("/Workspace", "/Volumes")


class OutsideError(ValueError):
    """A path that is under neither root, or that leaves it."""


class Files:
    """The two trees of each workspace, by its host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._parts = folder, folder / "unfinished"
        for host in HOSTS:
            for root in ROOTS:
                self.root(host, root).mkdir(parents=True, exist_ok=True)

    def root(self, workspace: str, root: str) -> Path:
        """The folder that stands for `/Workspace` or `/Volumes`."""
        return self.folder / workspace / root.lstrip("/")

    def path_of(self, workspace: str, path: str) -> Path:
        """Where `/Volumes/c/s/v/x` or `/Workspace/x` is kept, whether or not it is there. Raises OutsideError."""
        pure = PurePosixPath(path)
        if len(pure.parts) < 2 or f"/{pure.parts[1]}" not in ROOTS or ".." in pure.parts or "\0" in path:
            raise OutsideError(f"{path}: not a path under {' or '.join(ROOTS)}")
        found = self.folder / workspace / Path(*pure.parts[1:])
        root = self.root(workspace, pure.parts[1]).resolve()
        if not found.resolve().is_relative_to(root):  # by a link that a program made
            raise OutsideError(f"{path}: leads out of {pure.parts[1]}")
        return found

    def mounts(self, workspace: str) -> list[tuple[Path, str]]:
        """What mlport.emulation.mounts is given, so that a program sees both trees at their own paths."""
        return [(self.root(workspace, root), root) for root in ROOTS]

    @contextmanager
    def writing(self, path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
        """Write a file whole or not at all; its parents are made. Raises ApiError 409 where one is there that must stay."""
        self._parts.mkdir(parents=True, exist_ok=True)
        if path.exists() and not overwrite:
            raise _there()
        with tempfile.NamedTemporaryFile(dir=self._parts, delete=False) as stream:
            part = Path(stream.name)
            try:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                part.chmod(0o644)
                _make_parents(path)
                if overwrite:
                    os.replace(part, path)
                else:
                    os.link(part, path)
            except FileExistsError as error:
                raise _there() from error
            finally:
                part.unlink(missing_ok=True)


def entry_count(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(1 for _ in entries)


def _make_parents(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ApiError("RESOURCE_CONFLICT", "A parent of the given path is a file.") from error


def _there() -> ApiError:
    return ApiError("ALREADY_EXISTS", "The file being created already exists.")
