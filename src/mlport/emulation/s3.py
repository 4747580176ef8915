"""An S3 on this machine: moto answers, every change is on disk before it is answered, and signatures and keys are checked.

moto keeps everything in memory. One lock around it makes what it looks at before a write, such as If-Match, hold until the
write is done. What cannot be kept, such as a bucket's policy or versions, is refused.
"""

from __future__ import annotations

import html
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from mlport.emulation.calls import Call, Reply
from mlport.emulation.s3_kept import Kept
from mlport.emulation.s3_keys import Grant, Key, Keys, RefusedError

REGION = "us-east-1"
HOSTS = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?!control|tables|vectors)[a-z0-9-]+)?\.amazonaws\.com")
CHANGES = ("PUT", "POST", "DELETE", "PATCH")
KEPT = {"uploads", "uploadId", "partNumber", "delete", "x-id", "list-type"}
"""Query arguments of changes that are kept; with another, such as `acl` or `versioning`, a change is refused."""
CODES = {429: "SlowDown", 500: "InternalError", 503: "SlowDown", 404: "NoSuchKey", 403: "AccessDenied"}


class S3:
    """Buckets and objects in a folder."""

    def __init__(self, folder: Path, closed: Sequence[str] = ()) -> None:
        from moto.s3.models import s3_backends

        self._kept = Kept(folder)
        self.keys = Keys(self._kept.documents, closed)
        self._lock = threading.RLock()
        self._account = f"{uuid.uuid4().int % 10**12:012}"  # apart from every other S3 in this process
        self._backends: Any = s3_backends
        self._backend: Any = s3_backends[self._account]["aws"]
        self._routes = [(re.compile(url), work) for url, work in self._backend.urls.items() if ".cn" not in url]
        self._load()

    def _load(self) -> None:
        from moto.s3.models import FakeKey, FakeMultipart

        for kept in self._kept.buckets():
            self._make(kept["name"], kept["region"])
            for body in self._kept.objects(kept["name"]):
                key = FakeKey(body["name"], b"", self._account, kept["region"], version_id="null", bucket_name=kept["name"])
                self._kept.restore(key, body)
                self._bucket(kept["name"]).keys.setlist(body["name"], [key])
        for upload, parts in self._kept.uploads():
            begun = FakeMultipart(upload["name"], upload["metadata"], self._account, REGION, storage=upload["storage"], tags={}, acl=None)
            begun.id = upload["id"]
            for part in parts:
                self._kept.restore(begun.set_part(part["number"], b""), part)
            self._bucket(upload["bucket"]).multiparts[begun.id] = begun

    # ---------------------------------------------------------------- for the emulator itself

    def make_bucket(self, name: str, region: str = REGION) -> None:
        """A bucket, unless it is there."""
        with self._lock:
            if name not in self._backend.buckets:
                self._make(name, region)
                self._kept.keep_bucket(self._bucket(name))

    def names(self, bucket: str, prefix: str) -> list[str]:
        """The objects whose name begins with this, in order; none where there is no such bucket."""
        with self._lock:
            found = self._backend.buckets.get(bucket)
            return sorted(name for name in found.keys if name.startswith(prefix)) if found else []

    def read(self, bucket: str, name: str) -> bytes | None:
        """An object's content, None if there is none."""
        with self._lock:
            found = self._backend.buckets.get(bucket)
            key = found.keys.get(name) if found else None
            return bytes(key.value) if key else None

    def download(self, bucket: str, prefix: str, folder: Path) -> None:
        """Every object under `prefix/` as a file in the folder."""
        start = prefix.rstrip("/") + "/"
        for name in self.names(bucket, start):
            target = folder / name.removeprefix(start)
            if ".." in Path(name).parts:
                raise ValueError(f"{name}: leads out of the folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                shutil.copyfile(self._bucket(bucket).keys[name]._value_buffer.path, target)

    def delete_all(self, bucket: str, prefix: str) -> None:
        """Delete every object whose name begins with this."""
        with self._lock:
            for name in self.names(bucket, prefix):
                self._backend.delete_object(bucket, name)
                self._kept.keep_object(bucket, name, None)

    def temporary_key(self, bucket: str, prefix: str, *, write: bool, seconds: float = 3600.0) -> Key:
        """A key that opens what lies under `prefix/` and nothing else."""
        return self.keys.temporary([Grant(bucket, prefix.rstrip("/") + "/", write)], seconds)

    def close(self) -> None:
        with self._lock:
            for name in list(self._backend.buckets):
                self._backend.buckets.pop(name)
            self._backends.pop(self._account, None)
            self._kept.close()

    # ---------------------------------------------------------------- requests

    def answer(self, call: Call) -> Reply:
        """Do what is asked, or say in S3's XML why not."""
        bucket, key = place_of(call)
        try:
            for where, name, writes in _touched(call, bucket, key):
                self.keys.check(call, where, name, writes=writes)
            if call.method in CHANGES:
                _check_kept(call)
            with self._lock:
                status, headers, body = self._ask(call)
                if call.method in CHANGES and status < 300:
                    self._keep(call, bucket, key, body)
        except RefusedError as error:
            return _refused(call, error.code, error.message, error.status)
        dropped = ("connection",) if bucket else ("connection", "content-length")
        if not bucket:
            body = _without_closed(body, self.keys.closed)
        return Reply(status, body, {name: value for name, value in headers.items() if name.lower() not in dropped})

    def failure(self, call: Call, status: int) -> Reply:
        """A fault on demand."""
        return _refused(
            call, CODES.get(status, "InternalError"), "Please reduce your request rate." if status == 503 else "A fault on demand", status
        )

    def _ask(self, call: Call) -> tuple[int, Mapping[str, str], bytes]:
        """What moto answers."""
        from moto.core.request import Request
        from werkzeug.exceptions import HTTPException

        query = "&".join(f"{_escaped(name)}={_escaped(value)}" if value else _escaped(name) for name, value in call.query)
        address = f"https://{call.host}{call.path}"
        headers = {**call.headers, "host": call.host, "x-moto-account-id": self._account}
        request = Request.from_primitives(call.method, f"{address}{'?' if query else ''}{query}", headers, call.read())
        work = next(work for pattern, work in self._routes if pattern.match(address))
        try:
            status, answered, body = work(request, request.raw_url, request.headers)
        except HTTPException as error:
            status, answered, body = error.code or 500, dict(error.get_headers()), error.get_body()
        content = body.encode() if isinstance(body, str) else bytes(body)
        return int(status), {str(name): str(value) for name, value in dict(answered).items()}, content

    def _keep(self, call: Call, bucket: str, key: str, body: bytes) -> None:
        """Bring to disk what a change did."""
        arguments = {name for name, _ in call.query}
        if not key:
            self._keep_bucket(call, bucket, arguments)
        elif "uploads" in arguments:
            begun = re.search(rb"<UploadId>([^<]+)</UploadId>", body)
            assert begun is not None  # noqa: S101 - moto has just answered with it
            self._kept.keep_upload(bucket, self._bucket(bucket).multiparts[begun[1].decode()])
        elif "partNumber" in arguments:
            upload, number = call.argument("uploadId"), int(call.argument("partNumber"))
            self._kept.keep_part(upload, number, self._bucket(bucket).multiparts[upload].parts[number])
        else:
            self._kept.keep_object(bucket, key, self._bucket(bucket).keys.get(key))
            if "uploadId" in arguments:
                self._kept.forget_upload(call.argument("uploadId"))

    def _keep_bucket(self, call: Call, bucket: str, arguments: set[str]) -> None:
        if "delete" in arguments:
            for name in _named_in(call):
                self._kept.keep_object(bucket, name, self._bucket(bucket).keys.get(name))
        elif call.method == "DELETE":
            self._kept.forget_bucket(bucket)
        elif call.method == "PUT":
            self._backends.bucket_accounts.pop(bucket, None)  # the name is taken in this S3 only
            self._kept.keep_bucket(self._bucket(bucket))

    def _make(self, name: str, region: str) -> None:
        from moto.s3.models import FakeBucket

        self._backend.buckets[name] = FakeBucket(name, self._account, region)
        self._backends.bucket_accounts.pop(name, None)

    def _bucket(self, name: str) -> Any:
        return self._backend.buckets[name]


def place_of(call: Call) -> tuple[str, str]:
    """Bucket and key of a request, by the host or by the path; empty where it names none."""
    match = HOSTS.fullmatch(call.host)
    path = unquote(call.path).removeprefix("/")
    if match and match["bucket"]:
        return match["bucket"], path
    bucket, _, key = path.partition("/")
    return bucket, key


def _touched(call: Call, bucket: str, key: str) -> Iterator[tuple[str, str, bool]]:
    """Every object that a request reads or writes; for a list that which it may list."""
    arguments = {name for name, _ in call.query}
    if key:
        yield bucket, key, call.method in CHANGES
        if source := call.headers.get("x-amz-copy-source"):
            where, _, name = unquote(source).lstrip("/").partition("/")
            yield where, name.partition("?")[0], False
    elif "delete" in arguments:
        for name in _named_in(call):
            yield bucket, name, True
    elif call.method == "GET" and bucket and not arguments & {"location", "versioning", "uploads"}:
        yield bucket, call.argument("prefix"), False
    else:
        yield bucket, "", call.method in CHANGES


def _named_in(call: Call) -> list[str]:
    """The keys in the body of a request to delete several."""
    return [html.unescape(text) for text in re.findall(r"<Key>([^<]*)</Key>", call.read().decode("utf-8", "replace"))]


def _check_kept(call: Call) -> None:
    """Refuse what would be forgotten."""
    unkept = sorted({name for name, _ in call.query if not name.lower().startswith("x-amz-")} - KEPT)
    unkept += [name for name in ("x-amz-tagging", "x-amz-object-lock-mode") if name in call.headers]
    if unkept or call.headers.get("x-amz-acl", "private") not in ("private", "bucket-owner-full-control"):
        what = ", ".join(unkept) or f"x-amz-acl: {call.headers['x-amz-acl']}"
        raise RefusedError(
            "NotImplemented", f"A header or argument you provided implies functionality that is not implemented: {what}", 501
        )


def _without_closed(listed: bytes, closed: Sequence[str]) -> bytes:
    """The list of buckets without those that nobody's own keys open."""
    for name in closed:
        listed = re.sub(rf"<Bucket>(?:(?!</Bucket>).)*<Name>{re.escape(name)}</Name>.*?</Bucket>".encode(), b"", listed, flags=re.DOTALL)
    return listed


def _refused(call: Call, code: str, message: str, status: int) -> Reply:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    content = b"" if call.method == "HEAD" else text.encode()
    return Reply(status, content, {"content-type": "application/xml"})


def _escaped(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="-_.~")
