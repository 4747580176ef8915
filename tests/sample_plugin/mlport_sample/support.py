"""What the sample provider can do. `total` sees to it that nothing is left unsaid; each gap says why."""

from __future__ import annotations

from mlport.capabilities import Capability as C
from mlport.capabilities import absent, composed, native, not_yet, total

_AGENT = "by `mlport agent`"
_SMALL = "the sample shows the interface, and stays small"
_ONE_PROCESS = "the sample answers from one process an endpoint"

SUPPORTS = total(
    {
        C.JOB_RUN: native("a process under mlport's runner"),
        C.JOB_CANCEL: native("a signal to the process group"),
        C.JOB_LOGS: native("a file"),
        C.JOB_REQUIREMENTS: absent("jobs run in the interpreter that is there"),
        C.JOB_IMAGE: absent("processes, not containers"),
        C.JOB_INPUT_LOCAL: native("used where it lies"),
        C.JOB_INPUT_OBJECT: absent("no object store is known here"),
        C.JOB_CHECKPOINT: absent("a job has one attempt"),
        C.JOB_RETRY: absent("a job has one attempt"),
        C.JOB_TIMEOUT: native("by the runner"),
        C.JOB_GPU: absent("no GPU is known here"),
        C.JOB_NODES: absent("one process a job"),
        C.JOB_SPOT: absent("there is no spot market in a folder"),
        C.JOB_METRICS: native("by the runner"),
        C.JOB_METRICS_LIVE: native("the same file, while the program appends to it"),
        C.JOB_SECRETS: native("in the process's environment only"),
        C.SWEEP: composed("trials are jobs; mlport chooses their parameters"),
        C.SCHEDULE: composed(_AGENT),
        C.SCHEDULE_JITTER: composed(_AGENT),
        C.SCHEDULE_LIMIT: composed(_AGENT),
        C.SCHEDULE_WINDOW: composed(_AGENT),
        C.BATCH: not_yet(_SMALL),
        C.MODEL_REGISTER: native("a folder for each version"),
        C.MODEL_ALIAS: native("one file a model"),
        C.MODEL_TAGS: native("in the version's record"),
        C.MODEL_APPROVAL: absent("nobody approves here"),
        C.MODEL_LINEAGE: native("in the version's record"),
        C.MODEL_DOWNLOAD: native("a copy"),
        C.ENDPOINT_SERVE: native("a small HTTP server"),
        C.ENDPOINT_IMAGE: absent("processes, not containers"),
        C.ENDPOINT_BUILD: absent("processes, not containers"),
        C.ENDPOINT_REPLICAS: absent(_ONE_PROCESS),
        C.ENDPOINT_AUTOSCALE: absent(_ONE_PROCESS),
        C.ENDPOINT_SCALE_TO_ZERO: absent(_ONE_PROCESS),
        C.ENDPOINT_GPU: absent("no GPU is known here"),
        C.ENDPOINT_SPLIT: native("weighted random choice for each request"),
        C.ENDPOINT_IDLE: native("a deployment at 0 percent"),
        C.ENDPOINT_TARGET: native("a header"),
        C.ENDPOINT_MIRROR: absent(_SMALL),
        C.ENDPOINT_KEY: native("a header, compared in constant time"),
        C.ENDPOINT_IDENTITY: absent("a folder has no identity service"),
        C.ENDPOINT_PUBLIC: absent(_SMALL),
        C.ENDPOINT_CAPTURE: absent(_SMALL),
        C.ENDPOINT_OBSERVE: native("a line for each answer"),
        C.ENDPOINT_LATENCY: native("samples"),
        C.MONITOR: absent("monitors compare what was captured, and nothing is"),
        C.STATE_SHARED: absent("SQLite in the folder"),
    }
)
