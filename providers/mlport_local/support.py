"""What one's own machine can do, and what it cannot and why."""

from __future__ import annotations

from mlport.capabilities import Capability as C
from mlport.capabilities import SupportMap, absent, composed, native, not_yet, total
from mlport_local.config import LocalConfig


def supports(config: LocalConfig) -> SupportMap:
    """The capability map of the embedded engine."""
    return total(
        {
            C.JOB_RUN: native("a supervised process that survives the client"),
            C.JOB_CANCEL: native("the whole process group, and what left it"),
            C.JOB_LOGS: native("a file, read by byte offset"),
            C.JOB_REQUIREMENTS: native("a virtual environment built by uv, cached by digest"),
            C.JOB_IMAGE: absent("the embedded engine runs processes, not containers"),
            C.JOB_INPUT_LOCAL: native("used where it lies, after its digest is checked"),
            C.JOB_INPUT_OBJECT: composed("fetched by obstore before the program starts"),
            C.JOB_CHECKPOINT: native("one folder for all attempts"),
            C.JOB_RETRY: native("the same supervisor starts the next attempt"),
            C.JOB_TIMEOUT: native("SIGTERM, then SIGKILL, to the whole process group"),
            C.JOB_GPU: native("the driver's devices, each for one job at a time") if config.gpus else absent("this machine has no GPU"),
            C.JOB_NODES: composed("one process a node on this machine"),
            C.JOB_SPOT: absent("there is no spot market on your own machine"),
            C.JOB_METRICS: native("JSON lines, the last value of each metric"),
            C.JOB_METRICS_LIVE: native("the same file, while the program appends to it"),
            C.JOB_SECRETS: native("a file only you can read, removed when the job ends"),
            C.SWEEP: composed("trials are jobs; mlport chooses their parameters"),
            C.SCHEDULE: composed("fired by `mlport agent`, a small process on this machine"),
            C.SCHEDULE_JITTER: composed("by the agent, by an amount that the firing's time gives"),
            C.SCHEDULE_LIMIT: composed("by the agent, which looks at the runs before it starts one"),
            C.SCHEDULE_WINDOW: composed("by the agent"),
            C.BATCH: native("a job that streams the files through the model"),
            C.MODEL_REGISTER: native("MLflow"),
            C.MODEL_ALIAS: native("MLflow's aliases"),
            C.MODEL_TAGS: native("MLflow's tags"),
            C.MODEL_APPROVAL: absent("MLflow has no approval; use an alias such as approved"),
            C.MODEL_LINEAGE: composed("mlport's record in MLflow's tags"),
            C.MODEL_DOWNLOAD: native("copied and verified by digest"),
            C.ENDPOINT_SERVE: native("mlport's model server behind a router on one stable address"),
            C.ENDPOINT_IMAGE: absent("the embedded engine runs processes, not containers"),
            C.ENDPOINT_BUILD: not_yet("an environment from the model's requirements comes with a later release"),
            C.ENDPOINT_REPLICAS: not_yet("one worker a deployment for now; it batches, and uses the machine's cores where the model does"),
            C.ENDPOINT_AUTOSCALE: absent("one machine does not grow"),
            C.ENDPOINT_SCALE_TO_ZERO: absent("a stopped endpoint could not answer; delete it instead"),
            C.ENDPOINT_GPU: not_yet("GPUs are assigned by a later release"),
            C.ENDPOINT_SPLIT: native("weighted random choice for each request"),
            C.ENDPOINT_IDLE: native("a worker at 0 percent"),
            C.ENDPOINT_TARGET: native("the header x-mlport-deployment"),
            C.ENDPOINT_MIRROR: not_yet("mirroring comes with rollouts"),
            C.ENDPOINT_KEY: native("a bearer key; only its digest is stored beside the endpoint's state"),
            C.ENDPOINT_IDENTITY: absent("a machine of your own has no identity service"),
            C.ENDPOINT_PUBLIC: native("anyone who reaches the address"),
            C.ENDPOINT_CAPTURE: native("spooled before the answer leaves, Parquet in the background"),
            C.ENDPOINT_OBSERVE: native("counted by the router, each second"),
            C.ENDPOINT_LATENCY: native("a histogram with bins of about 2 percent"),
            C.MONITOR: composed("mlport compares what was captured with the reference"),
            C.STATE_SHARED: absent("SQLite under the root; share the machine, not the file"),
        }
    )
