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


def write(folder: Path, key: str, name: str = FILE) -> None:
    """Keep the key where only this user reads it, so that this user's SDK can send it."""
    part = folder / f".part-{secrets.token_hex(4)}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(descriptor)
    os.replace(part, folder / name)


def read(folder: Path, name: str = FILE) -> str | None:
    """The key kept in an endpoint's folder, None where there is none."""
    try:
        return (folder / name).read_text(encoding="ascii")
    except FileNotFoundError:
        return None


# ------------------------------------------------------------------ changing it


def prepared(folder: Path, token: str) -> str:
    """The key that the change with this token is for: kept before anyone hears of it, so that a rerun finds the same."""
    name = _next(token)
    key = read(folder, name)
    if key is None:
        key = generate()
        write(folder, key, name)
    return key


def is_prepared(folder: Path, token: str) -> bool:
    """Whether a key waits to be adopted."""
    return (folder / _next(token)).exists()


def adopt(folder: Path, token: str) -> None:
    """Make the prepared key the one that is kept."""
    os.replace(folder / _next(token), folder / FILE)


def good(folder: Path, digests: Iterable[str]) -> str | None:
    """The kept key that is among `digests`, else a prepared one that is: its maker was killed before it was adopted."""
    known = set(digests)
    found = (read(folder, path.name) for path in (folder / FILE, *sorted(folder.glob(f"{FILE}-*"))))
    return next((key for key in found if key is not None and digest(key) in known), None)


def _next(token: str) -> str:
    return f"{FILE}-{hashlib.sha256(token.encode()).hexdigest()[:16]}"
