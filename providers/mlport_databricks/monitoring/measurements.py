"""What data profiling found, read by SQL from its two metric tables (docs.databricks.com, monitor-output), window by window.

Databricks measures a window whenever it has rows, also before the window is over; what it found is final once a refresh succeeded that
began when the window could be read, or that it was asked for. A window without rows has none in the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlport.dialects import Kind
from mlport.errors import NotFoundError
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import aligned, first
from mlport.spi import Json, Measured, Measurement, State, Window
from mlport_databricks.monitoring.kept import Asked, Kept
from mlport_databricks.monitoring.monitor_request import MONITORS, metric_tables
from mlport_databricks.monitoring.thresholds import VENDORS, Held
from mlport_databricks.serving import statements
from mlport_databricks.serving.captured import micros
from mlport_databricks.serving.statements import quoted

if TYPE_CHECKING:
    from mlport_databricks.workspace.connection import Connection

STATE = "MONITOR_REFRESH_STATE_"
OVER = {"SUCCESS": State.SUCCEEDED, "FAILED": State.FAILED, "CANCELED": State.CANCELLED}
METRICS = tuple(dict.fromkeys((*VENDORS["number"], *VENDORS["category"])))
MOST_ROWS, MOST_WINDOWS = 20_000, 50  # of a page
NOTHING = "Databricks tells no such value of this window"


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh: its state without the words that all states begin with, and when it began."""

    id: int
    state: str
    began: datetime
    message: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables say of one window: rows, and the metrics of each column."""

    rows: int
    metrics: Mapping[str, Mapping[str, float]]


# ---------------------------------------------------------------- asking


def refreshes(connection: Connection, table_id: str) -> list[Refresh]:
    """All that Databricks remembers, the newest first; its own order is not published."""
    found: list[Refresh] = []
    page: str | None = None
    while True:
        query = {"page_size": 100, "page_token": page}
        answer = connection.call("GET", f"{MONITORS}/table/{table_id}/refreshes", operation="monitors.measurements", query=query)
        found += [refresh_of(each) for each in answer.get("refreshes", ())]
        page = answer.get("next_page_token")
        if not page:
            return sorted(found, key=lambda each: each.began, reverse=True)


def refresh_of(said: Json) -> Refresh:
    began = datetime.fromtimestamp(int(said.get("start_time_ms", 0)) / 1000, UTC)
    return Refresh(int(said["refresh_id"]), str(said.get("state", "")).removeprefix(STATE), began, str(said.get("message", "")))


def read(connection: Connection, view: str, window: Window) -> dict[int, Found]:
    """What the tables have of windows that begin in this span, by their start in microseconds since 1970."""
    profile, drift = metric_tables(view)
    counts = {int(start or 0): int(rows or 0) for start, rows in _rows(connection, _COUNTS.format(table=_name(profile)), window)}
    columns: dict[int, dict[str, dict[str, float]]] = {}
    for start, column, *values in _rows(connection, _DRIFT.format(table=_name(drift)), window):
        told = {name: float(value) for name, value in zip(METRICS, values, strict=True) if value is not None}
        columns.setdefault(int(start or 0), {})[str(column)] = told
    return {start: Found(rows, columns.get(start, {})) for start, rows in counts.items()}


_START = "unix_micros(`window`.`start`)"
_SPAN = f"slice_key IS NULL AND {_START} >= :first AND {_START} < :until"
_COUNTS = f"SELECT {_START}, `count` FROM {{table}} WHERE log_type = 'INPUT' AND column_name = ':table' AND {_SPAN}"  # noqa: S608
_DRIFT = (
    f"SELECT {_START}, column_name, {', '.join(METRICS)} FROM {{table}} "  # noqa: S608
    f"WHERE drift_type = 'BASELINE' AND column_name <> ':table' AND {_SPAN}"
)


def _rows(connection: Connection, statement: str, window: Window) -> Sequence[statements.Row]:
    parameters = {"first": ("BIGINT", str(micros(window.start))), "until": ("BIGINT", str(micros(window.end)))}
    try:
        return statements.rows(connection, statement, parameters, operation="monitors.measurements")
    except NotFoundError:  # the tables come with the first refresh
        return []


def _name(table: str) -> str:
    return quoted(*table.split("."))


# ---------------------------------------------------------------- telling


def span(kept: Kept, until: datetime | None, now: datetime) -> Window:
    """The windows of a page, as one: back from `until`, or from the one that is under way."""
    spec = MonitorSpec.model_validate(kept.spec)
    count = max(1, min(MOST_WINDOWS, MOST_ROWS // (len(kept.resolved["columns"]) + 1)))
    end = until or aligned(now, spec.window) + spec.window
    oldest = first(spec, datetime.fromisoformat(kept.created))
    return Window(min(end, max(oldest, end - count * spec.window)), end)


def measurements(
    kept: Kept, page: Window, found: Mapping[int, Found], refreshed: Sequence[Refresh], asked: Sequence[Asked]
) -> Iterator[Measurement]:
    """The windows of a page of which there is something to say, the newest first. `refreshed` are the newest first."""
    spec = MonitorSpec.model_validate(kept.spec)
    wanted: dict[int, set[int]] = {}
    for each in asked:
        wanted.setdefault(each.start, set()).add(each.refresh_id)
    start = page.end - spec.window
    while start >= page.start:
        window, number = Window(start, start + spec.window), micros(start)
        state = stood(window.end + spec.delay, refreshed, wanted.get(number, set()))
        here = found.get(number)
        if state is not None or here is not None:
            native, reason = state or ("PARTIAL", "its window was not over when it was measured")
            told = OVER.get(native, State.RUNNING)
            rows = here.rows if here else 0 if told is State.SUCCEEDED else None
            said = tuple(values(kept, spec, here)) if here and told is State.SUCCEEDED else ()
            yield Measurement(window_id(window), window, told, native, said, rows, reason)
        start -= spec.window


def stood(readable: datetime, refreshed: Sequence[Refresh], wanted: set[int]) -> tuple[str, str] | None:
    """The native state of a window that can be read from a moment on, and why; None where no refresh tells of it.

    Of those that began then or were asked for, one that succeeded settles it; else one is under way; else the newest has failed.
    """
    telling = [each for each in refreshed if each.began >= readable or each.id in wanted]
    if any(each.state == "SUCCESS" for each in telling):
        return "SUCCESS", ""
    if 0 in wanted or any(each.state not in OVER for each in telling):
        return "RUNNING", ""
    return (telling[0].state, telling[0].message or f"the refresh ended {telling[0].state}") if telling else None


def values(kept: Kept, spec: MonitorSpec, found: Found) -> Iterator[Measured]:
    """Each metric of each column that is asked for or has a value, held to its threshold. With too few rows nothing is said."""
    thresholds = {(each["column"], each["metric"]): Held(**each) for each in kept.resolved["thresholds"]}
    shown = kept.resolved.get("metrics")
    few = f"{found.rows} rows are fewer than min_rows = {spec.min_rows}" if found.rows < spec.min_rows else ""
    columns: Mapping[str, Kind] = kept.resolved["columns"]
    for column, kind in columns.items():
        told = found.metrics.get(column, {})
        for metric in VENDORS[kind]:
            held, value = thresholds.get((column, metric)), told.get(metric)
            if held is None and (value is None or (shown is not None and metric not in shown)):
                continue
            alarm = held.crossed(value) if held and value is not None and not few else None
            yield Measured(column, metric, value, held.value if held else None, alarm, few or ("" if value is not None else NOTHING))


def window_id(window: Window) -> str:
    """The id of a measurement: when its window begins, such as 20261123T000000Z."""
    return f"{window.start.astimezone(UTC):%Y%m%dT%H%M%SZ}"
