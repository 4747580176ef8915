"""Vertex AI's models as the SPI's records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from mlport.spi import Json, ModelRecord, VersionRecord
from mlport_vertex.labels import KEY
from mlport_vertex.names import last
from mlport_vertex.registry.model_request import RESERVED

DEFAULT = "default"
"""Vertex AI's own alias: one version always has it."""


def record_of(model: Json) -> Json:
    """What mlport wrote into a version's description; empty for a version that it did not make."""
    text = model.get("versionDescription", "")
    try:
        found = json.loads(text) if text.startswith("{") else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "mlport" in found else {}


def version_record(name: str, model: Json, record: Json) -> VersionRecord:
    """A version, with mlport's record of it."""
    return VersionRecord(
        name=name,
        version=str(model["versionId"]),
        uri=str(model.get("artifactUri", "")),
        digest=record.get("digest"),
        created=datetime.fromisoformat(model["versionCreateTime"]) if "versionCreateTime" in model else None,
        aliases=tuple(aliases_of(model)),
        tags=record["tags"] if record else own_labels(model),
        lineage=record.get("lineage", {}),
        signature=record.get("signature"),
        flavors=tuple(record.get("flavors", ())),
        description=record.get("description", "") if record else str(model.get("versionDescription", "")),
    )


def aliases_of(model: Json) -> list[str]:
    """The aliases that people gave."""
    return sorted(alias for alias in model.get("versionAliases", ()) if alias != DEFAULT)


def own_labels(model: Json) -> dict[str, str]:
    """The labels that are not mlport's."""
    return {key: value for key, value in model.get("labels", {}).items() if not key.startswith(RESERVED) and KEY.match(key)}


def model_record(model: Json, versions: Sequence[Json]) -> ModelRecord:
    """A model, from it and its versions, newest first."""
    newest = versions[0] if versions else None
    return ModelRecord(
        name=last(model["name"]),
        latest_version=str(newest["versionId"]) if newest else None,
        aliases={alias: str(version["versionId"]) for version in versions for alias in aliases_of(version)},
        tags=own_labels(model),
        created=datetime.fromisoformat(model["createTime"]) if "createTime" in model else None,
    )
