"""API keys: made here, shown once, kept only as digests."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PREFIX = "mlp_"
FILE = "key"


def generate() -> str:
    """A new key of 256 random bits.

    >>> generate().startswith("mlp_"), len(generate())
    (True, 47)
    """
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """SHA-256 of a key, hex. A key is random enough that a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


def matches(key: bytes | None, digests: Iterable[bytes]) -> bool:
    """Whether the key's SHA-256 is among `digests` (32 bytes each), in a time that tells nothing about which or how far."""
    if key is None:
        return False
    shown, found = hashlib.sha256(key).digest(), False
    for known in digests:
        found |= hmac.compare_digest(shown, known)
    return found


def write(folder: Path, key: str) -> None:
    """Keep the key where only this user reads it, so that this user's SDK can send it."""
    part = folder / f".{FILE}-{secrets.token_hex(4)}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(descriptor)
    os.replace(part, folder / FILE)


def read(folder: Path) -> str | None:
    """The key kept in an endpoint's folder, None where there is none."""
    try:
        return (folder / FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
