"""The demo's watch: the flights of a year pass through the endpoint, month by month; the seasons move, the model suffers, and is trained again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.demo.flights import FEATURES, TARGET, months
from mlport.monitoring.specs import Gate, MonitorSpec, PerformanceSpec, RetrainPolicy
from mlport.specs import JobSpec
from mlport.spi import Window
from mlport.waiting import delays

if TYPE_CHECKING:
    import pandas as pd

    from mlport.endpoints import Endpoint
    from mlport.monitoring.records import Reading, Retraining
    from mlport.monitors import Monitor

NAMES = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
ONE_IN = 3
"""How many of the requests of the months after May are left out, less one."""
TRAINING_SECONDS = 1200.0
Say = Callable[[str], None]
Replay = Callable[["pd.DataFrame"], Window]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the watch found: a reading for each month, the retraining, and the file of the report."""

    readings: list[Reading]
    retraining: Retraining | None
    report: Path


def spec(endpoint: str, training: Path, job: JobSpec, unseen_auc: float) -> MonitorSpec:
    """Watch for drift from the training months, and for decay from the AUC on rows that training had not seen.

    Drift alone trains nothing: weather drifts each spring. It is when the answers become worse that a training is worth its cost.
    """
    return MonitorSpec(
        endpoint=endpoint,
        reference=str(training),
        performance=PerformanceSpec(metric="roc_auc", reference=unseen_auc),
        retrain=RetrainPolicy(job=job, data="recent", label=TARGET, on_drift=False, gate=Gate(min_rows=1000), compute=job.compute),
        alerts=(),
    )


def watch(endpoint: Endpoint, watcher: MonitorSpec, frame: pd.DataFrame, may: Window, replay: Replay, place: Path, say: Say) -> Watched:
    """Read May, then let the other months pass and read each; then follow the retraining to its end.

    Args:
        may: when the flights of May passed.
        replay: sends flights, tells their labels, and says when that was, once all is captured.
    """
    monitor = endpoint.client.monitors.create(watcher)
    say(f"   {'month':<10} {'flights':>7}  {'late':>5}  {'AUC':>5}  {'verdict':<8} {'drifted features, most first'}")
    for line in _lines(monitor, frame, may, replay):
        say(f"   {line}")
    retraining = _followed(monitor)
    for line in _told(retraining):
        say(f"   {line}")
    report = _report(monitor, place / "monitor.html")
    say(f"   the whole as a page: {report}")
    return Watched(list(monitor.readings())[::-1], retraining, report)


def _lines(monitor: Monitor, frame: pd.DataFrame, may: Window, replay: Replay) -> Iterator[str]:
    for month in range(5, 13):
        flights = months(frame, month, month)
        if month > 5:
            flights = flights[(flights.index // 250) % ONE_IN == 0]
        window = may if month == 5 else replay(flights)
        yield _line(NAMES[month - 1], float(flights[TARGET].mean()), monitor.read(window))


def _line(month: str, late: float, reading: Reading) -> str:
    judged = reading.performance
    auc = f"{judged.value:.3f}" if judged and judged.value is not None else "-"
    named = [each.name for each in reading.drifted]
    drifted = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "") or reading.drift
    return f"{month:<10} {reading.rows or 0:>7,}  {late:>5.1%}  {auc:>5}  {reading.decay:<8} {drifted}"


def _followed(monitor: Monitor) -> Retraining | None:
    """The retraining, once it is over; what `mlport agent` would do."""
    end = time.monotonic() + TRAINING_SECONDS
    for pause in delays(first=0.2, ceiling=2.0):
        found = next(monitor.retrainings(), None)
        if found is None or found.over or time.monotonic() > end:
            return found
        time.sleep(pause)
        monitor.run()
    return None


def _told(found: Retraining | None) -> Iterator[str]:
    if found is None:
        yield "nothing asked for a training"
        return
    yield f"trained again by {found.trigger}: {found.why}"
    yield f"on January to April and {found.rows or 0:,} flights captured and labelled since, as job {found.job}"
    if (gate := found.verdict) is not None and None not in (gate.challenger, gate.champion, gate.low, gate.high):
        yield (
            f"the gate, on {gate.rows:,} flights that neither had seen: challenger {gate.challenger:.3f}, champion {gate.champion:.3f}, "
            f"gain {gate.low:+.3f} to {gate.high:+.3f}: {'passed' if gate.passed else 'refused'}"
        )
    yield f"{found.phase}: {found.reason}"


def _report(monitor: Monitor, path: Path) -> Path:
    from mlport.monitoring.reporting import report

    path.write_text(report.html(report.gathered(monitor)), encoding="utf-8")
    return path


def rows_of(flights: pd.DataFrame, rows: int) -> Iterator[tuple[pd.DataFrame, list[int]]]:
    """Flights in requests of so many rows, with the truth of each."""
    for start in range(0, len(flights), rows):
        part = flights.iloc[start : start + rows]
        yield part[FEATURES], part[TARGET].tolist()
