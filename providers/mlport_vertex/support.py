"""What Vertex AI can do, what mlport builds of it, and what it cannot and why. docs/spi/vertex.md has the sources."""

from __future__ import annotations

from mlport.capabilities import Capability as C
from mlport.capabilities import Support, SupportMap, absent, composed, native, not_yet, total
from mlport_vertex.config import VertexConfig


def supports(config: VertexConfig) -> SupportMap:
    """The capability map."""
    return total({**_jobs(), **_others(), **_models(), **_endpoints(config)})


def _jobs() -> dict[C, Support]:
    return {
        C.JOB_RUN: native("a custom job"),
        C.JOB_CANCEL: native("customJobs.cancel: asynchronous, and a job about to end may still succeed"),
        C.JOB_LOGS: native("Cloud Logging; 60 reads a minute for the whole project"),
        C.JOB_REQUIREMENTS: composed("a virtual environment made by pip when the job starts, over the image's packages"),
        C.JOB_IMAGE: native("any image that Vertex AI can pull and that has Python 3.8 or newer"),
        C.JOB_INPUT_LOCAL: composed("uploaded to the staging folder once for each content"),
        C.JOB_INPUT_OBJECT: composed("gs:// and https:// addresses, fetched before the program starts"),
        C.JOB_CHECKPOINT: composed("copied to the staging folder every 30 seconds and at the end"),
        C.JOB_RETRY: composed("by mlport's runner on the same machine; Vertex AI's own restarts beyond that are refused"),
        C.JOB_TIMEOUT: composed("by mlport's runner for each attempt; Vertex AI's own limit is set above it"),
        C.JOB_GPU: native("machine types with accelerators"),
        C.JOB_NODES: native("two worker pools"),
        C.JOB_SPOT: native("scheduling strategy SPOT"),
        C.JOB_METRICS: composed("JSON lines in the staging folder"),
        C.JOB_METRICS_LIVE: composed("copied there every 2 seconds"),
        C.JOB_SECRETS: not_yet(
            "a custom job's environment is shown to all who may read the job; secrets come with Secret Manager. "
            "Until then let the program read Secret Manager itself, as its service account"
        ),
    }


def _others() -> dict[C, Support]:
    return {
        C.SWEEP: native("a hyperparameter tuning job; where it cannot do what is asked, trials are custom jobs that mlport starts"),
        C.SCHEDULE: composed("fired by `mlport agent`, from state in the staging bucket: Vertex AI's own schedules start pipelines only"),
        C.SCHEDULE_JITTER: composed("by the agent, by an amount that the firing's time gives"),
        C.SCHEDULE_LIMIT: composed("by the agent, which looks at the runs before it starts one"),
        C.SCHEDULE_WINDOW: composed("by the agent"),
        C.BATCH: composed(
            "a custom job that streams the files through the model: Vertex AI's own reads no Parquet and keeps no columns; "
            "options.vertex.batch = 'native' asks for that one"
        ),
        C.MONITOR: native(
            "captured windows compared by mlport; with measured_by = 'provider' Model Monitoring v2, a preview: Jensen-Shannon divergence and "
            "L-infinity of the served version's requests"
        ),
        C.STATE_SHARED: composed("objects in Cloud Storage, changed by compare-and-swap on their generation"),
    }


def _models() -> dict[C, Support]:
    return {
        C.MODEL_REGISTER: native("Vertex AI's registry; files lie in Cloud Storage"),
        C.MODEL_ALIAS: native("version aliases"),
        C.MODEL_TAGS: composed("mlport's record in a version's description; labels, too, where Google's rules let them"),
        C.MODEL_APPROVAL: absent("Vertex AI's registry has no approval; use an alias such as approved"),
        C.MODEL_LINEAGE: composed("mlport's record in a version's description"),
        C.MODEL_DOWNLOAD: native("copied from Cloud Storage and verified by digest"),
    }


def _endpoints(config: VertexConfig) -> dict[C, Support]:
    image = native("the model's container image") if config.server_image else native("an image of yours; mlport's own needs server_image")
    return {
        C.ENDPOINT_SERVE: native("an endpoint with deployed models"),
        C.ENDPOINT_IMAGE: image,
        C.ENDPOINT_BUILD: native("Cloud Build, once for each set of requirements")
        if config.build_repository
        else absent("needs build_repository in the profile, an Artifact Registry repository: docs/vertex.md, Images that are built"),
        C.ENDPOINT_REPLICAS: native("a number of replicas for each deployment"),
        C.ENDPOINT_AUTOSCALE: native("by CPU utilization, between a minimum and a maximum"),
        C.ENDPOINT_SCALE_TO_ZERO: absent("a deployment has at least one replica"),
        C.ENDPOINT_GPU: native("machine types with accelerators"),
        C.ENDPOINT_SPLIT: native("a traffic split in whole percent"),
        C.ENDPOINT_IDLE: native("a deployed model at 0 percent"),
        C.ENDPOINT_TARGET: absent("predict names no deployment"),
        C.ENDPOINT_MIRROR: not_yet("mirroring comes with rollouts"),
        C.ENDPOINT_KEY: absent("Vertex AI has no keys of endpoints; callers show Google credentials"),
        C.ENDPOINT_IDENTITY: native("Google credentials: a bearer token"),
        C.ENDPOINT_PUBLIC: absent("every call needs Google credentials"),
        C.ENDPOINT_CAPTURE: native("request-response logging to BigQuery; rows come some minutes later"),
        C.ENDPOINT_OBSERVE: native("Cloud Monitoring: whole minutes, settled some minutes later"),
        C.ENDPOINT_LATENCY: native("Cloud Monitoring: a histogram for each minute"),
    }
