"""The configuration of a serving endpoint: what may be sent, what is kept of it, and how it is shown.

A kept configuration is `{"config_version", "start_time", "served_entities": [...], "traffic_config": {"routes": [...]}}`; its entities
have the fields of the SDK's ServedEntityOutput, `id` (which is that of the system tables) and `worker`, whose server it is.

That an entity needs a size, that the percentages add up to 100 and the words of all refusals are guesses; the rest is said by the
docstrings of databricks-sdk 0.156.0, databricks/sdk/service/serving.py.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlport_databricks.emulator.protocol.errors import ApiError, invalid

Json = dict[str, Any]
MOST_ENTITIES = 10
SIZES: Mapping[str, tuple[int, int]] = {"Small": (4, 4), "Medium": (8, 16), "Large": (16, 64)}  # provisioned concurrency
STEP = 4  # of provisioned concurrency: "must be a multiple of 4", docs.databricks.com, create-manage-serving-endpoints
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ENDPOINT = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SENT = (
    "environment_vars",
    "instance_profile_arn",
    "max_provisioned_concurrency",
    "min_provisioned_concurrency",
    "scale_to_zero_enabled",
    "workload_size",
    "workload_type",
)
_ELSEWHERE = ("max_provisioned_throughput", "min_provisioned_throughput", "provisioned_model_units")
State = Mapping[str, str]  # deployment, deployment_state_message


def check_name(name: str) -> None:
    """Raises ApiError for what cannot be an endpoint's name."""
    if not _ENDPOINT.fullmatch(name):
        raise invalid(
            f"Endpoint name '{name}' is invalid: it must have 1 to 63 characters, which may be alphanumeric characters, dashes and underscores."
        )


def checked(body: Json, current: Json | None, version: int, creator: str, moment: int) -> Json:
    """The configuration that was asked for. An entity that is as it is in `current` keeps its id and its server.

    Args:
        version: Its `config_version`.
        moment: Milliseconds since 1970.

    Raises:
        ApiError: it cannot be.
    """
    if body.get("auto_capture_config", {}).get("enabled", bool(body.get("auto_capture_config"))):
        raise invalid(  # docs.databricks.com/en/lakehouse-monitoring/monitor-endpoints.html: since 20 February 2026
            "auto_capture_config: legacy inference tables can no longer be enabled. Please use AI Gateway inference tables instead."
        )
    sent = _entities(body)
    if not sent:
        raise invalid("The endpoint config must have at least one served entity.")
    if len(sent) > MOST_ENTITIES:
        raise invalid(f"An endpoint can have at most {MOST_ENTITIES} served entities, and {len(sent)} were given.")
    entities = [_entity(each, creator, moment) for each in sent]
    names = [each["name"] for each in entities]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(f"Served entity names must be unique across an endpoint: '{twice[0]}' was given twice.")
    kept = [_kept(each, current) for each in entities]
    return {
        "config_version": version,
        "start_time": moment,
        "served_entities": kept,
        "traffic_config": {"routes": _routes(body.get("traffic_config"), names)},
    }


def _entities(body: Json) -> Sequence[Json]:
    """Those sent, whichever of the two lists they are in."""
    if body.get("served_entities") and body.get("served_models"):
        raise invalid("Only one of served_entities and served_models can be specified.")
    if models := body.get("served_models"):
        renamed = {"model_name": "entity_name", "model_version": "entity_version"}
        return [{renamed.get(key, key): value for key, value in each.items()} for each in models]
    return list(body.get("served_entities") or ())


def _entity(sent: Json, creator: str, moment: int) -> Json:
    if "external_model" in sent:
        raise invalid("external_model: the emulator serves models of Unity Catalog only, and has no external models.")
    if elsewhere := [key for key in _ELSEWHERE if key in sent]:
        raise invalid(f"{elsewhere[0]}: the emulator serves custom models only, and has no provisioned throughput.")
    full_name, version = sent.get("entity_name", "").lower(), sent.get("entity_version", "")
    if not full_name or not version:
        raise invalid("A served entity must have an entity_name and an entity_version.")
    if full_name.count(".") != 2 or not all(full_name.split(".")):
        raise invalid(f"entity_name '{full_name}': the emulator serves models of Unity Catalog, catalog_name.schema_name.model_name.")
    name = sent.get("name") or f"{full_name.rpartition('.')[2]}-{version}"
    if not _NAME.fullmatch(name):
        raise invalid(f"Served entity name '{name}' is invalid: it can consist of alphanumeric characters, dashes, and underscores.")
    _check_size(name, sent)
    return {
        "name": name,
        "entity_name": full_name,
        "entity_version": version,
        "workload_type": "CPU",
        "scale_to_zero_enabled": False,
        **{key: sent[key] for key in _SENT if key in sent},
        "creator": creator,
        "creation_timestamp": moment,
    }


def _check_size(name: str, sent: Json) -> None:
    low, high = sent.get("min_provisioned_concurrency"), sent.get("max_provisioned_concurrency")
    size = sent.get("workload_size")
    if size is not None and (low is not None or high is not None):
        raise invalid(f"Served entity '{name}': workload_size cannot be specified together with provisioned concurrency.")
    if size is None and high is None:
        raise invalid(f"Served entity '{name}': workload_size or max_provisioned_concurrency must be specified.")
    if size is not None and size not in SIZES:
        raise invalid(f"Served entity '{name}': workload_size '{size}' is not one of {', '.join(SIZES)}.")
    for field, value in (("min_provisioned_concurrency", low), ("max_provisioned_concurrency", high)):
        if value is not None and (value < 0 or value % STEP):
            raise invalid(f"Served entity '{name}': {field} must be a multiple of {STEP}, not {value}.")
    if high is not None and (high == 0 or (low or 0) > high):
        raise invalid(f"Served entity '{name}': max_provisioned_concurrency must be at least {STEP} and min_provisioned_concurrency.")


def _kept(entity: Json, current: Json | None) -> Json:
    """The entity with the id and the server of the one that it is the same as; else with new ones."""
    own = ("creator", "creation_timestamp", "id", "worker")
    for each in (current or {}).get("served_entities", ()):
        if {key: value for key, value in each.items() if key not in own} == {key: entity[key] for key in entity if key not in own}:
            return dict(each)
    return {**entity, "id": uuid.uuid4().hex, "worker": f"w{uuid.uuid4().hex[:20]}"}


def _routes(traffic: Json | None, names: Sequence[str]) -> list[Json]:
    """Routes that name their entity both ways, as they are answered. One entity without routes gets all."""
    routes = (traffic or {}).get("routes") or []
    if not routes:
        if len(names) > 1:
            raise invalid("traffic_config must be specified for an endpoint with more than one served entity.")
        routes = [{"served_model_name": names[0], "traffic_percentage": 100}]
    found = [(each.get("served_entity_name") or each.get("served_model_name") or "", each["traffic_percentage"]) for each in routes]
    for each in routes:
        if len({each[key] for key in ("served_entity_name", "served_model_name") if each.get(key)}) > 1:
            raise invalid("traffic_config: served_entity_name and served_model_name of a route must not differ.")
    for name, percentage in found:
        if name not in names:
            raise invalid(f"traffic_config: there is no served entity '{name}'.")
        if not 0 <= percentage <= 100:
            raise invalid(
                f"traffic_config: traffic_percentage of '{name}' must be an integer between 0 and 100 inclusive, not {percentage}."
            )
    routed = [name for name, _ in found]
    if twice := sorted({name for name in routed if routed.count(name) > 1}):
        raise invalid(f"traffic_config: there is more than one route to '{twice[0]}'.")
    if (total := sum(percentage for _, percentage in found)) != 100:
        raise invalid(f"traffic_config: the traffic percentages must sum to 100, and are {total}.")
    return [{"served_model_name": name, "traffic_percentage": share, "served_entity_name": name} for name, share in found]


# ---------------------------------------------------------------- showing


def shown(config: Json, state_of: Callable[[Json], State], *, pending: bool = False) -> Json:
    """As the API answers with it: entities under both of their names. https://qiita.com/taka_yayoi has whole answers of the real one."""
    entities = [
        {**{key: value for key, value in each.items() if key not in ("id", "worker")}, "state": dict(state_of(each))}
        for each in config["served_entities"]
    ]
    began = {"start_time": config["start_time"]} if pending else {}
    return {
        **began,
        "served_entities": entities,
        "served_models": [as_model(each) for each in entities],
        "traffic_config": config["traffic_config"],
        "config_version": config["config_version"],
    }


def summary(config: Json) -> Json:
    """As a list answers with it."""
    entities = [{key: each[key] for key in ("name", "entity_name", "entity_version")} for each in config["served_entities"]]
    return {"served_entities": entities, "served_models": [as_model(each) for each in entities]}


def as_model(entity: Json) -> Json:
    renamed = {"entity_name": "model_name", "entity_version": "model_version"}
    return {renamed.get(key, key): value for key, value in entity.items()}


def concurrency(entity: Json) -> int:
    """How many requests its machines take at once when it serves."""
    if "workload_size" in entity:
        return SIZES[entity["workload_size"]][0]
    return int(entity.get("min_provisioned_concurrency") or STEP)


def check_tags(tags: Sequence[Json]) -> list[Json]:
    """Raises ApiError for a key that comes twice or is empty."""
    keys = [each["key"] for each in tags]
    if not all(keys) or len(set(keys)) < len(keys):
        raise invalid("tags: each key must be given once, and must not be empty.")
    return [dict(each) for each in tags]


def updating(name: str) -> ApiError:
    """409: databricks/cli, libs/testserver/serving_endpoints.go, ServingEndpointPatchTelemetryConfig; of a config a guess."""
    return ApiError(
        "RESOURCE_CONFLICT", f"Endpoint {name} is currently updating. Wait for the update to complete before updating its configuration."
    )
