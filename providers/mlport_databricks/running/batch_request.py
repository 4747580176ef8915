"""A batch's requests: a run of mlport.batch over the files, on several machines a shard each, for Databricks has no batch transform of a registered model. Pure."""

from __future__ import annotations

from mlport.batch.request import asked
from mlport.errors import SpecError
from mlport.specs import BatchSpec
from mlport.spi import Facts, Json
from mlport.transfer import is_url
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.names import model_folder, volume_path, volume_uri
from mlport_databricks.options import DatabricksJobOptions, options_of
from mlport_databricks.running.job_request import Planned, common_work, input_of, submitted
from mlport_databricks.running.manifest import with_asked

MLPORT = "mlport[local]"


def batch_plan(config: DatabricksConfig, spec: BatchSpec, facts: Facts) -> Planned:
    """What scores a BatchSpec."""
    options = options_of(DatabricksJobOptions, spec.options)
    notes = () if volume_path(spec.output) else (f"the scores are copied to {spec.output} when this machine first sees the job ended",)
    return submitted("batch", config, spec, options, facts, batch_work(config, spec, facts), notes)


def batch_work(config: DatabricksConfig, spec: BatchSpec, facts: Facts) -> Json:
    """The manifest of what a batch does. The model's files are put into the volume: jobs cannot read Unity Catalog's storage."""
    if is_url(spec.output) and volume_path(spec.output) is None:
        raise SpecError(f"BatchSpec.output: {spec.output!r} must be in a volume (/Volumes/...), or a folder of this machine")
    place, model = volume_path(spec.output), facts.model or {}
    work: Json = {
        **common_work(config, spec.name, spec.timeout, spec.compute, facts),
        "kind": "batch",
        "entrypoint": ["python", "-m", "mlport.batch", "request.json"],
        "files": {"request.json": {**asked(spec), "shard": "${MLPORT_NODE_RANK}", "shards": spec.compute.nodes}},
        "inputs": {
            "model": {"uri": model_folder(config, str(model.get("digest"))), "kind": "sha256", "digest": model.get("digest")},
            **{name: input_of(config, fact, "BatchSpec.input") for name, fact in facts.inputs.items()},
        },
        "outputs": {"predictions": {"uri": volume_uri(place)} if place else {}},
        "requirements": [],
        "needs": [MLPORT],
    }
    return with_asked(work, spec, facts)
