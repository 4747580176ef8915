"""What Databricks can do, what mlport builds of it, and what it cannot and why. docs/spi/databricks.md has the sources."""

from __future__ import annotations

from mlport.capabilities import Capability as C
from mlport.capabilities import Support, SupportMap, absent, composed, native, not_yet, total
from mlport_databricks.config import DatabricksConfig

NO_SCOPE = "needs secret_scope in the profile: a secret scope holds them until the job has ended"
NO_WAREHOUSE = "needs warehouse_id in the profile: what was captured is a table, and a SQL warehouse reads it"


def supports(config: DatabricksConfig) -> SupportMap:
    """The capability map: what is read from tables needs a warehouse, what is secret a scope."""
    return total({**_jobs(config), **_others(), **_models(), **_endpoints(config), C.MONITOR: _monitor(config)})


def _jobs(config: DatabricksConfig) -> dict[C, Support]:
    return {
        C.JOB_RUN: native("a one-time run, on a cluster of its own unless options.databricks.cluster says otherwise"),
        C.JOB_CANCEL: native("jobs/runs/cancel: asynchronous, and a run about to end may still succeed"),
        C.JOB_LOGS: composed(
            "the runner writes them to the volume in pieces; Databricks keeps the last 5 MB, and shows them after the end"
        ),
        C.JOB_REQUIREMENTS: composed("a virtual environment made by pip when the job starts, over the runtime's packages"),
        C.JOB_IMAGE: not_yet("Databricks Container Services takes images built on Databricks' own base only, and an admin must enable it"),
        C.JOB_INPUT_LOCAL: composed("uploaded to the volume once for each content; what lies in a volume is read there"),
        C.JOB_INPUT_OBJECT: composed("https:// addresses, fetched before the program starts; a bucket's files through a volume"),
        C.JOB_CHECKPOINT: composed("copied to the volume every 30 seconds and at the end"),
        C.JOB_RETRY: native("max_retries of the task: each attempt has a new cluster, and a machine that was lost counts as an attempt"),
        C.JOB_TIMEOUT: composed(
            "by mlport's runner for each attempt; Databricks' own limit is set above it, for it counts the cluster's start"
        ),
        C.JOB_GPU: native("node types with GPUs, and the runtime for them"),
        C.JOB_NODES: composed(
            "a for-each task of single-node clusters, one a node, for Spark's workers do not run mlport's runner: they wait for each "
            "other, and must be able to reach each other in the workspace's network; a batch's need not"
        ),
        C.JOB_SPOT: native("spot with fallback to on demand; classic clusters only"),
        C.JOB_METRICS: composed("JSON lines in the volume"),
        C.JOB_METRICS_LIVE: composed("copied there every 2 seconds"),
        C.JOB_SECRETS: composed("a secret of the scope, which the run reads with dbutils; removed when the job is seen to have ended")
        if config.secret_scope
        else absent(NO_SCOPE),
    }


def _monitor(config: DatabricksConfig) -> Support:
    """Without a warehouse nothing can be read: neither what was captured, nor the tables that data profiling writes."""
    if config.warehouse_id is None:
        return absent(NO_WAREHOUSE)
    return native("data profiling of Unity Catalog over a view of the captured requests; it holds no thresholds: mlport does, as it reads")


def _others() -> dict[C, Support]:
    return {
        C.SWEEP: composed("each trial is a job, started by mlport; its API has no tuner"),
        C.SCHEDULE: native("a job of Databricks' own with a schedule"),
        C.SCHEDULE_JITTER: absent("Databricks starts a job at the time that its schedule says"),
        C.SCHEDULE_LIMIT: native("max_concurrent_runs without a queue: a firing that finds no place is skipped"),
        C.SCHEDULE_WINDOW: absent("a schedule of Databricks has no beginning and no end; pause and resume it"),
        C.BATCH: composed("a job of mlport's: Databricks has no batch transform of a registered model"),
        C.STATE_SHARED: composed("objects with conditional writes in a bucket of your own"),
    }


def _models() -> dict[C, Support]:
    return {
        C.MODEL_REGISTER: native("Unity Catalog; this machine copies the files to its storage"),
        C.MODEL_ALIAS: native("aliases of a registered model"),
        C.MODEL_TAGS: native("tags of a model version"),
        C.MODEL_APPROVAL: absent("models of Unity Catalog have no stages; use an alias such as approved"),
        C.MODEL_LINEAGE: composed("mlport's record in the version's description, its heart in tags"),
        C.MODEL_DOWNLOAD: native("copied from the version's storage with temporary credentials, and verified by digest"),
    }


def _endpoints(config: DatabricksConfig) -> dict[C, Support]:
    minute = "the endpoint's metrics of the last minute"
    observed = composed(
        f"{minute}; the past from the captured requests" if config.warehouse_id else f"{minute}; the past needs warehouse_id"
    )
    return {
        C.ENDPOINT_SERVE: native("Model Serving"),
        C.ENDPOINT_IMAGE: absent("Model Serving builds the image itself, from the model's requirements"),
        C.ENDPOINT_BUILD: native("Model Serving builds the image of every version"),
        C.ENDPOINT_REPLICAS: composed("provisioned concurrency, four requests at once for each replica"),
        C.ENDPOINT_AUTOSCALE: native("provisioned concurrency between a minimum and a maximum"),
        C.ENDPOINT_SCALE_TO_ZERO: native("scale_to_zero_enabled"),
        C.ENDPOINT_GPU: native("workload types with GPUs"),
        C.ENDPOINT_SPLIT: native("a traffic configuration in whole percent"),
        C.ENDPOINT_IDLE: native("a served entity at 0 percent"),
        C.ENDPOINT_TARGET: absent("no documented call names one served entity"),
        C.ENDPOINT_MIRROR: not_yet("mirroring comes with rollouts"),
        C.ENDPOINT_KEY: absent("Model Serving has no keys of endpoints; callers show a token of the workspace"),
        C.ENDPOINT_IDENTITY: native("a token of the workspace"),
        C.ENDPOINT_PUBLIC: absent("every call needs a token of the workspace"),
        C.ENDPOINT_CAPTURE: native("inference tables of AI Gateway; rows come within an hour")
        if config.warehouse_id
        else absent(NO_WAREHOUSE),
        C.ENDPOINT_OBSERVE: observed,
        C.ENDPOINT_LATENCY: observed,
    }
