"""Data profiling: databricks-sdk makes monitors, refreshes them, and reads by SQL what was really measured; what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, emulator, error, sdk
from aids.databricks.serving import ask, rows, sql, until
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlport.dialects import Numbers
from mlport.emulation.server import Ready
from mlport_databricks.emulator.working.profiling import ks_test

__all__ = ["emulator", "sdk"]
Json = dict[str, Any]
PATH = "/api/data-quality/v1/monitors"
TABLES = "/api/2.1/unity-catalog/tables"
HOUR = "AGGREGATION_GRANULARITY_1_HOUR"
REQUEST = "STRUCT<dataframe_records: ARRAY<STRUCT<amount: DOUBLE, word: STRING>>>"
FLAT = f"""CREATE VIEW main.ml.flat AS SELECT seen, `r`.`amount` AS amount, r.word AS word
FROM (SELECT seen, explode(from_json(body, '{REQUEST}').dataframe_records) AS r FROM main.ml.log)"""


NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def sample(seed: int, count: int, shift: float, words: str) -> list[tuple[float, str]]:
    random = np.random.default_rng(seed)
    return list(zip(random.normal(shift, 1, count).round(3).tolist(), random.choice(list(words), count).tolist(), strict=True))


EARLY, LATE, BASE = sample(1, 120, 0.0, "aab"), sample(2, 80, 0.6, "abc"), sample(3, 200, 0.0, "aab")


def body(pairs: list[tuple[float, str]]) -> str:
    return json.dumps({"dataframe_records": [{"amount": amount, "word": word} for amount, word in pairs]})


@pytest.fixture(scope="module")
def tables(emulator: Ready) -> Iterator[None]:
    """Two hours of logged requests, two of yesterday, as a flat view and a baseline; one of which is too long ago."""
    rows(emulator, "CREATE TABLE main.ml.log (seen TIMESTAMP, body STRING)")
    for ago, text in ((2, body(EARLY)), (1, body(LATE)), (24 * 31, body(LATE)), (1, "no json")):
        moment = NOW - timedelta(hours=ago) + timedelta(minutes=5)
        rows(emulator, "INSERT INTO main.ml.log SELECT CAST(:moment AS TIMESTAMP), :body", moment=moment.isoformat(), body=text)
    rows(emulator, FLAT)
    listed = ", ".join(f"({amount}, '{word}')" for amount, word in BASE)
    rows(emulator, f"CREATE TABLE main.ml.base AS SELECT CAST(amount AS DOUBLE) AS amount, word FROM (VALUES {listed}) AS v(amount, word)")
    yield
    for each in ("VIEW main.ml.flat", "TABLE main.ml.log", "TABLE main.ml.base"):
        rows(emulator, f"DROP {each}")


def number(ready: Ready, kind: str, name: str) -> str:
    return str(ask(ready, "GET", f"/api/2.1/unity-catalog/{kind}s/{name}")[f"{kind}_id"])


def monitor(ready: Ready, table: str = "main.ml.flat", **fields: Any) -> Json:
    series = {"timestamp_column": "seen", "granularities": [HOUR]}
    config = {"output_schema_id": number(ready, "schema", "main.ml"), "time_series": series, **fields}
    return {"object_type": "table", "object_id": number(ready, "table", table), "data_profiling_config": config}


def test_the_sdk_monitors_a_view_and_the_numbers_are_those_of_its_rows(emulator: Ready, sdk: Sdk, tables: None) -> None:
    """An unmodified program: made, waited for, refreshed, cancelled, changed, read by SQL and deleted; its tables stay."""
    program = """
        import json, sys, time
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.errors import NotFound
        from databricks.sdk.service.dataquality import *

        w = WorkspaceClient()
        table, schema = w.tables.get("main.ml.flat"), w.schemas.get("main.ml")
        at = ("table", table.table_id)
        made = w.data_quality.create_monitor(Monitor(*at, data_profiling_config=DataProfilingConfig(
            output_schema_id=schema.schema_id, baseline_table_name="main.ml.base",
            time_series=TimeSeriesConfig("seen", [AggregationGranularity.AGGREGATION_GRANULARITY_1_HOUR]),
            schedule=CronSchedule("0 0 3 * * ?", "UTC"), skip_builtin_dashboard=True)))
        while (found := w.data_quality.get_monitor(*at)).data_profiling_config.status.value.endswith("PENDING"):
            time.sleep(0.05)
        over = ("MONITOR_REFRESH_STATE_SUCCESS", "MONITOR_REFRESH_STATE_FAILED")
        while (first := list(w.data_quality.list_refresh(*at))[-1]).state.value not in over:
            time.sleep(0.05)
        asked = w.data_quality.create_refresh(*at, Refresh(*at))
        while (second := w.data_quality.get_refresh(*at, asked.refresh_id)).state.value not in over:
            time.sleep(0.05)
        late = w.data_quality.cancel_refresh(*at, asked.refresh_id).refresh.state.value
        config = found.data_profiling_config
        changed = w.data_quality.update_monitor(*at, Monitor(*at, data_profiling_config=DataProfilingConfig(schema.schema_id,
            schedule=CronSchedule("0 30 3 * * ?", "UTC"))), "data_profiling_config.schedule")
        w.data_quality.delete_monitor(*at)
        try:
            w.data_quality.get_monitor(*at)
        except NotFound as error:
            gone = str(error)
        print(json.dumps({
            "kind": table.table_type.value, "made": made.data_profiling_config.status.value, "found": config.status.value,
            "tables": [config.monitored_table_name, config.profile_metrics_table_name, config.drift_metrics_table_name],
            "states": [first.state.value, second.state.value, late], "trigger": second.trigger.value, "ended": second.end_time_ms >= second.start_time_ms,
            "paused": config.schedule.pause_status.value, "changed": changed.data_profiling_config.schedule.quartz_cron_expression,
            "stays": changed.data_profiling_config.baseline_table_name, "gone": gone.split(":")[0],
        }))
    """
    done = "MONITOR_REFRESH_STATE_SUCCESS"
    assert json.loads(sdk(program)) == {
        "kind": "VIEW",
        "made": "DATA_PROFILING_STATUS_PENDING",
        "found": "DATA_PROFILING_STATUS_ACTIVE",
        "tables": ["main.ml.flat", "main.ml.flat_profile_metrics", "main.ml.flat_drift_metrics"],
        "states": [done, done, done],
        "trigger": "MONITOR_REFRESH_TRIGGER_MANUAL",
        "ended": True,
        "paused": "CRON_SCHEDULE_PAUSE_STATUS_UNPAUSED",
        "changed": "0 30 3 * * ?",
        "stays": "main.ml.base",
        "gone": "Cannot find Monitor with ID",
    }
    check_numbers(emulator)
    for kind in ("profile", "drift"):
        rows(emulator, f"DROP TABLE main.ml.flat_{kind}_metrics")


def check_numbers(ready: Ready) -> None:
    """Each number of the tables against SciPy's of the same rows."""
    statement = """SELECT drift_type, unix_micros(`window`.`start`), window_cmp IS NULL, column_name,
        ks_test.statistic, ks_test.pvalue, wasserstein_distance, js_distance, tv_distance, l_infinity_distance, chi_squared_test.pvalue,
        avg_delta, count_delta, percent_null_delta, granularity, data_type
        FROM main.ml.flat_drift_metrics WHERE slice_key IS NULL AND column_name IN ('amount', 'word') ORDER BY drift_type, `window`.`end`, column_name"""
    found = rows(ready, statement)
    expected = [("BASELINE", BASE, EARLY), ("BASELINE", BASE, LATE), ("CONSECUTIVE", EARLY, LATE)]
    assert [row[0] for row in found] == [kind for kind, _, _ in expected for _ in range(2)]
    for place, (kind, before, now) in enumerate(expected):
        amount, word = found[2 * place], found[2 * place + 1]
        assert (amount[3], amount[15], word[3], word[15]) == ("amount", "double", "word", "string")
        assert [amount[2], amount[1]] == [str(kind == "BASELINE").lower(), str(micros(NOW - timedelta(hours=1 if now is LATE else 2)))]
        assert amount[7:11] == [None] * 4
        assert word[4:7] == [None] * 3
        (a, words), (b, others) = (([each[0] for each in side], [each[1] for each in side]) for side in (before, now))
        exact = stats.ks_2samp(a, b, method="asymp")
        assert float(amount[4] or "") == pytest.approx(exact.statistic, abs=6e-4)
        assert float(amount[5] or "") == pytest.approx(exact.pvalue, abs=0.01)
        assert float(amount[6] or "") == pytest.approx(stats.wasserstein_distance(a, b))
        p, q = (np.array([side.count(each) for each in "abc"]) for side in (words, others))
        apart = np.abs(p / p.sum() - q / q.sum())
        assert [float(each or "") for each in word[7:10]] == pytest.approx([jensenshannon(p, q), apart.sum() / 2, apart.max()])
        both = np.stack([p, q])[:, p + q > 0]
        assert float(word[10] or "") == pytest.approx(stats.chi2_contingency(both, correction=False).pvalue)
        assert [float(amount[11] or ""), int(amount[12] or ""), float(amount[13] or "")] == pytest.approx(
            [np.mean(b) - np.mean(a), len(b) - len(a), 0]
        )
        assert amount[14] == "1 hour"
    counts = rows(
        ready, "SELECT `count`, log_type FROM main.ml.flat_profile_metrics WHERE column_name = ':table' ORDER BY `window`.`start`"
    )
    assert counts == [["120", "INPUT"], ["80", "INPUT"]]


@pytest.mark.parametrize(
    ("statistic", "n", "m", "pvalue"),
    [
        (0.049, 523, 941, 0.3829208808885818),
        (0.038, 941, 1192, 0.4228041687817168),
        (0.062, 1192, 1344, 0.014853915612309707),
    ],
)
def test_p_values_are_those_that_databricks_printed(statistic: float, n: int, m: int, pvalue: float) -> None:
    """A drift table of Databricks' own, printed with its profile table in Marco-Santoni/databricks-from-scratch on GitHub."""
    before, now = np.arange(n) / n, np.arange(m) / m + statistic + 0.0001
    found = ks_test(Numbers(before), Numbers(now))
    assert found["statistic"] == pytest.approx(statistic, abs=0.002)
    assert float(stats.kstwo.sf(statistic, round(n * m / (n + m)))) == pvalue
    assert found["pvalue"] == stats.kstwo.sf(found["statistic"], round(n * m / (n + m)))


def test_what_is_refused(emulator: Ready, tables: None) -> None:
    def refused(asked: Json, token: str = "") -> tuple[str, str]:
        status, said = call(emulator, "POST", PATH, asked, **({"token": token} if token else {}))
        assert status >= 400, said
        return error(said)

    good = monitor(emulator)
    series = good["data_profiling_config"]["time_series"]
    for asked, code, words in (
        ({**good, "data_profiling_config": {"time_series": series}}, "INVALID_PARAMETER_VALUE", "output_schema_id"),
        ({**good, "object_id": "nothing"}, "TABLE_DOES_NOT_EXIST", "nothing"),
        ({**good, "object_type": "schema"}, "NOT_IMPLEMENTED", "anomalies"),
        (monitor(emulator, time_series=None), "INVALID_PARAMETER_VALUE", "Exactly one"),
        (monitor(emulator, snapshot={}), "INVALID_PARAMETER_VALUE", "Exactly one"),
        (monitor(emulator, slicing_exprs=["word"]), "NOT_IMPLEMENTED", "slicing_exprs"),
        (monitor(emulator, baseline_table_name="main.ml.nothing"), "TABLE_DOES_NOT_EXIST", "main.ml.nothing"),
        (monitor(emulator, time_series={**series, "timestamp_column": "word"}), "INVALID_PARAMETER_VALUE", "TIMESTAMP"),
        (monitor(emulator, time_series={**series, "granularities": ["1 day"]}), "MALFORMED_REQUEST", "AGGREGATION_GRANULARITY_1_DAY"),
        (monitor(emulator, schedule={"quartz_cron_expression": "0 0 * * *", "timezone_id": "UTC"}), "INVALID_PARAMETER_VALUE", "Quartz"),
        (monitor(emulator, color="red"), "INVALID_PARAMETER_VALUE", "color"),
    ):
        found = refused(asked)
        assert (found[0], words in found[1]) == (code, True), found
    assert refused(good, PLAIN_TOKEN)[0] == "PERMISSION_DENIED"
    made = ask(emulator, "POST", PATH, good)
    assert refused(good) == ("ALREADY_EXISTS", "Data Monitor 'main.ml.flat' already exists")
    assert "dashboard_id" not in made["data_profiling_config"]
    here = f"{PATH}/table/{good['object_id']}"
    assert call(emulator, "GET", f"{here}/refreshes/999999")[0] == 404
    assert call(emulator, "GET", PATH)[0] == 501  # the SDK calls it unimplemented
    ask(emulator, "DELETE", here)
    assert error(call(emulator, "DELETE", here)[1])[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_refresh_of_what_cannot_be_read_fails_and_says_why(emulator: Ready) -> None:
    rows(emulator, "CREATE TABLE main.ml.under AS SELECT current_timestamp() AS seen, 1 AS x")
    rows(emulator, "CREATE VIEW main.ml.over AS SELECT * FROM main.ml.under")
    here = f"{PATH}/table/{number(emulator, 'table', 'main.ml.over')}"
    ask(emulator, "POST", PATH, monitor(emulator, "main.ml.over"))

    def ended(place: int) -> Json | None:
        found = ask(emulator, "GET", f"{here}/refreshes").get("refreshes") or []
        return found[0] if len(found) > place and "end_time_ms" in found[0] else None

    first = until(lambda: ended(0))
    assert first["state"] == "MONITOR_REFRESH_STATE_SUCCESS"
    rows(emulator, "DROP TABLE main.ml.under")
    ask(emulator, "POST", f"{here}/refreshes", {"object_type": "table", "object_id": here.rpartition("/")[2]})
    second = until(lambda: ended(1))
    assert second["state"] == "MONITOR_REFRESH_STATE_FAILED"
    assert "under" in second["message"]
    ask(emulator, "DELETE", here)
    assert sql(emulator, "DROP TABLE main.ml.over")["status"]["sql_state"] == "42809"
    rows(emulator, "DROP VIEW IF EXISTS main.ml.over")
    rows(emulator, "DROP VIEW IF EXISTS main.ml.over")


def test_read_files_reads_parquet_of_volumes_only(emulator: Ready) -> None:
    assert (
        sql(emulator, "SELECT * FROM read_files('/Volumes/main/ml/mlport/none.parquet', format => 'parquet')")["status"]["sql_state"]
        == "42K03"
    )
    assert sql(emulator, "SELECT * FROM read_files('/etc/passwd', format => 'parquet')")["status"]["state"] == "FAILED"
    assert (
        sql(emulator, "SELECT * FROM read_files('/Volumes/main/ml/mlport/../../../x', format => 'parquet')")["status"]["sql_state"]
        == "42K03"
    )
    assert math.isclose(float(rows(emulator, "SELECT from_json('{\"a\": 1.5}', 'STRUCT<a: DOUBLE>').a")[0][0] or ""), 1.5)
