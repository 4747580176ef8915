"""Monitors that Vertex AI measures, on the emulator: made in steps that any process can go on with, measured for real, removed whole."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aids.calls import struck
from aids.mutations import FAULTS, persist
from aids.vertex.account import Account
from aids.vertex.models import ask
from aids.vertex.place import set_faults

import mlport
from mlport import Endpoint
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, ConflictError, NotFoundError, ProviderError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.operations import finish
from mlport.specs import Capture, DeploymentSpec, EndpointSpec, ModelRef
from mlport.spi import Facts, Measurement, MonitorState, Operation, Plan, State, Watches, Window
from mlport.waiting import wait_until
from mlport_vertex.dialect import DIALECT
from mlport_vertex.monitors import VertexMonitors
from mlport_vertex.sagas import folder_of

DAY = datetime(2026, 11, 20, tzinfo=UTC)
RANDOM = np.random.default_rng(11)
REFERENCE = {"x0": RANDOM.normal(size=300), "x1": RANDOM.normal(size=300)}
DAYS = [{"x0": RANDOM.normal(shift, size=60), "x1": RANDOM.normal(size=60)} for shift in (0, 3)]
"""What was captured on two days: on the second x0 has moved."""


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "r.parquet"
    pq.write_table(pa.table(REFERENCE), path)
    return path


@pytest.fixture(scope="module")
def endpoint(client: mlport.Client, emulator: Ready, classifier: dict[str, Path]) -> Endpoint:
    """One that captures; two days of requests were written into its log."""
    client.models.register("delays", classifier["skops"], trust=True)
    deployment = DeploymentSpec(model=ModelRef(name="delays", version="1"), name="blue")
    made = client.endpoints.create(EndpointSpec(name="watched", deployment=deployment, capture=Capture()))
    kept = client.session.api.call("endpoints.get", name=f"{client.config.parent}/endpoints/watched")
    project, dataset, table = (
        kept["predictRequestResponseLoggingConfig"]["bigqueryDestination"]["outputUri"].removeprefix("bq://").split(".")
    )
    rows = [
        {
            "deployed_model_id": made.record.deployments[0].native_name,
            "logging_time": (DAY + timedelta(days=day, hours=hour)).isoformat(),
            "request_payload": [
                json.dumps({"instances": [[x0, x1] for x0, x1 in zip(*(each[hour::24] for each in columns.values()), strict=True)]})
            ],
        }
        for day, columns in enumerate(DAYS)
        for hour in range(24)
    ]
    path = f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}/insertAll"
    assert "insertErrors" not in ask(emulator, "POST", path, {"rows": [{"json": row} for row in rows]})
    return made


@pytest.fixture(autouse=True)
def nothing_left(emulator: Ready, client: mlport.Client) -> Iterator[None]:
    yield
    set_faults(emulator)
    finish(client, client.session.monitors.delete("watched", token=secrets.token_hex(16)))
    assert client.session.api.call("schedules.list") == {}
    assert list(client.session.api.objects.list(f"{client.config.staging}/monitors")) == []


def planned(client: mlport.Client, known: tuple[str, ...] = ("x0", "x1"), **fields: Any) -> Plan:
    spec = MonitorSpec.model_validate({"endpoint": "watched", "reference": "r.parquet", "measured_by": "provider", **fields})
    version = client.models.get("delays", "1")
    return client.provider.plan(client.config, spec, Facts(model=version.facts(), columns=dict.fromkeys(known, "number")))


def make(client: mlport.Client, reference: Path, token: str = "", **fields: Any) -> Operation:
    operation = client.session.monitors.create(planned(client, **fields), token=token or secrets.token_hex(16), reference=reference)
    assert finish(client, operation).result == operation.target
    return operation


def day(number: int) -> Window:
    return Window(DAY + timedelta(days=number), DAY + timedelta(days=number + 1))


def measured(monitors: VertexMonitors, job: str, name: str = "watched") -> Measurement:
    """What a job found, once it has ended."""

    def look() -> Measurement:
        return next(each for each in monitors.measurements(name).items if each.id == job)

    return wait_until(look, lambda seen: seen.state.terminal, timeout=30, what="the measurement")


def test_it_measures_each_window_as_its_dialect_says(client: mlport.Client, endpoint: Endpoint, reference: Path, account: Account) -> None:
    monitors = client.session.monitors
    assert isinstance(client.session, Watches)
    token = secrets.token_hex(16)
    make(client, reference, token, thresholds={"jensen_shannon_divergence": 0.5, "x1.jensen_shannon_divergence": 0.9})
    record = monitors.get("watched")
    assert (record.state, record.native_state, record.token, record.reason) == (MonitorState.ACTIVE, "ACTIVE", token, "")
    assert record.next is not None
    assert (record.next.hour, record.next - datetime.now(UTC) <= timedelta(days=1)) == (1, True)  # a day, read an hour after its end
    asked = [monitors.measure("watched", day(number), token=f"{number}" * 32) for number in (1, 0, 5)]
    assert monitors.measure("watched", day(0), token="0" * 32) == asked[1]
    found = {number: measured(monitors, job) for number, job in zip((1, 0, 5), asked, strict=True)}
    assert [each.id for each in monitors.measurements("watched").items] == [asked[2], asked[0], asked[1]]  # by window, newest first
    for number in (0, 1):
        assert (found[number].window, found[number].state, found[number].rows) == (day(number), State.SUCCEEDED, 60)
        for each in found[number].measured:
            value = DIALECT.measure(each.metric, REFERENCE[each.column], DAYS[number][each.column])
            assert (each.value, each.threshold) == (pytest.approx(value), {"x0": 0.5, "x1": 0.9}[each.column])
            assert each.alarm is (value > each.threshold)
    assert {each.column: each.alarm for each in found[1].measured} == {"x0": True, "x1": False}
    assert (found[5].state, found[5].measured, "no data" in found[5].reason) == (State.FAILED, (), True)
    other = account(transport="grpc").session.monitors
    assert other.get("watched") == record
    assert other.measurements("watched") == monitors.measurements("watched")
    assert measured(other, other.measure("watched", day(0), token="a" * 32)).measured == found[0].measured


def test_what_is_asked_and_answered_now_is_read_from_the_log(client: mlport.Client, endpoint: Endpoint, tmp_path: Path) -> None:
    """Requests as mlport sends them, by rawPredict, and what the model answered to them."""
    answered = np.array([0, 1] * 150)
    pq.write_table(pa.table({**REFERENCE, "prediction": answered}), tmp_path / "r.parquet")
    make(client, tmp_path / "r.parquet", known=("x0", "x1", "prediction"))
    begun = datetime.now(UTC)
    rows = [{"x0": float(x0), "x1": float(x1)} for x0, x1 in zip(*DAYS[1].values(), strict=True)]
    answers = [float(each) for each in endpoint.predict(rows)]
    window = Window(begun, datetime.now(UTC) + timedelta(minutes=1))
    wait_until(lambda: endpoint.captured(window).num_rows, lambda rows: rows >= 60, timeout=30, what="the capture")
    monitors = client.session.monitors
    found = measured(monitors, monitors.measure("watched", window, token="c" * 32))
    sides = {**{name: (REFERENCE[name], DAYS[1][name]) for name in ("x0", "x1")}, "prediction": (answered, answers)}
    assert (found.rows, {each.column: each.value for each in found.measured}) == (
        60,
        {name: pytest.approx(DIALECT.measure("jensen_shannon_divergence", *each)) for name, each in sides.items()},
    )


def test_measurements_come_in_pages(client: mlport.Client, endpoint: Endpoint, reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlport_vertex.monitors.PAGE", 2)
    make(client, reference)
    monitors = client.session.monitors
    for number in (1, 0, 2, 1):
        monitors.measure("watched", day(number), token=secrets.token_hex(16))
    pages, page = [], None
    while not pages or page:
        found = monitors.measurements("watched", page)
        pages.append([(each.window.start - DAY).days for each in found.items])
        page = found.next
    assert pages == [[2, 1], [1, 0]]


def test_a_version_has_one_monitor_and_a_name_one_token(client: mlport.Client, endpoint: Endpoint, reference: Path) -> None:
    token = secrets.token_hex(16)
    made = make(client, reference, token)
    assert client.session.monitors.create(planned(client), token=token, reference=reference) == made
    assert client.session.monitors.find(token) == made
    for name, why in (("watched", "there is a model monitor 'watched'"), ("another", "may have one only")):
        with pytest.raises(ConflictError, match=why):
            make(client, reference, name=name)
    assert len(list(client.session.api.objects.list(f"{client.config.staging}/monitors"))) == 1


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_another_process_goes_on_after_lost_answers(
    client: mlport.Client, emulator: Ready, endpoint: Endpoint, reference: Path, account: Account, transport: str
) -> None:
    paths = ("*/modelMonitors", "*/schedules", "*/modelMonitoringJobs")
    set_faults(emulator, *({"match": f"POST {path}", "effect": "reset", "when": "after", "times": 1} for path in paths))
    token = secrets.token_hex(16)
    with pytest.raises(AmbiguousError):
        client.session.monitors.create(planned(client), token=token, reference=reference)
    other = account(transport=transport)
    begun = other.session.monitors.find(token)
    assert begun is not None
    assert finish(other, begun).result == "watched"
    assert len(client.session.api.call("schedules.list")["schedules"]) == 1
    with pytest.raises(AmbiguousError):
        other.session.monitors.measure("watched", day(0), token="e" * 32)
    job = other.session.monitors.measure("watched", day(0), token="e" * 32)
    assert [each.id for each in client.session.monitors.measurements("watched").items] == [job]


@pytest.mark.parametrize("fault", [each for each in FAULTS if FAULTS[each]])
def test_each_call_is_made_once_whatever_it_meets(
    client: mlport.Client, emulator: Ready, endpoint: Endpoint, reference: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that persists: one monitor, one schedule, one job; then nothing."""
    monkeypatch.setattr("mlport_vertex.sagas.LOOKED_FOR", 0.3)
    paths = ("POST */modelMonitors", "POST */schedules", "POST */modelMonitoringJobs", "DELETE */modelMonitors/*")
    set_faults(emulator, *({"match": path, "times": 1, **FAULTS[fault]} for path in paths))
    token, gone, monitors = secrets.token_hex(16), secrets.token_hex(16), client.session.monitors
    persist(lambda: finish(client, monitors.create(planned(client), token=token, reference=reference)))
    persist(lambda: monitors.measure("watched", day(0), token="9" * 32))
    assert len(client.session.api.call("modelMonitors.list")["modelMonitors"]) == 1
    assert len(client.session.api.call("schedules.list")["schedules"]) == 1
    assert len(monitors.measurements("watched").items) == 1
    persist(lambda: finish(client, monitors.delete("watched", token=gone)))
    assert client.session.api.call("modelMonitors.list") == {}
    assert struck(emulator) == len(paths)


def test_what_cannot_be_made_whole_leaves_nothing_and_may_be_tried_again(
    client: mlport.Client, emulator: Ready, endpoint: Endpoint, reference: Path
) -> None:
    token, monitors = secrets.token_hex(16), client.session.monitors
    set_faults(emulator, {"match": "POST */schedules", "effect": "error", "status": 400, "times": 1})
    with pytest.raises(ProviderError, match="refused"):
        finish(client, monitors.create(planned(client), token=token, reference=reference))
    with pytest.raises(NotFoundError):
        monitors.get("watched")
    assert list(client.session.api.objects.list(folder_of(client.config, token))) == []
    set_faults(emulator, {"match": "POST */modelMonitors", "effect": "error", "status": 403, "times": 1})
    with pytest.raises(mlport.errors.PermissionDeniedError):
        monitors.create(planned(client), token=token, reference=reference)
    assert list(client.session.api.objects.list(folder_of(client.config, token))) == []
    make(client, reference, token)
    finish(client, monitors.delete("watched", token=secrets.token_hex(16)))
    make(client, reference, token)  # the same may be made again once it is gone
    assert monitors.get("watched").state is MonitorState.ACTIVE


def test_a_monitor_that_somebody_changed_says_so(client: mlport.Client, endpoint: Endpoint, reference: Path, emulator: Ready) -> None:
    make(client, reference)
    monitors = client.session.monitors
    (schedule,) = client.session.api.call("schedules.list")["schedules"]
    ask(emulator, "POST", f"/v1beta1/{schedule['name']}:pause", {})
    paused = monitors.get("watched")
    assert (paused.state, paused.native_state, "measures nothing" in paused.reason) == (MonitorState.UNKNOWN, "PAUSED", True)
    client.session.api.call("schedules.delete", name=schedule["name"])
    wait_until(lambda: client.session.api.call("schedules.list"), lambda found: found == {}, timeout=10, what="the end of the schedule")
    assert monitors.get("watched").state is MonitorState.FAILED
    with pytest.raises(NotFoundError, match="no schedule"):
        monitors.measure("watched", day(0), token="f" * 32)


def test_the_open_inference_protocol_is_not_read(client: mlport.Client, endpoint: Endpoint, reference: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("mlport_vertex.serving.deployed.speaks_v2", lambda route: True)
    with pytest.raises(UnsupportedError, match="Open Inference Protocol"):
        make(client, reference)


def test_the_client_turns_what_it_found_into_readings(client: mlport.Client, endpoint: Endpoint, reference: Path) -> None:
    spec = MonitorSpec.model_validate(
        {
            "endpoint": "watched",
            "reference": str(reference),
            "measured_by": "provider",
            "start": timedelta(days=3650),
            "alerts": [],
            "watch": ["drift"],
        }
    )
    monitor = client.monitors.create(spec)
    role = client.session.monitors
    for number in (0, 1):
        measured(role, role.measure("watched", day(number), token=f"{number}" * 32))
    readings = monitor.run()
    assert [(each.window, each.drift, [one.name for one in each.drifted], each.by) for each in readings] == [
        (day(0), "no drift", [], "vertex"),
        (day(1), "drift", ["x0"], "vertex"),
    ]
    assert (monitor.view.road, monitor.view.state) == ("native", MonitorState.ACTIVE)
    monitor.delete()
    with pytest.raises(NotFoundError):
        role.get("watched")
