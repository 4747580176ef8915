"""The registry: `models/NAME/VERSION/` holds a record and a copy of the files; `models/NAME/index.json` the aliases."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mlport.bundle import tree_digest
from mlport.errors import ConflictError, NotFoundError, UnsupportedError, stamped
from mlport.spi import Json, ModelRecord, Operation, Page, Plan, Query, VersionRecord
from mlport.transfer import local_path
from mlport_sample import files
from mlport_sample.config import SampleConfig

KIND = "model.register"


@stamped("sample", "models")
class SampleModels:
    """Versions count up from 1 and are never used again."""

    def __init__(self, config: SampleConfig) -> None:
        self._root = config.root / "models"

    def register(self, plan: Plan, *, token: str) -> Operation:
        with files.locked(self._root / ".lock"):
            return self.find(token) or self._add(plan, token)

    def _add(self, plan: Plan, token: str) -> Operation:
        body, home = plan.requests[0].body, self._root / plan.name
        index = self._index(plan.name)
        version = str(index["last"] + 1)
        folder, source = home / version, local_path(body["path"])
        copied = folder / "files"
        files.write(home / "index.json", {**index, "last": int(version)})
        shutil.copytree(source, copied)
        if (found := tree_digest(copied)) != body["digest"]:
            raise ConflictError(f"{source} has digest {found}, not {body['digest']}")
        kept = {name: body[name] for name in ("digest", "lineage", "tags", "description")}
        files.write(folder / "record.json", {**kept, "token": token, "created": datetime.now(UTC).isoformat()})
        return Operation(f"model/{plan.name}/{version}", KIND, plan.name)

    def find(self, token: str) -> Operation | None:
        for record in self._root.glob("*/*/record.json"):
            if files.read(record)["token"] == token:
                name, version = record.parts[-3:-1]
                return Operation(f"model/{name}/{version}", KIND, name)
        return None

    def get(self, name: str, version: str) -> VersionRecord:
        folder = self._folder(name, version)
        record = files.read(folder / "record.json")
        aliases = tuple(alias for alias, target in self._index(name)["aliases"].items() if target == version)
        return VersionRecord(
            name=name,
            version=version,
            uri=str(folder / "files"),
            digest=record["digest"],
            created=datetime.fromisoformat(record["created"]),
            aliases=aliases,
            tags=record["tags"],
            lineage=record["lineage"],
            flavors=("python_function",) if (folder / "files" / "MLmodel").exists() else (),
            description=record["description"],
        )

    def resolve(self, name: str, alias: str) -> str:
        aliases = self._index(name)["aliases"]
        if alias not in aliases:
            raise NotFoundError(
                f"model {name!r} has no alias {alias!r}",
                hint=f"it has: {', '.join(aliases) or 'none'}",
            )
        return str(aliases[alias])

    def list(self, query: Query, page: str | None = None) -> Page[ModelRecord]:
        found = [
            (name, self._model(name)) for name in sorted(folder.name for folder in self._root.glob("[!.]*")) if query.name in (None, name)
        ]
        return files.page_of([pair for pair in found if pair[1].latest_version], query, page)

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        return files.page_of([(f"{int(version):09}", self.get(name, version)) for version in self._versions(name)], query, page)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._folder(name, version)
        with self._changing(name) as index:
            index["aliases"][alias] = version

    def drop_alias(self, name: str, alias: str) -> None:
        if (self._root / name / "index.json").exists():
            with self._changing(name) as index:
                index["aliases"].pop(alias, None)

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        with files.locked(self._root / ".lock"):
            path = self._folder(name, version) / "record.json"
            record = files.read(path)
            merged = {**record["tags"], **tags}
            files.write(path, {**record, "tags": {key: value for key, value in merged.items() if value is not None}})

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        raise UnsupportedError("sample", [("model.approval", "nobody approves here")])

    def download(self, name: str, version: str, destination: Path) -> Path:
        return Path(shutil.copytree(self._folder(name, version) / "files", destination))

    def delete(self, name: str, version: str) -> None:
        with files.locked(self._root / ".lock"):
            if not (self._root / name / version / "record.json").exists():
                return
            (self._root / name / version / "record.json").unlink()  # first, so that a half-removed version is none
            shutil.rmtree(self._root / name / version)
        with self._changing(name) as index:
            index["aliases"] = {alias: target for alias, target in index["aliases"].items() if target != version}

    def _model(self, name: str) -> ModelRecord:
        return ModelRecord(name, max(self._versions(name), key=int, default=None), self._index(name)["aliases"])

    def _versions(self, name: str) -> builtins.list[str]:
        return [record.parent.name for record in (self._root / name).glob("*/record.json")]

    def _index(self, name: str) -> Json:
        path = self._root / name / "index.json"
        return files.read(path) if path.exists() else {"last": 0, "aliases": {}}

    @contextmanager
    def _changing(self, name: str) -> Iterator[Json]:
        with files.locked(self._root / ".lock"):
            index = self._index(name)
            yield index
            files.write(self._root / name / "index.json", index)

    def _folder(self, name: str, version: str) -> Path:
        folder = self._root / name / version
        if not (folder / "record.json").exists():
            there_are = ", ".join(sorted(self._versions(name))) or "none"
            raise NotFoundError(f"no version {name}:{version}", hint=f"there are: {there_are}")
        return folder
