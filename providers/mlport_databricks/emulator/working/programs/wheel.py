"""Calls the entry point of a wheel: `python wheel.py PACKAGE ENTRY_POINT ARGUMENT ...`.

It is looked for in the metadata of the package; one that is not there is a function of the package (SDK: PythonWheelTask).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any


def entry_point(package: str, name: str) -> Callable[[], Any]:
    """What is to be called. Raises ImportError."""
    try:
        found = [entry for entry in importlib.metadata.distribution(package).entry_points if entry.name == name]
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"No package {package!r} is installed") from error
    loaded: Callable[[], Any] | None = found[0].load() if found else getattr(importlib.import_module(package), name, None)
    if loaded is None:
        raise ImportError(f"package {package!r} has no entry point {name!r}")
    return loaded


if __name__ == "__main__":
    package, name, *arguments = sys.argv[1:]
    call = entry_point(package, name)
    sys.argv = [package, *arguments]
    call()
