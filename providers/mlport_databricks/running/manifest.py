"""The manifest of a run: in the run's own parameters where it is small, else in a file of the volume. Pure.

It says what the run does, and under `asked` what else is needed to tell how it was asked for: its spec and facts.
"""

from __future__ import annotations

import json

from mlport.masking import is_secret, masked
from mlport.specs import BatchSpec, JobSpec
from mlport.spi import TOKEN, Facts, Json
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.names import job_folder

WORK, FILE = "--work", "--manifest"
LONGEST = 9_500
"""Bytes that the words `--work MANIFEST` may take as JSON. Databricks documents 10,000 for the `python_params` of a run
(databricks/sdk/service/jobs.py, RunNow); that the same holds for a task's parameters is assumed. The rest is for the other words."""
TOKEN_LENGTH = 64
"""Characters of the longest idempotency token: databricks/sdk/service/jobs.py, JobsAPI.submit."""
SAME = {"job": ("name", "entrypoint", "params", "env", "requirements"), "batch": ("name",)}
"""Fields of a spec that its manifest has under the same name."""


def words_of(config: DatabricksConfig, work: Json) -> list[str]:
    """How the program is told its manifest. Parameters take ASCII only, and Databricks replaces what stands in `{{...}}`.

    Whoever may see a run sees its parameters, so what looks like a secret goes into the volume, too.
    """
    text = json.dumps(work, separators=(",", ":"), allow_nan=False)
    words = [WORK, text]
    said = json.dumps({"python_params": words}).replace(TOKEN, "0" * TOKEN_LENGTH)
    shows = masked(text) != text or any(is_secret(name, value) for name, value in (work.get("env") or {}).items())
    return [FILE, manifest_path(config)] if len(said) > LONGEST or "{{" in text or shows else words


def manifest_path(config: DatabricksConfig, token: str = TOKEN) -> str:
    """Where a manifest lies that is not in the parameters."""
    return f"{job_folder(config, token)}/manifest.json"


def work_in(told: Json) -> Json | None:
    """The manifest in the parameters of a run, or of a body that asks for one; None if it is not there."""
    for task in told.get("tasks") or ():
        inner = (task.get("for_each_task") or {}).get("task") or task
        words = (inner.get("spark_python_task") or {}).get("parameters") or [""]
        if words[0] == WORK:
            found: Json = json.loads(words[1])
            return found
    return None


def with_asked(work: Json, spec: JobSpec | BatchSpec, facts: Facts) -> Json:
    """The manifest with what it does not say of spec and facts anyway."""
    inputs = {name: fact.uri for name, fact in facts.inputs.items()}
    said = {**{name: work[name] for name in SAME[work["kind"]]}, "inputs": inputs}
    left = {name: value for name, value in spec.to_json().items() if name not in said or value != said[name]}
    asked = {"spec": left, "inputs": inputs, "bundle_bytes": facts.bundle_bytes, "git": [facts.git_commit, facts.git_dirty]}
    return {**work, "asked": {**asked, **({"price": facts.price} if facts.price else {})}}


def asked_in(work: Json) -> Json | None:
    """Kind, spec and facts as they were asked for; None for a manifest that does not tell."""
    asked = work.get("asked")
    if asked is None:
        return None
    kind, inputs = work["kind"], asked["inputs"]
    same = {name: work[name] for name in SAME[kind]}
    commit, dirty = asked["git"]
    return {
        "kind": kind,
        "spec": {**same, **({"inputs": inputs} if kind == "job" else {}), **asked["spec"]},
        "facts": {
            "bundle": work.get("source_digest"),
            "bundle_bytes": asked["bundle_bytes"],
            "git_commit": commit,
            "git_dirty": dirty,
            "inputs": {name: {**work["inputs"][name], "uri": uri} for name, uri in inputs.items()},
            "labels": work["labels"],
            "price": asked.get("price"),
        },
    }
