"""Unity Catalog's models as the SPI's records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from mlport.spi import Json, ModelRecord, VersionRecord
from mlport_databricks.names import short_name
from mlport_databricks.registry.model_request import RESERVED

READY, PENDING, FAILED = "READY", "PENDING_REGISTRATION", "FAILED_REGISTRATION"


def token_of(version: Json) -> str | None:
    """The token in a version's description; None for a version that mlport did not make."""
    first = str(version.get("description", "")).partition("\n")[0].split(" ")
    return first[1] if len(first) == 2 and first[0] == "mlport" else None


def record_of(version: Json) -> Json:
    """What mlport wrote into a version's description; empty for a version that it did not make."""
    if token_of(version) is None:
        return {}
    try:
        found = json.loads(str(version["description"]).partition("\n")[2])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def version_record(version: Json, record: Json) -> VersionRecord:
    """A version as `model-versions/get` tells it, with mlport's record of it."""
    own = bool(record) or token_of(version) is not None
    return VersionRecord(
        name=short_name(str(version["name"])),
        version=str(version["version"]),
        uri=str(version.get("storage_location") or version.get("source") or ""),
        digest=record.get("digest"),
        created=moment(version.get("creation_timestamp")),
        aliases=tuple(sorted(str(alias["alias"]) for alias in version.get("aliases", ()))),
        tags=own_tags(version),
        lineage=record.get("lineage", {}),
        signature=record.get("signature"),
        flavors=tuple(record.get("flavors", ())),
        description=str(record.get("description", "")) if own else str(version.get("description", "")),
    )


def own_tags(tagged: Json) -> dict[str, str]:
    """The tags that are not mlport's."""
    tags = {str(tag["key"]): str(tag.get("value", "")) for tag in tagged.get("tags", ())}
    return {key: value for key, value in tags.items() if not key.startswith(RESERVED)}


def all_tags(tagged: Json) -> dict[str, str]:
    """Every tag, mlport's too."""
    return {str(tag["key"]): str(tag.get("value", "")) for tag in tagged.get("tags", ())}


def model_record(model: Json, versions: Sequence[str]) -> ModelRecord:
    """A model as `registered-models/get` tells it, and the numbers of its versions, newest first."""
    return ModelRecord(
        name=short_name(str(model["name"])),
        latest_version=versions[0] if versions else None,
        aliases={str(alias["alias"]): str(alias["version"]) for alias in model.get("aliases", ())},
        tags=own_tags(model),
        created=moment(model.get("creation_timestamp")),
    )


def moment(milliseconds: object) -> datetime | None:
    """A time that Databricks tells in milliseconds since 1970; 64-bit numbers come as text from the registry."""
    return datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC) if milliseconds else None
