"""Access keys of an emulated S3: whether a request's signature is theirs, and what they open.

The signature is checked as the real one does it: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
and sigv4-query-string-auth.html.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from mlport.emulation.calls import Call
from mlport.emulation.documents import Documents

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW = 900.0  # seconds that a request's time may be off
_HEADER = re.compile(rf"{ALGORITHM}\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]+)")


class RefusedError(Exception):
    """Not allowed. `code` is S3's."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key opens: the objects of a bucket whose name begins with `prefix`; any bucket for `*`, save the closed ones."""

    bucket: str
    prefix: str = ""
    write: bool = True

    def opens(self, bucket: str, key: str, writes: bool) -> bool:
        return self.bucket in ("*", bucket) and key.startswith(self.prefix) and (self.write or not writes)


@dataclass(frozen=True, slots=True)
class Key:
    """An access key. A temporary one has a session token, and an end in seconds since 1970."""

    id: str
    secret: str
    grants: Sequence[Grant]
    token: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Signed:
    """What a request says of its signature."""

    credential: str
    headers: Sequence[str]
    signature: str
    when: str
    payload: str
    token: str
    seconds: float


class Keys:
    """The keys that there are; temporary ones outlive a restart."""

    def __init__(self, documents: Documents, closed: Sequence[str] = ()) -> None:
        self._documents, self.closed = documents, tuple(closed)
        self._fixed: dict[str, Key] = {}

    def allow(self, key: Key) -> None:
        """A key that its owner chose; forgotten when the emulator ends."""
        self._fixed[key.id] = key

    def temporary(self, grants: Sequence[Grant], seconds: float) -> Key:
        """A new key that ends."""
        key = Key(
            "ASIA" + secrets.token_hex(8).upper(),
            secrets.token_urlsafe(30),
            tuple(grants),
            secrets.token_urlsafe(60),
            time.time() + seconds,
        )
        self._documents.insert("s3/keys", key.id, asdict(key))
        return key

    def check(self, call: Call, bucket: str, key: str, *, writes: bool) -> None:
        """Raises RefusedError unless the request is signed with a key that opens this. An empty `key` is the bucket itself."""
        signed = _signed(call)
        holder = self._holder(signed)
        if not hmac.compare_digest(signature(call, signed, holder.secret), signed.signature):
            raise RefusedError("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
        if not bucket and "*" in {grant.bucket for grant in holder.grants}:
            return
        allowed = [grant for grant in holder.grants if grant.bucket != "*" or bucket not in self.closed]
        if not any(grant.opens(bucket, key, writes) or (not key and not writes and grant.bucket == bucket) for grant in allowed):
            raise RefusedError(
                "AccessDenied", f"Access Denied: {holder.id} opens no {bucket}/{key} for {'writing' if writes else 'reading'}"
            )

    def _holder(self, signed: Signed) -> Key:
        number = signed.credential.partition("/")[0]
        kept = self._documents.get("s3/keys", number)
        key = self._fixed.get(number) or (_of(kept) if kept else None)
        if key is None:
            raise RefusedError("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
        if key.token != signed.token:
            raise RefusedError("InvalidToken", "The provided token is malformed or otherwise invalid.", 400)
        if key.until and key.until < time.time():
            raise RefusedError("ExpiredToken", "The provided token has expired.", 400)
        return key


def _of(kept: Mapping[str, Any]) -> Key:
    return Key(**{**kept, "grants": tuple(Grant(**grant) for grant in kept["grants"])})


def _signed(call: Call) -> Signed:
    """What the request says of its signature, by header or in the query. Raises RefusedError."""
    if match := _HEADER.fullmatch(call.headers.get("authorization", "")):
        sent = call.headers.get("x-amz-content-sha256", "")
        signed = Signed(
            match[1],
            match[2].split(";"),
            match[3],
            call.headers.get("x-amz-date", ""),
            sent,
            call.headers.get("x-amz-security-token", ""),
            SKEW,
        )
    elif call.argument("X-Amz-Signature"):
        signed = Signed(
            call.argument("X-Amz-Credential"),
            call.argument("X-Amz-SignedHeaders").split(";"),
            call.argument("X-Amz-Signature"),
            call.argument("X-Amz-Date"),
            call.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            call.argument("X-Amz-Security-Token"),
            float(call.argument("X-Amz-Expires", "0")),
        )
    else:
        raise RefusedError("AccessDenied", "Access Denied: the request is not signed")
    if signed.credential.count("/") != 4:
        raise RefusedError("AuthorizationHeaderMalformed", "The authorization header is malformed; the Credential is mal-formed.", 400)
    _check_time(signed)
    return signed


def _check_time(signed: Signed) -> None:
    try:
        when = datetime.strptime(signed.when, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise RefusedError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header") from error
    if not when - SKEW < time.time() < when + max(signed.seconds, SKEW):
        raise RefusedError("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")


def signature(call: Call, signed: Signed, secret: str) -> str:
    """The signature that a request must have."""
    query = sorted((_quoted(name), _quoted(value)) for name, value in call.query if name != "X-Amz-Signature")
    canonical = "\n".join(
        [
            call.method,
            call.path,
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(call.headers.get(name, '').split())}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            signed.payload,
        ]
    )
    _, date, region, service, end = signed.credential.split("/")
    scope = f"{date}/{region}/{service}/{end}"
    text = "\n".join([ALGORITHM, signed.when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
