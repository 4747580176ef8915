"""Inference tables: what passed through an endpoint, as rows of a table of Unity Catalog; and the system tables of serving.

A row is in a spool file before the answer leaves, and is moved from there to its tables, once each: a killed emulator loses none
and shows none twice. It is shown `LAG` seconds later, or after the seconds of the fault "lag" of the call.

Columns, their order and words are those of a table that Databricks made, as `SHOW CREATE TABLE` printed it in a public repository;
of system.serving those are certain that the SQL of the vendor's own dashboard reads
(https://docs.databricks.com/aws/en/admin/system-tables/model-serving-cost): the other columns, and every type, are guesses.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport_databricks.emulator import accounts
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.tables import address
from mlport_databricks.emulator.storing.unity import catalog_of, check_name, schema_of

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place
    from mlport_databricks.emulator.storing.tables import Tables

Json = dict[str, Any]
LAG = 1.0  # seconds; the real one is up to an hour
MOST_BYTES = 1 << 20  # of a request or an answer that is logged: docs.databricks.com, model-serving-limits
KEY = "databricks_request_id"
PAYLOAD: Sequence[tuple[str, str]] = (
    (KEY, "VARCHAR"),
    ("request_date", "DATE"),
    ("client_request_id", "VARCHAR"),
    ("request_time", "TIMESTAMPTZ"),
    ("status_code", "INTEGER"),
    ("sampling_fraction", "DOUBLE"),
    ("execution_duration_ms", "BIGINT"),
    ("request", "VARCHAR"),
    ("response", "VARCHAR"),
    ("logging_error_codes", "VARCHAR[]"),
    ("served_entity_id", "VARCHAR"),
    ("requester", "VARCHAR"),
)
SERVED, USAGE = "system.serving.served_entities", "system.serving.endpoint_usage"
SYSTEM: Mapping[str, Sequence[tuple[str, str]]] = {
    SERVED: (
        ("served_entity_id", "VARCHAR"),
        ("account_id", "VARCHAR"),
        ("workspace_id", "VARCHAR"),
        ("created_by", "VARCHAR"),
        ("endpoint_name", "VARCHAR"),
        ("endpoint_id", "VARCHAR"),
        ("served_entity_name", "VARCHAR"),
        ("entity_type", "VARCHAR"),
        ("entity_name", "VARCHAR"),
        ("entity_version", "VARCHAR"),
        ("endpoint_config_version", "INTEGER"),
        ("task", "VARCHAR"),
        ("change_time", "TIMESTAMPTZ"),
        ("endpoint_delete_time", "TIMESTAMPTZ"),
    ),
    USAGE: (
        ("account_id", "VARCHAR"),
        ("workspace_id", "VARCHAR"),
        ("client_request_id", "VARCHAR"),
        (KEY, "VARCHAR"),
        ("requester", "VARCHAR"),
        ("status_code", "INTEGER"),
        ("request_time", "TIMESTAMPTZ"),
        ("input_token_count", "BIGINT"),
        ("output_token_count", "BIGINT"),
        ("input_character_count", "BIGINT"),
        ("output_character_count", "BIGINT"),
        ("usage_context", "VARCHAR"),
        ("request_streaming", "BOOLEAN"),
        ("served_entity_id", "VARCHAR"),
    ),
}


def table_of(config: Json) -> str:
    """The full name of an endpoint's table."""
    return f"{config['catalog_name']}.{config['schema_name']}.{config['table_name_prefix']}_payload".lower()


class InferenceTables:
    """Writes the rows of all endpoints of a place."""

    def __init__(self, place: Place, tables: Tables) -> None:
        self._place, self._tables = place, tables
        self._folder = place.folder / "traffic"
        self._folder.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._rotate()  # nothing is written after a line that a killed emulator did not end
        place.chore(self.move)

    # ---------------------------------------------------------------- configuration

    def checked(self, workspace: str, user: str, endpoint: str, gateway: Json | None, before: Json | None) -> Json | None:
        """The gateway's configuration with the table made that it asks for. Raises ApiError."""
        config = (gateway or {}).get("inference_table_config")
        if gateway is None or config is None or not config.get("enabled"):
            return gateway
        names = [config.get(key) for key in ("catalog_name", "schema_name")]
        if not all(names):
            raise invalid("ai_gateway.inference_table_config: catalog_name and schema_name are required when enabling inference tables.")
        config = {**config, "table_name_prefix": config.get("table_name_prefix") or endpoint.replace("-", "_")}
        check_name(config["table_name_prefix"])
        old = (before or {}).get("inference_table_config") or {}
        if old.get("enabled") and table_of(old) != table_of(config):
            raise invalid(
                "ai_gateway.inference_table_config: disable the inference table first in order to change its catalog, schema or prefix."
            )
        if not old.get("enabled"):
            self._make(workspace, user, table_of(config))
        return {**gateway, "inference_table_config": config}

    def _make(self, workspace: str, user: str, full_name: str) -> None:
        schema = full_name.rpartition(".")[0]
        self._place.unity.need(workspace, "schema", schema)
        self._place.grants.require(workspace, user, "CREATE_TABLE", "schema", schema)
        there = self._place.unity.get(workspace, "table", full_name)
        if there is None:
            self._tables.create(workspace, user, full_name, PAYLOAD)
        elif [each["name"] for each in there.get("columns", ())] != [name for name, _ in PAYLOAD]:
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"Table '{full_name}' already exists, and is no inference table.")

    # ---------------------------------------------------------------- rows

    def write(self, workspace: str, endpoint: Json, row: Json, usage_context: Json | None, lag: float) -> None:
        """Log one exchange where its endpoint asks for it: `row` has the columns of the payload table, `request` and `response` whole."""
        gateway = endpoint.get("ai_gateway") or {}
        rows: dict[str, Json] = {}
        config = gateway.get("inference_table_config") or {}
        if config.get("enabled"):
            rows[table_of(config)] = _shortened(row)
        if (gateway.get("usage_tracking_config") or {}).get("enabled"):
            rows[USAGE] = {
                **identity(workspace),
                **{name: row[name] for name in ("client_request_id", KEY, "requester", "status_code", "request_time", "served_entity_id")},
                "input_character_count": len(row["request"]),
                "output_character_count": len(row["response"]),
                "usage_context": json.dumps(usage_context) if usage_context else None,
                "request_streaming": False,
            }
        if rows:
            line = json.dumps({"workspace": workspace, "due": time.time() + lag, "rows": rows}).encode() + b"\n"
            with self._lock, (self._folder / "spool").open("ab") as spool:
                spool.write(line)

    def move(self) -> None:
        """Take what is spooled; append what is due, keep the rest."""
        self._rotate()
        for file in sorted(self._folder.glob("*.jsonl")):
            self._move_file(file)

    def _rotate(self) -> None:
        with self._lock:
            spool = self._folder / "spool"
            if spool.exists():
                os.replace(spool, self._folder / f"{time.time_ns()}.jsonl")

    def _move_file(self, file: Path) -> None:
        lines = [json.loads(text) for text in file.read_bytes().splitlines(keepends=True) if text.endswith(b"\n")]
        if any(line["due"] > time.time() for line in lines):
            return
        by_table: dict[tuple[str, str], list[Json]] = {}
        for line in lines:
            for full_name, row in line["rows"].items():
                by_table.setdefault((line["workspace"], full_name), []).append(row)
        for (workspace, full_name), rows in by_table.items():
            if full_name == USAGE:
                self._furnish(workspace)
            self._tables.append(workspace, full_name, rows, KEY)
        file.unlink()

    # ---------------------------------------------------------------- system tables

    def served(self, endpoint: Json, config: Json) -> None:
        """Tell system.serving.served_entities of a configuration that is about to serve; each entity once."""
        workspace = endpoint["workspace"]
        self._furnish(workspace)
        rows = [
            {
                **identity(workspace),
                "served_entity_id": each["id"],
                "created_by": each["creator"],
                "endpoint_name": endpoint["name"],
                "endpoint_id": endpoint["id"],
                "served_entity_name": each["name"],
                "entity_type": "CUSTOM_MODEL",
                "entity_name": each["entity_name"],
                "entity_version": each["entity_version"],
                "endpoint_config_version": config["config_version"],
                "change_time": written(time.time()),
            }
            for each in config["served_entities"]
        ]
        self._tables.append(workspace, SERVED, rows, "served_entity_id")

    def deleted(self, endpoint: Json) -> None:
        """Tell system.serving.served_entities of an endpoint that is about to go."""
        workspace = endpoint["workspace"]
        if self._place.unity.get(workspace, "table", SERVED) is not None:
            self._tables.change(
                f"UPDATE {address(workspace, SERVED)} SET endpoint_delete_time = $at::TIMESTAMPTZ "  # noqa: S608 - the name is quoted
                "WHERE endpoint_id = $id AND endpoint_delete_time IS NULL",
                {"at": written(time.time()), "id": endpoint["id"]},
            )

    def _furnish(self, workspace: str) -> None:
        """Make the system tables, where they are not there."""
        unity, admin = self._place.unity, accounts.ADMIN.name
        for kind, name, body in (
            ("catalog", "system", catalog_of("system", comment="System catalog") | {"catalog_type": "SYSTEM_CATALOG"}),
            ("schema", "system.serving", schema_of("system", "serving") | {"catalog_type": "SYSTEM_CATALOG"}),
        ):
            if unity.get(workspace, kind, name) is None:
                unity.insert(workspace, kind, name, admin, body)
        for full_name, columns in SYSTEM.items():
            if unity.get(workspace, "table", full_name) is None:
                self._tables.create(workspace, admin, full_name, columns)


def identity(workspace: str) -> Json:
    """What the system tables say of a workspace."""
    return {"account_id": accounts.ACCOUNT_ID, "workspace_id": str(accounts.workspace_id(workspace))}


def written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _shortened(row: Json) -> Json:
    """Without a payload that is too large, which its error codes tell."""
    wrong = [(name, f"MAX_{name.upper()}_SIZE_EXCEEDED") for name in ("request", "response") if len(row[name].encode()) > MOST_BYTES]
    return {**row, **{name: None for name, _ in wrong}, "logging_error_codes": [code for _, code in wrong]}
