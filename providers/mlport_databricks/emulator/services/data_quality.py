"""Data quality monitors of tables, as data profiling has them. https://docs.databricks.com/api/data-quality/v1/monitor.

Here are profiles of time series, without slices and metrics of one's own; the words of refusals are Databricks' where public issues
quote them, and else guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.accounts import METASTORE_ID
from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.services.paging import page
from mlport_databricks.emulator.working.monitors import GRANULARITIES, MONITORS, WAITING
from mlport_databricks.emulator.working.quartz import BadSchedule, Quartz

Json = dict[str, Any]
PATH = "/api/data-quality/v1/monitors"
ONE = f"{PATH}/{{object_type}}/{{object_id}}"
ANALYSES = ("time_series", "snapshot", "inference_log")
NOT_HERE = ("snapshot", "inference_log", "slicing_exprs", "custom_metrics")
SET_BY_SERVER = (
    "dashboard_id",
    "drift_metrics_table_name",
    "effective_warehouse_id",
    "latest_monitor_failure_message",
    "monitor_version",
    "monitored_table_name",
    "profile_metrics_table_name",
    "status",
)
CHANGEABLE = ("baseline_table_name", "notification_settings", "schedule", "time_series")
MOST = 100
"""Monitors of a metastore: docs.databricks.com, resource limits."""


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    service = DataQuality(place)
    return {
        f"POST {PATH}": service.create,
        f"GET {ONE}": service.get,
        f"PATCH {ONE}": service.update,
        f"DELETE {ONE}": service.delete,
        f"POST {ONE}/refreshes": service.refresh,
        f"GET {ONE}/refreshes": service.list_refreshes,
        f"GET {ONE}/refreshes/{{refresh_id}}": service.get_refresh,
        f"POST {ONE}/refreshes/{{refresh_id}}/cancel": service.cancel_refresh,
    }


class DataQuality:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._monitors = place, place.monitors  # whose schedules fire from now on

    def create(self, request: Request) -> Json:
        asked = request.body
        config = asked.get("data_profiling_config")
        table = self._table(request, asked["object_type"], asked["object_id"], "SELECT", "MANAGE")
        if config is None or asked.get("anomaly_detection_config") is not None:
            raise invalid("data_profiling_config is required for a monitor of a table, and anomaly_detection_config is for schemas.")
        schema = next(
            (each for each in self._place.unity.within(request.workspace, "schema") if each.get("schema_id") == config["output_schema_id"]),
            None,
        )
        if schema is None:
            raise ApiError("SCHEMA_DOES_NOT_EXIST", f"Schema '{config['output_schema_id']}' does not exist.")
        self._place.grants.require(request.workspace, request.user, "CREATE_TABLE", "schema", schema["full_name"])
        full_name = table["full_name"]
        if self._monitors.find(request.workspace, table["table_id"]) is not None:
            raise ApiError("ALREADY_EXISTS", f"Data Monitor '{full_name}' already exists")
        if len(list(self._place.documents.list(MONITORS))) >= MOST:
            raise ApiError("RESOURCE_EXHAUSTED", f"The metastore has {MOST} monitors already.")
        given = {name: value for name, value in config.items() if name not in SET_BY_SERVER}
        self._check(request, table, given)
        made = {
            "monitored_table_name": full_name,
            **{f"{kind}_metrics_table_name": f"{schema['full_name']}.{table['name']}_{kind}_metrics" for kind in ("profile", "drift")},
            "monitor_version": 0,
            "status": WAITING,
        }
        said = {"object_type": "table", "object_id": table["table_id"], "data_profiling_config": {**_scheduled(given), **made}}
        kept = {"workspace": request.workspace, "user": request.user, "created": now_ms(), "due": None, "schedule": None, "said": said}
        self._place.documents.insert(MONITORS, f"{request.workspace}/{table['table_id']}", kept)
        return said

    def get(self, request: Request) -> Json:
        said: Json = self._need(request, "SELECT")["said"]
        return said

    def update(self, request: Request) -> Json:
        """What the mask names, of what may be changed; the version is the next then, which is a guess."""
        table_id = self._need(request, "MANAGE")["said"]["object_id"]
        table = self._table(request, "table", table_id, "MANAGE")
        config = request.body.get("data_profiling_config") or {}
        mask = [each.removeprefix("data_profiling_config.").split(".")[0] for each in str(request.arguments["update_mask"]).split(",")]
        if odd := [name for name in mask if name not in CHANGEABLE]:
            raise invalid(f"update_mask: the emulator does not change {odd[0]}.")

        def changed(now: Json) -> Json:
            before = now["said"]["data_profiling_config"]
            after = {**before, **{name: config.get(name) for name in mask}, "monitor_version": before["monitor_version"] + 1}
            kept = _scheduled({name: value for name, value in after.items() if value is not None})
            self._check(request, table, {name: value for name, value in kept.items() if name not in SET_BY_SERVER})
            return {**now, "said": {**now["said"], "data_profiling_config": kept}}

        found = self._place.documents.change(MONITORS, f"{request.workspace}/{table_id}", changed)
        if found is None:
            raise _no_monitor(table_id)
        said: Json = found["said"]
        return said

    def delete(self, request: Request) -> None:
        """The metric tables stay."""
        self._monitors.delete(request.workspace, self._need(request, "MANAGE")["said"]["object_id"])

    # ---------------------------------------------------------------- refreshes

    def refresh(self, request: Request) -> Json:
        table_id = self._need(request, "MANAGE")["said"]["object_id"]
        return self._monitors.begin(request.workspace, table_id, "MANUAL")

    def list_refreshes(self, request: Request) -> Json:
        """The newest first, which is a guess."""
        table_id = self._need(request, "SELECT")["said"]["object_id"]
        return page("refreshes", self._monitors.refreshes(request.workspace, table_id), request, size="page_size")

    def get_refresh(self, request: Request) -> Json:
        table_id, number = self._need(request, "SELECT")["said"]["object_id"], int(request.arguments["refresh_id"])
        found = [each for each in self._monitors.refreshes(request.workspace, table_id) if each["refresh_id"] == number]
        if not found:
            raise missing(f"Cannot find refresh {number} of Monitor {table_id}.")
        return found[0]

    def cancel_refresh(self, request: Request) -> Json:
        table_id, number = self._need(request, "MANAGE")["said"]["object_id"], int(request.arguments["refresh_id"])
        found = self._monitors.cancel(request.workspace, table_id, number)
        if found is None:
            raise missing(f"Cannot find refresh {number} of Monitor {table_id}.")
        return {"refresh": found}

    # ---------------------------------------------------------------- rules

    def _need(self, request: Request, privilege: str) -> Json:
        """The monitor that a call names. Raises ApiError."""
        table = self._table(request, str(request.arguments["object_type"]), str(request.arguments["object_id"]), privilege)
        found = self._monitors.find(request.workspace, table["table_id"])
        if found is None:
            raise _no_monitor(table["table_id"])
        return found

    def _table(self, request: Request, kind: str, number: str, *privileges: str) -> Json:
        """The table of a UUID that the user has these privileges on. Raises ApiError."""
        if kind != "table":
            raise ApiError("NOT_IMPLEMENTED", "The emulator has no monitors of schemas, which detect anomalies.")
        found = next((each for each in self._place.unity.within(request.workspace, "table") if each["table_id"] == number), None)
        if found is None:
            raise ApiError("TABLE_DOES_NOT_EXIST", f"Table '{number}' does not exist.")
        for privilege in privileges:
            self._place.grants.require(request.workspace, request.user, privilege, "table", found["full_name"])
        return found

    def _check(self, request: Request, table: Json, config: Json) -> None:
        analyses = [name for name in ANALYSES if config.get(name) is not None]
        if len(analyses) != 1:
            raise invalid("Exactly one of time_series, snapshot and inference_log must be present.")
        if found := [name for name in NOT_HERE if config.get(name)] or [name for name in ("snapshot",) if name in analyses]:
            raise ApiError("NOT_IMPLEMENTED", f"The emulator profiles time series only, and has no {found[0]}.")
        series = config["time_series"]
        kinds = {each["name"]: each["type_name"] for each in table["columns"]}
        if kinds.get(series["timestamp_column"]) != "TIMESTAMP":
            raise invalid(f"The timestamp column '{series['timestamp_column']}' must be a column of the table of type TIMESTAMP.")
        if odd := [each for each in series["granularities"] if each not in GRANULARITIES] or ([] if series["granularities"] else ["none"]):
            raise ApiError("NOT_IMPLEMENTED", f"The emulator has no windows of {odd[0]}.")
        if baseline := config.get("baseline_table_name"):
            self._place.unity.need(request.workspace, "table", baseline)
            self._place.grants.require(request.workspace, request.user, "SELECT", "table", baseline)
        if schedule := config.get("schedule"):
            try:
                Quartz.parse(schedule["quartz_cron_expression"], schedule["timezone_id"])
            except BadSchedule as error:
                raise invalid(f"The schedule is not valid: {error}") from error


def _scheduled(config: Json) -> Json:
    schedule = config.get("schedule")
    return {**config, "schedule": {"pause_status": "CRON_SCHEDULE_PAUSE_STATUS_UNPAUSED", **schedule}} if schedule else config


def _no_monitor(table_id: str) -> ApiError:
    return missing(f"Cannot find Monitor with ID: /metastores:{METASTORE_ID}/tables:{table_id}/")
