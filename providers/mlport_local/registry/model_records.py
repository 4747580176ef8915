"""Versions as MLflow tags and back: what mlport knows of a version is kept beside what MLflow knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlport.spi import TOKEN, Json, ModelRecord, VersionRecord
from mlport_local.registry.model_files import as_registered
from mlport_local.registry.model_request import is_reserved
from mlport_local.registry.tracking import JOB_TAG

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

TOKEN_TAG = "mlport.token"  # noqa: S105 - the tag that holds the idempotency token
DIGEST_TAG = "mlport.digest"
LINEAGE_TAG = "mlport.lineage"
MODEL_TAG = "mlport.model"
CHUNK = 5000
"""Characters a tag. MLflow 3.17 takes 100,000, and took 5,000 before mid-2025 (its PR 16377); a server may be older than its client."""


def split(key: str, text: str) -> dict[str, str]:
    """`text` under `key`, `key.1`, `key.2` and so on, each short enough for a tag.

    >>> sorted(split("k", "a" * 5001))
    ['k', 'k.1']
    """
    parts = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)]
    return {key if number == 0 else f"{key}.{number}": part for number, part in enumerate(parts)}


def join(key: str, tags: Mapping[str, str]) -> str:
    """What `split` took apart; empty if it is not there."""
    parts, number = [tags.get(key, "")], 1
    while (part := tags.get(f"{key}.{number}")) is not None:
        parts.append(part)
        number += 1
    return "".join(parts)


def version_tags(body: Json, token: str, digest: str, signature: Json | None, flavors: tuple[str, ...]) -> dict[str, str]:
    """The tags that a new version gets: the user's own and mlport's."""
    described = json.dumps({"signature": signature, "flavors": flavors}, separators=(",", ":"))
    lineage = json.dumps(body["lineage"], sort_keys=True, separators=(",", ":"))
    job = {JOB_TAG: body["job"]} if body["job"] else {}
    return {
        **body["tags"],
        **labels(body, token),
        **job,
        TOKEN_TAG: token,
        DIGEST_TAG: digest,
        **split(MODEL_TAG, described),
        **split(LINEAGE_TAG, lineage),
    }


def labels(body: Json, token: str) -> dict[str, str]:
    """What everything that mlport makes is labelled with, the token filled in."""
    return {name: token if value == TOKEN else value for name, value in body["labels"].items()}


def version_record(version: ModelVersion, aliases: tuple[str, ...] | None = None) -> VersionRecord:
    """MLflow's version as ours. A version that mlport did not register has no digest and no lineage."""
    tags: dict[str, str] = version.tags
    described = json.loads(join(MODEL_TAG, tags) or "{}")
    return VersionRecord(
        name=version.name,
        version=str(version.version),
        uri=uri(version),
        digest=tags.get(DIGEST_TAG),
        created=moment(version.creation_timestamp),
        aliases=tuple(sorted(version.aliases if aliases is None else aliases)),
        tags=own_tags(tags),
        lineage=json.loads(join(LINEAGE_TAG, tags) or "{}"),
        signature=described.get("signature"),
        flavors=tuple(described.get("flavors", ())),
        description=version.description or "",
    )


def is_ours(version: ModelVersion) -> bool:
    """Whether mlport registered it."""
    return TOKEN_TAG in version.tags


def uri(version: ModelVersion) -> str:
    """Where the files of a version are, as they were registered."""
    return as_registered(version.source) if is_ours(version) else str(version.source)


def model_record(model: RegisteredModel) -> ModelRecord:
    """MLflow's registered model as ours."""
    newest = max((int(version.version) for version in model.latest_versions), default=None)
    return ModelRecord(
        name=model.name,
        latest_version=None if newest is None else str(newest),
        aliases={alias: str(version) for alias, version in model.aliases.items()},
        tags=own_tags(model.tags),
        created=moment(model.creation_timestamp),
    )


def aliases_of(aliases: Mapping[str, str], version: int | str) -> tuple[str, ...]:
    """The aliases that point to this version."""
    return tuple(alias for alias, target in aliases.items() if target == str(version))


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The user's tags: those that are not mlport's."""
    return {key: value for key, value in tags.items() if not is_reserved(key)}


def moment(milliseconds: int | None) -> datetime | None:
    """MLflow's milliseconds since 1970 as an aware time."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
