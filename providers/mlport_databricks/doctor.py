"""What `mlport doctor` looks at: who we are, the schema and the volume with what we may do there, scope, warehouse and state."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlport.errors import ConflictError, MlportError
from mlport.spi import ABSENT, Finding, Json

if TYPE_CHECKING:
    from mlport_databricks.session import DatabricksSession

ME = "/api/2.0/preview/scim/v2/Me"
CATALOG = "/api/2.1/unity-catalog"
NEEDED: dict[str, tuple[str, ...]] = {  # privileges as Unity Catalog names them, on what is at hand or above it
    "catalog": ("USE_CATALOG",),
    "schema": ("USE_SCHEMA", "CREATE_MODEL", "EXECUTE", "APPLY_TAG"),
    "volume": ("READ_VOLUME", "WRITE_VOLUME"),
}
CAPTURED = ("CREATE_TABLE", "SELECT")  # on the schema, where captured requests can be read
ALL = "ALL_PRIVILEGES"  # MANAGE is not: it lets one grant them


class _MissingError(MlportError):
    """Privileges that are not granted."""


def findings(session: DatabricksSession) -> Iterator[Finding]:
    """One finding each, the first that the others depend on; what fails is told and does not end the looking."""
    look = _Look(session)
    yield _looked("credentials", look.person, "set token, or client_id and client_secret, in the profile")
    yield _identity(look)
    yield _looked("region", look.region, "set region to the workspace's")
    for kind, name in look.objects().items():
        yield _looked(f"{kind} {name}", lambda kind=kind, name=name: look.granted(kind, name), _grant(session, kind, name))  # type: ignore[misc]
    yield _looked("volume files", look.volume_files, f"grant READ VOLUME and WRITE VOLUME on {look.objects()['volume']}")
    yield _looked("jobs", look.runs, "grant the entitlement to create clusters, or set policy_id")
    yield _looked("runner folder", look.runner_folder, "set runner_folder to a folder that you may write and jobs may read")
    if scope := session.config.secret_scope:
        yield _looked(f"secret scope {scope}", look.secret_scope, f"make the scope {scope}, and grant WRITE on it")
    yield _looked("serving endpoints", look.endpoints, "Model Serving must be enabled in the workspace")
    if session.config.warehouse_id:
        yield _looked("warehouse", look.warehouse, "grant CAN USE on the warehouse, or name another in warehouse_id")
    yield _looked("state", look.state, "the state's bucket must be there, and its keys in the profile or the environment")


def _looked(check: str, look: Callable[[], str], hint: str) -> Finding:
    """A finding that is well unless the look fails; Databricks' own words say what is missing."""
    try:
        return Finding(check, True, look())
    except MlportError as error:
        return Finding(check, False, error.message, hint)


def _identity(look: _Look) -> Finding:
    """Whether endpoints would run as a person: they run as whoever made them, for ever."""
    with suppress(MlportError):
        if "@" in look.user:
            detail = f"{look.user} is a person: endpoints run as whoever created them, and cannot be changed once that person is gone"
            return Finding("identity", True, detail, "for production sign in as a service principal")
    return Finding("identity", True, "no person: endpoints outlive whoever made them")


def needed(session: DatabricksSession, kind: str) -> tuple[str, ...]:
    """The privileges that this profile needs on an object of Unity Catalog."""
    return NEEDED[kind] + (CAPTURED if kind == "schema" and session.config.warehouse_id else ())


def _grant(session: DatabricksSession, kind: str, name: str) -> str:
    words = ", ".join(needed(session, kind)).replace("_", " ")
    return f"GRANT {words} ON {kind.upper()} {name} TO `whoever signs in`"


class _Look:
    """The looks, each telling what is well or raising what is not."""

    def __init__(self, session: DatabricksSession) -> None:
        self._session, self._config = session, session.config
        self.user = ""

    def _get(self, path: str, operation: str, **query: str | int) -> Json:
        return self._session.connection.call("GET", path, operation=operation, query=query)

    def objects(self) -> dict[str, str]:
        """What mlport uses of Unity Catalog, by kind."""
        config = self._config
        return {"catalog": config.catalog, "schema": config.namespace, "volume": f"{config.namespace}.{config.volume}"}

    def person(self) -> str:
        self.user = str(self._get(ME, "current_user.me")["userName"])
        return self.user

    def region(self) -> str:
        from mlport_databricks.compute.nodes import stand_in

        config = self._config
        unknown = stand_in(config)
        basis = f"; {unknown}, and node types are chosen by others" if unknown else ""
        return f"{config.cloud} {config.region}, tier {config.tier}{basis}"

    def granted(self, kind: str, name: str) -> str:
        """What one has of an object of Unity Catalog counts from its own grants and from those above it."""
        if not self.user:
            self.person()
        path = f"{CATALOG}/effective-permissions/{kind}/{quote(name)}"
        answer = self._get(path, "grants.get_effective", principal=self.user)
        found = {
            str(privilege["privilege"]).replace(" ", "_")
            for assignment in answer.get("privilege_assignments", ())
            for privilege in assignment.get("privileges", ())
        }
        wanted = needed(self._session, kind)
        missing = [] if ALL in found or self._owns(kind, name) else sorted(set(wanted) - found)
        if missing:
            raise _MissingError(f"missing on {kind} {name}: {', '.join(missing)}")
        return ", ".join(wanted)

    def _owns(self, kind: str, name: str) -> bool:
        plural = {"catalog": "catalogs", "schema": "schemas", "volume": "volumes"}[kind]
        return bool(self._get(f"{CATALOG}/{plural}/{quote(name)}", f"{plural}.get").get("owner") == self.user)

    def volume_files(self) -> str:
        files, path = self._session.connection.files, f"{self._config.staging}/doctor-{secrets.token_hex(4)}"
        try:
            files.put(path, b"mlport")
            if files.get(path) != b"mlport":
                raise _MissingError(f"{path} is not as it was written")
        finally:
            files.delete(path)
        return "files can be written, read and removed"

    def runs(self) -> str:
        self._get("/api/2.2/jobs/runs/list", "jobs.list_runs", limit=1)
        return "runs can be listed"

    def runner_folder(self) -> str:
        folder = self._config.runner_folder
        parents: Sequence[str] = [folder.rsplit("/", cut)[0] for cut in range(folder.count("/") - 1)]
        found = next((parent for parent in parents if self._session.connection.files.workspace_status(parent)), None)
        if found is None:
            raise _MissingError(f"{folder}: there is no such folder, nor one above it")
        return folder if found == folder else f"{folder} will be made in {found}"

    def secret_scope(self) -> str:
        from mlport_databricks.workspace.secret_scope import SecretScope

        scope, key = SecretScope(self._session.connection, str(self._config.secret_scope)), f"doctor-{secrets.token_hex(4)}"
        try:
            scope.put(key, {})
        finally:
            scope.delete(key)
        return "secrets can be put and removed"

    def endpoints(self) -> str:
        self._get("/api/2.0/serving-endpoints", "serving_endpoints.list")
        return "endpoints can be listed"

    def warehouse(self) -> str:
        warehouse_id = str(self._config.warehouse_id)
        found = self._get(f"/api/2.0/sql/warehouses/{quote(warehouse_id)}", "warehouses.get")
        return f"{found.get('name', warehouse_id)} is {found.get('state', 'there')}"

    def state(self) -> str:
        """A conditional write that must succeed, and one that must not."""
        store, key = self._session.state, f"doctor/{secrets.token_hex(8)}"
        version = store.put(key, json.dumps("mlport").encode(), expect=ABSENT)
        try:
            store.put(key, b"other", expect=ABSENT)
        except ConflictError:
            return f"{self._config.state} takes conditional writes"
        finally:
            store.delete(key, expect=version)
        raise _MissingError(f"{self._config.state} does not honour conditions: two writers would both succeed")
