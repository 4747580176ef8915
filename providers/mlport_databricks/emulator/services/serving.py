"""Serving endpoints: made, changed, told of and deleted. What they serve comes about in the background (working/deploying.py).

Behaviour is that of databricks/cli, libs/testserver/serving_endpoints.go, and of whole answers of the real one in public
repositories, where the two differ: an update is in `pending_config` until it serves, and stays there if it failed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from mlport.emulation.documents import Exists
from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place, now_ms
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.storing.serving_access import LEVELS, MANAGE, VIEW, Access
from mlport_databricks.emulator.working import model_source
from mlport_databricks.emulator.working.deploying import ENDPOINTS, SETTLED, UPDATING, begun
from mlport_databricks.emulator.working.served_config import check_name, check_tags, checked, shown, summary, updating

Json = dict[str, Any]
PATH = "/api/2.0/serving-endpoints"
PERMISSIONS = "/api/2.0/permissions/serving-endpoints/{serving_endpoint_id}"
_TOLD = ("ai_gateway", "budget_policy_id", "email_notifications", "tags")
_NOT_THERE = ("fallback_config", "guardrails", "rate_limits")  # of the gateway
MOST_LOG = 100 * 1024  # characters of a log that are told; not documented: a guess


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their calls."""
    service = ServingEndpoints(place)
    return {
        f"POST {PATH}": service.create,
        f"GET {PATH}": service.list,
        f"GET {PATH}/{{name}}": service.get,
        f"DELETE {PATH}/{{name}}": service.delete,
        f"PUT {PATH}/{{name}}/config": service.update_config,
        f"PATCH {PATH}/{{name}}/tags": service.patch_tags,
        f"PUT {PATH}/{{name}}/ai-gateway": service.put_gateway,
        f"PATCH {PATH}/{{name}}/notifications": service.notifications,
        f"GET {PATH}/{{name}}/served-models/{{served_model_name}}/logs": lambda request: service.logs(request, "log.txt"),
        f"GET {PATH}/{{name}}/served-models/{{served_model_name}}/build-logs": lambda request: service.logs(request, "build.txt"),
        f"GET {PERMISSIONS}": service.get_permissions,
        f"GET {PERMISSIONS}/permissionLevels": service.permission_levels,
        f"PUT {PERMISSIONS}": lambda request: service.put_permissions(request, keep=False),
        f"PATCH {PERMISSIONS}": lambda request: service.put_permissions(request, keep=True),
    }


class ServingEndpoints:
    """What the methods do."""

    def __init__(self, place: Place) -> None:
        self._place, self._access, self._serving = place, Access(place), place.serving

    # ---------------------------------------------------------------- making

    def create(self, request: Request) -> Json:
        """Make one; without a config it serves nothing until it is given one."""
        body, workspace, user = request.body, request.workspace, request.user
        name = body["name"]
        check_name(name)
        if self._place.documents.get(ENDPOINTS, f"{workspace}/{name}") is not None:
            raise _exists(name)
        for absent in ("rate_limits", "telemetry_config"):
            if body.get(absent):
                raise invalid(f"{absent}: the emulator has none.")
        if body.get("route_optimized"):
            raise invalid("route_optimized: the emulator has no route optimization.")
        moment = now_ms()
        pending = self._checked(request, body["config"], None, 1) if body.get("config") else None
        gateway = self._gateway(request, name, body.get("ai_gateway"), None)
        endpoint: Json = {
            **{key: body[key] for key in ("budget_policy_id", "email_notifications") if key in body},
            **({"ai_gateway": gateway} if gateway else {}),
            "tags": check_tags(body.get("tags") or ()),
            "description": body.get("description", ""),
            "name": name,
            "workspace": workspace,
            "id": uuid.uuid4().hex,
            "creator": user,
            "creation_timestamp": moment,
            "last_updated_timestamp": moment,
            "config": None,
            "pending": None,
            "update": SETTLED,
            "version": 0,
            "failed": {},
        }
        endpoint = begun(endpoint, pending) if pending else endpoint
        kind = "service_principal_name" if USERS[user].secret else "user_name"
        try:
            with self._place.documents.together():
                self._place.documents.insert(ENDPOINTS, f"{workspace}/{name}", endpoint)
                self._access.put(workspace, endpoint["id"], [{kind: user, "permission_level": MANAGE}], keep=False)
        except Exists as error:
            raise _exists(name) from error
        return self._shown(request, endpoint)

    def update_config(self, request: Request) -> Json:
        """Begin to serve another configuration, whole; the one before serves until then."""
        endpoint = self._need(request, MANAGE)
        name = endpoint["name"]
        if request.body.get("name", name) != name:
            raise invalid(f"name: '{request.body['name']}' is not the endpoint's, which is '{name}'.")
        if endpoint["update"] == UPDATING:
            raise updating(name)
        pending = self._checked(request, request.body, endpoint["config"], endpoint["version"] + 1)

        def changed(now: Json) -> Json:
            if now["update"] == UPDATING or now["version"] != endpoint["version"]:  # another was quicker
                raise updating(name)
            return begun(now, pending)

        return self._shown(request, self._change(request, endpoint, changed))

    def _checked(self, request: Request, config: Json, current: Json | None, version: int) -> Json:
        """The configuration, all of whose models are there and may be used. Raises ApiError."""
        pending = checked(config, current, version, request.user, now_ms())
        for entity in pending["served_entities"]:
            model_source.check(self._place, request.workspace, request.user, entity["entity_name"], entity["entity_version"])
            self._place.secrets.resolved(request.workspace, request.user, entity.get("environment_vars", {}))
        return pending

    def _gateway(self, request: Request, name: str, sent: Json | None, before: Json | None) -> Json | None:
        if absent := [key for key in _NOT_THERE if (sent or {}).get(key)]:
            raise invalid(f"ai_gateway.{absent[0]}: the emulator's gateway has inference tables and usage tracking only.")
        return self._serving.inference.checked(request.workspace, request.user, name, sent, before)

    # ---------------------------------------------------------------- changing and deleting

    def patch_tags(self, request: Request) -> Json:
        """Add or replace, then delete. The answer is sorted by key, as the oracle's."""
        added = check_tags(request.body.get("add_tags") or ())

        def changed(now: Json) -> Json:
            tags = {each["key"]: each for each in (*now["tags"], *added)}
            for key in request.body.get("delete_tags") or ():
                tags.pop(key, None)
            return {**now, "tags": [tags[key] for key in sorted(tags)]}

        return {"tags": self._change(request, self._need(request, MANAGE), changed)["tags"]}

    def put_gateway(self, request: Request) -> Json:
        """All of the gateway's configuration; without any, there is none."""
        endpoint = self._need(request, MANAGE)
        sent = {key: value for key, value in request.body.items() if key != "name"}
        gateway = self._gateway(request, endpoint["name"], sent or None, endpoint.get("ai_gateway"))
        self._change(request, endpoint, lambda now: {**now, "ai_gateway": gateway})
        return gateway or {}

    def notifications(self, request: Request) -> Json:
        sent = request.body.get("email_notifications")
        endpoint = self._change(request, self._need(request, MANAGE), lambda now: {**now, "email_notifications": sent})
        return {"name": endpoint["name"], **({"email_notifications": sent} if sent else {})}

    def _change(self, request: Request, endpoint: Json, change: Any) -> Json:
        """What becomes of this endpoint, not of another that has its name by now."""

        def changed(now: Json) -> Json:
            if now["id"] != endpoint["id"]:
                raise _missing(endpoint["name"])
            return dict(change(now))

        found = self._place.documents.change(ENDPOINTS, f"{request.workspace}/{endpoint['name']}", changed)
        if found is None:
            raise _missing(endpoint["name"])
        return found

    def delete(self, request: Request) -> None:
        """It is gone at once; its servers end in the background, and its table stays."""
        endpoint = self._need(request, MANAGE)
        self._serving.inference.deleted(endpoint)
        self._place.documents.delete(ENDPOINTS, f"{request.workspace}/{endpoint['name']}")
        self._access.forget(request.workspace, endpoint["id"])

    # ---------------------------------------------------------------- telling

    def get(self, request: Request) -> Json:
        return self._shown(request, self._need(request, VIEW))

    def list(self, request: Request) -> Json:
        """All that the user may see, by name."""
        found = (body for _, body in self._place.documents.list(ENDPOINTS, f"{request.workspace}/"))
        seen = [each for each in found if self._access.level(request.workspace, request.user, each)]
        return {"endpoints": [self._listed(each) for each in sorted(seen, key=lambda each: str(each["name"]))]}

    def logs(self, request: Request, which: str) -> Json:
        """What is kept of a served entity: of the update that is under way or failed, else of what serves."""
        endpoint, wanted = self._need(request, VIEW), request.arguments["served_model_name"]
        entities = [each for part in ("pending", "config") if endpoint[part] for each in endpoint[part]["served_entities"]]
        entity = next((each for each in entities if each["name"] == wanted), None)
        if entity is None:
            raise missing(f"Served entity '{wanted}' of endpoint '{endpoint['name']}' does not exist.")
        return {"logs": self._serving.servers.log(entity["worker"], which)[-MOST_LOG:]}

    def _shown(self, request: Request, endpoint: Json) -> Json:
        deploying = self._serving.deploying
        parts = {"config": endpoint["config"], "pending_config": endpoint["pending"]}
        states = {"config": deploying.state_of(endpoint, "config"), "pending_config": deploying.state_of(endpoint, "pending")}
        return {
            **self._common(endpoint),
            **{name: shown(config, states[name], pending=name == "pending_config") for name, config in parts.items() if config},
            "permission_level": self._access.level(request.workspace, request.user, endpoint),
            "route_optimized": False,
        }

    def _listed(self, endpoint: Json) -> Json:
        told = {key: value for key, value in self._common(endpoint).items() if key != "email_notifications"}
        return {**told, **({"config": summary(endpoint["config"])} if endpoint["config"] else {})}

    def _common(self, endpoint: Json) -> Json:
        ready = "READY" if self._serving.deploying.is_ready(endpoint) else "NOT_READY"
        own = ("id", "name", "creator", "creation_timestamp", "last_updated_timestamp", "description")
        return {
            **{key: endpoint[key] for key in own},
            **{key: endpoint[key] for key in _TOLD if endpoint.get(key)},
            "state": {"ready": ready, "config_update": endpoint["update"]},
        }

    def _need(self, request: Request, level: str) -> Json:
        """The endpoint, if the user may do this with it. Raises ApiError."""
        found = self._place.documents.get(ENDPOINTS, f"{request.workspace}/{request.arguments['name']}")
        if found is None:
            raise _missing(str(request.arguments["name"]))
        self._access.require(request.workspace, request.user, found, level)
        return found

    # ---------------------------------------------------------------- permissions

    def get_permissions(self, request: Request) -> Json:
        return self._access.shown(request.workspace, self._by_id(request, VIEW)["id"])

    def put_permissions(self, request: Request, *, keep: bool) -> Json:
        endpoint = self._by_id(request, MANAGE)
        self._access.put(request.workspace, endpoint["id"], request.body.get("access_control_list") or (), keep=keep)
        return self._access.shown(request.workspace, endpoint["id"])

    def permission_levels(self, request: Request) -> Json:
        self._by_id(request, VIEW)
        return {"permission_levels": [{"permission_level": level, "description": said} for level, said in LEVELS.items()]}

    def _by_id(self, request: Request, level: str) -> Json:
        wanted = request.arguments["serving_endpoint_id"]
        found = next((body for _, body in self._place.documents.list(ENDPOINTS, f"{request.workspace}/") if body["id"] == wanted), None)
        if found is None:
            raise missing(f"serving-endpoints {wanted} not found.")
        self._access.require(request.workspace, request.user, found, level)
        return found


def _exists(name: str) -> ApiError:
    """databricks/cli, libs/testserver/serving_endpoints.go, ServingEndpointCreate."""
    return ApiError("RESOURCE_ALREADY_EXISTS", f"Serving endpoint with name {name} already exists")


def _missing(name: str) -> ApiError:
    """The same file, ServingEndpointUpdate."""
    return missing(f"Serving endpoint with name {name} not found")
