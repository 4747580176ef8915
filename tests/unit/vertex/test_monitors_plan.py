"""Plans of monitors that Vertex AI measures: exact requests, thresholds in its own metrics or refused with a reason, windows by its schedule."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport.drift.definitions import METRICS
from mlport.errors import SpecError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import aligned
from mlport.spi import Facts, Plan
from mlport_vertex import PROVIDER
from mlport_vertex.dialect import DIALECT
from mlport_vertex.emulator.working.monitor_clock import cron_of
from mlport_vertex.monitoring.measurements import measurement, span, window_of
from mlport_vertex.monitoring.reference import write
from mlport_vertex.monitoring.thresholds import alarms, parted
from mlport_vertex.monitoring.timing import timing

CONFIG = PROVIDER.config.from_url("vertex://acme-ml/europe-west4?staging=gs://acme-ml/mlport")
MODEL: dict[str, Any] = {
    "name": "delays",
    "version": "1",
    "signature": {
        "inputs": [{"name": "hour", "type": "long"}, {"name": "carrier", "type": "string"}, {"name": "distance", "type": "double"}]
    },
}
COLUMNS: dict[str, Any] = {"carrier": "category", "hour": "number"}
METRIC = {"number": "jensen_shannon_divergence", "category": "l_infinity"}
GOLDEN = Path(__file__).parents[2] / "golden" / "vertex" / "monitor.json"


def spec(**fields: Any) -> MonitorSpec:
    return MonitorSpec.model_validate({"endpoint": "delays", "reference": "r.parquet", "measured_by": "provider", **fields})


def plan(known: dict[str, Any] | None = None, **fields: Any) -> Plan:
    return PROVIDER.plan(CONFIG, spec(**fields), Facts(model=MODEL, columns=COLUMNS if known is None else known))


def drift(made: Plan) -> dict[str, Any]:
    return dict(made.requests[0].body["tabularObjective"]["featureDriftSpec"])


def gaps(**fields: Any) -> dict[str, str]:
    with pytest.raises(UnsupportedError) as refused:
        plan(**fields)
    return refused.value.gaps


def test_the_golden_requests_are_what_is_planned() -> None:
    made = plan(schedule="0 3 * * *", thresholds={"jensen_shannon_divergence": 0.02, "carrier.js_distance": 0.1})
    golden = json.loads(GOLDEN.read_text("utf-8"))["requests"]
    assert [{"call": each.call, "method": each.method, "path": each.path, "body": each.body} for each in made.requests] == golden
    assert (made.kind, made.name, made.resolved["window"], made.resolved["offset"]) == ("monitor", "delays", "1d", "3h")
    assert any("preview" in note for note in made.notes)
    assert any("carrier.js_distance is jensen_shannon_divergence above 0.01" in note for note in made.notes)


def test_fields_are_in_the_order_of_the_signature_with_those_that_nobody_watches() -> None:
    """Requests may carry them by position."""
    fields = plan().requests[0].body["modelMonitoringSchema"]["featureFields"]
    assert [(each["name"], each["dataType"]) for each in fields] == [("hour", "float"), ("carrier", "categorical"), ("distance", "float")]
    assert drift(plan())["features"] == ["carrier", "hour"]


def test_what_the_model_answers_is_an_objective_of_its_own() -> None:
    known = {**COLUMNS, "prediction": "number"}
    made = plan(known, thresholds={"prediction.jensen_shannon_divergence": 0.1})
    schema, objective = (made.requests[0].body[key] for key in ("modelMonitoringSchema", "tabularObjective"))
    assert schema["predictionFields"] == [{"name": "prediction", "dataType": "float"}]
    assert "prediction" not in [each["name"] for each in schema["featureFields"]]
    assert objective["predictionOutputDriftSpec"] == {
        "features": ["prediction"],
        "numericMetricType": "jensen_shannon_divergence",
        "defaultNumericAlertCondition": {"threshold": 0.3},
        "featureAlertConditions": {"prediction": {"threshold": 0.1}},
    }
    assert objective["featureDriftSpec"]["features"] == ["carrier", "hour"]
    assert "featureAlertConditions" not in objective["featureDriftSpec"]
    alone = plan(known, columns=["prediction"]).requests[0].body["tabularObjective"]
    assert list(alone) == ["predictionOutputDriftSpec"]
    several = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}
    model = {**MODEL, "signature": {**MODEL["signature"], "outputs": [several]}}
    with pytest.raises(UnsupportedError, match="several values"):
        PROVIDER.plan(CONFIG, spec(), Facts(model=model, columns=known))
    assert PROVIDER.plan(CONFIG, spec(columns=["hour"]), Facts(model=model, columns=known)).kind == "monitor"


def test_without_thresholds_the_vendors_own_stand() -> None:
    assert drift(plan()) == {
        "features": ["carrier", "hour"],
        "numericMetricType": "jensen_shannon_divergence",
        "defaultNumericAlertCondition": {"threshold": 0.3},
        "categoricalMetricType": "l_infinity",
        "defaultCategoricalAlertCondition": {"threshold": 0.3},
    }


def test_each_threshold_that_cannot_be_expressed_is_named_with_its_reason() -> None:
    found = gaps(
        thresholds={"js": 0.1, "hour.ks": 0.1, "psi": 0.2, "hour.l_infinity": 0.1, "linf": 0.1, "carrier.nothing": 1.0},
        window="90m",
        kinds={"carrier": "text"},
    )
    assert set(found) == {
        "thresholds.js of numbers",
        "thresholds.hour.ks",
        "thresholds.psi of numbers",
        "thresholds.psi of categories",
        "thresholds.hour.l_infinity",
        "thresholds.linf",
        "thresholds.linf of numbers",
        "thresholds.carrier.nothing",
        "window",
        "kinds.carrier",
    }
    assert "the bins differ" in found["thresholds.js of numbers"]
    assert "has only jensen_shannon_divergence" in found["thresholds.hour.ks"]
    assert "one metric" in found["thresholds.linf"]  # js asks for the other
    assert "whole hours" in found["window"]


@pytest.mark.parametrize(
    ("fields", "gap"),
    [
        ({"thresholds": {"js_distance": 0.1, "js": 0.1}, "columns": ["carrier"]}, "thresholds.js"),
        ({"metrics": ["ks"]}, "metrics.ks of numbers"),
        ({"metrics": ["js"], "columns": ["carrier"]}, "thresholds.jensen_shannon_divergence"),
        ({"thresholds": {"l_infinity": 0.1}, "columns": ["hour"]}, "thresholds.l_infinity"),
        ({"thresholds": {"l_infinity": 0.0}}, "thresholds.l_infinity of categories"),
        ({"window": "5h"}, "window"),
        ({"window": "2d"}, "window"),
    ],
)
def test_what_else_it_cannot_do(fields: dict[str, Any], gap: str) -> None:
    assert set(gaps(**fields)) == {gap}


def test_what_is_wrong_is_wrong_everywhere() -> None:
    with pytest.raises(SpecError, match=r"thresholds\.nowhere\.js: no column"):
        plan(thresholds={"nowhere.js": 0.1})
    with pytest.raises(SpecError, match=r"thresholds\.l_infinity.*never tells"):
        plan(thresholds={"l_infinity": 1.0})
    with pytest.raises(SpecError, match="options"):
        plan(options={"vertex": {"machine": "n1"}})
    with pytest.raises(SpecError, match="that it serves"):
        PROVIDER.plan(CONFIG, spec(), Facts(columns=COLUMNS))
    with pytest.raises(SpecError, match="columns"):
        plan({})


@given(st.floats(0.01, 0.99), st.dictionaries(st.text(min_size=1), st.just(1), min_size=2, max_size=5))
def test_a_translated_threshold_parts_the_same_samples(threshold: float, counts: dict[str, int]) -> None:
    """Of categories: mlport's distance is above its threshold just where Vertex AI's divergence is above what it became."""
    from mlport import drift as ours

    found, missing = alarms(DIALECT, {"c": "category"}, {"js_distance": threshold}, None)
    assert (missing, found.metrics, found.defaults) == (
        [],
        {"category": "jensen_shannon_divergence"},
        {"category": pytest.approx(threshold**2)},
    )
    reference, current = [name for name in counts for _ in range(3)], list(counts)[:1] * 4
    mine = ours.compare({"c": reference}, {"c": current}, metrics=["js_distance"]).column("c")["js_distance"].value
    theirs = DIALECT.measure("jensen_shannon_divergence", reference, current)
    assert theirs == pytest.approx(mine**2)


@given(st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=4, unique=True), st.sampled_from(METRICS), st.data())
def test_a_columns_threshold_is_that_columns(names: list[str], metric: str, data: st.DataObject) -> None:
    """Names with dots, and one that another begins with."""
    column = data.draw(st.sampled_from(names))
    assert parted(DIALECT, f"{column}.{metric}", dict.fromkeys(names, "number")) == (column, metric)


@given(
    st.sampled_from([1, 2, 3, 4, 6, 8, 12, 24, 168]),
    st.integers(1, 60 * 50),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
)
def test_each_window_is_measured_once_and_not_before_its_delay(hours: int, delay: int, now: datetime) -> None:
    """What the schedule fires, read by the emulator's rules, are mlport's own windows, one after the other."""
    length = timedelta(hours=hours)
    timed = timing(spec(window=length, delay=timedelta(minutes=delay)))
    assert not isinstance(timed, str)
    first, second = cron_of("cron", timed.cron).after(now, count=2)
    ends = [each - span(timed.offset) for each in (first, second)]
    assert ends[1] - ends[0] == span(timed.window) == length
    assert aligned(ends[0], length) == ends[0]
    assert first - ends[0] >= timedelta(minutes=delay)


def test_a_schedule_of_ones_own_measures_whole_windows_where_it_can() -> None:
    def offset(schedule: str, **fields: Any) -> str:
        found = timing(spec(schedule=schedule, **fields))
        return found if isinstance(found, str) else f"{found.offset} {found.window}"

    assert offset("0 3 * * *") == "3h 1d"
    assert offset("0 0 * * *") == "1d 1d"
    assert offset("0 1 * * *", delay="2h") == "25h 1d"
    assert offset("30 3 * * *") == "1h 1d"  # no whole hours: the last day that is an hour old
    assert offset("0 3 * * *", time_zone="Europe/Berlin") == "1h 1d"  # summer time moves it
    assert offset("0 3 * * *", window="2d") == "1h 2d"


def test_a_job_says_its_window_in_one_of_three_ways() -> None:
    target = {"timeOffset": {"offset": "3h", "window": "1D"}}
    job = {"modelMonitoringSpec": {"objectiveSpec": {"targetDataset": target}}, "createTime": "2026-11-24T03:00:07Z"}
    day = (datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))

    def seen(said: dict[str, Any]) -> Any:
        return (found.start, found.end) if (found := window_of(said)) else None

    assert seen({**job, "scheduleTime": "2026-11-24T03:00:00Z"}) == day
    assert seen(job) == tuple(each + timedelta(seconds=7) for each in day)
    told = {"timeRange": {"startTime": "2026-11-23T00:00:00Z", "endTime": "2026-11-24T00:00:00Z"}}
    assert seen({**job, "jobExecutionDetail": {"targetDatasets": [told]}}) == day
    assert seen({"createTime": "2026-11-24T03:00:07Z"}) is None


def test_what_was_not_measured_is_not_said_to_be_well() -> None:
    objective = {"tabularObjective": {"featureDriftSpec": {"features": ["a", "b"]}}, "targetDataset": {"timeOffset": {"window": "1d"}}}
    status = {"raw-feature-drift": {"code": 9, "message": "b: no values"}}
    job = {
        "name": "projects/1/locations/l/modelMonitors/m/modelMonitoringJobs/7",
        "state": "JOB_STATE_PARTIALLY_SUCCEEDED",
        "createTime": "2026-11-24T00:00:00Z",
        "modelMonitoringSpec": {"objectiveSpec": objective},
        "jobExecutionDetail": {"objectiveStatus": status},
    }
    window = window_of(job)
    assert window is not None
    point = {"algorithm": "l_infinity", "thresholdValue": 0.3, "currentStats": {"distributionValue": {}}}  # a value of 0 may be left out
    found = measurement(job, window, [{"statsName": "a", "dataPoints": [point]}])
    assert (found.id, found.state, found.native_state, found.rows) == ("7", "SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED", None)
    a, b = found.measured
    assert (a.column, a.metric, a.value, a.threshold, a.alarm) == ("a", "l_infinity", 0.0, 0.3, False)
    assert (b.column, b.value, b.alarm, b.reason) == ("b", None, None, "b: no values")
    failed = measurement({**job, "state": "JOB_STATE_FAILED"}, window, [])
    assert (failed.state, failed.measured, failed.reason) == ("FAILED", (), "b: no values")
    assert measurement({**job, "state": "JOB_STATE_RUNNING"}, window, []).state == "RUNNING"


def test_the_reference_is_spelled_as_requests_are(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"x": [1.5, float("nan"), None], "day": [datetime(2026, 1, 1).date()] * 3, "ok": [True, False, None]}
    pq.write_table(pa.table(rows), tmp_path / "r.parquet")
    write(tmp_path / "r.parquet", tmp_path / "r.jsonl")
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()] == [
        {"x": 1.5, "day": "2026-01-01", "ok": True},
        {"x": None, "day": "2026-01-01", "ok": False},
        {"x": None, "day": "2026-01-01", "ok": None},
    ]
