"""Cloud Storage: how objects, buckets, contents and refusals look on the wire, in the JSON API and in the XML API."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.storing.object_records import Bucket, Json, Object, StorageError, Stored
from mlport_vertex.emulator.storing.objects import CHUNK

HOST = "https://www.googleapis.com"
CHOSEN = (  # what a caller may set of an object; everything else is the server's
    "acl", "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "contexts", "customTime",
    "eventBasedHold", "metadata", "retention", "storageClass", "temporaryHold",
)  # fmt: skip
CODES = {  # of the XML API, for refusals that are made for the JSON API: https://cloud.google.com/storage/docs/xml-api/reference-status
    400: "InvalidArgument", 403: "AccessDenied", 404: "NoSuchKey", 409: "Conflict", 412: "PreconditionFailed", 416: "InvalidRange",
    429: "SlowDown", 500: "InternalError", 501: "NotImplemented", 503: "ServiceUnavailable",
}  # fmt: skip
REASONS = {  # of the JSON API: https://cloud.google.com/storage/docs/json_api/v1/status-codes
    400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet", 429: "rateLimitExceeded",
    500: "internalError", 501: "notImplemented", 503: "backendError",
}  # fmt: skip


def object_json(found: Object) -> Json:
    """An object as the JSON API shows it."""
    at = f"{HOST}/storage/v1/b/{found.bucket}/o/{quote(found.name, safe='')}"
    fields: Json = {
        "kind": "storage#object",
        "id": f"{found.bucket}/{found.name}/{found.generation}",
        "selfLink": at,
        "mediaLink": f"{at.replace('/storage/', '/download/storage/', 1)}?generation={found.generation}&alt=media",
        "name": found.name,
        "bucket": found.bucket,
        "generation": str(found.generation),
        "metageneration": str(found.metageneration),
        "storageClass": "STANDARD",
        "size": str(found.size),
        "crc32c": found.crc32c,
        "etag": etag(found),
        "timeCreated": found.created,
        "updated": found.updated,
        "timeStorageClassUpdated": found.created,
        "timeFinalized": found.created,
    }
    return {**fields, **({"md5Hash": found.md5} if found.md5 else {}), **found.fields}


def bucket_json(found: Bucket, number: str) -> Json:
    """A bucket as the JSON API shows it. `number` is its project's."""
    fields: Json = {
        "kind": "storage#bucket",
        "id": found.name,
        "name": found.name,
        "selfLink": f"{HOST}/storage/v1/b/{found.name}",
        "projectNumber": number,
        "metageneration": str(found.metageneration),
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "etag": _token(found.metageneration),
        "timeCreated": found.created,
        "updated": found.updated,
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "inherited"},
    }
    return {**fields, **found.fields}


def chosen(body: Mapping[str, object]) -> Json:
    """What a caller may set, of what one sent. Raises StorageError for values that cannot be."""
    fields = {name: value for name, value in body.items() if name in CHOSEN and value is not None}
    if not isinstance(fields.get("metadata", {}), dict):
        raise invalid("metadata must be an object of texts")
    return fields


def verified(stored: Stored, md5: str | None, crc32c: str | None) -> Stored:
    """Hold what arrived to the digests that the caller gave. Raises StorageError.

    The sentence for MD5 is the service's own, as https://github.com/pulibrary/figgy/issues/4545 shows it.
    """
    for name, given, calculated in (("MD5", md5, stored.md5), ("CRC32C", crc32c, stored.crc32c)):
        if given and given != calculated:
            said = f'Provided {name} hash "{given}" doesn\'t match calculated {name} hash "{calculated}".'
            raise StorageError(400, "invalid", "BadDigest", said)
    return stored


def hashes(call: Call) -> tuple[str | None, str | None]:
    """MD5 and CRC32C of the headers `x-goog-hash` and `content-md5`, base64."""
    given = dict(part.strip().split("=", 1) for part in call.headers.get("x-goog-hash", "").split(",") if "=" in part)
    return given.get("md5") or call.headers.get("content-md5"), given.get("crc32c")


def etag(found: Object) -> str:
    """As the JSON API shows it: it changes with the content and with the metadata."""
    return _token(found.generation, found.metageneration)


def xml_etag(found: Object) -> str:
    """As the XML API shows it: the MD5 in hexadecimal, where there is one."""
    return f'"{base64.b64decode(found.md5).hex()}"' if found.md5 else f'"{etag(found)}"'


def _token(*numbers: int) -> str:
    return base64.b64encode("/".join(map(str, numbers)).encode()).decode()


def page_token(last: str) -> str:
    """Where a listing goes on, opaque."""
    return base64.urlsafe_b64encode(last.encode()).decode() if last else ""


def read_page_token(token: str) -> str:
    """Raises StorageError for what is no such token."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise invalid("Invalid page token") from error


# ---------------------------------------------------------------- contents


def content(call: Call, found: Object, tag: str) -> Reply:
    """The bytes of an object, or the range of them that the call asks for; for HEAD the headers alone."""
    headers = _content_headers(found, tag)
    if found.fields.get("contentEncoding") == "gzip" and not _takes_gzip(call, found):
        body = b"" if call.method == "HEAD" else _unzipped(found)
        return Reply(200, body, {**{k: v for k, v in headers.items() if k != "content-encoding"}, "warning": "214 UploadServer gunzipped"})
    start, end, is_part = _range(call.headers.get("range", ""), found.size)
    headers["content-length"] = str(end - start)
    if is_part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{found.size}"
    status = 206 if is_part else 200
    return Reply(status, b"", headers) if call.method == "HEAD" or start == end else Reply(status, found.path, headers, start, end)


def _content_headers(found: Object, tag: str) -> dict[str, str]:
    fields = found.fields
    plain = {
        "cache-control": fields.get("cacheControl"),
        "content-disposition": fields.get("contentDisposition"),
        "content-encoding": fields.get("contentEncoding"),
        "content-language": fields.get("contentLanguage"),
        **{f"x-goog-meta-{name}": value for name, value in fields.get("metadata", {}).items()},
    }
    return {
        "content-type": fields.get("contentType") or "application/octet-stream",
        "etag": tag,
        "last-modified": http_time(found.updated),
        "accept-ranges": "bytes",
        "x-goog-generation": str(found.generation),
        "x-goog-metageneration": str(found.metageneration),
        "x-goog-hash": f"crc32c={found.crc32c}" + (f",md5={found.md5}" if found.md5 else ""),
        "x-goog-stored-content-encoding": fields.get("contentEncoding") or "identity",
        "x-goog-stored-content-length": str(found.size),
        "x-goog-storage-class": fields.get("storageClass") or "STANDARD",
        **{name: str(value) for name, value in plain.items() if value},
    }


def _takes_gzip(call: Call, found: Object) -> bool:
    """https://cloud.google.com/storage/docs/transcoding: who does not take gzip is sent what was zipped, unless it says no-transform."""
    return "gzip" in call.headers.get("accept-encoding", "") or "no-transform" in found.fields.get("cacheControl", "")


def _unzipped(found: Object) -> Iterator[bytes]:
    with gzip.open(found.path) as stream:
        yield from iter(lambda: stream.read(CHUNK), b"")


def _range(text: str, size: int) -> tuple[int, int, bool]:
    """Start, end (exclusive) and whether it is a part. What is no single range of bytes is left out of account, as HTTP has it."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or match[0] == "bytes=-":
        return 0, size, False
    first, last = match[1], match[2]
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if start >= end:
        raise StorageError(416, "requestedRangeNotSatisfiable", "InvalidRange", "The requested range cannot be satisfied.")
    return start, end, True


def http_time(moment: str) -> str:
    """A moment as HTTP's headers have it.

    >>> http_time("2026-11-23T10:39:12.123Z")
    'Mon, 23 Nov 2026 10:39:12 GMT'
    """
    return format_datetime(datetime.fromisoformat(moment).replace(microsecond=0), usegmt=True)


# ---------------------------------------------------------------- refusals


def invalid(message: str, location: str = "") -> StorageError:
    """A request that makes no sense."""
    return StorageError(400, "invalid", "InvalidArgument", message, location)


def json_refusal(error: StorageError) -> Reply:
    """As the JSON API words it; where nothing is new, nothing is said."""
    if error.status == 304:
        return Reply(304)
    at = (
        {"locationType": "parameter" if error.location.startswith("if") else "header", "location": error.location} if error.location else {}
    )
    each = {"message": error.message, "domain": "global", "reason": error.reason, **at}
    return Reply.of({"error": {"code": error.status, "message": error.message, "errors": [each]}}, error.status)


def xml_refusal(error: StorageError) -> Reply:
    """As the XML API words it: code, a sentence of the code's, and details."""
    if error.status == 304:
        return Reply(304)
    said = {"NoSuchKey": "The specified key does not exist."}.get(error.code, error.message)
    details = f"<Details>{escape(error.message)}</Details>" if said != error.message else ""
    return xml(f"<Error><Code>{error.code}</Code><Message>{escape(said)}</Message>{details}</Error>", error.status)


def xml(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An XML document."""
    body = f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode()
    return Reply(status, body, {"content-type": "application/xml; charset=UTF-8", **(headers or {})})
