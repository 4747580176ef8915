"""Whether answers became worse, by the labels that came so far: each window by itself, again and again while labels may still come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlport import labels as told
from mlport.errors import SpecError
from mlport.monitoring.reading.taking import ANSWERED, listening, rows_of
from mlport.monitoring.records import Judged, Reading
from mlport.spi import Window

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlport.audit.records import Measure
    from mlport.client import Client
    from mlport.decay import Performance
    from mlport.monitoring.specs import PerformanceSpec
    from mlport.monitoring.stored import Stored

Label = tuple[str, int, Any, datetime]
ONE = "36500d"
"""A window of `mlport.decay` that holds all rows given."""
NEEDED = ("provider_id", "caller_id", "row", "time", "prediction", "status")


def labels_of(client: Client, monitor: Stored, until: datetime | None = None) -> list[Label]:
    """The labels told through the endpoint, and those of the table that the spec names, up to a moment.

    Those of a table that does not say when each came are all there: when it was written says nothing of each.

    Raises:
        SpecError: the table is not there or lacks a column.
    """
    found = list(told.read(client.session.state, monitor.spec.endpoint))
    undated: list[Label] = []
    if monitor.spec.labels_from is not None:
        dated, of_table = _of_table(monitor.spec.labels_from)
        (found if dated else undated).extend(of_table)
    return [*(each for each in found if until is None or each[3] <= until), *undated]


def _of_table(uri: str) -> tuple[bool, list[Label]]:
    """Whether it says when each came, and its labels."""
    import pandas as pd

    from mlport.audit.tables import is_number, is_time, needed
    from mlport.drift import ingest
    from mlport.transfer import local_path

    path = local_path(uri)
    if not path.exists():
        raise SpecError(f"MonitorSpec.labels_from: {path} does not exist")
    table = ingest.source(path, "labels_from").table().to_pandas()
    needed(table.columns, ["request_id", "label"], "labels_from")
    for name, fits, what in (("time", is_time, "instants"), ("row", is_number, "whole numbers")):
        if name in table and not fits(table[name]) and table[name].notna().any():
            raise SpecError(f"MonitorSpec.labels_from: its column {name!r} is {table[name].dtype}, and must be {what}")
    if "time" in table:
        table["time"] = pd.to_datetime(table["time"], utc=True)
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return "time" in table.columns, list(_labels(table, written))


def _labels(table: pd.DataFrame, written: datetime) -> Iterator[Label]:
    for each in table.to_dict("records"):
        moment = each.get("time")
        came = written if moment is None or moment != moment else moment.to_pydatetime()
        value, row = each["label"], each.get("row")
        if value is not None and value == value:
            plain = value.item() if hasattr(value, "item") else value
            yield str(each["request_id"]), int(row) if row is not None and row == row else 0, plain, came


def answered(client: Client, endpoint: str, window: Window) -> pa.Table:
    """Who was answered what in a window, without features."""
    import pyarrow.compute as pc

    table = rows_of(client.session.endpoints.captured(endpoint, window), NEEDED)
    return table.filter(pc.fill_null(pc.less(table["status"], ANSWERED), True)) if table.num_rows else table


def judge(client: Client, monitor: Stored, readings: Sequence[Reading], at: datetime) -> tuple[str, list[tuple[Reading, Judged]]]:
    """Which labels there are, and the windows whose performance is not what was last said of it, with what is to be said now.

    Where the labels are those by which it was last judged, nothing is read; else all windows at once, ids and predictions only.

    Raises:
        SpecError: as `labels_of` and `mlport.decay.performance`.
    """
    labels = labels_of(client, monitor, at)
    by = _digest(labels)
    if by == monitor.judged and all(each.performance for each in readings):
        return by, []
    span = Window(min(each.window.start for each in readings), max(each.window.end for each in readings))
    with listening() as lost:
        captured = answered(client, monitor.spec.endpoint, span)
    rows, found, strays = told.join(captured, labels), [], _strays(captured, labels, span.start)
    for reading in readings:
        part, before = _within(rows, reading.window), reading.performance
        if before is not None and monitor.spec.labels_from is None and _is_as_judged(before, part):
            continue  # a table may tell otherwise what it told before, and date it as it likes
        now = judged_window(client, monitor, part, at)
        if strays and now.captured and not now.labelled:
            now = replace(now, why=f"{now.why}: {strays:,} are of no request that was captured since {span.start:%Y-%m-%d}")
        unread = any(note.unread for note in reading.notes) or (bool(lost) and reading.drift == "not watched")
        if unread and now.status == "steady":
            now = replace(now, status="undecided", why=f"a part of what was captured could not be read; the rest is {now.why}")
        if before is None or _said(before) != _said(now):
            found.append((reading, now))
    return by, found


def _digest(labels: Sequence[Label]) -> str:
    """What changes when a label comes, or is told otherwise: some come with the time of long ago."""
    found = hashlib.blake2b(digest_size=16)
    for each in labels:
        found.update(repr(each).encode())
    return found.hexdigest()


def _is_as_judged(before: Judged, rows: pa.Table) -> bool:
    """Whether these rows, and their labels, are those that were judged."""
    import pyarrow.compute as pc

    if not before.labelled or (before.captured, before.labelled) != (rows.num_rows, _known(rows)):
        return False
    came = pc.max(rows["labelled_at"]).as_py() if rows.num_rows else None
    return came is None or bool(came <= before.at)


def _strays(captured: pa.Table, labels: Sequence[Label], since: datetime) -> int:
    """How many labels came since then that belong to no captured row."""
    numbers = captured["row"].to_pylist()
    found = {(request, row) for request, row, _, came in labels if came >= since}
    for name in ("provider_id", "caller_id"):
        found.difference_update(zip(captured[name].to_pylist(), numbers, strict=True))
    return len(found)


def _known(rows: pa.Table) -> int:
    return int(rows.num_rows - rows["label"].null_count) if rows.num_rows else 0


def _within(rows: pa.Table, window: Window) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if rows.num_rows == 0:
        return rows
    start, end = (pa.scalar(moment, rows["time"].type) for moment in (window.start, window.end))
    return rows.filter(pc.and_(pc.greater_equal(rows["time"], start), pc.less(rows["time"], end)))


def judged_window(client: Client, monitor: Stored, rows: pa.Table, at: datetime) -> Judged:
    """One window by its labelled rows (as `labels.join` gives them)."""
    spec = monitor.spec.performance
    metric = spec.metric or client.objective.metric
    if rows.num_rows == 0:
        return Judged(metric or "", "no requests", 0, 0, at, why="nothing was captured")
    known = _known(rows)
    if known == 0:
        return Judged(metric or "", "not known yet", rows.num_rows, 0, at, why="no labels came yet")
    try:
        found = performance(client, monitor, rows, every=ONE)
    except SpecError as error:
        if len(rows["label"].drop_null().unique()) > 1:
            raise
        return Judged(metric or "", "not known yet", rows.num_rows, known, at, why=error.message)
    one, base = found.windows[0], found.reference
    return Judged(
        found.metric,
        one.status,
        one.captured,
        one.labelled,
        at,
        one.value.value,
        one.value.low,
        one.value.high,
        base.value,
        one.decay.value,
        one.decay.low,
        one.decay.high,
        found.margin,
        one.why,
    )


def performance(client: Client, monitor: Stored, rows: pa.Table, *, every: Any) -> Performance:
    """`mlport.decay.performance` of captured and labelled rows, as the monitor's spec says."""
    from mlport import decay

    spec = monitor.spec.performance
    return decay.performance(
        rows,
        metric=spec.metric or client.objective.metric,
        reference=reference_of(client, monitor),
        every=every,
        least_coverage=spec.least_coverage,
        min_rows=spec.min_rows,
        margin=spec.margin,
        task=spec.task,
        classes=spec.classes,
        positive=spec.positive,
        threshold=spec.threshold,
    )


def reference_of(client: Client, monitor: Stored) -> Measure | float | None:
    """What performance is held against: what the spec says, else that of the reference data, else the objective's bound."""
    from mlport.audit.records import Measure

    spec, objective = monitor.spec.performance, client.objective
    if spec.reference is not None:
        return spec.reference
    if monitor.baseline is not None:
        return Measure(**monitor.baseline)
    if spec.metric in (None, objective.metric):
        return objective.at_least if objective.at_least is not None else objective.at_most
    return None


def baseline(table: pa.Table, spec: PerformanceSpec, metric: str | None) -> Measure | None:
    """The metric of rows with predictions and labels, None where there is none such."""
    from mlport.audit.tables import frame
    from mlport.decay.captured import Answer, plain_labels, predictions
    from mlport.decay.captured import judge as judged
    from mlport.decay.measures import measure, metric_for, unfit

    data = frame(table, "reference")
    scores, given = predictions(data[spec.prediction])
    truth = plain_labels(data[spec.label])
    known = given & truth.notna().to_numpy(bool)
    if not known.any():
        return None
    answer = Answer(spec.task, spec.classes, spec.positive, spec.threshold)
    found = judged(truth[known].reset_index(drop=True), scores[known], answer)
    name = metric_for(metric, found)
    return None if unfit(name, found) else measure(name, found, 0.95, 0)


def _said(of: Judged) -> tuple[Any, ...]:
    return (of.status, of.captured, of.labelled, of.value, of.why)
