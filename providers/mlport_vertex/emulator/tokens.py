"""Tokens for whoever asks: OAuth's endpoint and IAM's, as google-auth calls them. What they say is not looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mlport.emulation.calls import Call, Reply

HOSTS = re.compile(r"(oauth2|sts|iamcredentials|cloudresourcemanager|accounts)\.(googleapis|google)\.com")
LIFETIME = 3600


class Tokens:
    """google-auth's service-account flow ends here: a signed assertion in, a bearer token out."""

    def claims(self, path: str) -> bool:
        return path in ("/token", "/v1/token") or ":generateAccessToken" in path

    def answers_for(self, host: str) -> bool:
        return bool(HOSTS.fullmatch(host))

    def answer(self, call: Call) -> Reply:
        if call.path in ("/token", "/v1/token") and call.method == "POST":
            return Reply.of({"access_token": "ya29.emulated", "token_type": "Bearer", "expires_in": LIFETIME})
        return self.failure(call, 404)

    def failure(self, call: Call, status: int) -> Reply:
        return Reply.of({"error": "invalid_request", "error_description": f"{call.method} {call.path}"}, status)


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
