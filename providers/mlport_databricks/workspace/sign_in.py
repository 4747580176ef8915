"""The SDK's unified chain of credentials, without the rest of the SDK.

`import databricks.sdk` imports each of its services, which takes longer than all that a short command does; its configuration needs
none of them. So it is imported below an empty `databricks.sdk`, which is taken away again: whoever imports the package later gets
it whole, with the modules that are loaded already.
"""

from __future__ import annotations

import importlib.util
import sys
from threading import Lock
from typing import Any

PACKAGE = "databricks.sdk"
_importing = Lock()


def config_class() -> Any:
    """`databricks.sdk.config.Config`. Raises ModuleNotFoundError where the SDK is not installed."""
    with _importing:
        spec = importlib.util.find_spec(PACKAGE) if PACKAGE not in sys.modules else None
        if spec is not None:
            sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        try:
            from databricks.sdk.config import Config
        finally:
            if spec is not None:
                del sys.modules[PACKAGE]
    return Config
