"""A volume with the standard library: the mounted folder `/Volumes/...`, which takes whole new files only.

Neither appending nor writing in the middle works there (docs.databricks.com/volumes, "limitations"), so every file is written
beside its place and renamed. As a program it is the runner's `transfer` command: `volume.py [--expect KIND:DIGEST] SOURCE
DESTINATION` copies a file or folder between a path and a dbfs:///Volumes/... address; exit status 3: there is no such source.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid

MISSING = 3


def path_of(address: str) -> str:
    """The mounted path of an address, or the path itself."""
    return address[len("dbfs://") :] if address.startswith("dbfs:///") else address


class Volume:
    """Files by their addresses."""

    def get(self, address: str) -> bytes | None:
        """A file's content, None if there is none."""
        try:
            with open(path_of(address), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def put(self, address: str, content: bytes, absent: bool = False) -> bool:
        """Write a file; with `absent` only if there is none. Whether it is there as written."""
        path = path_of(address)
        if absent and os.path.exists(path):
            return False
        part = _part(path)
        with open(part, "wb") as stream:
            stream.write(content)
        os.replace(part, path)
        return True

    def put_file(self, address: str, path: str) -> None:
        """Write a file from another."""
        target = path_of(address)
        part = _part(target)
        shutil.copyfile(path, part)
        os.replace(part, target)

    def fetch(self, address: str, path: str) -> bool:
        """Copy a file to one that appears only when whole; False if there is none."""
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        try:
            shutil.copyfile(path_of(address), path + ".part")
        except FileNotFoundError:
            return False
        os.replace(path + ".part", path)
        return True

    def names(self, address: str) -> list[str]:
        """The names in a folder, in order; none if there is no such folder."""
        try:
            return sorted(name for name in os.listdir(path_of(address)) if not name.endswith(".part"))
        except FileNotFoundError:
            return []


def _part(path: str) -> str:
    """A name beside a file that nobody else writes to."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return f"{path}.{uuid.uuid4().hex}.part"


def copy(source: str, destination: str) -> int:
    """Copy a file, or a folder's files; MISSING if there is neither."""
    volume, path = Volume(), path_of(source)
    if os.path.isfile(path):
        volume.put_file(destination, path)
        return 0
    if not os.path.isdir(path):
        return MISSING
    for folder, _, names in os.walk(path):
        for name in names:
            if not name.endswith(".part"):
                file = os.path.join(folder, name)
                volume.put_file(os.path.join(path_of(destination), os.path.relpath(file, path)), file)
    return 0


def main(words: list[str]) -> int:
    """Copy as the command line says; the exit status. A volume has no versions, so none is expected here."""
    source, destination = words[2:] if words[:1] == ["--expect"] else words
    try:
        return copy(source, destination)
    except OSError as error:
        sys.stderr.write(f"mlport: {source} -> {destination}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
