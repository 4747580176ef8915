"""Tokens for whoever asks: OAuth's endpoint, IAM's, and the metadata server's, as google-auth calls them.

What a caller shows for itself is not looked at, and every token is the same: this guards nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.place import LOCATION, NUMBER, PROJECTS
from mlport_vertex.emulator.protocol.errors import ApiError

HOSTS = re.compile(r"(oauth2|sts|iamcredentials|cloudresourcemanager|accounts)\.(googleapis|google)\.com|metadata\.google\.internal")
LIFETIME = 3600
TOKEN = "ya29.emulated"  # noqa: S105 - it opens nothing
EMAIL = f"emulated@{PROJECTS[0]}.iam.gserviceaccount.com"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
METADATA = "/computeMetadata/v1"
FLAVOR = {"metadata-flavor": "Google"}
"""Callers must show it, and it is how google-auth knows a metadata server: docs.cloud.google.com/compute/docs/metadata."""


class Tokens:
    """google-auth's flows end here: a signed assertion in, or nothing but the way from inside a job, and a bearer token out."""

    def claims(self, path: str) -> bool:
        return path in ("/", "/token", "/v1/token") or ":generateAccessToken" in path or path.startswith("/computeMetadata")

    def answers_for(self, host: str) -> bool:
        return bool(HOSTS.fullmatch(host))

    def answer(self, call: Call) -> Reply:
        if call.path == "/" or call.path.startswith("/computeMetadata"):
            return _metadata(call)
        if call.path in ("/token", "/v1/token") and call.method == "POST":
            return Reply.of({"access_token": TOKEN, "token_type": "Bearer", "expires_in": LIFETIME})
        if call.path.endswith(":generateAccessToken") and call.method == "POST":
            return _impersonated(call)
        return self.failure(call, 404)

    def failure(self, call: Call, status: int) -> Reply:
        return Reply.of({"error": "invalid_request", "error_description": f"{call.method} {call.path}"}, status)


def _impersonated(call: Call) -> Reply:
    """iamcredentials.googleapis.com, projects.serviceAccounts.generateAccessToken."""
    if not (call.json() or {}).get("scope"):
        return ApiError("INVALID_ARGUMENT", "Scope required.").reply()
    expires = (datetime.now(UTC) + timedelta(seconds=LIFETIME)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Reply.of({"accessToken": TOKEN, "expireTime": expires})


# ---------------------------------------------------------------- the metadata server

ACCOUNT: Mapping[str, Any] = {"aliases": ["default"], "email": EMAIL, "scopes": list(SCOPES)}
VALUES: Mapping[str, Any] = {
    "project/project-id": PROJECTS[0],
    "project/numeric-project-id": NUMBER,
    "instance/zone": f"projects/{NUMBER}/zones/{LOCATION}-a",
    "instance/region": f"projects/{NUMBER}/regions/{LOCATION}",
    "instance/service-accounts": f"default/\n{EMAIL}/\n",
    "universe/universe-domain": "googleapis.com",
    **{
        f"instance/service-accounts/{account}{part}": value
        for account in ("default", EMAIL)
        for part, value in {
            "": ACCOUNT,
            "/email": EMAIL,
            "/scopes": "\n".join(SCOPES),
            "/aliases": "default",
            "/token": {"access_token": TOKEN, "expires_in": LIFETIME, "token_type": "Bearer"},
        }.items()
    },
}


def _metadata(call: Call) -> Reply:
    """A value of the metadata server: text, or JSON for what has parts."""
    if call.path in ("/", "/computeMetadata", "/computeMetadata/"):
        return Reply(
            200, b"computeMetadata/\n", {**FLAVOR, "content-type": "application/text"}
        )  # how a caller finds out whether it is there
    if call.headers.get("metadata-flavor") != "Google":
        return Reply(403, b"Missing Metadata-Flavor:Google header.", {**FLAVOR, "content-type": "text/html; charset=UTF-8"})
    value = VALUES.get(call.path.removeprefix(f"{METADATA}/").rstrip("/"))
    if value is None:
        return Reply(404, b"The requested URL was not found on this server.", {**FLAVOR, "content-type": "text/html; charset=UTF-8"})
    if isinstance(value, str):
        return Reply(200, value.encode(), {**FLAVOR, "content-type": "application/text"})
    return Reply(200, json.dumps(value).encode(), {**FLAVOR, "content-type": "application/json"})


# ---------------------------------------------------------------- an account's file


def service_account(folder: Path, project: str) -> Path:
    """A made-up service-account file, with a key of its own that nothing else accepts."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    path = folder / "service_account.json"
    if path.exists():
        return path
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    email = f"emulated@{project}.iam.gserviceaccount.com"
    content = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "emulated",
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    unfinished = path.with_suffix(".part")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(content))
    unfinished.replace(path)
    return path
