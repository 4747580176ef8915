"""The SDK's unified chain of credentials, without the rest of the SDK.

`import databricks.sdk` imports each of its services, which takes longer than all that a short command does; its configuration needs
none of them. So the package's own program is put off: whoever asks the package for a name, such as `WorkspaceClient`, has it run then,
and gets it whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import RLock, get_ident
from types import ModuleType
from typing import Any

PACKAGE = "databricks.sdk"
_lock = RLock()


class _PutOff(ModuleType):
    """A package whose program runs when a name is asked for that it does not have yet."""

    _program: Callable[[ModuleType], None]
    _importing: int | None = None  # the thread that imports from below it, or runs its program: it gets what is there already

    def __getattr__(self, name: str) -> Any:
        if self._importing != get_ident():
            with _lock:
                if type(self) is _PutOff:
                    self._run()
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def _run(self) -> None:
        self._importing = get_ident()
        try:
            self._program(self)
        finally:
            del self._importing
        del self._program
        self.__class__ = ModuleType  # type: ignore[assignment] # from here on it is a package as any other


def config_class() -> Any:
    """`databricks.sdk.config.Config`. Raises ModuleNotFoundError where the SDK is not installed."""
    with _lock:
        package = sys.modules.get(PACKAGE) or _put_off()
        if isinstance(package, _PutOff):
            package._importing = get_ident()
        try:
            from databricks.sdk.config import Config
        finally:
            vars(package).pop("_importing", None)
    return Config


def _put_off() -> ModuleType:
    """The package in its place, its program not run yet."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    package = _PutOff(PACKAGE)
    package._program = spec.loader.exec_module
    package.__spec__, package.__loader__, package.__file__ = spec, spec.loader, spec.origin
    package.__package__, package.__path__ = PACKAGE, list(spec.submodule_search_locations or ())
    sys.modules[PACKAGE] = package
    above, _, name = PACKAGE.rpartition(".")
    setattr(importlib.import_module(above), name, package)
    return package
