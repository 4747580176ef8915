"""Calls the one function of a sample, in a process of its own: `python call.py FILE.py < arguments.json`.

The sample is imported as it is, from its own folder, and the SDK is left alone, too: what brings its calls to an emulator is
the environment. `{"$endpoint": NAME}` among the arguments stands for an `aiplatform.Endpoint`, which some samples take.
The last line that is printed is JSON about what the function returned.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load(path: Path) -> ModuleType:
    """The sample as a module; what lies beside it can be imported."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def function_of(module: ModuleType) -> Callable[..., Any]:
    """The sample's function: the only one, or the one with the file's name."""
    found = {name: each for name, each in vars(module).items() if inspect.isfunction(each) and each.__module__ == module.__name__}
    if len(found) > 1 and module.__name__ in found:
        return found[module.__name__]
    if len(found) != 1:
        raise LookupError(f"{module.__file__}: which of {sorted(found)} is the sample is not known")
    return next(iter(found.values()))


def _given(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"$endpoint"}:
        from google.cloud import aiplatform

        return aiplatform.Endpoint(value["$endpoint"])
    return value


def _told(returned: Any) -> Any:
    """What can be said in JSON about a resource, a list of them or a plain value."""
    if isinstance(returned, tuple) and hasattr(returned, "version_aliases"):
        return {"version": returned.version_id, "aliases": list(returned.version_aliases), "kind": type(returned).__name__}
    if isinstance(returned, list | tuple):
        return [_told(each) for each in returned]
    for name in ("resource_name", "model_resource_name"):
        if isinstance(found := getattr(returned, name, None), str):
            return {"name": found, "version": getattr(returned, "version_id", None), "kind": type(returned).__name__}
    return json.loads(json.dumps(returned, default=repr))


def main(path: str, transport: str, bucket: str) -> None:
    """Some samples count on a staging bucket that the session has, and none names a transport: both are set before, as a user can."""
    arguments, module = json.load(sys.stdin), load(Path(path))
    if "google.cloud.aiplatform" in sys.modules:
        sys.modules["google.cloud.aiplatform"].init(staging_bucket=bucket, api_transport=transport)
    returned = function_of(module)(**{name: _given(value) for name, value in arguments.items()})
    print(json.dumps({"returned": _told(returned)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
