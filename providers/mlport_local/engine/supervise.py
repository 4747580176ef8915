"""What a supervisor process starts with: `python -I -S supervise.py`, its settings in `$MLPORT_SUPERVISOR`.

Neither site-packages nor the packages' own `__init__` are loaded: a supervisor needs the standard library and a few
files beside this one, and is there in 30 ms.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def bare(name: str, folder: Path) -> None:
    """Put a package without its `__init__` in place, so that its modules can be imported."""
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = importlib.util.module_from_spec(spec)


if __name__ == "__main__":
    import json
    import os

    settings = json.loads(os.environ.pop("MLPORT_SUPERVISOR"))
    bare("mlport_local", HERE.parent)
    bare("mlport", Path(settings["core"]))
    from mlport_local.engine.supervisor import main

    main(settings)
