"""Registered models of Unity Catalog and their versions, whichever API they came by: Databricks' own or MLflow's."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator.accounts import UNITY_BUCKET, workspace_id
from mlport_databricks.emulator.protocol.errors import invalid, missing
from mlport_databricks.emulator.storing.unity import check_full_name

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
PENDING, READY = "PENDING_REGISTRATION", "READY"
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
_ALIAS = re.compile(r"[\w-]+")
LONGEST_ALIAS, LONGEST_KEY, LONGEST_VALUE, MOST_TAGS = 255, 255, 1000, 50


class Models:
    """A model is a securable of Unity Catalog that has `tags`, `aliases` (name to version) and `last`, its highest version so far.

    A version has `version`, `status`, `storage_location`, `description`, `source`, `run_id`, `tags` and who made it when.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._unity, self._documents = place, place.unity, place.documents

    # ---------------------------------------------------------------- models

    def create(self, workspace: str, user: str, full_name: str, comment: str | None, tags: dict[str, str]) -> Json:
        """A new model. Raises ApiError."""
        name = check_full_name("model", full_name)
        schema = name.rpartition(".")[0]
        self._unity.need(workspace, "schema", schema)
        self._place.grants.require(workspace, user, "CREATE_MODEL", "schema", schema)
        check_tags(tags)
        catalog, schema_name, short = name.split(".")
        number = str(uuid.uuid4())
        body = {
            "name": short,
            "catalog_name": catalog,
            "schema_name": schema_name,
            "full_name": name,
            "comment": comment or "",
            "storage_location": f"s3://{UNITY_BUCKET}/{workspace_id(workspace)}/models/{number}",
            "tags": tags,
            "aliases": {},
            "last": 0,
        }
        return self._unity.insert(workspace, "model", name, user, body)

    def get(self, workspace: str, full_name: str) -> Json:
        """Raises ApiError 404."""
        return self._unity.need(workspace, "model", full_name)

    def change(self, workspace: str, user: str, full_name: str, **changed: Any) -> Json:
        """With these fields in the place of the old ones, None for those that stay."""
        given = {name: value for name, value in changed.items() if value is not None}
        return self._unity.change(workspace, "model", full_name, user, lambda found: {**found, **given})

    def rename(self, workspace: str, user: str, full_name: str, new_name: str) -> Json:
        """The model and its versions under another name in the same schema."""
        old = check_full_name("model", full_name)
        new = f"{old.rpartition('.')[0]}.{check_full_name('catalog', new_name)}"
        with self._documents.together():
            model = self.get(workspace, old)
            for found in self.versions(workspace, old):
                self._documents.delete("unity/version", _key(workspace, old, found["version"]))
                self._documents.insert("unity/version", _key(workspace, new, found["version"]), {**found, "name": new})
            self._unity.delete(workspace, "model", old)
            self._unity.insert(workspace, "model", new, user, {**model, "name": new.split(".")[2], "full_name": new})
            return self.change(workspace, user, new, owner=model["owner"], created_at=model["created_at"], created_by=model["created_by"])

    def delete(self, workspace: str, full_name: str) -> None:
        """With all versions and their files."""
        found = self.get(workspace, full_name)
        self._unity.delete(workspace, "model", full_name)
        self._documents.delete_all("unity/version", f"{workspace}/{found['full_name']}/")
        self._delete_files(found)

    def _delete_files(self, found: Json) -> None:
        bucket, _, prefix = str(found["storage_location"]).removeprefix("s3://").partition("/")
        self._place.s3.delete_all(bucket, f"{prefix}/")

    # ---------------------------------------------------------------- versions

    def create_version(self, workspace: str, user: str, full_name: str, **given: Any) -> Json:
        """The next version, whose files are still to be uploaded."""
        check_tags(given.get("tags") or {})
        with self._documents.together():
            model = self.get(workspace, full_name)
            number = int(model["last"]) + 1
            made = {
                "description": "",
                "source": "",
                "run_id": "",
                "tags": {},
                **given,
                **self._unity.signed(user),
                "name": model["full_name"],
                "version": number,
                "status": PENDING,
                "id": str(uuid.uuid4()),
            }
            made["storage_location"] = f"{model['storage_location']}/versions/{made['id']}"
            self._documents.insert("unity/version", _key(workspace, model["full_name"], number), made)
            self.change(workspace, user, full_name, last=number)
        return made

    def version(self, workspace: str, full_name: str, number: int | str) -> Json:
        """Raises ApiError 404 for a model or a version that is not there."""
        name = str(self.get(workspace, full_name)["full_name"])
        if not str(number).isdecimal():
            raise invalid(f"Invalid value '{number}' for version: it must be a number")
        found = self._documents.get("unity/version", _key(workspace, name, int(number)))
        if found is None:
            raise missing(f"Model Version '{name}' version {number} does not exist.")
        return found

    def versions(self, workspace: str, full_name: str) -> list[Json]:
        """Newest first."""
        return [body for _, body in self._documents.list("unity/version", f"{workspace}/{full_name.lower()}/")]

    def change_version(self, workspace: str, user: str, full_name: str, number: int | str, change: Callable[[Json], Json]) -> Json:
        """What `change` makes of a version. Raises ApiError if it is not there."""
        found = self.version(workspace, full_name, number)
        signed = {name: value for name, value in self._unity.signed(user).items() if name.startswith("updated")}
        changed = self._documents.change(
            "unity/version", _key(workspace, found["name"], found["version"]), lambda before: {**change(before), **signed}
        )
        return changed if changed is not None else self.version(workspace, full_name, number)

    def finalize(self, workspace: str, user: str, full_name: str, number: int | str) -> Json:
        """PENDING_REGISTRATION becomes READY once an MLmodel with a signature lies in the version's storage; READY stays."""
        found = self.version(workspace, full_name, number)
        if found["status"] == READY:
            return found
        bucket, _, prefix = str(found["storage_location"]).removeprefix("s3://").partition("/")
        content = self._place.s3.read(bucket, f"{prefix}/MLmodel")
        if content is None:
            raise invalid(
                f"Model version '{found['name']}' version {number} cannot be finalized: there is no MLmodel file in its storage location."
            )
        check_signature(content)
        return self.change_version(workspace, user, full_name, number, lambda before: {**before, "status": READY})

    def delete_version(self, workspace: str, full_name: str, number: int | str) -> None:
        """With its files and the aliases that point at it (docs/spi/databricks.md [12])."""
        found = self.version(workspace, full_name, number)
        with self._documents.together():
            self._documents.delete("unity/version", _key(workspace, found["name"], found["version"]))
            model = self.get(workspace, full_name)
            left = {alias: version for alias, version in model["aliases"].items() if version != found["version"]}
            if left != model["aliases"]:
                self._documents.change("unity/model", f"{workspace}/{found['name']}", lambda before: {**before, "aliases": left})
        self._delete_files(found)

    # ---------------------------------------------------------------- aliases

    def set_alias(self, workspace: str, user: str, full_name: str, alias: str, number: int | str) -> Json:
        """Let an alias point at a version. Raises ApiError for a name that is refused, or a version that is not there."""
        check_alias(alias)
        version = self.version(workspace, full_name, number)["version"]
        return self._unity.change(
            workspace, "model", full_name, user, lambda found: {**found, "aliases": {**found["aliases"], alias: version}}
        )

    def drop_alias(self, workspace: str, user: str, full_name: str, alias: str) -> None:
        """Whether or not it is there."""
        self._unity.change(
            workspace,
            "model",
            full_name,
            user,
            lambda found: {**found, "aliases": {each: number for each, number in found["aliases"].items() if each != alias}},
        )

    def by_alias(self, workspace: str, full_name: str, alias: str) -> Json:
        """Raises ApiError 404."""
        number = self.get(workspace, full_name)["aliases"].get(alias)
        if number is None:
            raise missing(f"Alias '{alias}' does not exist on registered model '{full_name.lower()}'.")
        return self.version(workspace, full_name, number)

    def aliases_of(self, workspace: str, version: Json) -> list[str]:
        """The aliases that point at a version."""
        found = self.get(workspace, version["name"])["aliases"]
        return sorted(alias for alias, number in found.items() if number == version["version"])


def check_alias(alias: str) -> None:
    """mlflow.utils.validation: `latest` and `v1` are reserved; letters, digits, underscores and dashes, 255 at most."""
    if _RESERVED.fullmatch(alias):
        raise invalid(f"Invalid alias name: '{alias}' is reserved.")
    if not _ALIAS.fullmatch(alias) or len(alias) > LONGEST_ALIAS:
        raise invalid(
            f"Invalid alias name: '{alias[:40]}'. Names may only contain alphanumerics, underscores (_) and dashes (-), {LONGEST_ALIAS} at most."
        )


def check_tags(tags: dict[str, str]) -> None:
    """docs/spi/databricks.md [22]: 50 an object, keys to 255 and values to 1000 characters, no `. , - = / :` in a key."""
    if len(tags) > MOST_TAGS:
        raise invalid(f"The number of tags {len(tags)} exceeds the limit {MOST_TAGS}.")
    for key, value in tags.items():
        if not key or len(key) > LONGEST_KEY or set(key) & set(".,-=/:") or key != key.strip():
            raise invalid(
                f"Tag key '{key}' is invalid: it must have 1 to {LONGEST_KEY} characters and none of . , - = / : or spaces at its ends"
            )
        if len(value) > LONGEST_VALUE:
            raise invalid(f"The value of tag '{key}' has more than {LONGEST_VALUE} characters.")


def check_signature(content: bytes) -> None:
    """What MLflow's client demands of a model before it uploads it (mlflow/store/_unity_catalog/registry/rest_store.py)."""
    import yaml

    try:
        declared = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise invalid(f"The MLmodel file cannot be read: {error}") from error
    signature = (declared.get("signature") if isinstance(declared, dict) else None) or {}
    if not signature.get("inputs") or not signature.get("outputs"):
        raise invalid(
            "All models in the Unity Catalog must be logged with a model signature containing both input and output type specifications."
        )


def _key(workspace: str, full_name: str, number: int) -> str:
    return f"{workspace}/{full_name}/{number:09}"
