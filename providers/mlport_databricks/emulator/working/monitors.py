"""Monitors of tables at work: each becomes active, and is refreshed once then, on demand and by its schedule.

A document of the kind `monitors`, named `HOST/TABLE_ID`, holds the API's monitor under `said`, where it is, who made it and when, and when
its schedule fires next; one of the kind `monitor refreshes`, named `HOST/TABLE_ID/NUMBER`, a refresh. A refresh that ran when the emulator was killed
runs anew. While the emulator is down no schedule fires, and nothing is made up for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from mlport.errors import UsageError
from mlport_databricks.emulator.place import now_ms
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.working.quartz import next_firing

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
MONITORS, REFRESHES = "monitors", "monitor refreshes"
LOOK_BACK = timedelta(days=30)
"""How far back from its creation a monitor looks: docs.databricks.com, create-monitor-api."""
GRANULARITIES: Mapping[str, tuple[str, timedelta]] = {
    "AGGREGATION_GRANULARITY_5_MINUTES": ("5 minutes", timedelta(minutes=5)),
    "AGGREGATION_GRANULARITY_30_MINUTES": ("30 minutes", timedelta(minutes=30)),
    "AGGREGATION_GRANULARITY_1_HOUR": ("1 hour", timedelta(hours=1)),
    "AGGREGATION_GRANULARITY_1_DAY": ("1 day", timedelta(days=1)),
    "AGGREGATION_GRANULARITY_1_WEEK": ("1 week", timedelta(weeks=1)),
    "AGGREGATION_GRANULARITY_2_WEEKS": ("2 weeks", timedelta(weeks=2)),
    "AGGREGATION_GRANULARITY_3_WEEKS": ("3 weeks", timedelta(weeks=3)),
    "AGGREGATION_GRANULARITY_4_WEEKS": ("4 weeks", timedelta(weeks=4)),
}
"""How windows are cut: from 1970-01-01 UTC on, as Spark's `window` function does; of weeks that is a guess. Months and years are not here."""
PENDING, RUNNING, SUCCESS, FAILED, CANCELED = (
    f"MONITOR_REFRESH_STATE_{word}" for word in ("PENDING", "RUNNING", "SUCCESS", "FAILED", "CANCELED")
)
ACTIVE, WAITING, BROKEN = (f"DATA_PROFILING_STATUS_{word}" for word in ("ACTIVE", "PENDING", "FAILED"))
THREADS = 2
log = logging.getLogger("mlport.emulation")


class Monitors:
    """The monitors of all workspaces. Safe for threads."""

    def __init__(self, place: Place, clock: Callable[[], int] = now_ms) -> None:
        self._place, self._now, self._opened = place, clock, clock()
        self._pool = ThreadPoolExecutor(THREADS, "refreshes")
        self._lock = threading.Lock()
        self._at_work: set[str] = set()
        place.chore(self._look)
        place.at_end(lambda: self._pool.shutdown(cancel_futures=True))

    def find(self, workspace: str, table_id: str) -> Json | None:
        return self._place.documents.get(MONITORS, f"{workspace}/{table_id}")

    def refreshes(self, workspace: str, table_id: str) -> list[Json]:
        """The newest first."""
        return [refresh for _, refresh in self._place.documents.list(REFRESHES, f"{workspace}/{table_id}/")]

    def begin(self, workspace: str, table_id: str, trigger: str) -> Json:
        """Ask for a refresh."""
        refresh = {
            "object_type": "table",
            "object_id": table_id,
            "refresh_id": self._place.documents.next_number(REFRESHES),
            "state": PENDING,
            "start_time_ms": self._now(),
            "trigger": f"MONITOR_REFRESH_TRIGGER_{trigger}",
        }
        self._place.documents.insert(REFRESHES, f"{workspace}/{table_id}/{refresh['refresh_id']}", refresh)
        return refresh

    def cancel(self, workspace: str, table_id: str, refresh_id: int) -> Json | None:
        """The refresh as it is then; None if there is none."""
        return self._ended(f"{workspace}/{table_id}/{refresh_id}", CANCELED)

    def delete(self, workspace: str, table_id: str) -> None:
        """Forget a monitor and its refreshes. What it has written stays."""
        with self._place.documents.together():
            self._place.documents.delete(MONITORS, f"{workspace}/{table_id}")
            self._place.documents.delete_all(REFRESHES, f"{workspace}/{table_id}/")

    # ---------------------------------------------------------------- looking after them

    def _look(self) -> None:
        for _, monitor in list(self._place.documents.list(MONITORS)):
            name = f"{monitor['workspace']}/{monitor['said']['object_id']}"
            self._place.tries(f"monitor {name}", partial(self._look_at, name, monitor))

    def _look_at(self, name: str, monitor: Json) -> None:
        workspace, table_id = monitor["workspace"], monitor["said"]["object_id"]
        if monitor["said"]["data_profiling_config"]["status"] == WAITING:
            self._furnish(name, monitor)
            return
        self._fire(name, monitor)
        for each in self.refreshes(workspace, table_id):
            number = f"{name}/{each['refresh_id']}"
            with self._lock:
                if each["state"] in (PENDING, RUNNING) and number not in self._at_work:
                    self._at_work.add(number)
                    self._pool.submit(self._run, number, workspace, table_id)

    def _furnish(self, name: str, monitor: Json) -> None:
        """Make the two tables where they are not there, and begin the first refresh; that it is called MANUAL is a guess."""
        from mlport_databricks.emulator.working.profiling import DRIFT, PROFILE

        workspace, table_id = monitor["workspace"], monitor["said"]["object_id"]
        config, told = monitor["said"]["data_profiling_config"], {"status": ACTIVE}
        try:
            for full_name, columns in ((config["profile_metrics_table_name"], PROFILE), (config["drift_metrics_table_name"], DRIFT)):
                if self._place.unity.get(workspace, "table", full_name) is None:
                    self._place.tables.create(workspace, monitor["user"], full_name, columns)
        except ApiError as error:
            told = {"status": BROKEN, "latest_monitor_failure_message": error.message}
        with self._place.documents.together():
            self._place.documents.change(MONITORS, name, lambda now: _with(now, told))
            if told["status"] == ACTIVE:
                self.begin(workspace, table_id, "MANUAL")

    def _fire(self, name: str, monitor: Json) -> None:
        """Begin what the schedule has due, and note when it fires next."""
        schedule = monitor["said"]["data_profiling_config"].get("schedule")
        if not schedule or schedule["pause_status"].endswith("_PAUSED"):
            return
        wanted = [schedule["quartz_cron_expression"], schedule["timezone_id"]]
        due = monitor["due"] if monitor["schedule"] == wanted else None
        if due is not None and due > self._now():
            return
        instant = next_firing(wanted[0], wanted[1], datetime.fromtimestamp(self._now() / 1000, UTC))
        following = int(instant.timestamp() * 1000) if instant else None
        workspace, table_id = monitor["workspace"], monitor["said"]["object_id"]
        with self._place.documents.together():
            self._place.documents.change(MONITORS, name, lambda now: {**now, "due": following, "schedule": wanted})
            if due is not None and due >= self._opened:
                self.begin(workspace, table_id, "SCHEDULE")

    # ---------------------------------------------------------------- a refresh

    def _run(self, number: str, workspace: str, table_id: str) -> None:
        try:
            self._refresh(number, workspace, table_id)
        except (ApiError, UsageError) as error:
            self._ended(number, FAILED, error.message)
        except Exception as error:  # whatever it is, callers are told, and the log has it whole
            log.exception("refresh %s failed", number)
            self._ended(number, FAILED, f"An internal error occurred: {error}")
        finally:
            with self._lock:
                self._at_work.discard(number)

    def _refresh(self, number: str, workspace: str, table_id: str) -> None:
        from mlport_databricks.emulator.working import profiling

        monitor = self.find(workspace, table_id)
        going = self._place.documents.change(
            REFRESHES, number, lambda now: {**now, "state": RUNNING} if now["state"] in (PENDING, RUNNING) else now
        )
        if monitor is None or going is None or going["state"] != RUNNING:
            return
        config = monitor["said"]["data_profiling_config"]
        series, baseline = config["time_series"], config.get("baseline_table_name")
        rows = self._read(workspace, monitor["user"], config["monitored_table_name"])
        made = datetime.fromtimestamp(monitor["created"] / 1000, UTC)
        rows = since(rows, series["timestamp_column"], made - LOOK_BACK)
        against = self._read(workspace, monitor["user"], baseline) if baseline else None
        profiles, drifts = profiling.measured(rows, against, series["timestamp_column"], series["granularities"], config["monitor_version"])
        if (self._place.documents.get(REFRESHES, number) or {}).get("state") != RUNNING:  # it was cancelled, or the monitor deleted
            return
        self._write(workspace, monitor["user"], config["profile_metrics_table_name"], profiling.PROFILE, profiles)
        self._write(workspace, monitor["user"], config["drift_metrics_table_name"], profiling.DRIFT, drifts)
        self._ended(number, SUCCESS)

    def _read(self, workspace: str, user: str, full_name: str) -> pa.Table:
        self._place.unity.need(workspace, "table", full_name)
        self._place.grants.require(workspace, user, "SELECT", "table", full_name)
        return self._place.tables.read(workspace, full_name)

    def _write(self, workspace: str, user: str, full_name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Json]) -> None:
        """All rows anew; a table that was dropped is made again."""
        import pyarrow as pa

        if self._place.unity.get(workspace, "table", full_name) is None:
            self._place.tables.create(workspace, user, full_name, columns)
        self._place.tables.write(workspace, full_name, pa.table({name: [row.get(name) for row in rows] for name, _ in columns}))

    def _ended(self, number: str, state: str, message: str = "") -> Json | None:
        told = {"state": state, "end_time_ms": self._now(), **({"message": message} if message else {})}
        return self._place.documents.change(REFRESHES, number, lambda now: {**now, **told} if now["state"] in (PENDING, RUNNING) else now)


def since(rows: pa.Table, time: str, start: datetime) -> pa.Table:
    """The rows from a moment on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return rows.filter(pc.greater_equal(rows.column(time).cast(pa.timestamp("us", "UTC")), pa.scalar(start, pa.timestamp("us", "UTC"))))


def _with(monitor: Json, told: Json) -> Json:
    said = monitor["said"]
    return {**monitor, "said": {**said, "data_profiling_config": {**said["data_profiling_config"], **told}}}
