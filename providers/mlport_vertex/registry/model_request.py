"""A registration's requests: the files into the staging folder, and models.upload. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlport.errors import SpecError, UntrustedModelError
from mlport.specs import ModelSpec
from mlport.spi import TOKEN, Facts, Json, Request
from mlport.transfer import is_url
from mlport_vertex.config import VertexConfig
from mlport_vertex.labels import KEY, clean, labels
from mlport_vertex.names import digest_label, model_name
from mlport_vertex.running.job_request import Planned
from mlport_vertex.serving import containers

RESERVED = "mlport"
DIGEST_LABEL = "mlport_digest"
_DETAILS = "flavors, signature and, if it is not known yet, the digest are added from the files that are uploaded"


def model_plan(config: VertexConfig, spec: ModelSpec, facts: Facts) -> Planned:
    """What registers a ModelSpec.

    `facts.model` holds `digest`, `lineage` and `trusted`; `facts.machine`, where somebody looked, `next_of` (whether the
    model has versions already) and what `mlport_vertex.registry.model_files.describe` tells of the files.

    Raises:
        UntrustedModelError: the files come from elsewhere, and nobody said that they may be loaded.
        SpecError: a tag in the name space that mlport keeps for itself, or files that Google cannot copy from there.
    """
    model, looked = facts.model or {}, facts.machine or {}
    if model.get("trusted") is False:
        raise UntrustedModelError(
            f"ModelSpec.path: {spec.path} comes from outside this profile, and loading a model runs its code",
            hint="pass --trust (trust=True) if you know who made it",
        )
    if is_url(spec.path) and not spec.path.startswith("gs://"):
        raise SpecError(f"ModelSpec.path: {spec.path!r} must be a folder of this machine or a gs:// address")
    refuse_reserved(spec.tags)
    container = containers.prebuilt(config, looked)
    files = f"{config.staging}/models/{spec.name}/{TOKEN}"
    stored = Request("storage.objects.insert", {"from": spec.path, "to": f"{files}/"}, "POST")
    uploaded = Request(
        "aiplatform.projects.locations.models.upload",
        {**_which(config, spec.name, looked), "model": _model(spec, facts, files, container)},
        "POST",
        f"/v1/{config.parent}/models:upload",
        after="all files are there",
    )
    resolved = {"image": container["imageUri"] if container else None, "artifacts": files}
    return "model", spec.name, (stored, uploaded), resolved, (_DETAILS, *_notes(spec, looked, container))


def _which(config: VertexConfig, name: str, looked: Json) -> Json:
    """The first version names the model; later ones name their parent."""
    return {"parentModel": model_name(config.parent, name)} if looked.get("next_of") else {"modelId": name}


def _model(spec: ModelSpec, facts: Facts, files: str, container: Json | None) -> Json:
    model = facts.model or {}
    record: Json = {
        "description": spec.description,
        "digest": model.get("digest"),
        "job": spec.job_id,
        "tags": dict(spec.tags),
        "lineage": model.get("lineage") or {},
    }
    digest = {DIGEST_LABEL: digest_label(record["digest"])} if record["digest"] else {}
    return {
        "displayName": spec.name,
        "artifactUri": files,
        "versionDescription": written(record),
        "labels": {**fitting(spec.tags), **labels(facts.labels), **digest},
        **({"containerSpec": container} if container else {}),
    }


def _notes(spec: ModelSpec, looked: Json, container: Json | None) -> tuple[str, ...]:
    found = []
    if not looked:
        found.append("if the model has versions already, parentModel is sent in place of modelId")
    if spec.tags.keys() - fitting(spec.tags).keys():
        found.append("tags that break Google's rules for labels are kept in the version's description only")
    if container and containers.is_newer(looked.get("sklearn")) and "predictRoute" not in container:
        found.append(
            f"it was saved with scikit-learn {looked['sklearn']}, which is newer than the image's: whether that can read it is not sure"
        )
    if container is None:
        found.append("nothing here serves it as it is: to deploy it, set server_image in the profile, or give an image then")
    return tuple(found)


def written(record: Mapping[str, object]) -> str:
    """Mlport's record as the text of a version's description."""
    return json.dumps({"mlport": 1, **record}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fitting(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are labels as they are, so that Google's own tools find them, too."""
    return {key: value for key, value in tags.items() if KEY.fullmatch(key) and value == clean(value)}


def refuse_reserved(tags: Mapping[str, object]) -> None:
    """Raise SpecError for a tag that mlport keeps for itself."""
    if taken := sorted(tag for tag in tags if tag.startswith(RESERVED)):
        raise SpecError(f"tags: mlport keeps {', '.join(taken)} for itself", hint="use a name that does not start with mlport")
