"""A monitor's requests: a flat view of the inference table, a baseline, and a monitor of the view. Pure.

Data profiling watches tables of columns, and an inference table holds JSON. Views may be monitored (docs.databricks.com,
data-quality-monitoring/data-profiling: managed and external tables, views, materialized views, streaming tables), so that nothing has to
run in between; on a view each refresh reads all rows anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from mlport.dialects import Kind
from mlport.errors import SpecError, UnsupportedError
from mlport.monitoring.specs import MonitorSpec
from mlport.spi import TOKEN, Facts, Json, Request
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.monitoring.thresholds import Gaps, held, shown
from mlport_databricks.running.quartz import quartz
from mlport_databricks.serving.endpoint_request import ENDPOINTS, prefix_of
from mlport_databricks.serving.statements import STATEMENTS, quoted, statement_body

if TYPE_CHECKING:
    from mlport_databricks.plan import Planned

MONITORS, TABLES, SCHEMAS = "/api/data-quality/v1/monitors", "/api/2.1/unity-catalog/tables", "/api/2.1/unity-catalog/schemas"
PAYLOAD, CREATED, TABLE_ID, SCHEMA_ID = "${payload_table}", "${endpoint_created}", "${table_id}", "${schema_id}"
TIME, ROW, ANSWER = "mlport_time", "mlport_row", "mlport_answer"
MINUTE = timedelta(minutes=1)
GRANULARITIES: Mapping[timedelta, str] = {
    5 * MINUTE: "5_MINUTES",
    30 * MINUTE: "30_MINUTES",
    60 * MINUTE: "1_HOUR",
    timedelta(days=1): "1_DAY",
    **{timedelta(weeks=count): f"{count}_WEEK{'S' if count > 1 else ''}" for count in range(1, 5)},
}
LOOK_BACK = timedelta(days=30)
"""How far back from its creation a monitor looks: docs.databricks.com, create-monitor-api."""
TYPES: Mapping[Kind, str] = {"number": "DOUBLE", "category": "STRING"}
NO_NAME = re.compile(r"[ ,;{}()\n\t=]")  # what Delta takes in no column's name
RECORDS = "requests of the form dataframe_records are measured, as mlport and the SDK send them; other forms are not"
READ = "Databricks measures by its own clock, and mlport holds the drift table to the thresholds when it reads it"
GUESSES = "Databricks' js_distance, chi_squared_test and population_stability_index: their bins, base and test are not published"


def monitor_plan(config: DatabricksConfig, spec: MonitorSpec, facts: Facts) -> Planned:
    """What makes a MonitorSpec that Databricks measures.

    Raises:
        SpecError: metrics or columns that there are none of, options, no columns.
        UnsupportedError: windows, thresholds, kinds or names that data profiling does not have; names each.
    """
    columns = _columns(spec, facts)
    gaps = Gaps(_gaps(spec, columns))
    thresholds, metrics = held(spec, columns, gaps), shown(spec, columns, gaps)
    cron = clock(spec, gaps)
    gaps.refuse()
    resolved = {
        "view": view_name(config, spec.monitor_name),
        "columns": dict(columns),
        "thresholds": [each.to_json() for each in thresholds],
        "metrics": list(metrics) if metrics is not None else None,
        "granularity": GRANULARITIES[spec.window],
        "cron": cron,
    }
    late = f"rows may come {config.capture_lag} after their requests: set delay to that" if spec.delay < config.capture_lag else ""
    guessed = GUESSES if any(each.metric.startswith(("js_", "chi_", "population_")) for each in thresholds) else ""
    notes = (RECORDS, READ, *filter(None, (late, guessed)))
    return "monitor", spec.monitor_name, _requests(config, spec, columns, cron), resolved, notes


def _requests(config: DatabricksConfig, spec: MonitorSpec, columns: Mapping[str, Kind], cron: str) -> tuple[Request, ...]:
    name = spec.monitor_name
    view, baseline, file = view_name(config, name), baseline_name(config, name), reference_file(config)
    sql = "sql.StatementExecutionAPI.execute_statement"
    upload = {"content": "the reference's watched columns, Parquet"}
    return (
        Request("serving.ServingEndpointsAPI.get", {}, "GET", f"{ENDPOINTS}/{spec.endpoint}"),
        Request("files.FilesAPI.upload", upload, "PUT", f"/api/2.0/fs/files{file}?overwrite=true"),
        Request(sql, statement_body(config, baseline_sql(baseline, file, columns)), "POST", STATEMENTS),
        Request(sql, statement_body(config, view_sql(view, columns, spec.performance.prediction)), "POST", STATEMENTS),
        Request("catalog.TablesAPI.get", {}, "GET", f"{TABLES}/{view}"),
        Request("catalog.SchemasAPI.get", {}, "GET", f"{SCHEMAS}/{config.namespace}"),
        Request("dataquality.DataQualityAPI.create_monitor", monitor_body(config, spec, baseline, cron), "POST", MONITORS),
    )


# ---------------------------------------------------------------- what is made


def view_name(config: DatabricksConfig, name: str, token: str = TOKEN) -> str:
    """The flat view of one monitor. Databricks names its two metric tables after it."""
    return f"{config.namespace}.mlport_{prefix_of(name).lower()}_{token}"


def baseline_name(config: DatabricksConfig, name: str, token: str = TOKEN) -> str:
    return f"{view_name(config, name, token)}_baseline"


def metric_tables(view: str) -> tuple[str, str]:
    """Profile and drift: docs.databricks.com, monitor-output."""
    return f"{view}_profile_metrics", f"{view}_drift_metrics"


def reference_folder(config: DatabricksConfig, token: str = TOKEN) -> str:
    return f"{config.staging}/monitors/{token}"


def reference_file(config: DatabricksConfig, token: str = TOKEN) -> str:
    return f"{reference_folder(config, token)}/reference.parquet"


def assets_folder(config: DatabricksConfig, token: str = TOKEN) -> str:
    """Where Databricks may put what belongs to the monitor; it makes no dashboard, which is said, too."""
    return f"{config.runner_folder}/monitors/{token}"


def baseline_sql(baseline: str, file: str, columns: Mapping[str, Kind]) -> str:
    """The reference as a table of the view's columns; it needs no time. NaN, which JSON cannot say, is NULL in it."""
    chosen = ", ".join(f"{_cast(name, kind)} AS {quoted(name)}" for name, kind in columns.items())
    return f"CREATE TABLE IF NOT EXISTS {quoted(*baseline.split('.'))} AS SELECT {chosen} FROM read_files('{file}', format => 'parquet')"  # noqa: S608


def view_sql(view: str, columns: Mapping[str, Kind], prediction: str) -> str:
    """A row for each row that was scored, from the endpoint's creation on, with its request's time."""
    fields = ", ".join(f"{quoted(name)}: {TYPES[kind]}" for name, kind in columns.items() if name != prediction)
    row = f"STRUCT<{fields}>" if fields else "STRING"
    records = f"from_json(request, {_text(f'STRUCT<dataframe_records: ARRAY<{row}>>')}).dataframe_records"
    rows = f"FROM {PAYLOAD} WHERE status_code = 200 AND request_time >= timestamp_millis({CREATED})"
    taken = _with_answers(records, rows) if prediction in columns else f"SELECT request_time, explode({records}) AS {ROW} {rows}"
    chosen = (_answer(columns[name]) if name == prediction else f"{ROW}.{quoted(name)}" for name in columns)
    listed = "".join(f", {value} AS {quoted(name)}" for value, name in zip(chosen, columns, strict=True))
    return f"CREATE VIEW IF NOT EXISTS {quoted(*view.split('.'))} AS SELECT request_time AS {TIME}{listed} FROM ({taken})"  # noqa: S608


def _with_answers(records: str, rows: str) -> str:
    """Each row with what was answered to it."""
    answers = "from_json(response, 'STRUCT<predictions: ARRAY<STRING>>').predictions AS mlport_answers"
    inner = f"SELECT request_time, {answers}, posexplode({records}) AS (mlport_place, {ROW}) {rows}"
    return f"SELECT request_time, {ROW}, try_element_at(mlport_answers, mlport_place + 1) AS {ANSWER} FROM ({inner})"  # noqa: S608


def _answer(kind: Kind) -> str:
    """A prediction as one value, as `mlport.monitoring` has it: of two probabilities the second, of more the place of the greatest."""
    several = f"from_json({ANSWER}, 'ARRAY<DOUBLE>')"
    of_list = (
        f"CASE WHEN size({several}) <= 2 THEN try_element_at({several}, -1) ELSE array_position({several}, array_max({several})) - 1 END"
    )
    return f"CASE WHEN {ANSWER} LIKE '[%' THEN CAST({of_list} AS {TYPES[kind]}) ELSE try_cast({ANSWER} AS {TYPES[kind]}) END"


def monitor_body(config: DatabricksConfig, spec: MonitorSpec, baseline: str, cron: str) -> Json:
    series = {"timestamp_column": TIME, "granularities": [f"AGGREGATION_GRANULARITY_{GRANULARITIES[spec.window]}"]}
    profiling = {
        "output_schema_id": SCHEMA_ID,
        "assets_dir": assets_folder(config),
        "baseline_table_name": baseline,
        "time_series": series,
        "schedule": {"quartz_cron_expression": quartz(cron), "timezone_id": spec.time_zone if spec.schedule else "UTC"},
        "skip_builtin_dashboard": True,
    }
    return {"object_type": "table", "object_id": TABLE_ID, "data_profiling_config": profiling}


def clock(spec: MonitorSpec, gaps: Gaps) -> str:
    """When Databricks measures, in five fields: as the spec says, or as soon as each window can be read, in UTC."""
    if spec.schedule is not None:
        try:
            quartz(spec.schedule)
        except UnsupportedError as error:
            gaps.append(("schedule", next(iter(error.gaps.values()))))
        return spec.schedule
    return usual_clock(spec.window, spec.delay)


def usual_clock(window: timedelta, delay: timedelta) -> str:
    """Five fields of cron that come once a window, its delay after the window's end; weeks from 1970 on begin on Thursdays.

    >>> usual_clock(timedelta(days=1), timedelta(minutes=70)), usual_clock(timedelta(minutes=5), timedelta(minutes=12))
    ('10 1 * * *', '2-59/5 * * * *')
    >>> usual_clock(timedelta(weeks=1), timedelta(days=1))
    '0 0 * * 5'
    """
    minutes = -(-(delay % window) // MINUTE)
    if window < timedelta(hours=1):
        step = window // MINUTE
        return f"{minutes % step}-59/{step} * * * *"
    if window < timedelta(days=1):
        return f"{minutes % 60} * * * *"
    minute, hour, day = minutes % 60, minutes // 60 % 24, minutes // 1440
    return f"{minute} {hour} * * {'*' if window < timedelta(weeks=1) else (4 + day) % 7}"


# ---------------------------------------------------------------- rules


def _columns(spec: MonitorSpec, facts: Facts) -> Mapping[str, Kind]:
    if "databricks" in spec.options:
        raise SpecError("MonitorSpec.options.databricks: a monitor has no options there")
    if not facts.columns:
        raise SpecError("MonitorSpec.reference: no columns are known that the requests have too")
    return facts.columns


def _gaps(spec: MonitorSpec, columns: Mapping[str, Kind]) -> list[tuple[str, str]]:
    odd_kinds = {name: kind for name, kind in spec.kinds.items() if name in columns and kind not in TYPES}
    found = [(f"kinds.{name}", f"{kind}: it measures numbers and categories") for name, kind in odd_kinds.items()]
    if spec.window not in GRANULARITIES:
        found.append(("window", f"{spec.window}: it has windows of 5 and 30 minutes, an hour, a day, and 1 to 4 weeks"))
    if spec.start is not None and spec.start > LOOK_BACK:
        found.append(("start", f"{spec.start}: it looks back {LOOK_BACK.days} days from its creation, and no further"))
    if odd := [name for name in columns if NO_NAME.search(name) or name.lower() == TIME]:
        found.append(("columns", f"{', '.join(map(repr, odd))}: its tables take no such names"))
    if len({name.lower() for name in columns}) < len(columns):
        found.append(("columns", f"{', '.join(columns)}: its tables do not tell upper from lower case"))
    return found


def _cast(name: str, kind: Kind) -> str:
    cast = f"CAST({quoted(name)} AS {TYPES[kind]})"
    return f"nullif({cast}, CAST('NaN' AS DOUBLE))" if kind == "number" else cast


def _text(said: str) -> str:
    r"""A text in SQL, where a backslash escapes.

    >>> print(_text("it's"))
    'it\'s'
    """
    return "'" + said.replace("\\", "\\\\").replace("'", "\\'") + "'"
