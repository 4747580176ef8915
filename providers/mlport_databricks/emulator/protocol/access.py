"""Who calls: personal access tokens and OAuth tokens of a service principal, and the pages where the SDK asks how to get one."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from mlport.emulation.calls import Call, Reply
from mlport_databricks.emulator.accounts import ACCOUNT_ID, CLOUD, HOST, HOSTS, TOKENS, USERS, User, workspace_id
from mlport_databricks.emulator.protocol.errors import ApiError

LIFETIME = 3600  # seconds of an OAuth token
_OAUTH = "oauth-emulated"
PAGES = ("/.well-known/databricks-config", "/oidc/.well-known/oauth-authorization-server", "/oidc/v1/token")


def caller(call: Call, made: Callable[[str], tuple[str, User] | None]) -> tuple[str, User]:
    """Workspace, by its host, and user of a call; on the direct address the token tells the workspace.

    `made` finds the holder of a token that a user made.

    Raises:
        ApiError: 401 without a token or with a Basic one, 403 with one that is not of this workspace, as Databricks words both.
    """
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise ApiError("UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API.", status=401)
    found = TOKENS.get(token.strip()) or _of_oauth(token.strip()) or made(token.strip())
    if found is None or (call.host in HOSTS and found[0] != call.host):
        raise ApiError("PERMISSION_DENIED", "Invalid access token.", status=403)
    return found


def page(call: Call) -> Reply | None:
    """The answer to a call that needs no token, None if it is none of those."""
    host = call.host if call.host in HOSTS else HOST
    if call.path == PAGES[0]:
        said = {
            "oidc_endpoint": f"https://{host}/oidc",
            "account_id": ACCOUNT_ID,
            "workspace_id": str(workspace_id(host)),
            "cloud": CLOUD.upper(),
        }
        return Reply.of({**said, "host_type": "WORKSPACE"})
    if call.path == PAGES[1]:
        return Reply.of(
            {
                "issuer": f"https://{host}/oidc",
                "authorization_endpoint": f"https://{host}/oidc/v1/authorize",
                "token_endpoint": f"https://{host}/oidc/v1/token",
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": ["all-apis"],
            }
        )
    return _token(call, host) if call.path == PAGES[2] and call.method == "POST" else None


def _token(call: Call, host: str) -> Reply:
    """RFC 6749, client credentials: id and secret by Basic or in the form."""
    form = {name: values[-1] for name, values in parse_qs(call.read().decode("utf-8", "replace")).items()}
    kind, _, sent = call.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            form["client_id"], _, form["client_secret"] = base64.b64decode(sent, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return _refused("invalid_client", "Client authentication failed", 401)
    if form.get("grant_type") != "client_credentials":
        return _refused("unsupported_grant_type", f"grant_type '{form.get('grant_type', '')}' is not supported", 400)
    user = USERS.get(form.get("client_id", ""))
    if user is None or not user.secret or user.secret != form.get("client_secret"):
        return _refused("invalid_client", "Client authentication failed", 401)
    token = f"{_OAUTH}-{HOSTS.index(host)}-{user.id}-{int(time.time()) + LIFETIME}"
    return Reply.of({"access_token": token, "scope": "all-apis", "token_type": "Bearer", "expires_in": LIFETIME})


def _refused(error: str, said: str, status: int) -> Reply:
    return Reply.of({"error": error, "error_description": said}, status)


def _of_oauth(token: str) -> tuple[str, User] | None:
    """Whose token it is; None for one that we did not give. Raises ApiError for one that has expired."""
    parts = token.removeprefix(f"{_OAUTH}-").split("-")
    if not token.startswith(_OAUTH) or len(parts) != 3 or not all(part.isdecimal() for part in parts) or int(parts[0]) >= len(HOSTS):
        return None
    user = next((user for user in USERS.values() if user.id == int(parts[1])), None)
    if user is not None and int(parts[2]) < time.time():
        raise ApiError("UNAUTHENTICATED", "Token is expired", status=401)
    return (HOSTS[int(parts[0])], user) if user else None
