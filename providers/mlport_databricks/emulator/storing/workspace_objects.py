"""What a workspace says of its objects beside their content: ids, and which files are notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlport.emulation.documents import Documents
from mlport_databricks.emulator.storing.files import Files

Json = dict[str, Any]
HEADERS = {
    "PYTHON": "# Databricks notebook source",
    "SQL": "-- Databricks notebook source",
    "SCALA": "// Databricks notebook source",
    "R": "# Databricks notebook source",
}
"""The first line of a notebook's source."""
FIRST_ID = 1_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Notebook:
    """`language` is PYTHON, SQL, SCALA or R."""

    language: str


class WorkspaceObjects:
    """Objects by where their file is. A file that a program wrote by itself gets its id when it is first asked for."""

    def __init__(self, files: Files, documents: Documents) -> None:
        self._files, self._documents = files, documents

    def _name(self, workspace: str, path: Path) -> str:
        return f"{workspace}/{path.relative_to(self._files.root(workspace, '/Workspace'))}"

    def notebook(self, workspace: str, path: Path) -> Notebook | None:
        """The notebook that this file is, None if it is a file or nothing."""
        kept = self._documents.get("workspace", self._name(workspace, path))
        return Notebook(kept["language"]) if kept and kept.get("language") and path.is_file() else None

    def written(self, workspace: str, path: Path, notebook: Notebook | None) -> None:
        """A file was written, as a notebook or not."""
        language = notebook.language if notebook else None
        kept = self._kept(workspace, path)
        self._documents.change("workspace", self._name(workspace, path), lambda _: {**kept, "language": language})

    def _kept(self, workspace: str, path: Path) -> Json:
        name = self._name(workspace, path)
        with self._documents.together():
            found = self._documents.get("workspace", name)
            if found is None:
                found = {"id": FIRST_ID + self._documents.next_number("workspace objects"), "path": name.partition("/")[2]}
                self._documents.insert("workspace", name, found)
        return found

    def number(self, workspace: str, path: Path) -> int | None:
        """Its id, None if nobody has asked for it yet."""
        kept = self._documents.get("workspace", self._name(workspace, path))
        return int(kept["id"]) if kept else None

    def find(self, workspace: str, number: str) -> Path | None:
        """The file or folder with this id, whether or not it is still there."""
        for _, kept in self._documents.list("workspace", f"{workspace}/"):
            if str(kept["id"]) == number:
                return self._files.root(workspace, "/Workspace") / str(kept["path"])
        return None

    def kind(self, workspace: str, path: Path) -> str:
        """What the permissions API calls its like: directories, notebooks or files."""
        return "directories" if path.is_dir() else "notebooks" if self.notebook(workspace, path) else "files"

    def told(self, workspace: str, path: Path, shown: str) -> Json:
        """An ObjectInfo."""
        kept, stat = self._kept(workspace, path), path.stat()
        common = {"path": shown, "object_id": kept["id"], "resource_id": str(kept["id"])}
        if path.is_dir():
            return {**common, "object_type": "DIRECTORY"}
        times = {"created_at": int(stat.st_mtime * 1000), "modified_at": int(stat.st_mtime * 1000), "size": stat.st_size}
        if kept.get("language"):
            return {**common, **times, "object_type": "NOTEBOOK", "language": kept["language"]}
        return {**common, **times, "object_type": "FILE"}

    def forget(self, workspace: str, path: Path) -> None:
        """It was deleted, with all that is in it."""
        name = self._name(workspace, path)
        with self._documents.together():
            self._documents.delete("workspace", name)
            self._documents.delete_all("workspace", f"{name}/")
