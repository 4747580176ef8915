"""Cluster policies and instance pools, as far as clusters name them: kept, found and deleted; nothing of them is enforced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.services.cluster_rules import POLICIES, POOLS
from mlport_databricks.emulator.services.policy_families import FAMILIES
from mlport_databricks.emulator.working.node_types import node_types

Json = dict[str, Any]


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    policies = Kept(place, POLICIES, "policy_id", _policy)
    pools = Kept(place, POOLS, "instance_pool_id", _pool)
    return {
        "POST /api/2.0/policies/clusters/create": policies.create,
        "GET /api/2.0/policies/clusters/get": policies.get,
        "GET /api/2.0/policies/clusters/list": lambda request: {"policies": policies.all(request)},
        "POST /api/2.0/policies/clusters/edit": policies.edit,
        "POST /api/2.0/policies/clusters/delete": policies.delete,
        "POST /api/2.0/instance-pools/create": pools.create,
        "GET /api/2.0/instance-pools/get": pools.get,
        "GET /api/2.0/instance-pools/list": lambda request: {"instance_pools": pools.all(request)},
        "POST /api/2.0/instance-pools/edit": pools.edit,
        "POST /api/2.0/instance-pools/delete": pools.delete,
    }


class Kept:
    """Documents of one kind by an id of their own. `checked` gives what is kept of a request, or raises ApiError."""

    def __init__(self, place: Place, kind: str, key: str, checked: Any) -> None:
        self._place, self._kind, self._key, self._checked = place, kind, key, checked

    def create(self, request: Request) -> Json:
        _check_admin(request)
        own = uuid4().hex[:16].upper()
        self._place.documents.insert(self._kind, f"{request.workspace}/{own}", {self._key: own, **self._checked(request)})
        return {self._key: own}

    def get(self, request: Request) -> Json:
        found = self._place.documents.get(self._kind, f"{request.workspace}/{request.given(self._key)}")
        if found is None:
            raise missing(f"Can't find {self._kind[:-1].replace('policie', 'policy')} with id: {request.given(self._key)}.")
        return found

    def all(self, request: Request) -> list[Json]:
        return [found for _, found in self._place.documents.list(self._kind, f"{request.workspace}/")]

    def edit(self, request: Request) -> None:
        _check_admin(request)
        known = self.get(request)
        changed = {**known, **self._checked(request)}
        self._place.documents.change(self._kind, f"{request.workspace}/{known[self._key]}", lambda _: changed)

    def delete(self, request: Request) -> None:
        _check_admin(request)
        own = self.get(request)[self._key]
        self._place.documents.delete(self._kind, f"{request.workspace}/{own}")
        self._place.permissions.forget(request.workspace, {POLICIES: "cluster-policies", POOLS: "instance-pools"}[self._kind], own)


def _policy(request: Request) -> Json:
    given = {name: value for name, value in request.body.items() if name != "policy_id"}
    if (family := given.get("policy_family_id")) not in (None, *FAMILIES):
        raise invalid(f"Can't find a policy family with id: {family}.")
    try:
        definition = json.loads(given.get("definition") or "{}")
    except ValueError as error:
        raise invalid(f"The definition of the policy is not valid JSON: {error}") from error
    if not isinstance(definition, dict):
        raise invalid("The definition of the policy must be a JSON object.")
    return {**given, "creator_user_name": request.user, "created_at_timestamp": now_ms(), "is_default": False}


def _pool(request: Request) -> Json:
    given = {name: value for name, value in request.body.items() if name != "instance_pool_id"}
    if given["node_type_id"] not in node_types():
        raise invalid(f"Node type {given['node_type_id']} is not supported. Supported node types: {', '.join(sorted(node_types()))}")
    stats = {"used_count": 0, "idle_count": 0, "pending_used_count": 0, "pending_idle_count": 0}
    return {**given, "state": "ACTIVE", "stats": stats}


def _check_admin(request: Request) -> None:
    if not USERS[request.user].is_admin:
        raise ApiError("PERMISSION_DENIED", f"User {request.user} is not an administrator.")
