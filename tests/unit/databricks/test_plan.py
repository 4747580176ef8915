"""Plans of jobs, batches and schedules: the goldens, the node, what is never left to a default, and what is refused."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mlport.errors import SpecError, UnsupportedError
from mlport.specs import BatchSpec, JobSpec, ModelRef, ScheduleSpec
from mlport.spi import TOKEN, Facts, InputFact, Json, Plan
from mlport_databricks import PROVIDER
from mlport_databricks.compute.nodes import named
from mlport_databricks.config import Cloud, DatabricksConfig
from mlport_databricks.emulator.protocol.checking import problems
from mlport_databricks.emulator.protocol.described import method
from mlport_databricks.running.job_request import FIRED_AT, RUNNER
from mlport_databricks.running.manifest import LONGEST, asked_in, work_in
from mlport_databricks.running.quartz import quartz

GOLDEN = Path(__file__).parents[2] / "golden" / "databricks"
CONFIG = DatabricksConfig.from_url(
    "databricks://acme.cloud.databricks.com/main/ml?state=s3://acme-ml/mlport&region=us-east-1", profile="prod"
)
AZURE = DatabricksConfig.from_url(
    "databricks://adb-1.2.azuredatabricks.net/main/ml?state=abfss://mlp@acme.dfs.core.windows.net/mlport&region=westeurope"
)
LABELS = {"mlport": "delays", "mlport_profile": "prod", "mlport_owner": "ada", "mlport_token": TOKEN}
EXAMPLE: dict[str, Any] = {"compute": {"cpus": 4, "memory_gib": 16}, "timeout": "1h", "retries": 1}


def plan_of(config: DatabricksConfig = CONFIG, **fields: Any) -> Plan:
    spec = JobSpec.model_validate({"name": "delays", "entrypoint": ["python", "train.py"], **fields})
    return PROVIDER.plan(config, spec, Facts(bundle="0" * 64, labels=LABELS))


def body(plan: Plan) -> Json:
    return plan.requests[-1].body


def work_of(plan: Plan) -> Json:
    """The manifest, which must be in the parameters."""
    found = work_in(body(plan))
    assert found is not None
    return found


def refused(plan: Plan) -> list[Any]:
    """What the SDK's own description has against the last request."""
    request = plan.requests[-1]
    described = method(f"{request.method} {request.path}")
    assert (described.id, described.body is not None) == (request.call, True)
    return list(problems(described.body or {}, request.body))


def task(plan: Plan) -> Json:
    (found,) = body(plan)["tasks"]
    return dict(found)


def options(**given: Any) -> Json:
    return {"options": {"databricks": given}}


def test_the_job_is_the_golden_one() -> None:
    (golden,) = json.loads((GOLDEN / "job.json").read_text())["requests"]
    request = plan_of(**EXAMPLE).requests[-1]
    sent = json.loads(json.dumps(request.body).replace(RUNNER, "9f2c"))
    assert (request.call, request.method, request.path, sent) == (golden["call"], golden["method"], golden["path"], golden["body"])


@pytest.mark.parametrize(
    ("cluster", "spot", "retries", "cloud"),
    list(product(("job", "serverless", "0923-164208-meows279"), (False, True), (0, 2), ("aws", "azure", "gcp"))),
)
def test_spot_retries_timeout_and_queue_are_always_written_out(cluster: str, spot: bool, retries: int, cloud: Cloud) -> None:
    config = CONFIG.model_copy(update={"cloud": cloud})
    if spot and cluster != "job":
        with pytest.raises(SpecError, match="spot"):
            plan_of(config, compute={"spot": True}, **options(cluster=cluster))
        return
    plan = plan_of(config, compute={"spot": spot}, retries=retries, **options(cluster=cluster))
    found = task(plan)
    assert body(plan)["queue"] == {"enabled": True}
    assert body(plan)["idempotency_token"] == TOKEN
    assert (found["max_retries"], found["retry_on_timeout"], found["timeout_seconds"]) == (retries, False, 0)
    if cluster == "job":
        availability = found["new_cluster"][f"{cloud}_attributes"]["availability"]
        assert availability.startswith(("SPOT_WITH_FALLBACK", "PREEMPTIBLE_WITH_FALLBACK") if spot else "ON_DEMAND")
    if cluster == "serverless":
        assert found["disable_auto_optimization"] is True, "or Databricks tries again by itself"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"region": "us-west-2"}, "no prices are known in aws us-west-2; chosen by 0.147 on demand with 0.34 DBU, us-east-1, 2026-07-20"),
        ({"tier": "standard"}, "no DBU price of tier standard is known in us-east-1; chosen by 0.147 on demand with 0.34 DBU, us-east-1, "),
        ({"cloud": "azure", "region": "eastus"}, "no spot price of Standard_F4s_v2 is known in eastus; chosen by "),
    ],
)
def test_a_price_that_is_not_known_is_no_price_though_it_chose_the_node(told: dict[str, Any], said: str) -> None:
    plan = plan_of(CONFIG.model_copy(update=told), compute={"spot": "cloud" in told})
    assert plan.resolved["machine"]
    assert plan.resolved["usd_per_hour"] is None
    assert plan.resolved["price_basis"].startswith(said)


def test_a_node_type_that_is_named_has_its_own_price() -> None:
    assert named(CONFIG, "x9.mega") is None
    plan = plan_of(compute={"cpus": 1}, **options(node_type="r5.xlarge"))
    assert (plan.resolved["machine"], plan.resolved["usd_per_hour"]) == ("r5.xlarge", "0.387")
    assert float(plan_of(compute={"spot": True}, **options(node_type="r5.xlarge")).resolved["usd_per_hour"]) < 0.387


def test_a_gpu_brings_its_node_and_its_runtime() -> None:
    cluster = task(plan_of(compute={"gpus": 1, "gpu": "T4"}))["new_cluster"]
    assert (cluster["node_type_id"], cluster["spark_version"]) == ("g4dn.xlarge", "16.4.x-gpu-ml-scala2.12")
    with pytest.raises(SpecError, match=r"JobSpec\.compute\.gpu: 'TPU'"):
        plan_of(compute={"gpus": 1, "gpu": "TPU"})
    with pytest.raises(SpecError, match=r"JobSpec\.compute\.cpus"):
        plan_of(compute={"cpus": 1000})


def test_options_and_profile_reach_the_cluster() -> None:
    config = CONFIG.model_copy(update={"policy_id": "P1", "instance_profile": "arn:aws:iam::1:instance-profile/a", "run_as": "app"})
    plan = plan_of(config, compute={"disk_gib": 200}, **options(num_workers=2, node_type="r5.xlarge", spark_version="17.3.x-scala2.13"))
    cluster = task(plan)["new_cluster"]
    assert (cluster["policy_id"], cluster["num_workers"], cluster["is_single_node"]) == ("P1", 2, False)
    assert (cluster["node_type_id"], cluster["spark_version"]) == ("r5.xlarge", "17.3.x-scala2.13")
    assert cluster["aws_attributes"]["instance_profile_arn"] == "arn:aws:iam::1:instance-profile/a"
    assert cluster["aws_attributes"]["ebs_volume_size"] == 200
    assert body(plan)["run_as"] == {"service_principal_name": "app"}
    assert plan.resolved["nodes"] == 3
    pooled = task(plan_of(**options(instance_pool_id="pool-1")))["new_cluster"]
    assert pooled["instance_pool_id"] == "pool-1"
    assert "node_type_id" not in pooled


@pytest.mark.parametrize(
    "fields",
    [
        {},
        EXAMPLE,
        {"compute": {"spot": True, "disk_gib": 150}},
        options(cluster="serverless", usage_policy_id="u"),
        options(cluster="0923-164208-meows279"),
        options(num_workers=2, policy_id="P", libraries=[{"pypi": {"package": "x"}}]),
        options(instance_pool_id="pool-1", run_as="app"),
    ],
)
def test_databricks_would_take_it(fields: Json) -> None:
    plan = plan_of(**fields)
    assert refused(plan) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (options(clutser="job"), "options.databricks: .*clutser.*cluster"),
        (options(cluster="mine"), "cluster"),
        (options(cluster="serverless", node_type="m5.large"), "node_type: of a new cluster only"),
        ({"python": "3.7"}, "JobSpec.python: '3.7'"),
        ({"labels": {"a,b": "c"}}, ""),
        ({"compute": {"spot": True}, **options(instance_pool_id="p")}, "spot"),
        ({"compute": {"gpus": 1}, **options(cluster="serverless")}, "gpus"),
    ],
)
def test_what_cannot_be_is_named(fields: Json, said: str) -> None:
    if not said:
        with pytest.raises(SpecError, match="'a,b'"):
            PROVIDER.plan(CONFIG, JobSpec(name="x", entrypoint=("a",)), Facts(labels=fields["labels"]))
        return
    with pytest.raises(SpecError, match=said):
        plan_of(**fields)


def test_a_disk_cannot_be_chosen_on_azure() -> None:
    with pytest.raises(SpecError, match="disk_gib"):
        plan_of(AZURE, compute={"disk_gib": 200})


def test_inputs_are_uploaded_read_in_a_volume_or_fetched() -> None:
    facts = Facts(
        inputs={
            "here": InputFact("/data/rows.csv", "sha256", "ab", 1),
            "there": InputFact("/Volumes/main/ml/v/rows", "unversioned", "", 1),
            "web": InputFact("https://x/y", "etag", "1", 1),
        }
    )
    plan = PROVIDER.plan(CONFIG, JobSpec(name="x", entrypoint=("a",), requirements=("y @ file:///tmp/y-1.whl",)), facts)
    work = work_of(plan)
    uris = {name: entry["uri"] for name, entry in work["inputs"].items()}
    assert uris == {"here": "/Volumes/main/ml/mlport/inputs/ab/rows.csv", "there": "/Volumes/main/ml/v/rows", "web": "https://x/y"}
    assert work["requirements"] == ["y @ file://${packed}/wheels/y-1.whl"]
    with pytest.raises(SpecError, match=r"JobSpec\.inputs\.x: 's3://b/x'"):
        PROVIDER.plan(CONFIG, JobSpec(name="x", entrypoint=("a",)), Facts(inputs={"x": InputFact("s3://b/x", "etag", "", 1)}))


def test_several_nodes_are_a_cluster_each() -> None:
    plan = plan_of(compute={"nodes": 3}, retries=1)
    found = task(plan)["for_each_task"]
    assert (found["inputs"], found["concurrency"], found["task"]["max_retries"]) == ("[0, 1, 2]", 3, 1)
    assert found["task"]["spark_python_task"]["parameters"][-2:] == ["--shard", "{{input}}"]
    assert found["task"]["new_cluster"]["is_single_node"] is True
    assert plan.resolved["nodes"] == 3
    assert refused(plan) == []
    with pytest.raises(SpecError, match="nodes"):
        plan_of(compute={"nodes": 2}, **options(cluster="serverless"))


# ---------------------------------------------------------------- the manifest


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"text": "x" * LONGEST}},
        {"params": {"template": "{{job.run_id}}"}},
        {"env": {"DB_PASSWORD": "x"}},
        {"params": {"db": "postgresql://ann:s3cret@h/d"}},
    ],
    ids=["large", "a reference", "a secret by its name", "a password in an address"],
)
def test_what_must_not_be_in_parameters_is_in_the_volume(fields: Json) -> None:
    plan = plan_of(**fields)
    words = task(plan)["spark_python_task"]["parameters"]
    assert words == ["--manifest", "/Volumes/main/ml/mlport/jobs/${token}/manifest.json", "--run", "{{job.run_id}}"]
    upload = plan.requests[-2]
    assert upload.path == "/api/2.0/fs/files/Volumes/main/ml/mlport/jobs/${token}/manifest.json?overwrite=true"
    (name, value), *_ = fields.items()
    assert upload.body[name] == value


@pytest.mark.parametrize("text", ["x", '"', "é", "\N{GRINNING FACE}"])
def test_parameters_stay_below_what_databricks_takes(text: str) -> None:
    asked = (task(plan_of(params={"text": text * count})) for count in range(200, 9_000, 25))
    found = [words for each in asked if (words := each["spark_python_task"]["parameters"])[0] == "--work"]
    assert all(word.isascii() for words in found for word in words)
    largest = max(len(json.dumps({"python_params": words}).replace(TOKEN, "0" * 64)) for words in found)
    assert LONGEST - 500 < largest < 10_000


def test_a_token_goes_into_a_manifest_within_a_parameter() -> None:
    work = work_of(plan_of(params={"say": 'a "quoted" \\ é\n'}))
    assert (work["token"], work["folder"]) == (TOKEN, f"/Volumes/main/ml/mlport/jobs/{TOKEN}")
    assert work["params"] == {"say": 'a "quoted" \\ é\n'}


def test_a_manifest_tells_how_the_job_was_asked_for() -> None:
    spec = JobSpec.model_validate(
        {
            "name": "delays",
            "entrypoint": ["python", "train.py"],
            "source": "/src",
            "params": {"depth": 6},
            "inputs": {"rows": "/data/rows.csv", "there": "dbfs:/Volumes/main/ml/v/rows"},
            "requirements": ["y @ file:///tmp/y-1.whl"],
            "env": {"A": "b"},
            "secrets": ["S"],
            "outputs": ["model", "plots"],
            "timeout": "1h",
            "compute": {"cpus": 4},
        }
    )
    inputs = {
        "rows": InputFact("/data/rows.csv", "sha256", "ab", 1),
        "there": InputFact("/Volumes/main/ml/v/rows", "unversioned", "", 2),
    }
    facts = Facts("0" * 64, 7, "c0ffee", git_dirty=True, inputs=inputs, labels=LABELS)
    plan = PROVIDER.plan(CONFIG, spec, facts)
    asked = asked_in(work_of(plan)) or {}
    told = plan.to_json()
    assert JobSpec.model_validate(asked["spec"]) == spec
    assert asked["kind"] == "job"
    assert asked["facts"].items() <= told["facts"].items()
    assert {"bundle", "git_commit", "git_dirty", "inputs"} <= asked["facts"].keys()


def test_no_secrets_value_is_in_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_SECRET", "the-value-of-it")
    plan = plan_of(secrets=["SUITE_SECRET"])
    assert "the-value-of-it" not in json.dumps([plan.to_json(), work_of(plan), asked_in(work_of(plan))])
    assert (asked_in(work_of(plan)) or {})["spec"]["secrets"] == ["SUITE_SECRET"]


# ---------------------------------------------------------------- batches and schedules


def batch_of(**fields: Any) -> Plan:
    spec = BatchSpec.model_validate(
        {"name": "delays", "model": {"name": "delays", "version": "1"}, "input": "/r", "output": "/o", **fields}
    )
    facts = Facts(
        inputs={"rows": InputFact("/r", "sha256", "ab", 1)}, labels=LABELS, model={"name": "delays", "version": "1", "digest": "d"}
    )
    return PROVIDER.plan(CONFIG, spec, facts)


def test_the_batch_is_the_golden_one() -> None:
    (golden,) = json.loads((GOLDEN / "batch.json").read_text())["requests"]
    request = batch_of(compute={"cpus": 4, "memory_gib": 16, "nodes": 2}, timeout="1h").requests[-1]
    sent = json.loads(json.dumps(request.body).replace(RUNNER, "9f2c"))
    assert (request.call, request.method, request.path, sent) == (golden["call"], golden["method"], golden["path"], golden["body"])


def test_a_batch_reads_the_model_from_the_volume() -> None:
    work = work_of(batch_of())
    assert work["inputs"]["model"] == {"uri": "/Volumes/main/ml/mlport/models/d", "kind": "sha256", "digest": "d"}
    assert work["outputs"] == {"predictions": {}}
    there = work_of(batch_of(output="/Volumes/main/ml/v/scored"))
    assert there["outputs"] == {"predictions": {"uri": "dbfs:///Volumes/main/ml/v/scored"}}
    with pytest.raises(SpecError, match=r"BatchSpec\.output: 's3://b/o'"):
        batch_of(output="s3://b/o")


def test_a_batch_tells_how_it_was_asked_for() -> None:
    plan = batch_of(compute={"nodes": 2}, keep=["id"])
    asked = asked_in(work_of(plan)) or {}
    assert BatchSpec.model_validate(asked["spec"]).to_json() == plan.spec
    assert (asked["kind"], asked["facts"]["inputs"]) == ("batch", plan.to_json()["facts"]["inputs"])


def schedule_of(**fields: Any) -> Plan:
    job = JobSpec(name="delays", entrypoint=("python", "train.py"), inputs=fields.pop("inputs", {}))
    spec = ScheduleSpec.model_validate({"name": "nightly", "cron": "30 6 * * 1-5", "job": job, **fields})
    return PROVIDER.plan(CONFIG, spec, Facts(bundle="0" * 64, labels=LABELS))


def test_a_schedule_is_a_job_of_databricks() -> None:
    plan = schedule_of(time_zone="Europe/Berlin", max_concurrent=2, paused=True)
    sent = body(plan)
    clock = {"quartz_cron_expression": "0 30 6 ? * MON,TUE,WED,THU,FRI", "timezone_id": "Europe/Berlin", "pause_status": "PAUSED"}
    assert sent["schedule"] == clock
    assert (sent["name"], sent["max_concurrent_runs"], sent["queue"]) == ("mlport nightly ${token}", 2, {"enabled": False})
    assert sent["tasks"][0]["new_cluster"]["custom_tags"]["mlport_schedule"] == "nightly"
    assert refused(plan) == []
    assert body(schedule_of())["queue"] == {"enabled": True}
    assert (work_of(plan)["scheduled"], work_of(plan)["name"]) == (True, "delays")
    assert sent["tasks"][0]["spark_python_task"]["parameters"][2:] == ["--run", "{{job.run_id}}", "--time", FIRED_AT]


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"jitter": "5s"}, UnsupportedError, "jitter"),
        ({"start": "2030-01-01T00:00:00Z", "end": "2031-01-01T00:00:00Z"}, UnsupportedError, "end"),
        ({"cron": "0 0 1 * 1"}, UnsupportedError, "cron"),
        ({"inputs": {"rows": "/data/rows.csv"}}, SpecError, "rows"),
    ],
)
def test_what_databricks_clock_cannot_do_is_refused(fields: Json, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        schedule_of(**fields)


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("* * * * *", "0 * * * * ?"),
        ("0 2 1,15 * *", "0 0 2 1,15 * ?"),
        ("0 0 * * 0", "0 0 0 ? * SUN"),
        ("0 0 * * 7", "0 0 0 ? * SUN"),
        ("0 0 * * 5-7", "0 0 0 ? * SUN,FRI,SAT"),
        ("0 0 * * */2", "0 0 0 ? * SUN,TUE,THU,SAT"),
        ("0 0 * JAN mon,wed", "0 0 0 ? JAN MON,WED"),
    ],
)
def test_cron_in_quartz_words(cron: str, told: str) -> None:
    assert quartz(cron) == told


def test_the_version_that_a_batch_names_is_in_its_facts() -> None:
    assert ModelRef(name="delays", version="1") == ModelRef.model_validate(batch_of().spec["model"])
