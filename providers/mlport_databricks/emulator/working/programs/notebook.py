"""Runs a Python notebook in the SOURCE format: `python notebook.py FILE`, the rest in variables of the environment.

Cells are parted by `# COMMAND ----------` and run in order in one namespace. A cell of `%md` is skipped, one of `%pip`
installs for those after it, one of `%python` is Python; other magics end the notebook with an error. `dbutils` has widgets,
notebook.exit, library.restartPython, secrets and the simple functions of fs. NOTEBOOK_PARAMETERS is the JSON object that the widgets
give, NOTEBOOK_RESULT the file for the value of `dbutils.notebook.exit`, NOTEBOOK_INSTALL the JSON list of the command of `%pip` and its environment.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BREAK, MAGIC = "# Databricks notebook source", "# COMMAND ----------", "# MAGIC"


class Exit(BaseException):
    """The notebook has called dbutils.notebook.exit."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


class Widgets:
    """Parameters, and the defaults of those that the notebook itself declares."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._given, self._defaults = parameters, dict[str, str]()

    def text(self, name: str, defaultValue: str, label: str | None = None) -> None:  # noqa: N803 - Databricks's name
        self._defaults[name] = defaultValue

    def dropdown(self, name: str, defaultValue: str, choices: list[str], label: str | None = None) -> None:  # noqa: N803
        self._defaults[name] = defaultValue

    combobox = multiselect = dropdown

    def get(self, name: str) -> str:
        for known in (self._given, self._defaults):
            if name in known:
                return known[name]
        raise ValueError(f"InputWidgetNotDefined: No input widget named {name} is defined")

    def getAll(self) -> dict[str, str]:  # noqa: N802
        return {**self._defaults, **self._given}

    def remove(self, name: str) -> None:
        self._defaults.pop(name, None)

    def removeAll(self) -> None:  # noqa: N802
        self._defaults.clear()


class Files:
    """dbutils.fs on the folders that are mounted: /Volumes, /Workspace, and the local disk by `file:`."""

    def _path(self, path: str) -> Path:
        return Path(path.removeprefix("dbfs:").removeprefix("file:"))

    def ls(self, path: str) -> list[Any]:
        found = sorted(self._path(path).iterdir())
        kind = types.SimpleNamespace
        return [
            kind(path=f"{each}{'/' * each.is_dir()}", name=f"{each.name}{'/' * each.is_dir()}", size=each.stat().st_size) for each in found
        ]

    def head(self, path: str, maxBytes: int = 65536) -> str:  # noqa: N803
        with self._path(path).open("rb") as stream:
            return stream.read(maxBytes).decode(errors="replace")

    def put(self, path: str, contents: str, overwrite: bool = False) -> bool:
        with self._path(path).open("w" if overwrite else "x", encoding="utf-8") as stream:
            stream.write(contents)
        return True

    def mkdirs(self, path: str) -> bool:
        self._path(path).mkdir(parents=True, exist_ok=True)
        return True

    def cp(self, source: str, target: str, recurse: bool = False) -> bool:
        copy = shutil.copytree if recurse else shutil.copyfile
        copy(self._path(source), self._path(target))
        return True

    def rm(self, path: str, recurse: bool = False) -> bool:
        found = self._path(path)
        if found.is_dir() and recurse:
            shutil.rmtree(found)
        elif found.is_dir():
            found.rmdir()
        else:
            found.unlink()
        return True


class Secrets:
    """get, getBytes, list and listScopes, by the SDK's own of the same names; it is imported when one is first called."""

    def __getattr__(self, name: str) -> Any:
        from databricks.sdk.dbutils import RemoteDbUtils

        return getattr(RemoteDbUtils().secrets, name)


def dbutils_of(parameters: dict[str, str]) -> Any:
    def leave(value: Any) -> None:
        raise Exit(str(value))

    def restart() -> None:
        """Nothing is kept that a restart would drop: `%pip` is seen by the next import."""

    notebook, library = types.SimpleNamespace(exit=leave), types.SimpleNamespace(restartPython=restart)
    return types.SimpleNamespace(widgets=Widgets(parameters), notebook=notebook, library=library, fs=Files(), secrets=Secrets())


def cells(source: str) -> Iterator[str]:
    r"""The cells that are not empty, with their magic lines as they are typed in the editor.

    >>> list(cells("# Databricks notebook source\nx = 1\n\n# COMMAND ----------\n\n# MAGIC %md\n# MAGIC Hello"))
    ['x = 1', '%md\nHello']
    """
    for cell in source.removeprefix(HEADER).split(BREAK):
        lines = [line[len(MAGIC) :].removeprefix(" ") if line.startswith(MAGIC) else line for line in cell.strip().splitlines()]
        if lines:
            yield "\n".join(lines)


def install(arguments: str) -> None:
    command, environment = json.loads(os.environ["NOTEBOOK_INSTALL"])
    outcome = subprocess.run([*command, *shlex.split(arguments)], env=environment, check=False)
    importlib.invalidate_caches()
    if outcome.returncode:
        raise RuntimeError(f"%pip install {arguments} failed with exit code {outcome.returncode}")


def execute(cell: str, number: int, namespace: dict[str, Any]) -> None:
    first, _, rest = cell.partition("\n")
    magic, _, arguments = first.partition(" ") if first.startswith("%") else ("", "", "")
    if magic == "%md" or magic.startswith("%md-"):
        return
    if magic == "%pip":
        verb, _, packages = arguments.partition(" ")
        if verb != "install":
            raise NotImplementedError(f"the emulator has no %pip {verb}")
        install(packages)
        cell = rest
    elif magic == "%python":
        cell = f"{arguments}\n{rest}" if arguments else rest
    elif magic:
        raise NotImplementedError(f"the emulator runs Python cells only, not {magic}")
    exec(compile(cell, f"<command-{number}>", "exec"), namespace)  # noqa: S102 - it is what a notebook is for


def main(path: str) -> int:
    parameters = json.loads(os.environ.pop("NOTEBOOK_PARAMETERS", "{}"))
    result = Path(os.environ.pop("NOTEBOOK_RESULT"))
    dbutils = dbutils_of(parameters)
    module = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv = module, [path]
    builtins.dbutils = dbutils  # type: ignore[attr-defined] # modules of the workspace may use it, too
    namespace = vars(module)
    namespace["dbutils"] = dbutils
    sys.path.insert(0, str(Path(path).parent))
    try:
        for number, cell in enumerate(cells(Path(path).read_text(encoding="utf-8")), 1):
            execute(cell, number, namespace)
    except Exit as exit_:
        result.write_text(exit_.value, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
