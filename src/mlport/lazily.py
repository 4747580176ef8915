"""Packages whose public names are loaded when first named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

Exports = tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]


def exports(package: str, homes: Mapping[str, Sequence[str]]) -> Exports:
    """`__all__`, `__getattr__` and `__dir__` of a package whose module `home` has the names `homes[home]`.

    Where a name is also that of a module, such as `compare`, importing the module leaves the name what it is.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    module = sys.modules[package]

    class Package(ModuleType):
        def __setattr__(self, name: str, value: object) -> None:
            is_home = name in home_of and isinstance(value, ModuleType)
            super().__setattr__(name, getattr(value, name) if is_home else value)

    def load(name: str) -> Any:
        if home := home_of.get(name):
            return getattr(importlib.import_module(f"{package}.{home}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    module.__class__ = Package
    return sorted(home_of), load, lambda: sorted([*vars(module), *home_of])
