"""Monitors: captured windows are held against a reference, labels tell whether answers became worse, and a policy trains again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import Endpoint, JobSpec, Monitor, MonitorSpec, Window, dialects
from mlport.capabilities import Capability as C
from mlport.capabilities import Level
from mlport.errors import ConflictError, NotFoundError, SpecError, UnsupportedError
from mlport.monitoring.windows import aligned
from mlport.testing import needs, programs
from mlport.testing.waiting import eventually

pytestmark = needs(C.MONITOR, C.ENDPOINT_CAPTURE, C.MODEL_REGISTER, C.JOB_RUN)
ROWS = 200
MOVED = 4.0
"""By how many standard deviations the traffic moves: what nobody would overlook."""
Watch = Callable[..., Monitor]


def rows(x0: float) -> list[dict[str, float]]:
    """Rows about `x0`, the same in each run: the quantiles of a uniform distribution."""
    spread = [(2 * n + 1) / ROWS - 1 for n in range(ROWS)]
    return [{"x0": x0 + value, "x1": spread[(7 * n) % ROWS]} for n, value in enumerate(spread)]


def asked(endpoint: Endpoint, x0: float, seconds: float, *, right: bool = True) -> Window:
    """Ask for rows about `x0`, and label them as the model answered them, or otherwise; the window, once all is captured."""
    begun = datetime.now(UTC)
    parts = [rows(x0)[start : start + 100] for start in range(0, ROWS, 100)]
    answers = [endpoint.predict(part) for part in parts]
    endpoint.label_many((one.request_id, [value if right else 1 - value for value in one]) for one in answers)
    window = Window(begun - timedelta(milliseconds=1), datetime.now(UTC) + timedelta(milliseconds=1))
    eventually(lambda: endpoint.captured(window).num_rows, lambda found: found >= ROWS, seconds)
    return window


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("reference") / "reference.parquet"
    pq.write_table(pa.Table.from_pylist(rows(0.0)), path)
    return path


@pytest.fixture
def watch(client: mlport.Client, own_endpoint: Endpoint, reference: Path, unique: str) -> Iterator[Watch]:
    """Makes monitors of the endpoint; they are removed when the test ends."""
    made: list[Monitor] = []

    def make(**fields: Any) -> Monitor:
        given = {"name": unique, "endpoint": own_endpoint.name, "reference": str(reference), "alerts": [], **fields}
        made.append(client.monitors.create(MonitorSpec.model_validate(given)))
        return made[-1]

    yield make
    for monitor in made:
        monitor.delete()


def test_what_moved_is_drift_and_what_did_not_is_none(watch: Watch, own_endpoint: Endpoint, again: mlport.Client, seconds: float) -> None:
    monitor = watch(performance={"metric": "accuracy", "reference": 1.0})
    before = monitor.read(asked(own_endpoint, 0.0, seconds))
    assert (before.drift, before.rows, before.decay) == ("no drift", ROWS, "steady"), before
    after = monitor.read(asked(own_endpoint, MOVED, seconds, right=False))
    assert (after.drift, [one.name for one in after.drifted]) == ("drift", ["x0"]), after
    assert after.performance is not None
    assert (after.decay, after.performance.labelled, after.performance.value) == ("decayed", ROWS, 0.0)
    seen = again.monitors.get(monitor.name)
    assert list(seen.readings()) == [after, before]
    assert (seen.view.last, seen.view.road) == (after, "composed")


def test_nothing_captured_is_not_known(watch: Watch) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    reading = watch().read(Window(long_ago, long_ago + timedelta(days=1)))
    assert (reading.drift, reading.rows, reading.decay) == ("unknown", 0, "not watched")


def test_a_monitor_is_made_once_and_removed_for_good(watch: Watch, client: mlport.Client, own_endpoint: Endpoint, reference: Path) -> None:
    monitor = watch()
    same = client.monitors.create(monitor.spec)
    assert same.name == monitor.name
    assert monitor.name in [one.name for one in client.monitors.list()]
    with pytest.raises(ConflictError, match=monitor.name):
        client.monitors.create(monitor.spec.model_copy(update={"min_rows": 7}))
    monitor.delete()
    monitor.delete()
    with pytest.raises(NotFoundError):
        client.monitors.get(monitor.name)


def test_what_cannot_be_watched_is_refused_at_once(watch: Watch, client: mlport.Client, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        watch(endpoint="suite-nobody-made-it")
    with pytest.raises(SpecError, match=r"reference.*does not exist"):
        watch(reference=str(tmp_path / "absent.parquet"))
    with pytest.raises(SpecError, match="x9"):
        watch(columns=["x0", "x9"])


@needs(C.BATCH, C.MODEL_ALIAS, C.ENDPOINT_IDLE)
def test_drift_trains_judges_and_hands_over(
    watch: Watch, client: mlport.Client, own_endpoint: Endpoint, spec_of: Callable[..., JobSpec], model_name: str, seconds: float
) -> None:
    job = spec_of(programs.TRAIN, params={"c": 1.0})
    gate = {"metric": "accuracy", "at_least": 0.9, "min_rows": 100}
    monitor = watch(
        retrain={"job": job, "gate": gate, "on_decay": False, "cooldown": "30d"}, performance={"metric": "accuracy", "reference": 1.0}
    )
    reading = monitor.read(asked(own_endpoint, MOVED, seconds))
    assert (reading.drift, reading.retraining is not None) == ("drift", True)

    def look() -> Any:
        monitor.run()
        return next(monitor.retrainings())

    done = eventually(look, lambda found: found.over, 4 * seconds)
    assert (done.phase, done.trigger, done.causes) == ("handed over", "drift", (reading.window.start.isoformat(),)), done
    assert done.verdict is not None
    assert (done.verdict.passed, done.verdict.rows, done.verdict.challenger) == (True, ROWS, 1.0)
    version = client.models.get(model_name, "challenger")
    assert version.version == done.version
    assert version.lineage["because"]["readings"] == list(done.causes)
    assert own_endpoint.split[str(done.deployment)] == 0
    assert sum(own_endpoint.split.values()) == 100
    assert len(list(monitor.retrainings())) == 1, "one reason is reason for one training"
    own_endpoint.undeploy(str(done.deployment))


def test_the_providers_own_monitor_measures_the_same_drift(
    watch: Watch, client: mlport.Client, own_endpoint: Endpoint, seconds: float
) -> None:
    if client.require(C.MONITOR)[C.MONITOR.value].level is not Level.NATIVE:
        with pytest.raises(UnsupportedError, match="monitor"):
            watch(measured_by="provider")
        return
    numeric = [one for one in dialects.load(client.provider.name).metrics if (one.kind, one.alarm) == ("number", "above")]
    monitor = watch(measured_by="provider", thresholds={numeric[0].name: 0.5}, watch=["drift"], min_rows=1)
    day = timedelta(days=1)
    while (start := aligned(asked(own_endpoint, MOVED, seconds).start, day)) != aligned(datetime.now(UTC), day):
        pass  # midnight came between
    reading = monitor.read(Window(start, start + day))
    assert (monitor.view.road, reading.by) == ("native", client.provider.name)
    assert [one.name for one in reading.drifted][:1] == ["x0"], reading
    assert list(monitor.readings()) == [reading]
    monitor.delete()
    with pytest.raises(NotFoundError):
        client.monitors.get(monitor.name)
