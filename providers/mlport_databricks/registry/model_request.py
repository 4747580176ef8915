"""A registration's requests: registered model, version, credentials, upload, finalize. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlport.errors import SpecError, UntrustedModelError
from mlport.specs import ModelSpec
from mlport.spi import TOKEN, Facts, Json, Request
from mlport.transfer import is_url
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.labels import TOKEN_LABEL, labels
from mlport_databricks.names import model_name, volume_path

if TYPE_CHECKING:
    from mlport_databricks.plan import Planned

API = "/api/2.0/mlflow/unity-catalog"
SERVICE = "mlflow.UcModelRegistryService"
RESERVED = "mlport"
RECORD, DIGEST, VERSION, SOURCE = "${record}", "${digest}", "${version}", "${source}"
DIGEST_TAG, JOB_TAG, SOURCE_TAG = "mlport_digest", "mlport_job", "mlport_source"
TAG_KEY = re.compile(r"[^.,\-=/:\s](?:[^.,\-=/:]{0,253}[^.,\-=/:\s])?")  # docs.databricks.com/database-objects/tags.html
LONGEST_TAG, MOST_TAGS = 1000, 50
_DETAILS = "${record} is mlport's record as JSON: digest, flavors, signature, lineage; it is known when the files have been read"
_COPIED = "every file passes through this machine: Unity Catalog takes them from the client, with credentials for that version alone"
PLAIN = "it is no MLflow model: it is kept inside of one that says so, and Model Serving cannot serve it"


def model_plan(config: DatabricksConfig, spec: ModelSpec, facts: Facts) -> Planned:
    """What registers a ModelSpec.

    `facts.model` holds `digest`, `lineage` and `trusted`; `facts.machine`, where somebody looked, `exists` (whether the model
    is there) and what `mlport_databricks.registry.model_files.describe` tells of the files.

    Raises:
        UntrustedModelError: the files come from elsewhere, and nobody said that they may be loaded.
        SpecError: a tag that Unity Catalog does not take, an MLflow model without a whole signature, or files that are
            neither on this machine nor in a volume.
    """
    model, looked = facts.model or {}, facts.machine or {}
    if model.get("trusted") is False:
        raise UntrustedModelError(
            f"ModelSpec.path: {spec.path} comes from outside this profile, and loading a model runs its code",
            hint="pass --trust (trust=True) if you know who made it",
        )
    if is_url(spec.path) and volume_path(spec.path) is None:
        raise SpecError(f"ModelSpec.path: {spec.path!r} must be a folder of this machine or of a volume (dbfs:///Volumes/...)")
    refuse_tags(spec.tags)
    if looked.get("mlflow"):
        refuse_signature(looked.get("signature"))
    name = model_name(config, spec.name)
    stamps = labels(facts.labels)
    made = Request(
        f"{SERVICE}.CreateRegisteredModel",
        {"name": name, "tags": _tags({key: value for key, value in stamps.items() if key != TOKEN_LABEL})},
        "POST",
        f"{API}/registered-models/create",
    )
    version = Request(
        f"{SERVICE}.CreateModelVersion",
        {
            "name": name,
            "source": source_of(spec.path),
            "description": f"mlport {TOKEN}\n{RECORD}",
            "tags": _tags({**stamps, TOKEN_LABEL: TOKEN, **_own(spec, model), **spec.tags}),
        },
        "POST",
        f"{API}/model-versions/create",
    )
    credentials = Request(
        f"{SERVICE}.GenerateTemporaryModelVersionCredentials",
        {"name": name, "version": VERSION, "operation": "MODEL_VERSION_OPERATION_READ_WRITE"},
        "POST",
        f"{API}/model-versions/generate-temporary-credentials",
    )
    finalized = Request(
        f"{SERVICE}.FinalizeModelVersion",
        {"name": name, "version": VERSION},
        "POST",
        f"{API}/model-versions/finalize",
        after="all files are in the version's storage",
    )
    requests = (version, credentials, finalized) if looked.get("exists") else (made, version, credentials, finalized)
    notes = (_DETAILS, _COPIED, *((PLAIN,) if looked and not looked.get("mlflow") else ()))
    return "model", spec.name, requests, {"model": name, "source": source_of(spec.path)}, notes


def _own(spec: ModelSpec, model: Mapping[str, object]) -> dict[str, str]:
    """Digest and where it comes from, as tags that Databricks' own tools show; all of it is in the record."""
    lineage = model.get("lineage")
    bundle = lineage.get("bundle") if isinstance(lineage, dict) else None
    found = {DIGEST_TAG: model.get("digest") or DIGEST, JOB_TAG: spec.job_id, SOURCE_TAG: f"sha256:{bundle}" if bundle else None}
    return {key: str(value)[:LONGEST_TAG] for key, value in found.items() if value}


def _tags(tags: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def source_of(path: str) -> str:
    """Where a version's files came from, as MLflow writes it."""
    volume = volume_path(path)
    return f"dbfs:{volume.rstrip('/')}" if volume else path


def described(token: str, record: Mapping[str, object]) -> str:
    r"""A version's description: the token, by which a listing tells it, and mlport's record.

    >>> described("0a1b", {"digest": "9f"})
    'mlport 0a1b\n{"digest":"9f"}'
    """
    return f"mlport {token}\n" + json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def refuse_signature(signature: Mapping[str, object] | None) -> None:
    """Raise SpecError where Unity Catalog's clients refuse a model: mlflow/store/_unity_catalog/registry/rest_store.py."""
    missing = [part for part in ("inputs", "outputs") if not (signature or {}).get(part)]
    if missing:
        raise SpecError(
            f"ModelSpec.path: the MLflow model has a signature without {' and '.join(missing)}; Unity Catalog takes models with both only",
            hint="save it again with signature=mlflow.models.infer_signature(inputs, predictions)",
        )


def refuse_tags(tags: Mapping[str, object]) -> None:
    """Raise SpecError for tags that mlport keeps for itself, or that Unity Catalog does not take."""
    if taken := sorted(tag for tag in tags if tag.startswith(RESERVED)):
        raise SpecError(f"tags: mlport keeps {', '.join(taken)} for itself", hint="use a name that does not start with mlport")
    if wrong := sorted(tag for tag in tags if not TAG_KEY.fullmatch(tag)):
        raise SpecError(
            f"tags: {', '.join(map(repr, wrong))}: Unity Catalog takes keys of at most 255 characters without . , - = / : and spaces at the ends",
            hint="use _ in place of - and .",
        )
    if long := sorted(tag for tag, value in tags.items() if len(str(value)) > LONGEST_TAG):
        raise SpecError(f"tags: {', '.join(long)}: Unity Catalog takes values of at most {LONGEST_TAG} characters")
    if len(tags) > MOST_TAGS - 10:  # mlport's own are beside them
        raise SpecError(f"tags: {len(tags)} are more than the {MOST_TAGS - 10} that fit beside mlport's own")
