"""Model Monitoring v2 of the Vertex AI emulator: Google's own ModelMonitor class reaches it, and what it finds is really measured."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aids.vertex.models import BUCKET, ask, constant, deploy, done, endpoint, put, refused, until, upload
from aids.vertex.place import Sdk
from scipy.spatial.distance import jensenshannon

from mlport.emulation.faults import Faults
from mlport.emulation.server import Ready
from mlport_vertex.dialect import DIALECT
from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.storing.registry import Registry
from mlport_vertex.emulator.working.monitor_clock import SCHEDULES, Clock, following
from mlport_vertex.emulator.working.monitor_jobs import JOBS, MONITORS, STATS, MonitorJobs

pytestmark = pytest.mark.usefixtures("no_server_left")
P = "/v1beta1/projects/emulated/locations/us-central1"
DAY = datetime(2026, 11, 20, tzinfo=UTC)
SCHEMA = {"featureFields": [{"name": "hour", "dataType": "float"}, {"name": "carrier", "dataType": "categorical"}]}
DRIFT = {
    "numericMetricType": "jensen_shannon_divergence",
    "categoricalMetricType": "l_infinity",
    "defaultNumericAlertCondition": {"threshold": 0.9},
    "featureAlertConditions": {"carrier": {"threshold": 0.1}},
}
RANDOM = np.random.default_rng(7)
REFERENCE = [{"hour": float(hour), "carrier": carrier} for hour, carrier in zip(RANDOM.normal(12, 3, 200), ["UA", "AA"] * 100, strict=True)]
CURRENT = [{"hour": float(hour), "carrier": "UA"} for hour in RANDOM.normal(14, 3, 50)]
VALUES = {
    name: DIALECT.measure(metric, *([row[name] for row in rows] for rows in (REFERENCE, CURRENT)))
    for name, metric in (("hour", "jensen_shannon_divergence"), ("carrier", "l_infinity"))
}


@pytest.fixture(scope="module")
def baseline(emulator: Ready) -> dict[str, Any]:
    lines = "\n".join(json.dumps(row) for row in REFERENCE).encode()
    return {"columnizedDataset": {"gcsSource": {"gcsUri": f"{put(emulator, 'baseline/a.jsonl', lines)}/*", "format": "JSONL"}}}


@pytest.fixture(scope="module")
def served(emulator: Ready) -> tuple[str, str]:
    """An endpoint that logs, with one model deployed, and that model. Two days of requests were written into its log."""
    logging = {"enabled": True, "samplingRate": 1.0, "bigqueryDestination": {"outputUri": "bq://emulated"}}
    where = endpoint(emulator, displayName="watched", predictRequestResponseLoggingConfig=logging)
    model = upload(emulator, put(emulator, "m/model.pkl", constant(1)), displayName="m")
    done(emulator, deploy(emulator, where, model, {"0": 100}, id="7"))
    half = len(CURRENT) // 2
    named = [json.dumps(row) for row in CURRENT[:half]]
    body = json.dumps({"instances": [[row["hour"], row["carrier"]] for row in CURRENT[half:]], "parameters": {"id": "x"}})
    other = json.dumps({"hour": 99.0, "carrier": "ZZ"})
    write(emulator, where, [("7", 1, named), ("7", 23.9, [body]), ("8", 2, [other]), ("7", 24, [other, "no json"])])
    return where, model


def write(emulator: Ready, where: str, requests: list[tuple[str, float, list[str]]]) -> None:
    """Requests into an endpoint's log: of which deployed model, hours after DAY, the texts of its payload."""
    uri = ask(emulator, "GET", f"/v1/{where}")["predictRequestResponseLoggingConfig"]["bigqueryDestination"]["outputUri"]
    project, dataset, table = uri.removeprefix("bq://").split(".")
    rows = [
        {
            "deployed_model_id": number,
            "logging_time": (DAY + timedelta(hours=hours)).isoformat(),
            "request_id": str(at),
            "request_payload": sent,
            "response_payload": [],
        }
        for at, (number, hours, sent) in enumerate(requests)
    ]
    path = f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}/insertAll"
    assert "insertErrors" not in ask(emulator, "POST", path, {"rows": [{"json": row} for row in rows]})


def settled(emulator: Ready, operation: dict[str, Any]) -> dict[str, Any]:
    """The response of a monitor's operation, which v1 does not know."""
    seen = until(lambda: found if (found := ask(emulator, "GET", f"/v1beta1/{operation['name']}")).get("done") else None, 30)
    return dict(seen["response"])


def monitor(model: str, **more: Any) -> dict[str, Any]:
    target = {"vertexModel": {"model": model, "modelVersionId": "1"}}
    return {"displayName": "watch", "modelMonitoringTarget": target, "modelMonitoringSchema": SCHEMA, **more}


def target(where: str, **times: Any) -> dict[str, Any]:
    return {"vertexEndpointLogs": {"endpoints": [where]}, **times}


def run(emulator: Ready, name: str, said: dict[str, Any], job: str = "") -> dict[str, Any]:
    """A monitoring job, once it has ended."""
    query = f"?modelMonitoringJobId={job}" if job else ""
    body = {"displayName": "j", "modelMonitoringSpec": {"objectiveSpec": said}}
    made = ask(emulator, "POST", f"/v1beta1/{name}/modelMonitoringJobs{query}", body)
    assert made["state"] == "JOB_STATE_PENDING"
    return dict(until(lambda: seen if "jobExecutionDetail" in (seen := ask(emulator, "GET", f"/v1beta1/{made['name']}")) else None, 30))


PROGRAM = """
    import json, sys
    from google.cloud import aiplatform
    from google.protobuf.timestamp_pb2 import Timestamp
    from vertexai.resources.preview import ml_monitoring
    from vertexai.resources.preview.ml_monitoring import model_monitors, spec
    model_monitors._JOB_WAIT_TIME = 0.05
    endpoint, model, uri = sys.argv[1:]
    fields = [spec.FieldSchema(name="hour", data_type="float"), spec.FieldSchema(name="carrier", data_type="categorical")]
    drift = spec.DataDriftSpec(default_numeric_alert_threshold=0.9, feature_alert_thresholds={"carrier": 0.1})
    start, end = Timestamp(), Timestamp()
    start.FromJsonString("2026-11-20T00:00:00Z"); end.FromJsonString("2026-11-21T00:00:00Z")
    day = spec.MonitoringInput(endpoints=[endpoint], start_time=start, end_time=end)
    for transport in ("grpc", "rest"):
        aiplatform.init(project="emulated", location="us-central1", api_transport=transport)
        monitor = ml_monitoring.ModelMonitor.create(
            model_name=model, model_version_id="1", display_name="theirs",
            training_dataset=spec.MonitoringInput(gcs_uri=uri, data_format="jsonl"),
            model_monitoring_schema=spec.ModelMonitoringSchema(feature_fields=fields),
            tabular_objective_spec=spec.TabularObjective(feature_drift_spec=drift),
        )
        monitor.update(notification_spec=spec.NotificationSpec(user_emails=["a@b.example"]))
        job = monitor.run(target_dataset=day, sync=True)
        stats = [each.tabular_stats for each in monitor.search_metrics(model_monitoring_job_name=job.resource_name)]
        alerts = monitor.search_alerts(objective_type="raw-feature-drift")
        schedule = monitor.create_schedule(cron="TZ=Europe/Berlin 0 3 * * *", display_name="daily", target_dataset=day)
        listed = [each.name for each in monitor.list_schedules()]
        monitor.pause_schedule(schedule.name.split("/")[-1])
        paused = monitor.get_schedule(schedule.name).state.name
        monitor.resume_schedule(schedule.name)
        again = ml_monitoring.ModelMonitor(monitor.resource_name)._gca_resource
        points = {each.stats_name: each.data_points[0] for each in stats}
        print("said", json.dumps({
            "state": job.state.name,
            "emails": list(again.notification_spec.email_config.user_emails),
            "values": {name: each.current_stats.distribution_value.distribution_deviation for name, each in points.items()},
            "anomalies": {name: [each.has_anomaly, each.algorithm] for name, each in points.items()},
            "alerts": [alerts["total_number_alerts"], [each.stats_name for each in alerts["model_monitoring_alerts"]]],
            "jobs": [each.name for each in monitor.list_jobs()] == [job.resource_name],
            "listed": listed == [schedule.name],
            "paused": paused,
            "known": [each.display_name for each in ml_monitoring.ModelMonitor.list(filter='display_name="theirs"')],
        }))
        monitor.delete(force=True)
        while ml_monitoring.ModelMonitor.list():
            pass
"""


def test_googles_own_class_watches_an_endpoint(sdk: Sdk, emulator: Ready, served: tuple[str, str], baseline: dict[str, Any]) -> None:
    """Over gRPC, which is its default, and REST."""
    where, model = served
    printed = sdk(PROGRAM, where, model, baseline["columnizedDataset"]["gcsSource"]["gcsUri"]).splitlines()
    said = [json.loads(line.removeprefix("said ")) for line in printed if line.startswith("said ")]
    wanted = {
        "state": "JOB_STATE_SUCCEEDED",
        "emails": ["a@b.example"],
        "values": {"hour": pytest.approx(VALUES["hour"]), "carrier": pytest.approx(0.5)},
        "anomalies": {"hour": [False, "jensen_shannon_divergence"], "carrier": [True, "l_infinity"]},
        "alerts": [1, ["carrier"]],
        "jobs": True,
        "listed": True,
        "paused": "PAUSED",
        "known": ["theirs"],
    }
    assert said == [wanted, wanted]
    assert ask(emulator, "GET", f"{P}/schedules") == {}


def test_a_window_is_inclusive_at_its_start_and_of_one_version(emulator: Ready, served: Any, baseline: Any) -> None:
    """The second day has one row that can be read; of categories by another metric, SciPy knows the value."""
    where, model = served
    body = monitor(model, tabularObjective={"featureDriftSpec": DRIFT}, trainingDataset=baseline)
    name = settled(emulator, ask(emulator, "POST", f"{P}/modelMonitors?modelMonitorId=days", body))["name"]
    assert refused(emulator, "POST", f"{P}/modelMonitors", body)[0] == "ALREADY_EXISTS"  # one for each version
    second = {"startTime": f"{DAY + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", "endTime": "2027-01-01T00:00:00Z"}
    drift = {**DRIFT, "categoricalMetricType": "jensen_shannon_divergence", "features": ["carrier"]}
    said = {"targetDataset": target(where, timeInterval=second), "tabularObjective": {"featureDriftSpec": drift}}
    job = run(emulator, name, said, "second")
    assert (job["state"], job["jobExecutionDetail"]["targetDatasets"][0]["timeRange"]) == ("JOB_STATE_SUCCEEDED", second)
    assert "already exists" in refused(emulator, "POST", f"/v1beta1/{name}/modelMonitoringJobs?modelMonitoringJobId=second", {**job})[1]
    found = ask(emulator, "POST", f"/v1beta1/{name}:searchModelMonitoringStats", {"timeInterval": {"startTime": job["createTime"]}})
    (stats,) = found["monitoringStats"]
    (point,) = stats["tabularStats"]["dataPoints"]
    assert point["currentStats"]["distributionValue"]["distributionDeviation"] == pytest.approx(
        jensenshannon([0.5, 0.5, 0], [0, 0, 1], 2) ** 2
    )
    first = {"startTime": f"{DAY:%Y-%m-%dT%H:%M:%SZ}", "endTime": second["startTime"]}
    both = run(emulator, name, {"targetDataset": target(where, timeInterval=first)})
    pages: list[list[str]] = []
    token: str | None = ""
    while token is not None:
        search = {"pageSize": 1, "pageToken": token, "statsFilter": {"tabularStatsFilter": {"modelMonitoringJob": both["name"]}}}
        found = ask(emulator, "POST", f"/v1beta1/{name}:searchModelMonitoringStats", search)
        pages.append([each["tabularStats"]["statsName"] for each in found["monitoringStats"]])
        token = found.get("nextPageToken")
    assert sorted(pages) == [["carrier"], ["hour"]]
    alerts = ask(emulator, "POST", f"/v1beta1/{name}:searchModelMonitoringAlerts", {"statsName": "carrier", "pageSize": 1})
    assert (alerts["totalNumberAlerts"], len(alerts["modelMonitoringAlerts"])) == ("2", 1)  # of both jobs
    early = {"startTime": "2020-01-01T00:00:00Z", "endTime": "2020-01-02T00:00:00Z"}
    empty = run(emulator, name, {"targetDataset": target(where, timeInterval=early)})
    assert (empty["state"], "no data" in empty["jobExecutionDetail"]["error"]["message"]) == ("JOB_STATE_FAILED", True)
    table = {"columnizedDataset": {"gcsSource": {"gcsUri": f"gs://{BUCKET}/csv/*.csv", "format": "CSV"}}}
    put(emulator, "csv/a.csv", b"carrier,more\nUA,1\nUA,\n")
    partly = run(emulator, name, {"targetDataset": table})
    assert (partly["state"], "hour" in partly["jobExecutionDetail"]["objectiveStatus"]["raw-feature-drift"]["message"]) == (
        "JOB_STATE_PARTIALLY_SUCCEEDED",
        True,
    )
    for wrong, why in (
        ({"targetDataset": target(where, timeOffset={"window": "90m"})}, "h, d and w"),
        ({"targetDataset": {**table, "timeOffset": {"window": "1d"}}}, "timestamp field"),
        ({"targetDataset": table, "tabularObjective": {"featureDriftSpec": {**DRIFT, "features": ["none"]}}}, "monitoring schema"),
        ({"targetDataset": table, "tabularObjective": {"featureDriftSpec": {"numericMetricType": "psi"}}}, "not supported"),
    ):
        spec = {"modelMonitoringSpec": {"objectiveSpec": wrong}}
        assert why in refused(emulator, "POST", f"/v1beta1/{name}/modelMonitoringJobs", spec)[1]
    schedule = {"displayName": "s", "cron": "0 3 * * *", "maxConcurrentRunCount": "1"}
    asked = {"parent": name, "modelMonitoringJob": {"modelMonitoringSpec": {"objectiveSpec": {"targetDataset": target(where)}}}}
    made = ask(emulator, "POST", f"{P}/schedules", {**schedule, "createModelMonitoringJobRequest": asked})
    assert "createModelMonitoringJobRequest" not in ask(emulator, "GET", f"/v1/{made['name']}")  # v1 knows no such request
    assert refused(emulator, "DELETE", f"/v1beta1/{name}")[0] == "FAILED_PRECONDITION"
    settled(emulator, ask(emulator, "DELETE", f"/v1beta1/{name}?force=true"))
    assert refused(emulator, "GET", f"/v1beta1/{made['name']}")[0] == "NOT_FOUND"


def test_a_schedule_measures_the_window_before_each_of_its_times(tmp_path: Path) -> None:
    """By a clock of the test's: two firings make two jobs, a paused time and one that was missed make none, and the third is the last."""
    now = [DAY + timedelta(hours=2)]
    place = Place(tmp_path, Faults())
    try:
        Registry(place).add("projects/1/locations/l/models/m", {"displayName": "m"}, [], "o", is_new=True)
        name = f"projects/1/locations/l/{MONITORS}/w"
        source = {"columnizedDataset": {"gcsSource": {"gcsUri": "gs://b/a.csv", "format": "CSV"}}}
        spec = {"tabularObjective": {"featureDriftSpec": {}}, "baselineDataset": source, "targetDataset": source}
        place.documents.insert(MONITORS, name, {**monitor("projects/1/locations/l/models/m"), "name": name})
        asked = {"parent": name, "modelMonitoringJob": {"modelMonitoringSpec": {"objectiveSpec": spec}}}
        kept = {"name": "s", "state": "ACTIVE", "cron": "TZ=Europe/Berlin 0 * * * *", "maxRunCount": "3", "startedRunCount": "0"}
        kept |= {"startTime": DAY.isoformat(), "createModelMonitoringJobRequest": asked}
        place.documents.insert(SCHEDULES, "s", following(kept, now[0]))
        clock = Clock(place, lambda: now[0])

        def seen(hours: float) -> tuple[str, list[str]]:
            now[0] += timedelta(hours=hours)
            clock.tick()
            clock.tick()
            jobs = [job["scheduleTime"] for _, job in place.documents.list(JOBS)]
            return (place.documents.get(SCHEDULES, "s") or {})["state"], [each[11:16] for each in jobs]

        assert seen(0.5) == ("ACTIVE", [])
        assert seen(0.5) == ("ACTIVE", ["03:00"])
        assert seen(1.2) == ("ACTIVE", ["04:00", "03:00"])
        now[0] += timedelta(hours=3)
        clock = Clock(place, lambda: now[0])  # it was down
        assert seen(0) == ("ACTIVE", ["04:00", "03:00"])
        assert seen(1) == ("COMPLETED", ["08:00", "04:00", "03:00"])
        assert seen(5) == ("COMPLETED", ["08:00", "04:00", "03:00"])
    finally:
        place.close()


def test_a_killed_emulator_goes_on_with_its_jobs(tmp_path: Path) -> None:
    """A job that was begun twice has found what it would have found at once; one that was deleted meanwhile leaves nothing."""
    place = Place(tmp_path, Faults())
    place.objects.create_bucket("b")
    for name, carriers in (("a", "UA\nAA\n"), ("c", "UA\nUA\n")):
        place.objects.put("b", f"{name}.csv", f"carrier\n{carriers}".encode())
    sides = [{"columnizedDataset": {"gcsSource": {"gcsUri": f"gs://b/{name}.csv", "format": "CSV"}}} for name in "ac"]
    spec = {"baselineDataset": sides[0], "targetDataset": sides[1], "tabularObjective": {"featureDriftSpec": {"features": ["carrier"]}}}
    parent = f"projects/1/locations/l/{MONITORS}/w"
    place.documents.insert(MONITORS, parent, {**monitor("projects/1/locations/l/models/m"), "name": parent})
    job, gone = (MonitorJobs(place).create(parent, {"modelMonitoringSpec": {"objectiveSpec": spec}}) for _ in range(2))
    place.documents.change(JOBS, job["name"], lambda body: {**body, "state": "JOB_STATE_RUNNING"})
    place.close()
    place = Place(tmp_path, Faults())
    try:
        jobs = MonitorJobs(place)
        jobs.forget(gone["name"])
        jobs.push()
        until(lambda: (place.documents.get(JOBS, job["name"]) or {})["state"] == "JOB_STATE_SUCCEEDED", 10)
        jobs.push()
        found = [body for _, body in place.documents.list(STATS)]
        assert [(each["statsName"], each["point"]["modelMonitoringJob"]) for each in found] == [("carrier", job["name"])]
        assert found[0]["point"]["currentStats"]["distributionValue"]["distributionDeviation"] == 0.5
        assert "hasAnomaly" not in found[0]["point"]  # no threshold was set
    finally:
        place.end_chores()
        place.close()
