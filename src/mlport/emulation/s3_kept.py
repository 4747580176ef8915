"""The disk behind an emulated S3: objects, and uploads in parts that go on, written before they are answered for."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from mlport.emulation.documents import Documents, Json

PLAIN = (
    "_etag", "_storage_class", "_expiry", "encryption", "kms_key_id", "bucket_key_enabled", "website_redirect_location",
    "checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts", "contentsize",
)  # fmt: skip
"""What is kept of an object beside its content, name, time and metadata: attributes of moto's FakeKey."""


class Blob:
    """A file in the place of the buffer in which moto keeps an object's content: opened only while it is read."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.path.stat().st_size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(self._at)
            found = stream.read(size)
        self._at += len(found)
        return found

    def close(self) -> None:
        """Nothing is open."""


class Kept:
    """Objects and parts as files and documents. Not safe for threads: its owner has a lock."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.documents = Documents(folder / "objects.db")
        self._sweep()

    def _sweep(self) -> None:
        """Remove what was written and never became an object's: the process was killed in between."""
        used = {body["blob"] for kind in ("object", "part") for _, body in self.documents.list(f"s3/{kind}")}
        for path in self._blobs.iterdir():
            if path.name not in used:
                path.unlink()

    def buckets(self) -> Iterator[Json]:
        return (body for _, body in sorted(self.documents.list("s3/bucket")))

    def keep_bucket(self, bucket: Any) -> None:
        if self.documents.get("s3/bucket", bucket.name) is None:
            self.documents.insert(
                "s3/bucket", bucket.name, {"name": bucket.name, "region": bucket.region_name, "created": bucket.creation_date.isoformat()}
            )

    def forget_bucket(self, name: str) -> None:
        self.documents.delete("s3/bucket", name)

    def objects(self, bucket: str) -> Iterator[Json]:
        return (body for _, body in self.documents.list("s3/object", f"{bucket}/"))

    def keep_object(self, bucket: str, name: str, key: Any) -> None:
        """Make the disk say of an object what moto says of it, None for one that is gone."""
        self._keep("s3/object", f"{bucket}/{name}", key, {"bucket": bucket, "name": name})

    def keep_upload(self, bucket: str, upload: Any) -> None:
        body = {"id": upload.id, "bucket": bucket, "name": upload.key_name, "metadata": dict(upload.metadata), "storage": upload.storage}
        self.documents.insert("s3/upload", upload.id, body)

    def keep_part(self, upload: str, number: int, key: Any) -> None:
        self._keep("s3/part", f"{upload}/{number:05}", key, {"upload": upload, "number": number})

    def uploads(self) -> Iterator[tuple[Json, list[Json]]]:
        """Those that were begun and not ended, with their parts."""
        for _, body in sorted(self.documents.list("s3/upload")):
            yield body, sorted((part for _, part in self.documents.list("s3/part", f"{body['id']}/")), key=lambda part: int(part["number"]))

    def forget_upload(self, upload: str) -> None:
        parts = [body for _, body in self.documents.list("s3/part", f"{upload}/")]
        with self.documents.together():
            self.documents.delete("s3/upload", upload)
            for part in parts:
                self.documents.delete("s3/part", f"{upload}/{part['number']:05}")
        for part in parts:
            self._unlink(part["blob"])

    def _keep(self, kind: str, name: str, key: Any, said: Json) -> None:
        old = self.documents.get(kind, name)
        if key is None:
            if old is not None:
                self.documents.delete(kind, name)
        elif isinstance(key._value_buffer, Blob) and old is not None and old["blob"] == key._value_buffer.path.name:
            return
        else:
            body = {**said, **self._written(key)}
            with self.documents.together():
                self.documents.delete(kind, name)
                self.documents.insert(kind, name, body)
        if old is not None:
            self._unlink(old["blob"])

    def _written(self, key: Any) -> Json:
        """The object's content in a file of its own, from which moto reads it from now on, and what else there is to keep of it."""
        key.etag  # noqa: B018 - moto works it out when it is first asked for
        path = self._blobs / uuid.uuid4().hex
        with path.open("wb") as stream:
            stream.write(key.value)
            stream.flush()
            os.fsync(stream.fileno())
        key._value_buffer.close()
        key._value_buffer = Blob(path)
        plain = {name: getattr(key, name) for name in PLAIN}
        return {"blob": path.name, "modified": key.last_modified.isoformat(), "metadata": dict(key.metadata), "plain": plain}

    def restore(self, key: Any, body: Json) -> None:
        """Give a fresh key of moto's what was kept."""
        key._value_buffer.close()
        key._value_buffer = Blob(self._blobs / body["blob"])
        for name, value in body["plain"].items():
            setattr(key, name, value)
        key.last_modified = datetime.fromisoformat(body["modified"])
        key._metadata.update(body["metadata"])

    def _unlink(self, blob: str) -> None:
        with suppress(FileNotFoundError):
            (self._blobs / blob).unlink()

    def close(self) -> None:
        self.documents.close()
