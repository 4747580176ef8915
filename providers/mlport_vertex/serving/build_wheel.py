"""Mlport as a wheel, made of the packages that run here: what a built image installs, wherever this mlport came from.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/. The same sources give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from importlib.resources import files
from importlib.resources.abc import Traversable

PACKAGES = ("mlport", "mlport_local", "mlport_vertex")
LEFT_OUT = ("__pycache__", "emulator", "testing")
SAME_TIME = (1980, 1, 1, 0, 0, 0)
TAG = "py3-none-any"


@cache
def wheel() -> tuple[str, bytes]:
    """The wheel's file name and content."""
    found = distribution("mlport")
    name = f"mlport-{found.version}"
    members = dict(member for package in PACKAGES for member in _members(files(package), package))
    about = f"{name}.dist-info"
    members[f"{about}/METADATA"] = (found.read_text("METADATA") or "").encode()
    members[f"{about}/entry_points.txt"] = (found.read_text("entry_points.txt") or "").encode()
    members[f"{about}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: mlport\nRoot-Is-Purelib: true\nTag: {TAG}\n".encode()
    record = "".join(f"{path},{_hash(content)},{len(content)}\n" for path, content in members.items())
    members[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(zipfile.ZipInfo(path, SAME_TIME), content, zipfile.ZIP_DEFLATED)
    return f"{name}-{TAG}.whl", buffer.getvalue()


def _members(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name in LEFT_OUT or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _members(entry, f"{path}/{entry.name}")
        else:
            yield f"{path}/{entry.name}", entry.read_bytes()


def _hash(content: bytes) -> str:
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')}"
