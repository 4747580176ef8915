"""Whole configurations of an endpoint: entities and traffic are one resource, so each change is the whole of it, written anew. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from mlport.errors import ConflictError, SpecError
from mlport.spi import Json
from mlport_databricks.serving.endpoint_request import MOST_ENTITIES

SENT = (
    "name",
    "entity_name",
    "entity_version",
    "environment_vars",
    "instance_profile_arn",
    "workload_type",
    "workload_size",
    "min_provisioned_concurrency",
    "max_provisioned_concurrency",
    "scale_to_zero_enabled",
)
"""The fields of ServedEntityOutput that are ServedEntityInput's, too (databricks-sdk), of an entity that serves a model of ours."""
CONCURRENCY = ("min_provisioned_concurrency", "max_provisioned_concurrency")


def entities_of(config: Json | None) -> dict[str, Json]:
    """The served entities of a configuration by name, as they are sent."""
    return {str(entity["name"]): _sent(entity) for entity in (config or {}).get("served_entities", ())}


def _sent(entity: Json) -> Json:
    """An entity as a request has it. What it has been given as concurrency is not said as a size, too: only one may be."""
    twice = ("workload_size",) if any(key in entity for key in CONCURRENCY) else ()
    return {key: entity[key] for key in SENT if key in entity and key not in twice}


def split_of(config: Json | None) -> dict[str, int]:
    """Percent by the entity's name, of every entity."""
    routes = ((config or {}).get("traffic_config") or {}).get("routes", ())
    shares = {str(route.get("served_entity_name") or route.get("served_model_name")): int(route["traffic_percentage"]) for route in routes}
    return {name: shares.get(name, 0) for name in entities_of(config)}


def body_of(entities: Mapping[str, Json], split: Mapping[str, int]) -> Json:
    """The body of the PUT that makes it so."""
    routes = [{"served_model_name": name, "traffic_percentage": split.get(name, 0)} for name in entities]
    return {"served_entities": list(entities.values()), "traffic_config": {"routes": routes}}


def digest(config: Json | None) -> str:
    """What tells two configurations apart: entities, their versions and sizes, and the split. SHA-256, hex."""
    said = {name: {key: entity[key] for key in entity} for name, entity in entities_of(config).items()}
    return hashlib.sha256(json.dumps([said, split_of(config)], sort_keys=True).encode()).hexdigest()


def changed(endpoint: str, config: Json | None, change: Json) -> Json:
    """The whole configuration after a change: `add` an entity at 0 percent, `remove` one by name, or set the `split`.

    Raises:
        ConflictError: it does not fit what is there.
    """
    entities, split = entities_of(config), split_of(config)
    if "add" in change:
        added = change["add"]
        if added["name"] in entities:
            said = f"endpoint {endpoint!r} has a deployment {added['name']!r}"
            raise ConflictError(said, hint="choose another name, or undeploy that one first")
        if len(entities) >= MOST_ENTITIES:
            raise SpecError(f"endpoint {endpoint!r} has {len(entities)} deployments, and takes {MOST_ENTITIES}", hint="undeploy one first")
        return body_of({**entities, added["name"]: added}, split)
    if "remove" in change:
        name = change["remove"]
        if share := split.get(name, 0):
            hint = "delete the endpoint instead" if len(entities) == 1 else "give its traffic to others first"
            raise ConflictError(f"deployment {name!r} of {endpoint!r} has {share} % of the traffic", hint=hint)
        return body_of({each: entity for each, entity in entities.items() if each != name}, split)
    if set(change["split"]) != set(entities):
        raise ConflictError(
            f"the split names {sorted(change['split'])}, and {endpoint!r} has {sorted(entities)}",
            hint="name each deployment, with 0 for none",
        )
    return body_of(entities, change["split"])


def is_so(config: Json | None, change: Json) -> bool:
    """Whether a configuration has what a change asks for, whatever else it has."""
    entities = entities_of(config)
    if "add" in change:
        return _same(entities.get(str(change["add"]["name"])), change["add"])
    if "remove" in change:
        return str(change["remove"]) not in entities
    return split_of(config) == dict(change["split"])


def _same(there: Json | None, wanted: Json) -> bool:
    """Whether an entity is the one that was sent. The server may tell more of it than it was told."""
    return there is not None and all(there.get(key) == wanted.get(key) for key in ("entity_name", "entity_version", "environment_vars"))
