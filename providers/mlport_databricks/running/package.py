"""What every run starts with: four files in a folder of the workspace that their content names."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

ENTRY = "entry.py"


@cache
def program() -> dict[str, bytes]:
    """The files by name; the one that Databricks starts is the last, so that where it is, all are."""
    ours = {name: files("mlport").joinpath(name).read_bytes() for name in ("mlport_runner.py", "mlport_node.py")}
    return {**ours, **{name: files("mlport_databricks.in_job").joinpath(name).read_bytes() for name in ("volume.py", ENTRY)}}


@cache
def program_digest() -> str:
    """SHA-256, hex, of the files and their names."""
    lines = (b"%s\0%s\n" % (name.encode(), hashlib.sha256(content).hexdigest().encode()) for name, content in sorted(program().items()))
    return hashlib.sha256(b"".join(lines)).hexdigest()
