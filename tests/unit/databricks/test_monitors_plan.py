"""Monitors that Databricks measures, without it: the plan, thresholds in its metrics, when it measures, and when a window is final."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport.errors import SpecError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.monitoring.windows import aligned
from mlport.scheduling.cron import Cron
from mlport.spi import Facts, Measured, Measurement, Plan, State, Window
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.emulator.protocol.checking import problems
from mlport_databricks.emulator.protocol.described import method
from mlport_databricks.emulator.storing.sql import translated
from mlport_databricks.emulator.storing.tables import MACROS
from mlport_databricks.monitoring.kept import Asked, Kept
from mlport_databricks.monitoring.measurements import Found, Refresh, measurements, span, stood
from mlport_databricks.monitoring.monitor_request import GRANULARITIES, usual_clock
from mlport_databricks.serving.captured import micros

GOLDEN = Path(__file__).parents[2] / "golden" / "databricks" / "monitor.json"
URL = "databricks://acme.cloud.databricks.com/main/ml?state=s3://acme-ml/mlport&region=us-east-1&warehouse_id=4a5b6c7d8e9f0a1b"
CONFIG = DatabricksConfig.from_url(URL, profile="prod")
COLUMNS = {"hour": "number", "carrier": "category"}
BOTH = {"ks": 0.1, "tv_distance": 0.1}
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def spec_of(**fields: Any) -> MonitorSpec:
    given = {"endpoint": "delays", "reference": "data/2013-q1.parquet", "measured_by": "provider", "thresholds": BOTH}
    return MonitorSpec.model_validate({**given, **fields})


def plan_of(columns: dict[str, Any] = COLUMNS, **fields: Any) -> Plan:
    return PROVIDER.plan(CONFIG, spec_of(**fields), Facts(columns=columns))


def held(**fields: Any) -> dict[str, tuple[float, str]]:
    return {f"{each['column']}.{each['metric']}": (each["value"], each["alarm"]) for each in plan_of(**fields).resolved["thresholds"]}


# ---------------------------------------------------------------- plans


def test_the_plan_is_the_golden() -> None:
    plan = plan_of(schedule="0 3 * * *", window="1d", thresholds={"hour.ks": 0.1, "carrier.js_distance": 0.1})
    told = [(each.call, each.method, each.path, each.body or None) for each in plan.requests if each.call != "files.FilesAPI.upload"]
    golden = json.loads(GOLDEN.read_text())["requests"]
    assert told == [(each["call"], each["method"], each["path"], each["body"]) for each in golden]
    assert [each.call for each in plan.requests].index("files.FilesAPI.upload") == 1
    assert (plan.kind, plan.name) == ("monitor", "delays")
    assert "js_distance" in plan.notes[-1]


def test_each_request_is_as_the_sdk_describes_it() -> None:
    for request in plan_of({"it's": "number", "back`\\slash": "category"}, thresholds={"ks": 0.1, "tv_distance": 0.1}).requests:
        if request.method == "POST":
            described = method(f"{request.method} {request.path}")
            assert (described.id, list(problems(described.body or {}, request.body))) == (request.call, [])


def test_names_that_must_be_quoted_reach_the_table() -> None:
    """As far as the emulator's engine and a parser of Databricks SQL tell."""
    statements = [
        each.body["statement"] for each in plan_of({"it's": "number", "back`tick": "category"}).requests if "statement" in each.body
    ]
    told = [
        translated(each.replace("${payload_table}", "p").replace("${endpoint_created}", "0"), [], lambda *_: "s").sql for each in statements
    ]
    assert '"it\'s"' in told[0]
    assert '"back`tick"' in told[1]
    assert "it''s" in told[1]


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        ("number", [1, 0.5], [1.0, 0.5]),
        ("number", [[0.1, 0.9], [0.7]], [0.9, 0.7]),
        ("number", [[0.1, 0.7, 0.2]], [1.0, None]),
        ("number", ["UA", None], [None, None]),
        ("category", ["UA", 1], ["UA", "1"]),
    ],
)
def test_predictions_are_one_value_a_row(kind: str, answers: list[Any], expected: list[Any]) -> None:
    """The view's query in the emulator's engine: requests of other forms, refused ones and those before the endpoint are left out."""
    columns = {"hour": "number", "prediction": kind}
    (view,) = [
        each.body["statement"]
        for each in plan_of(columns, thresholds={"ks": 0.1, "prediction.missing": 0.1}).requests
        if "CREATE VIEW" in str(each.body)
    ]
    query = translated(view.replace("${payload_table}", "p").replace("${endpoint_created}", "1000"), [], lambda *_: "s").sql
    with duckdb.connect() as engine:
        for macro in MACROS:
            engine.execute(f"CREATE MACRO {macro}")
        engine.execute(
            "CREATE SCHEMA s; CREATE TABLE s.p (request_time TIMESTAMPTZ, status_code INTEGER, request VARCHAR, response VARCHAR)"
        )
        body, said = json.dumps({"dataframe_records": [{"hour": 1}, {"hour": "no", "more": 2}]}), json.dumps({"predictions": answers})
        for time, status, request in (
            (2, 200, body),
            (2, 400, body),
            (0, 200, body),
            (2, 200, '{"inputs": [[1]]}'),
            (2, 200, "no json"),
            (2, 200, None),
        ):
            engine.execute("INSERT INTO s.p VALUES (make_timestamp($1), $2, $3, $4)", [time * 1_000_000, status, request, said])
        found = engine.sql(query).to_arrow_table()
    assert found.select(["hour", "prediction"]).to_pylist() == [
        {"hour": hour, "prediction": value} for hour, value in zip((1.0, None), expected, strict=True)
    ]


@pytest.mark.parametrize(
    ("columns", "fields", "said"),
    [
        (COLUMNS, {"window": "2h"}, r"MonitorSpec\.window: 2:00:00: it has windows of 5 and 30 minutes"),
        (COLUMNS, {"start": "31d"}, r"MonitorSpec\.start: 31 days.*looks back 30 days"),
        (COLUMNS, {"schedule": "0 0 1 * 1"}, r"MonitorSpec\.schedule: .*days of the month and of the week"),
        (COLUMNS, {"kinds": {"carrier": "text"}}, r"MonitorSpec\.kinds\.carrier: text: it measures numbers and categories"),
        ({"a b": "number"}, {"thresholds": {"ks": 0.1}}, r"MonitorSpec\.columns: 'a b'"),
        ({"mlport_time": "number"}, {"thresholds": {"ks": 0.1}}, r"MonitorSpec\.columns: 'mlport_time'"),
        ({"A": "number", "a": "number"}, {"thresholds": {"ks": 0.1}}, r"MonitorSpec\.columns: A, a"),
        (
            COLUMNS,
            {"thresholds": {"psi": 0.1, **BOTH}},
            r"thresholds\.psi: .*population_stability_index: its bins and what it does with empty ones are not published",
        ),
        (COLUMNS, {"thresholds": {"hour.tv": 0.1, **BOTH}}, r"thresholds\.hour\.tv: numbers: its monitor has only ks_test\.statistic"),
        (COLUMNS, {"thresholds": {"hour.tv_distance": 0.1, **BOTH}}, r"hour\.tv_distance: numbers: it is of categories only"),
        (
            COLUMNS,
            {"thresholds": {"wasserstein_normed": 0.1, **BOTH}},
            r"wasserstein_normed: .*numbers: wasserstein_distance: the divisor differs",
        ),
        (COLUMNS, {"thresholds": {"ks": 0.1}}, r"thresholds of carrier: none is set, and mlport's own is js_distance 0\.1"),
        (COLUMNS, {"thresholds": {}}, r"thresholds of carrier: none is set"),
        ({"hour": "number"}, {"thresholds": {"tv_distance": 0.1}}, r"thresholds\.tv_distance: it is of categories, and none is watched"),
        (COLUMNS, {"metrics": ["kl"]}, r"metrics\.kl: categories: its monitor has only"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(columns: dict[str, Any], fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        plan_of(columns, **fields)


def test_everything_that_cannot_be_expressed_is_said_at_once() -> None:
    with pytest.raises(UnsupportedError) as refused:
        plan_of(window="2h", start="40d", thresholds={"psi": 0.1, "hellinger": 0.2})
    assert set(refused.value.gaps) == {f"MonitorSpec.{each}" for each in ("window", "start", "thresholds.psi", "thresholds.hellinger")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"thresholds": {"nothing": 0.1}}, "'nothing' is no metric"),
        ({"thresholds": {"origin.ks": 0.1}}, "no column 'origin' is watched; they are hour, carrier"),
        ({"thresholds": {**BOTH, "ks_test": 1.0}}, "never tells anything"),
        ({"metrics": ["nothing"]}, "'nothing' is no metric"),
        ({"options": {"databricks": {"x": 1}}}, "options"),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(**fields)


def test_thresholds_are_in_databricks_metrics() -> None:
    assert held() == {"hour.ks_test.statistic": (0.1, "above"), "carrier.tv_distance": (0.1, "above")}
    own = {"ks_test": 0.3, "population_stability_index": 0.2, "chi_squared_test.pvalue": 0.01, "js_distance": 0.2, "carrier.linf": 0.4}
    assert held(thresholds={**own, "missing": 0.05, "hour.missing": 0.2, "hour.ks_test.pvalue": 0.001}) == {
        "hour.ks_test.statistic": (0.3, "above"),
        "hour.ks_test.pvalue": (0.001, "below"),
        "hour.population_stability_index": (0.2, "above"),
        "hour.percent_null_delta": (20.0, "above"),
        "carrier.percent_null_delta": (5.0, "above"),
        "carrier.chi_squared_test.pvalue": (0.01, "below"),
        "carrier.js_distance": (0.2, "above"),
        "carrier.l_infinity_distance": (0.4, "above"),
    }
    usual = {"hour.ks_test.statistic": (0.1, "above"), "hour.percent_null_delta": (5.0, "above")}
    assert held(columns={"hour": "number"}, thresholds={}) == usual
    assert held(columns={"a.ks": "number"}, thresholds={"a.ks.ks": 0.2}) == {"a.ks.ks_test.statistic": (0.2, "above")}
    assert plan_of(metrics=["ks", "tv_distance"]).resolved["metrics"] == ["ks_test.statistic", "tv_distance"]


# ---------------------------------------------------------------- when


@given(st.sampled_from(sorted(GRANULARITIES)), st.integers(0, 60 * 24 * 10))
def test_databricks_measures_once_a_window_as_soon_as_it_can_be_read(window: timedelta, minutes: int) -> None:
    delay, start = timedelta(minutes=minutes), datetime(2026, 3, 1, tzinfo=UTC)
    times = list(Cron.parse(usual_clock(window, delay), "UTC").after(start, count=4))
    every = min(window, timedelta(weeks=1))
    assert {later - earlier for earlier, later in pairwise(times)} == {every}
    assert {(each - delay - aligned(each - delay, every)) for each in times} == {timedelta()}


def refresh(number: int, state: str, began: datetime) -> Refresh:
    return Refresh(number, state, began, "why" if state == "FAILED" else "")


@pytest.mark.parametrize(
    ("refreshed", "wanted", "expected"),
    [
        ([], set(), None),
        ([(1, "SUCCESS", -1)], set(), None),
        ([(1, "SUCCESS", 1)], set(), ("SUCCESS", "")),
        ([(2, "FAILED", 2), (1, "SUCCESS", 1)], set(), ("SUCCESS", "")),
        ([(2, "RUNNING", 2), (1, "SUCCESS", 1)], set(), ("SUCCESS", "")),
        ([(2, "PENDING", 2), (1, "FAILED", 1)], set(), ("RUNNING", "")),
        ([(2, "FAILED", 2), (1, "CANCELED", 1)], set(), ("FAILED", "why")),
        ([(2, "CANCELED", 2)], set(), ("CANCELED", "the refresh ended CANCELED")),
        ([(1, "SUCCESS", -1)], {1}, ("SUCCESS", "")),
        ([(1, "RUNNING", -1)], {1}, ("RUNNING", "")),
        ([(1, "FAILED", -1)], {1}, ("FAILED", "why")),
        ([], {0}, ("RUNNING", "")),
        ([(1, "SUCCESS", -1)], {7}, None),
    ],
)
def test_when_a_window_is_final(refreshed: list[tuple[int, str, int]], wanted: set[int], expected: tuple[str, str] | None) -> None:
    assert stood(NOW, [refresh(number, state, NOW + timedelta(hours=hours)) for number, state, hours in refreshed], wanted) == expected


def kept(**fields: Any) -> Kept:
    plan = plan_of(**{"window": "1d", "delay": "10m", "start": "3d", **fields})
    return Kept("0" * 32, plan.spec, plan.resolved, NOW.isoformat(), "id")


def told(one: Kept, found: dict[int, Found], refreshed: list[Refresh], asked: tuple[Asked, ...] = ()) -> list[Measurement]:
    return list(measurements(one, span(one, None, NOW), found, refreshed, asked))


def test_windows_are_told_from_the_newest_back_to_the_first() -> None:
    midnight = aligned(NOW, DAY)
    day = [midnight - number * DAY for number in range(4)]
    metrics = {"hour": {"ks_test.statistic": 0.3, "avg_delta": -2.0}, "carrier": {"tv_distance": 0.01}}
    found = {micros(day[0]): Found(50, metrics), micros(day[1]): Found(500, metrics), micros(day[3]): Found(500, metrics)}
    now, first, empty, second = day[0], day[1], day[2], day[3]
    listed = told(kept(), found, [refresh(9, "SUCCESS", NOW - timedelta(hours=1))])
    assert [(each.window.start, each.state, each.native_state, each.rows) for each in listed] == [
        (now, State.RUNNING, "PARTIAL", 50),
        (first, State.SUCCEEDED, "SUCCESS", 500),
        (empty, State.SUCCEEDED, "SUCCESS", 0),
        (second, State.SUCCEEDED, "SUCCESS", 500),
    ]
    assert listed[2].measured == ()
    assert listed[1].measured == (
        Measured("hour", "ks_test.statistic", 0.3, 0.1, True),
        Measured("hour", "avg_delta", -2.0),
        Measured("carrier", "tv_distance", 0.01, 0.1, False),
    )
    asked = told(kept(), found, [refresh(9, "FAILED", NOW)], (Asked(micros(now), 9),))
    assert [(each.state, each.reason) for each in asked] == [(State.FAILED, "why")] * 4
    assert told(kept(), {}, []) == []


def test_nothing_is_said_of_few_rows_and_of_what_databricks_does_not_tell() -> None:
    start = micros(aligned(NOW, DAY) - DAY)
    refreshed = [refresh(1, "SUCCESS", NOW)]
    (few,) = [each for each in told(kept(), {start: Found(99, {"hour": {"ks_test.statistic": 0.9}})}, refreshed) if each.rows == 99]
    assert [(each.alarm, each.reason) for each in few.measured] == [(None, "99 rows are fewer than min_rows = 100")] * 2
    (none,) = [each for each in told(kept(), {start: Found(100, {"carrier": {"tv_distance": 0.2}})}, refreshed) if each.rows == 100]
    assert [(each.column, each.value, each.alarm) for each in none.measured] == [("hour", None, None), ("carrier", 0.2, True)]
    below = kept(thresholds={"hour.ks_test.pvalue": 0.01, "avg_delta": 1, "tv_distance": 0.1}, metrics=["tv_distance"])
    found = {
        start: Found(
            100, {"hour": {"ks_test.pvalue": 0.001, "avg_delta": -2.0, "wasserstein_distance": 1.0}, "carrier": {"tv_distance": 0.1}}
        )
    }
    (said,) = [each for each in told(below, found, refreshed) if each.rows == 100]
    assert {each.metric: each.alarm for each in said.measured} == {"ks_test.pvalue": True, "avg_delta": True, "tv_distance": False}


def test_pages_end_with_the_first_window() -> None:
    many = kept(window="5m", start="10h")
    first = aligned(NOW - timedelta(hours=10), timedelta(minutes=5))
    pages = [span(many, None, NOW)]
    while pages[-1].start > first:
        pages.append(span(many, pages[-1].start, NOW))
    assert pages[0].end == NOW + timedelta(minutes=5)
    assert [earlier.start for earlier in pages[:-1]] == [later.end for later in pages[1:]]
    assert pages[-1].start == first
    assert span(many, first, NOW) == Window(first, first)
