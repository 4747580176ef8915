"""Cloud Storage's XML API: https://storage.googleapis.com/BUCKET/OBJECT, as S3's clients and object_store speak it.

https://cloud.google.com/storage/docs/xml-api/overview; the calls are those of apache/arrow-rs-object-store `src/gcp/client.rs`
and of google-cloud-storage's transfer manager (multipart uploads).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.services.storage_forms import (
    content,
    hashes,
    http_time,
    invalid,
    page_token,
    read_page_token,
    verified,
    xml,
    xml_etag,
)
from mlport_vertex.emulator.storing.object_records import Conditions, Json, Object, StorageError
from mlport_vertex.emulator.storing.objects import Objects

SPACE = "http://doc.s3.amazonaws.com/2006-03-01"  # of listings
PARTS_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"  # of multipart uploads, as google-cloud-storage looks for it
SETTINGS = {
    "content-type": "contentType",
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "x-goog-storage-class": "storageClass",
}
MOST_KEYS = 1000
MOST_PARTS = 10_000

Answer = Callable[[Call, str, str], Reply]


class Xml:
    """The XML API over the objects of one emulator."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._of_bucket: Mapping[str, Answer] = {
            "GET": self._list,
            "HEAD": self._head_bucket,
            "PUT": self._create_bucket,
            "DELETE": self._delete_bucket,
        }
        self._of_object: Mapping[str, Answer] = {
            "GET": self._get,
            "HEAD": self._get,
            "PUT": self._put,
            "DELETE": self._delete,
            "POST": self._post,
        }

    def answer(self, call: Call, bucket: str, name: str) -> Reply:
        """Raises StorageError."""
        found = (self._of_object if name else self._of_bucket).get(call.method)
        if found is None or not bucket:
            raise StorageError(405, "methodNotAllowed", "MethodNotAllowed", "The specified method is not allowed against this resource.")
        return found(call, bucket, name)

    # ---------------------------------------------------------------- buckets

    def _head_bucket(self, call: Call, bucket: str, name: str) -> Reply:
        self._objects.need_bucket(bucket)
        return Reply(200, b"", {"content-type": "application/xml; charset=UTF-8"})

    def _create_bucket(self, call: Call, bucket: str, name: str) -> Reply:
        self._objects.create_bucket(bucket)
        return Reply(200)

    def _delete_bucket(self, call: Call, bucket: str, name: str) -> Reply:
        self._objects.delete_bucket(bucket)
        return Reply(204)

    def _list(self, call: Call, bucket: str, name: str) -> Reply:
        """`list-type=2`, and the older form with a marker."""
        is_v2 = call.argument("list-type") == "2"
        most = call.argument("max-keys", str(MOST_KEYS))
        if not most.isdigit():
            raise invalid(f"max-keys: {most!r} is no number")
        token = read_page_token(call.argument("continuation-token"))
        after = max(token, call.argument("start-after") if is_v2 else call.argument("marker"))
        prefix, delimiter = call.argument("prefix"), call.argument("delimiter")
        page = self._objects.list(bucket, prefix, delimiter=delimiter, after=after, most=max(min(int(most), MOST_KEYS), 1))
        following = {"NextContinuationToken": page_token(page.next)} if is_v2 else {"NextMarker": page.next}
        head = {
            "Name": bucket,
            "Prefix": prefix,
            **({"Delimiter": delimiter} if delimiter else {}),
            "MaxKeys": most,
            "IsTruncated": "true" if page.next else "false",
            **(following if page.next else {}),
            **({"KeyCount": str(len(page.objects) + len(page.prefixes))} if is_v2 else {}),
        }
        contents = "".join(f"<Contents>{_tags(_entry(each))}</Contents>" for each in page.objects)
        prefixes = "".join(f"<CommonPrefixes>{_tags({'Prefix': each})}</CommonPrefixes>" for each in page.prefixes)
        return xml(f"<ListBucketResult xmlns='{SPACE}'>{_tags(head)}{contents}{prefixes}</ListBucketResult>")

    # ---------------------------------------------------------------- objects

    def _get(self, call: Call, bucket: str, name: str) -> Reply:
        if call.argument("uploadId"):
            return self._list_parts(call, bucket, name)
        generation = call.argument("generation")
        found = self._objects.need(bucket, name, generation=_number(generation, "generation"))
        _conditions(call).check(found, reading=True)
        _http_conditions(call, found)
        return content(call, found, xml_etag(found))

    def _put(self, call: Call, bucket: str, name: str) -> Reply:
        if call.argument("uploadId"):
            return self._put_part(call, bucket, name)
        if "x-goog-copy-source" in call.headers:
            return self._copy(call, bucket, name)
        wanted = _conditions(call)
        self._objects.need_bucket(bucket)
        wanted.check(self._objects.get(bucket, name))  # early, so that nothing is copied in vain
        call.body.seek(0)
        stored = verified(self._objects.store(call.body), *hashes(call))
        made = self._objects.keep(bucket, name, stored, wanted, _fields(call))
        return Reply(200, b"", _written(made))

    def _copy(self, call: Call, bucket: str, name: str) -> Reply:
        from_bucket, _, from_name = unquote(call.headers["x-goog-copy-source"]).lstrip("/").partition("/")
        generation = call.headers.get("x-goog-copy-source-generation", "")
        source = self._objects.need(from_bucket, from_name, generation=_number(generation, "x-goog-copy-source-generation"))
        fields = _fields(call) if call.headers.get("x-goog-metadata-directive", "COPY").upper() == "REPLACE" else source.fields
        made = self._objects.put(bucket, name, source.path, conditions=_conditions(call), fields=fields)
        body = f"<CopyObjectResult>{_tags({'LastModified': made.updated, 'ETag': xml_etag(made)})}</CopyObjectResult>"
        return xml(body, headers=_written(made))

    def _delete(self, call: Call, bucket: str, name: str) -> Reply:
        if call.argument("uploadId"):
            self._need_upload(call, bucket, name)
            self._objects.drop_upload(call.argument("uploadId"))
            return Reply(204)
        generation = _number(call.argument("generation"), "generation")
        self._objects.delete(bucket, name, _conditions(call), generation=generation)
        return Reply(204)

    # ---------------------------------------------------------------- multipart uploads

    def _post(self, call: Call, bucket: str, name: str) -> Reply:
        if any(key == "uploads" for key, _ in call.query):
            return self._begin(call, bucket, name)
        if call.argument("uploadId"):
            return self._complete(call, bucket, name)
        raise StorageError(501, "notImplemented", "NotImplemented", "The emulator takes no uploads of HTML forms.")

    def _begin(self, call: Call, bucket: str, name: str) -> Reply:
        self._objects.need_bucket(bucket)
        key = uuid.uuid4().hex
        self._objects.keep_upload(key, {"bucket": bucket, "name": name, "fields": _fields(call), "parts": {}})
        tags = _tags({"Bucket": bucket, "Key": name, "UploadId": key})
        return xml(f"<InitiateMultipartUploadResult xmlns='{PARTS_SPACE}'>{tags}</InitiateMultipartUploadResult>")

    def _need_upload(self, call: Call, bucket: str, name: str) -> Json:
        found = self._objects.upload(call.argument("uploadId"))
        if found is None or (found.get("bucket"), found.get("name")) != (bucket, name):
            raise StorageError(404, "notFound", "NoSuchUpload", "The requested upload was not found.")
        return found

    def _put_part(self, call: Call, bucket: str, name: str) -> Reply:
        self._need_upload(call, bucket, name)
        number = _number(call.argument("partNumber"), "partNumber")
        if number is None or not 1 <= number <= MOST_PARTS:
            raise invalid(f"partNumber must be a whole number from 1 to {MOST_PARTS}")
        call.body.seek(0)
        stored = verified(self._objects.store(call.body), *hashes(call))
        tag = f'"{stored.md5}"'
        part = {"file": stored.file, "size": stored.size, "etag": tag}
        if not self._objects.change_upload(call.argument("uploadId"), lambda body: {**body, "parts": {**body["parts"], str(number): part}}):
            raise StorageError(404, "notFound", "NoSuchUpload", "The requested upload was not found.")
        return Reply(200, b"", {"etag": tag, "x-goog-hash": f"crc32c={stored.crc32c},md5={stored.md5}"})

    def _list_parts(self, call: Call, bucket: str, name: str) -> Reply:
        upload = self._need_upload(call, bucket, name)
        parts = sorted(upload["parts"].items(), key=lambda item: int(item[0]))
        listed = "".join(
            f"<Part>{_tags({'PartNumber': number, 'ETag': part['etag'], 'Size': str(part['size'])})}</Part>" for number, part in parts
        )
        head = _tags({"Bucket": bucket, "Key": name, "UploadId": call.argument("uploadId"), "IsTruncated": "false"})
        return xml(f"<ListPartsResult xmlns='{PARTS_SPACE}'>{head}{listed}</ListPartsResult>")

    def _complete(self, call: Call, bucket: str, name: str) -> Reply:
        upload = self._need_upload(call, bucket, name)
        chosen = [self._part(upload, number, tag) for number, tag in _parts_of(call.read())]
        stored = verified(self._objects.store(*(self._objects.file(part["file"]) for part in chosen)), *hashes(call))
        made = self._objects.keep(bucket, name, stored, _conditions(call), upload["fields"], composed=True)
        self._objects.drop_upload(call.argument("uploadId"))
        tags = _tags({"Location": f"http://storage.googleapis.com/{bucket}/{name}", "Bucket": bucket, "Key": name, "ETag": xml_etag(made)})
        body = f"<CompleteMultipartUploadResult xmlns='{PARTS_SPACE}'>{tags}</CompleteMultipartUploadResult>"
        return xml(body, headers=_written(made))

    @staticmethod
    def _part(upload: Json, number: str, tag: str) -> Json:
        part: Json | None = upload["parts"].get(number)
        if part is None or part["etag"].strip('"') != tag.strip('"'):
            said = "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."
            raise StorageError(400, "invalid", "InvalidPart", said)
        return part


def _parts_of(text: bytes) -> list[tuple[str, str]]:
    """Numbers and tags of a CompleteMultipartUpload, which come in ascending order."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - the emulator's own callers; expat expands no external entities
    except ET.ParseError as error:
        raise StorageError(400, "invalid", "MalformedCompleteMultipartUploadRequest", str(error)) from error
    found = [(_text(part, "PartNumber"), _text(part, "ETag")) for part in root if part.tag.rpartition("}")[2] == "Part"]
    numbers = [int(number) for number, _ in found if number.isdigit()]
    if not found or len(numbers) != len(found):
        raise StorageError(
            400, "invalid", "MalformedCompleteMultipartUploadRequest", "It must list at least one part, each with its number."
        )
    if numbers != sorted(set(numbers)):
        raise StorageError(400, "invalid", "InvalidPartOrder", "The list of parts was not in ascending order.")
    return found


def _text(part: ET.Element, name: str) -> str:
    return next((child.text or "" for child in part if child.tag.rpartition("}")[2] == name), "").strip()


def _entry(found: Object) -> Mapping[str, str]:
    return {
        "Key": found.name,
        "Generation": str(found.generation),
        "MetaGeneration": str(found.metageneration),
        "LastModified": found.updated,
        "ETag": xml_etag(found),
        "Size": str(found.size),
        "StorageClass": found.fields.get("storageClass") or "STANDARD",
    }


def _tags(values: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _written(made: Object) -> dict[str, str]:
    return {
        "etag": xml_etag(made),
        "x-goog-generation": str(made.generation),
        "x-goog-metageneration": str(made.metageneration),
        "x-goog-hash": f"crc32c={made.crc32c}" + (f",md5={made.md5}" if made.md5 else ""),
        "x-goog-stored-content-length": str(made.size),
    }


def _fields(call: Call) -> Json:
    fields: Json = {field: call.headers[header] for header, field in SETTINGS.items() if header in call.headers}
    own = {name.removeprefix("x-goog-meta-"): value for name, value in call.headers.items() if name.startswith("x-goog-meta-")}
    return {**fields, **({"metadata": own} if own else {})}


def _conditions(call: Call) -> Conditions:
    def header(name: str) -> int | None:
        return _number(call.headers.get(f"x-goog-if-{name}-match", ""), f"x-goog-if-{name}-match")

    return Conditions(generation=header("generation"), metageneration=header("metageneration"))


def _http_conditions(call: Call, found: Object) -> None:
    """HTTP's own conditions of a read: https://cloud.google.com/storage/docs/xml-api/reference-headers."""
    tag = xml_etag(found)
    match, none_match = call.headers.get("if-match"), call.headers.get("if-none-match")
    if match and match.strip() not in ("*", tag):
        raise StorageError(
            412, "conditionNotMet", "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.", "If-Match"
        )
    if none_match and none_match.strip() in ("*", tag):
        raise StorageError(304, "notModified", "NotModified", "Not Modified")
    if call.headers.get("if-modified-since") == http_time(found.updated):
        raise StorageError(304, "notModified", "NotModified", "Not Modified")


def _number(text: str, name: str) -> int | None:
    if text and not text.isdigit():
        raise invalid(f"{name}: {text!r} is no number")
    return int(text) if text else None
