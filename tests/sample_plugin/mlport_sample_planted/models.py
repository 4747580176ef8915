"""Bugs of the registry, one a class."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from mlport_sample import files
from mlport_sample.models import SampleModels

from mlport.errors import NotFoundError
from mlport.spi import Json, ModelRecord, Operation, Page, Plan, Query, VersionRecord
from mlport.transfer import local_path


class RegistersTwice(SampleModels):
    """A token that is known already makes another version."""

    def register(self, plan: Plan, *, token: str) -> Operation:
        with files.locked(self._root / ".lock"):
            return self._add(plan, token)


class FilesNotCopied(SampleModels):
    """A version's files are those of the folder that it was registered from, whatever becomes of them."""

    def _add(self, plan: Plan, token: str) -> Operation:
        made = super()._add(plan, token)
        _, name, version = made.id.split("/")
        copied = self._root / name / version / "files"
        shutil.rmtree(copied)
        copied.symlink_to(local_path(plan.requests[0].body["path"]))
        return made


class FirstAliasStays(SampleModels):
    """The first writer of an alias wins."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._folder(name, version)
        with self._changing(name) as index:
            index["aliases"].setdefault(alias, version)


class AliasOfNothing(SampleModels):
    """An alias may point at a version that is not there."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with self._changing(name) as index:
            index["aliases"][alias] = version


class DownloadAlters(SampleModels):
    """A byte is added to a file on its way."""

    def download(self, name: str, version: str, destination: Path) -> Path:
        copied = super().download(name, version, destination)
        with next(path for path in sorted(copied.rglob("*")) if path.is_file()).open("ab") as stream:
            stream.write(b"\n")
        return copied


class DeletedIsListed(SampleModels):
    """A deleted version is not there any more, yet listed."""

    def delete(self, name: str, version: str) -> None:
        if (self._root / name / version / "record.json").exists():
            (self._root / name / version / "deleted").touch()

    def get(self, name: str, version: str) -> VersionRecord:
        if (self._root / name / version / "deleted").exists():
            raise NotFoundError(f"no version {name}:{version}")
        return super().get(name, version)

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        found = [(f"{int(version):09}", super(DeletedIsListed, self).get(name, version)) for version in self._versions(name)]
        return files.page_of(found, query, page)


class NumberUsedAgain(SampleModels):
    """The number of a deleted version is given to the next."""

    def _index(self, name: str) -> Json:
        return {**super()._index(name), "last": max(map(int, self._versions(name)), default=0)}


class NewestByText(SampleModels):
    """The newest version is the last in the order of the alphabet, so that 9 comes after 10."""

    def _model(self, name: str) -> ModelRecord:
        return ModelRecord(name, max(self._versions(name), default=None), self._index(name)["aliases"])

    def versions(self, name: str, query: Query, page: str | None = None) -> Page[VersionRecord]:
        return files.page_of([(version, self.get(name, version)) for version in self._versions(name)], query, page)


class TagsNotImplemented(SampleModels):
    """What is declared native is not there."""

    def tag(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        raise NotImplementedError("tags come later")


class ApprovesSilently(SampleModels):
    """What is declared absent is accepted and not done."""

    def approve(self, name: str, version: str, *, approved: bool, reason: str = "") -> None:
        return


class AliasLeaksKeyError(SampleModels):
    """That there is no such alias is not translated into an error of ours."""

    def resolve(self, name: str, alias: str) -> str:
        return str(self._index(name)["aliases"][alias])
