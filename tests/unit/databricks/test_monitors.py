"""Monitors that Databricks measures, on the emulator: made once whatever is lost, measured from captured rows, read back, and gone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aids.databricks import models
from aids.databricks.account import Account
from aids.databricks.place import call, set_faults
from scipy import stats

import mlport
from mlport import Endpoint
from mlport.capabilities import Capability
from mlport.emulation.server import Ready
from mlport.errors import ConflictError, NotFoundError, ProviderError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import aligned
from mlport.operations import finish
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef
from mlport.spi import Facts, Json, Measurement, MonitorState, Operation, Plan, State, Window
from mlport.testing.waiting import eventually
from mlport_databricks.session import DatabricksSession
from mlport_databricks.workspace.connection import Connection

SECONDS = 60.0
LENGTH = timedelta(weeks=4)
COLUMNS = {"x0": "number", "x1": "number", "carrier": "category", "prediction": "number"}
THRESHOLDS = {"ks": 0.2, "x1.ks_test.pvalue": 1e-9, "tv_distance": 0.2, "missing": 0.05}
MONITORS = "/api/data-quality/v1/monitors"


@pytest.fixture(scope="module")
def sent() -> list[Json]:
    """120 rows: x0 is shifted, x1 and the share of missing values are not, carriers are others than in the reference."""
    random = np.random.default_rng(5)
    values = zip(
        random.normal(1, 1, 120).tolist(), random.normal(0, 1, 120).tolist(), random.choice(["UA", "B6"], 120).tolist(), strict=True
    )
    return [{"x0": x0, "x1": x1, "carrier": carrier} for x0, x1, carrier in values]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(6)
    table = pa.table(
        {
            "x0": random.normal(0, 1, 300),
            "x1": random.normal(0, 1, 300).astype("float32"),
            "carrier": random.choice(["UA", "AA"], 300).tolist(),
        }
    )
    table = table.append_column("prediction", pa.array([int(value > 0) for value in table["x0"].to_pylist()]))
    path = tmp_path_factory.mktemp("reference") / "reference.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def endpoint(client: mlport.Client, tmp_path_factory: pytest.TempPathFactory, sent: list[Json]) -> Endpoint:
    """An endpoint that has been asked, whose requests are in the inference table."""
    model = models.classifier(tmp_path_factory.mktemp("model") / "watched")
    last = '{"type": "double", "name": "x1", "required": true}'
    said = (model / "MLmodel").read_text().replace(last, last + ', {"type": "string", "name": "carrier", "required": true}')
    (model / "MLmodel").write_text(said)
    version = client.models.register("watched", model, trust=True)
    deployment = DeploymentSpec(model=ModelRef(name="watched", version=version.version), name="blue")
    made = client.endpoints.create(EndpointSpec(name="watched", deployment=deployment, capture={"rate": 1.0}))
    for begin in range(0, len(sent), 40):
        made.predict(sent[begin : begin + 40])
    window = Window(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1))
    eventually(lambda: made.captured(window), lambda table: table.num_rows == len(sent), SECONDS)
    return made


@pytest.fixture(autouse=True)
def clean(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


def spec(**fields: Any) -> MonitorSpec:
    given = {"name": "watch", "endpoint": "watched", "reference": "reference.parquet", "window": LENGTH, "measured_by": "provider"}
    return MonitorSpec.model_validate({**given, "thresholds": THRESHOLDS, **fields})


def planned(client: mlport.Client, **fields: Any) -> Plan:
    return client.plan(spec(**fields), Facts(columns=COLUMNS, labels=client.stamps({}, None)))  # type: ignore[arg-type]


def made(client: mlport.Client, reference: Path, token: str = "", **fields: Any) -> Operation:
    operation = session_of(client).monitors.create(planned(client, **fields), token=token or secrets.token_hex(16), reference=reference)
    finish(client, operation, timeout=SECONDS)
    return operation


def session_of(client: mlport.Client) -> DatabricksSession:
    found = client.session
    assert isinstance(found, DatabricksSession)
    return found


def removed(client: mlport.Client, name: str = "watch") -> None:
    finish(client, session_of(client).monitors.delete(name, token=secrets.token_hex(16)), timeout=SECONDS)


def settled(session: DatabricksSession, window: Window) -> Measurement:
    """What is found of a window once it is final."""

    def look() -> Measurement | None:
        return next((each for each in session.monitors.measurements("watch").items if each.window == window), None)

    found = eventually(look, lambda each: each is not None and each.state.terminal, SECONDS)
    assert found is not None
    return found


def tables(ready: Ready) -> set[str]:
    listed = call(ready, "GET", "/api/2.1/unity-catalog/tables?catalog_name=main&schema_name=ml")[1]["tables"]
    return {each["name"] for each in listed if each["name"].startswith("mlport_")}


def test_captured_rows_are_measured_and_held_to_the_thresholds(
    client: mlport.Client, session: DatabricksSession, endpoint: Endpoint, sent: list[Json], reference: Path, emulator: Ready
) -> None:
    token = secrets.token_hex(16)
    operation = made(client, reference, token)
    assert session.monitors.find(token) == operation == session.monitors.create(planned(client), token=token, reference=reference)
    record = session.monitors.get("watch")
    assert (record.name, record.state, record.native_state, record.token) == ("watch", MonitorState.ACTIVE, "ACTIVE", token)
    assert record.native_name == f"main.ml.mlport_watch_{token}"
    assert record.next is not None
    assert record.next > datetime.now(UTC)
    with pytest.raises(ConflictError, match="is another"):
        session.monitors.create(planned(client), token="0" * 32, reference=reference)

    start = aligned(datetime.now(UTC), LENGTH)
    window = Window(start, start + LENGTH)
    first = session.monitors.measure("watch", window, token="a" * 32)
    assert session.monitors.measure("watch", window, token="a" * 32) == first
    found = settled(session, window)
    assert (found.id, found.state, found.native_state, found.rows) == (first, State.SUCCEEDED, "SUCCESS", len(sent))
    by = {(each.column, each.metric): each for each in found.measured}
    base = {name: values.to_pylist() for name, values in zip(COLUMNS, pq.read_table(reference).select(list(COLUMNS)).columns, strict=True)}
    for name, alarm in (("x0", True), ("x1", False), ("prediction", True)):
        here = [int(row["x0"] > 0) if name == "prediction" else row[name] for row in sent]
        held = by[name, "ks_test.statistic"]
        assert held.value == pytest.approx(stats.ks_2samp(base[name], here).statistic, abs=6e-4)
        assert (held.threshold, held.alarm) == (0.2, alarm)
        assert by[name, "wasserstein_distance"].value == pytest.approx(stats.wasserstein_distance(base[name], here))
        assert (by[name, "percent_null_delta"].value, by[name, "percent_null_delta"].threshold) == (0.0, 5.0)
    assert (by["x1", "ks_test.pvalue"].threshold, by["x1", "ks_test.pvalue"].alarm) == (1e-9, False)
    assert (by["x0", "ks_test.pvalue"].threshold, by["x0", "ks_test.pvalue"].alarm) == (None, None)
    shares = [
        np.mean([each == carrier for each in side])
        for carrier in ("UA", "AA", "B6")
        for side in (base["carrier"], [r["carrier"] for r in sent])
    ]
    tv = sum(abs(one - other) for one, other in zip(shares[::2], shares[1::2], strict=True)) / 2
    assert by["carrier", "tv_distance"].value == pytest.approx(tv)
    assert by["carrier", "tv_distance"].alarm is True
    with pytest.raises(UnsupportedError, match="whole windows"):
        session.monitors.measure("watch", Window(start + timedelta(days=1), start + timedelta(days=1) + LENGTH), token="b" * 32)
    with pytest.raises(UnsupportedError, match="looks back 30 days"):
        session.monitors.measure("watch", Window(start - 3 * LENGTH, start - 2 * LENGTH), token="b" * 32)

    assert tables(emulator) == {f"mlport_watch_{token}{part}" for part in ("", "_baseline", "_profile_metrics", "_drift_metrics")}
    removed(client)
    removed(client)
    assert tables(emulator) == set()
    with pytest.raises(NotFoundError):
        session.monitors.get("watch")
    assert list(session.connection.files.list(f"/Volumes/main/ml/mlport/monitors/{token}")) == []


@pytest.mark.parametrize("fault", [{"effect": "reset", "when": "after"}, {"effect": "error", "status": 503, "when": "before"}])
@pytest.mark.parametrize("match", [f"POST *{MONITORS}", "POST */api/2.0/sql/statements", "PUT */api/2.0/fs/files/*"])
def test_what_is_lost_on_the_way_is_made_once(
    client: mlport.Client, session: DatabricksSession, endpoint: Endpoint, reference: Path, emulator: Ready, match: str, fault: Json
) -> None:
    set_faults(emulator, {"match": match, "times": 1, **fault})
    made(client, reference)
    assert session.monitors.get("watch").state is MonitorState.ACTIVE
    assert len([name for name in tables(emulator) if name.endswith("_baseline")]) == 1
    removed(client)
    assert tables(emulator) == set()


class Killed(BaseException):
    """A process that died between two calls."""


def dying(monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], object]) -> None:
    """Do something, and die after so many answers."""
    left, original = count, Connection.call

    def call(*arguments: Any, **options: Any) -> Json:
        nonlocal left
        answer = original(*arguments, **options)
        left -= 1
        if left == 0:
            raise Killed
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "call", call)
        with pytest.raises(Killed):
            act()


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_who_finds_what_a_killed_process_began_goes_on(
    client: mlport.Client, endpoint: Endpoint, reference: Path, emulator: Ready, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monitors, plan, token = session_of(client).monitors, planned(client), secrets.token_hex(16)
    dying(monkeypatch, count, lambda: monitors.create(plan, token=token, reference=reference))
    operation = monitors.create(plan, token=token, reference=reference)
    assert operation == monitors.find(token)
    finish(client, operation, timeout=SECONDS)
    assert monitors.get("watch").state is MonitorState.ACTIVE
    assert len([name for name in tables(emulator) if name.endswith("_baseline")]) == 1
    dying(monkeypatch, count, lambda: monitors.delete("watch", token=token[::-1]))
    finish(client, monitors.delete("watch", token=token[::-1]), timeout=SECONDS)
    assert tables(emulator) == set()
    finish(client, operation, timeout=SECONDS)  # how it ended stays


def test_what_is_refused_leaves_nothing(
    client: mlport.Client, session: DatabricksSession, endpoint: Endpoint, reference: Path, tmp_path: Path, emulator: Ready
) -> None:
    odd = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"x0": [1.0]}), odd)
    with pytest.raises(ProviderError, match="x1"):
        made(client, odd)
    with pytest.raises(NotFoundError):
        made(client, reference, endpoint="nowhere")
    with pytest.raises(NotFoundError):
        session.monitors.get("watch")
    assert tables(emulator) == set()
    set_faults(emulator, {"match": f"POST *{MONITORS}", "times": 1, "effect": "error", "status": 403, "when": "before"})
    with pytest.raises(ProviderError):
        made(client, reference)
    assert tables(emulator) == set()


def test_other_hands_and_another_machine(
    client: mlport.Client, session: DatabricksSession, endpoint: Endpoint, reference: Path, tmp_path: Path, emulator: Ready
) -> None:
    """A monitor that others deleted is told as failed; one that was begun goes on without the file once that was uploaded."""
    set_faults(emulator, {"match": "POST */api/2.0/sql/statements", "times": 1, "effect": "error", "status": 503, "when": "before"})
    gone = tmp_path / "gone.parquet"
    gone.write_bytes(reference.read_bytes())
    operation = session.monitors.create(planned(client), token="c" * 32, reference=gone)
    assert session.operations.status(operation.id).state is State.RUNNING
    assert session.monitors.get("watch").state is MonitorState.CREATING
    assert session.monitors.measurements("watch").items == []
    gone.unlink()
    finish(client, operation, timeout=SECONDS)
    table_id = call(emulator, "GET", f"/api/2.1/unity-catalog/tables/main.ml.mlport_watch_{'c' * 32}")[1]["table_id"]
    assert call(emulator, "DELETE", f"{MONITORS}/table/{table_id}")[0] == 200
    record = session.monitors.get("watch")
    assert (record.state, record.native_state) == (MonitorState.FAILED, "DELETED")
    removed(client)
    assert tables(emulator) == set()


def test_no_warehouse_no_monitor(account: Account) -> None:
    with pytest.raises(UnsupportedError, match="warehouse_id"):
        account(warehouse_id=None).require(Capability.MONITOR)
