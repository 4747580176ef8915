"""What registering a model will do, worked out before anything is read or copied."""

from __future__ import annotations

from collections.abc import Iterable

from mlport.errors import SpecError, UntrustedModelError
from mlport.specs import ModelSpec
from mlport.spi import TOKEN, Facts, Json
from mlport_local.config import LocalConfig
from mlport_local.registry import tracking

RESERVED = ("mlport.", "mlport_")
"""How the tags begin that mlport writes itself: its records, and the labels of everything it creates."""


def model_request(spec: ModelSpec, facts: Facts, config: LocalConfig) -> Json:
    """The body of a registration: what is copied where, and what the version carries. Pure.

    `facts.model` holds `digest` (of the files, as `mlport.bundle.tree_digest` computes it), `lineage` and `trusted`.

    Raises:
        UntrustedModelError: the files come from elsewhere, and nobody said that they may be loaded.
        SpecError: a tag in the name space that mlport keeps for itself.
    """
    model = facts.model or {}
    if model.get("trusted") is False:
        raise UntrustedModelError(
            f"ModelSpec.path: {spec.path} comes from outside this profile, and loading a model runs its code",
            hint="pass --trust (trust=True) if you know who made it",
        )
    refuse_reserved(spec.tags)
    return {
        "registry": tracking.uri(config),
        "name": spec.name,
        "path": spec.path,
        "digest": model.get("digest"),
        "description": spec.description,
        "tags": dict(spec.tags),
        "labels": dict(facts.labels),
        "lineage": model.get("lineage") or {},
        "job": spec.job_id,
        "token": TOKEN,
    }


def is_reserved(tag: str) -> bool:
    """Whether mlport keeps this tag for itself."""
    return tag == "mlport" or tag.startswith(RESERVED)


def refuse_reserved(tags: Iterable[str]) -> None:
    """Raise SpecError for a tag that mlport keeps for itself."""
    if taken := sorted(filter(is_reserved, tags)):
        raise SpecError(f"tags: mlport keeps {', '.join(taken)} for itself", hint="use a name that does not start with mlport")
