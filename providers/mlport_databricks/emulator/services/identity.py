"""Who one is: the current user, as SCIM tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlport_databricks.emulator.accounts import USERS, User
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request

Json = dict[str, Any]
USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"


def handlers(place: Place) -> Mapping[str, Handler]:
    return {"GET /api/2.0/preview/scim/v2/Me": me}


def me(request: Request) -> Json:
    return scim(USERS[request.user])


def scim(user: User) -> Json:
    """A user as RFC 7643 and databricks/cli libs/testserver/fake_workspace.go (TestUser) have it."""
    groups = ["users", *(["admins"] if user.is_admin else [])]
    mail = {"emails": [{"type": "work", "value": user.name, "primary": True}]} if "@" in user.name else {}
    return {
        "schemas": [USER_SCHEMA],
        "id": str(user.id),
        "userName": user.name,
        "displayName": user.display,
        "name": {"givenName": user.display},
        "active": True,
        "groups": [{"display": name, "type": "direct", "value": name, "$ref": f"Groups/{name}"} for name in groups],
        **mail,
    }
