"""What Unity Catalog knows: catalogs, schemas, volumes, tables and registered models, each by its full name in lower case."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator import accounts
from mlport_databricks.emulator.protocol.errors import ApiError, invalid

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]

NOUNS = {"catalog": "Catalog", "schema": "Schema", "volume": "Volume", "table": "Table", "model": "Routine or Model"}
"""Each kind of securable with the noun that Databricks' messages have for it."""
PARTS = {"catalog": 1, "schema": 2, "volume": 3, "table": 3, "model": 3}
LONGEST_NAME = 255


class Unity:
    """Securables as JSON, as the API tells them. `kind` is a key of NOUNS."""

    def __init__(self, place: Place) -> None:
        self._place, self._documents = place, place.documents

    def get(self, workspace: str, kind: str, full_name: str) -> Json | None:
        """A securable, None if there is none of this name."""
        return self._documents.get(f"unity/{kind}", f"{workspace}/{full_name.lower()}")

    def need(self, workspace: str, kind: str, full_name: str) -> Json:
        """A securable. Raises ApiError 404 as Databricks words it, of the first part that is not there."""
        found = self.get(workspace, kind, check_full_name(kind, full_name))
        if found is None:
            raise self._missing(workspace, kind, full_name.lower())
        return found

    def _missing(self, workspace: str, kind: str, full_name: str) -> ApiError:
        parts = full_name.split(".")
        for above, code in (("catalog", "CATALOG_DOES_NOT_EXIST"), ("schema", "SCHEMA_DOES_NOT_EXIST")):
            name = ".".join(parts[: PARTS[above]])
            if PARTS[above] <= len(parts) and self.get(workspace, above, name) is None:
                return ApiError(code, f"{NOUNS[above]} '{name}' does not exist.")
        if kind == "table":
            return ApiError("TABLE_DOES_NOT_EXIST", f"Table '{full_name}' does not exist.")
        return ApiError("RESOURCE_DOES_NOT_EXIST", f"{NOUNS[kind]} '{full_name}' does not exist.")

    def insert(self, workspace: str, kind: str, full_name: str, user: str, body: Json) -> Json:
        """Keep a new one with id, owner and times; what it is in must be there. Raises ApiError."""
        name = check_full_name(kind, full_name)
        if "." in name:
            above = "schema" if PARTS[kind] == 3 else "catalog"
            self.need(workspace, above, name.rpartition(".")[0])
        made = {**body, **self.signed(user), "owner": user, "metastore_id": accounts.METASTORE_ID}
        try:
            self._documents.insert(f"unity/{kind}", f"{workspace}/{name}", made)
        except Exists as error:
            code = {"catalog": "CATALOG_ALREADY_EXISTS", "schema": "SCHEMA_ALREADY_EXISTS"}.get(kind, "RESOURCE_ALREADY_EXISTS")
            raise ApiError(code, f"{NOUNS[kind]} '{name}' already exists") from error
        return made

    def change(self, workspace: str, kind: str, full_name: str, user: str, change: Callable[[Json], Json]) -> Json:
        """What `change` makes of one, signed with who changed it when. Raises ApiError if there is none."""
        self.need(workspace, kind, full_name)
        signed = {name: value for name, value in self.signed(user).items() if name.startswith("updated")}
        changed = self._documents.change(f"unity/{kind}", f"{workspace}/{full_name.lower()}", lambda found: {**change(found), **signed})
        if changed is None:  # it went between the two
            raise self._missing(workspace, kind, full_name.lower())
        return changed

    def delete(self, workspace: str, kind: str, full_name: str) -> None:
        """Forget one, and what was granted on it. Raises ApiError if there is none."""
        self.need(workspace, kind, full_name)
        self._documents.delete(f"unity/{kind}", f"{workspace}/{full_name.lower()}")
        self._place.grants.forget(workspace, kind, full_name)

    def within(self, workspace: str, kind: str, above: str = "") -> Iterator[Json]:
        """Those of a kind in a catalog or a schema, or all, by name."""
        prefix = f"{workspace}/{above.lower()}." if above else f"{workspace}/"
        yield from sorted(
            (body for _, body in self._documents.list(f"unity/{kind}", prefix)), key=lambda body: str(body.get("full_name") or body["name"])
        )

    @staticmethod
    def signed(user: str) -> Json:
        """Who made it when."""
        from mlport_databricks.emulator.place import now_ms

        now = now_ms()
        return {"created_at": now, "created_by": user, "updated_at": now, "updated_by": user}

    def furnish(self, workspace: str) -> None:
        """What a new workspace has: the catalog `main` with two schemas, a volume, everybody's folders."""
        catalog, admin = accounts.CATALOG, accounts.ADMIN.name
        if self.get(workspace, "catalog", catalog) is None:
            self.insert(workspace, "catalog", catalog, admin, catalog_of(catalog))
        for schema in accounts.SCHEMAS:
            if self.get(workspace, "schema", f"{catalog}.{schema}") is None:
                self.insert(workspace, "schema", f"{catalog}.{schema}", admin, schema_of(catalog, schema))
        name = f"{catalog}.{accounts.SCHEMAS[-1]}.{accounts.VOLUME}"
        if self.get(workspace, "volume", name) is None:
            self.insert(workspace, "volume", name, admin, volume_of(workspace, name))
        self._place.files.path_of(workspace, f"/Volumes/{name.replace('.', '/')}").mkdir(parents=True, exist_ok=True)
        for folder in ("Shared", "Repos", *(f"Users/{user}" for user in accounts.USERS)):
            self._place.files.path_of(workspace, f"/Workspace/{folder}").mkdir(parents=True, exist_ok=True)


def check_full_name(kind: str, full_name: str) -> str:
    """The name in lower case. Raises ApiError for one that has not as many parts as its kind, or a part that Unity Catalog refuses."""
    parts = full_name.split(".")
    if len(parts) != PARTS[kind] or not all(parts):
        shape = "<catalog>.<schema>.<name>" if PARTS[kind] == 3 else "<catalog>.<schema>" if PARTS[kind] == 2 else "<catalog>"
        raise invalid(f"'{full_name}' is not a valid name: {NOUNS[kind]} names must be of the form {shape}")
    for part in parts:
        check_name(part)
    return full_name.lower()


def check_name(name: str) -> str:
    """docs.databricks.com/sql/language-manual/sql-ref-names.html: 255 characters at most; no dot, space, slash, control character."""
    if not name or len(name) > LONGEST_NAME:
        raise invalid(f"Invalid input: name '{name[:40]}' must have 1 to {LONGEST_NAME} characters")
    if any(sign in "./ \x7f" or ord(sign) < 32 for sign in name):
        raise invalid(f"Invalid input: name '{name}' must not contain periods, spaces, slashes or control characters")
    return name.lower()


def catalog_of(name: str, **more: Any) -> Json:
    return {
        "name": name.lower(),
        "full_name": name.lower(),
        "catalog_type": "MANAGED_CATALOG",
        "securable_type": "CATALOG",
        "isolation_mode": "OPEN",
        **more,
    }


def schema_of(catalog: str, name: str, **more: Any) -> Json:
    return {
        "name": name.lower(),
        "catalog_name": catalog.lower(),
        "full_name": f"{catalog}.{name}".lower(),
        "catalog_type": "MANAGED_CATALOG",
        "schema_id": str(uuid.uuid4()),
        **more,
    }


def volume_of(workspace: str, full_name: str, **more: Any) -> Json:
    catalog, schema, name = full_name.lower().split(".")
    number = str(uuid.uuid4())
    return {
        "name": name,
        "catalog_name": catalog,
        "schema_name": schema,
        "full_name": full_name.lower(),
        "volume_type": "MANAGED",
        "volume_id": number,
        "storage_location": f"s3://{accounts.UNITY_BUCKET}/{accounts.workspace_id(workspace)}/volumes/{number}",
        **more,
    }
