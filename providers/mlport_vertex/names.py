"""Names on Vertex AI: resource names, ids of our own making, and what stands in a plan for what only the sending knows."""

from __future__ import annotations

import base64
import hashlib
import json

from mlport.errors import NotFoundError
from mlport.spi import TOKEN, Json

DEPLOYED_ID = "${deployed_id}"
"""Stands in a plan for a deployed model's id, which is made of the token."""
_IDS = 9 * 10**9  # 1000000000 to 9999999999: Vertex AI takes 1 to 10 digits


def model_name(parent: str, name: str, version: str | None = None) -> str:
    """`projects/P/locations/L/models/NAME`, with `@VERSION` or `@ALIAS` if there is one."""
    return f"{parent}/models/{name}" + (f"@{version}" if version else "")


def endpoint_name(parent: str, name: str) -> str:
    return f"{parent}/endpoints/{name}"


def last(name: str) -> str:
    """The last part of a resource name, without its version.

    >>> last("projects/1/locations/l/models/delays@2")
    'delays'
    """
    return name.rpartition("/")[2].partition("@")[0]


def version_number(name: str, version: str) -> str:
    """The version as Vertex AI numbers them. Raises NotFoundError for what is no number."""
    if not version.isdecimal():
        raise NotFoundError(f"{name} has no version {version!r}", hint="versions are numbers; a name such as champion is an alias")
    return version


def deployed_id(token: str, deployment: str) -> str:
    """The id of a deployed model, from the token and our name: sent twice, it is the same.

    >>> deployed_id("0" * 32, "blue") == deployed_id("0" * 32, "blue")
    True
    """
    digest = hashlib.sha256(f"{token}\0{deployment}".encode()).digest()
    return str(10**9 + int.from_bytes(digest[:8], "big") % _IDS)


def digest_label(digest: str) -> str:
    """A SHA-256 in hex as base32: the 64 letters of hex are one too many for a label.

    >>> len(digest_label("0" * 64))
    52
    """
    return base64.b32encode(bytes.fromhex(digest)).decode().rstrip("=").lower()


def settled(body: Json, token: str, deployment: str = "") -> Json:
    """A plan's body with token and id in place of what stands for them."""
    text = json.dumps(body).replace(TOKEN, token).replace(DEPLOYED_ID, deployed_id(token, deployment))
    found: Json = json.loads(text)
    return found
