"""Cloud Storage: contents that come with an insert: simple, multipart/related and resumable uploads.

https://cloud.google.com/storage/docs/uploads-downloads. An upload becomes the same call of `objects.insert` as any other,
with its content beside it. A resumable upload's bytes wait in a content file, whose size is the one truth of how far it got.
"""

from __future__ import annotations

import io
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import IO
from urllib.parse import urlencode

from mlport.emulation.calls import Call, Reply
from mlport_vertex.emulator.services.storage_forms import invalid
from mlport_vertex.emulator.services.storage_json import Upload
from mlport_vertex.emulator.storing.object_records import Content, Json, StorageError
from mlport_vertex.emulator.storing.objects import Objects

GRAIN = 256 * 1024  # every part but the last is a multiple of this
MOST_HEAD = 1 << 20  # bytes of a multipart body before the content begins
LOCKS = 16
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")

Insert = Callable[[Call], Reply]


class Uploads:
    """What arrives at /upload/storage. `insert` does the call of the JSON API that an upload stands for, and answers it."""

    def __init__(self, objects: Objects, insert: Insert) -> None:
        self._objects, self._insert = objects, insert
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))

    def answer(self, call: Call) -> Reply:
        """Raises StorageError."""
        kind = call.argument("uploadType")
        if call.argument("upload_id"):
            return self._go_on(call, call.argument("upload_id"))
        if call.method != "POST":
            raise invalid(f"{call.method} needs an upload_id")
        if kind == "media":
            return self._whole(call, {}, call.body, call.headers.get("content-type"))
        if kind == "multipart":
            return self._whole(call, *_related(call))
        if kind == "resumable":
            return self._begin(call)
        raise invalid(f"Invalid value for uploadType: '{kind}'", "uploadType")

    def _whole(self, call: Call, metadata: Json, media: Content, content_type: str | None) -> Reply:
        return self._insert(_as_insert(call, metadata, media, content_type))

    # ---------------------------------------------------------------- resumable

    def _begin(self, call: Call) -> Reply:
        """The address to send the content to. What is wrong with the insert is said now, as far as it is known."""
        metadata = _metadata(call.read())
        self._objects.need_bucket(_bucket(call.path))
        key = uuid.uuid4().hex
        chosen = metadata.get("contentType") or call.headers.get("x-upload-content-type")
        total = call.headers.get("x-upload-content-length")
        session = Session(key, call.path, tuple(call.query), metadata, chosen, int(total) if total else None)
        self._objects.keep_upload(key, session.to_json())
        scheme = "http" if call.headers.get("host", "").rpartition(":")[2].isdigit() else "https"
        query = urlencode([*call.query, ("upload_id", key)])
        at = f"{scheme}://{call.headers.get('host', call.host)}{call.path}?{query}"
        return Reply(200, b"", {"location": at, "x-guploader-uploadid": key})

    def _go_on(self, call: Call, id: str) -> Reply:
        with self._locks[hash(id) % LOCKS]:
            found = self._objects.upload(id)
            if found is None:
                raise StorageError(404, "notFound", "NoSuchUpload", "Upload session not found.")
            if call.method == "DELETE":
                self._objects.drop_upload(id)
                return Reply(499)
            return self._take(call, Session.of(id, found))

    def _take(self, call: Call, session: Session) -> Reply:
        """Keep a part, say how far it got, and insert the object once it is whole."""
        if session.answer is not None:  # the caller did not hear it the first time
            return Reply.of(session.answer)
        has = self._size(session)
        given = call.headers.get("content-range")
        length = call.body.seek(0, io.SEEK_END)
        call.body.seek(0)
        first, total = (0, length) if given is None else _parts(given, length, has)
        total = session.total if total is None else total
        if first > has:
            raise StorageError(503, "backendError", "ServiceUnavailable", f"Invalid request. There were {has} bytes, and {first} was sent.")
        if length > has - first:
            call.body.seek(has - first)
            is_last = total is not None and first + length == total
            if not is_last and (first + length) % GRAIN:
                raise invalid(
                    f"Invalid request. The number of bytes uploaded is required to be equal or greater than {GRAIN}, except for the final request (it's recommended to be the exact multiple of {GRAIN}). The received request contained {length} bytes, which does not meet this requirement."
                )
            has = self._objects.append(session.id, call.body)
        if total is None or has < total:
            return Reply(308, b"", {"range": f"bytes=0-{has - 1}"} if has else {})
        return self._finish(call, session)

    def _size(self, session: Session) -> int:
        file = self._objects.file(session.id)
        return file.stat().st_size if file.exists() else 0

    def _finish(self, call: Call, session: Session) -> Reply:
        file = self._objects.file(session.id)
        file.touch()
        insert = Call("POST", call.host, session.path, session.query, call.headers, io.BytesIO(b""))
        reply = self._insert(_as_insert(insert, session.metadata, file, session.content_type))
        if reply.status == 200 and isinstance(reply.body, bytes):
            self._objects.keep_upload(session.id, {**session.to_json(), "file": "", "answer": json.loads(reply.body)})
        else:
            self._objects.drop_upload(session.id)
        return reply


@dataclass(frozen=True, slots=True)
class Session:
    """A resumable upload: the insert that it will become, and its answer once it is one."""

    id: str
    path: str
    query: tuple[tuple[str, str], ...]
    metadata: Json
    content_type: str | None
    total: int | None
    answer: Json | None = None

    def to_json(self) -> Json:
        return {
            "file": self.id,
            "path": self.path,
            "query": self.query,
            "metadata": self.metadata,
            "content_type": self.content_type,
            "total": self.total,
        }

    @classmethod
    def of(cls, id: str, body: Json) -> Session:
        query = tuple((key, value) for key, value in body["query"])
        return cls(id, body["path"], query, body["metadata"], body["content_type"], body["total"], body.get("answer"))


def _parts(given: str, length: int, has: int) -> tuple[int, int | None]:
    """First byte and total of a Content-Range; where only the state is asked for, the first byte that is missing."""
    match = CONTENT_RANGE.fullmatch(given.strip())
    if match is None:
        raise invalid(f"Failed to parse Content-Range header: {given}", "Content-Range")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return has, total
    if int(match[2]) - int(match[1]) + 1 != length:
        raise invalid(f"Content-Range says {given}, and {length} bytes came", "Content-Range")
    return int(match[1]), total


def _bucket(path: str) -> str:
    match = re.search(r"/b/([^/]+)/o", path)
    if match is None:
        raise StorageError(404, "notFound", "NoSuchKey", "Not Found")
    return match[1]


def _as_insert(call: Call, metadata: Json, media: Content, content_type: str | None) -> Upload:
    """The call of `objects.insert` that an upload stands for."""
    path = call.path.removeprefix("/resumable").removeprefix("/upload")
    query = tuple((key, value) for key, value in call.query if key not in ("uploadType", "upload_id"))
    body = {**({"contentType": content_type} if content_type else {}), **metadata}
    return Upload("POST", call.host, path, query, call.headers, io.BytesIO(json.dumps(body).encode()), media=media)


# ---------------------------------------------------------------- multipart/related


@dataclass(slots=True)
class _Window:
    """So many bytes of a stream, from where it stands."""

    stream: IO[bytes]
    left: int

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.stream.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(chunk)
        return chunk


def _related(call: Call) -> tuple[Json, Content, str | None]:
    """Metadata, content and its type of a multipart/related body: https://www.rfc-editor.org/rfc/rfc2387."""
    boundary = BytesHeaderParser().parsebytes(f"content-type: {call.headers.get('content-type', '')}\r\n\r\n".encode()).get_boundary()
    if not boundary:
        raise invalid("Missing or malformed Content-Type: a multipart/related body names its boundary", "Content-Type")
    mark = f"--{boundary}".encode()
    call.body.seek(0)
    head = call.body.read(MOST_HEAD)
    metadata_at = head.find(mark)
    media_at = head.find(b"\n" + mark, metadata_at + 1) + 1
    start, newline = _end_of_head(head, media_at)
    end = _end_of_body(call.body, newline + mark + b"--")
    if metadata_at < 0 or not media_at or not start or end < start:
        raise invalid("Malformed multipart body.")
    first, _, _ = head[metadata_at:media_at].partition(newline + newline)
    metadata = _metadata(head[metadata_at + len(first) : media_at])
    headers = BytesHeaderParser().parsebytes(head[media_at:start].partition(newline)[2])
    call.body.seek(start)
    return metadata, _Window(call.body, end - start), headers.get("content-type")


def _end_of_head(head: bytes, at: int) -> tuple[int, bytes]:
    """Where the content of a part begins, and how its lines end."""
    for newline in (b"\r\n", b"\n"):
        if (found := head.find(newline * 2, at)) >= 0:
            return found + 2 * len(newline), newline
    return 0, b"\r\n"


def _end_of_body(stream: IO[bytes], closing: bytes) -> int:
    """Where the closing boundary begins, looked for in what is left at the end of a stream; -1 if it is not there."""
    size = stream.seek(0, io.SEEK_END)
    start = max(size - len(closing) - 1024, 0)
    stream.seek(start)
    found = stream.read().rfind(closing)
    return start + found if found >= 0 else -1


def _metadata(text: bytes) -> Json:
    try:
        metadata = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise StorageError(400, "parseError", "InvalidArgument", "Parse Error") from error
    if not isinstance(metadata, dict):
        raise StorageError(400, "parseError", "InvalidArgument", "Parse Error")
    return metadata
