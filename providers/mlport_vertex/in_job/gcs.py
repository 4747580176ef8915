"""Cloud Storage with the standard library: the job's own account, by the metadata server's token.

As a program it is the runner's `transfer` command: `gcs.py [--expect generation:N] SOURCE DESTINATION` copies a file or
folder between a path and a gs:// address; exit status 3: there is no such source; 4: it is not the generation expected.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

HOST = "https://storage.googleapis.com"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
CHUNK = 1 << 20
SECONDS = 300.0
MISSING, OTHER_VERSION = 3, 4
PASSING = (408, 429, 500, 502, 503, 504)


class OtherVersionError(Exception):
    """The object is not the generation that was expected."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and object name of a gs:// address."""
    bucket, _, name = uri[len("gs://") :].partition("/")
    return bucket, name


class Storage:
    """Objects by their gs:// addresses. Calls that fail in passing are made again; every call may be."""

    def __init__(self) -> None:
        self._token, self._until = "", 0.0
        self._open = build_opener().open  # not urlopen: its opener keeps the proxy of whoever in this process called it first

    def token(self) -> str:
        """The account's token, asked for anew a little before its end."""
        if time.monotonic() > self._until:
            host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
            ask = Request(f"http://{host}{METADATA}", headers={"Metadata-Flavor": "Google"})
            with build_opener(ProxyHandler({})).open(ask, timeout=60.0) as answer:
                found = json.load(answer)
            self._token, self._until = found["access_token"], time.monotonic() + max(0.0, found["expires_in"] - 240.0)
        return self._token

    def _call(self, method: str, path: str, query: dict[str, str], content: Any = None, length: int | None = None) -> Any:
        """The open answer of one request. Raises HTTPError for a refusal, OSError when nobody answers for long."""
        url = "{}{}{}{}".format(HOST, path, "?" if query else "", urlencode(query))
        return self._again(lambda: self._call_once(method, url, content, length))

    def _call_once(self, method: str, url: str, content: Any, length: int | None) -> Any:
        headers = {"Authorization": f"Bearer {self.token()}", "User-Agent": "mlport"}
        if length is not None:
            headers.update({"Content-Length": str(length), "Content-Type": "application/octet-stream"})
        if hasattr(content, "seek"):
            content.seek(0)
        return self._open(Request(url, content, headers, method=method), timeout=SECONDS)  # noqa: S310 - https, see HOST

    def get(self, uri: str) -> bytes | None:
        """An object's content, None if there is none."""
        bucket, name = split(uri)
        try:
            with self._call("GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}", {"alt": "media"}) as answer:
                content: bytes = answer.read()
                return content
        except HTTPError as error:
            if error.code == 404:
                return None
            raise

    def put(self, uri: str, content: bytes, absent: bool = False) -> bool:
        """Write an object; with `absent` only if there is none. Whether it is there as written: after a lost answer it may be."""
        bucket, name = split(uri)
        query = {"uploadType": "media", "name": name, **({"ifGenerationMatch": "0"} if absent else {})}
        try:
            with self._call("POST", f"/upload/storage/v1/b/{bucket}/o", query, content, len(content)):
                return True
        except HTTPError as error:
            if absent and error.code == 412:
                return self.get(uri) == content
            raise

    def put_file(self, uri: str, path: str) -> None:
        """Write an object from a file."""
        bucket, name = split(uri)
        with open(path, "rb") as stream:
            query = {"uploadType": "media", "name": name}
            with self._call("POST", f"/upload/storage/v1/b/{bucket}/o", query, stream, os.path.getsize(path)):
                return

    def list(self, uri: str) -> Iterator[str]:
        """The names of the objects whose names begin with that of `uri`, in order."""
        bucket, prefix = split(uri)
        query = {"prefix": prefix, "fields": "items(name),nextPageToken"}
        while True:
            with self._call("GET", f"/storage/v1/b/{bucket}/o", query) as answer:
                page = json.load(answer)
            yield from (item["name"] for item in page.get("items", ()))
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def fetch(self, uri: str, path: str, generation: str | None = None) -> bool:
        """Copy an object to a file that appears only when whole; False if there is no such object."""
        bucket, name = split(uri)
        where = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        query = {"alt": "media", **({"ifGenerationMatch": generation} if generation else {})}
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        try:
            self._again(lambda: self._fetch_once(where, query, path))
        except HTTPError as error:
            if error.code == 404:
                return False
            if error.code == 412:
                raise OtherVersionError(uri) from error
            raise
        return True

    def _fetch_once(self, where: str, query: dict[str, str], path: str) -> None:
        with self._call("GET", where, query) as answer, open(path + ".part", "wb") as target:
            target.writelines(iter(lambda: answer.read(CHUNK), b""))
            promised = answer.headers.get("Content-Length")
            if promised is not None and int(promised) != target.tell():
                raise OSError(f"the connection ended after {target.tell()} of {promised} bytes")
        os.replace(path + ".part", path)

    def _again(self, work: Callable[[], T]) -> T:
        """Do it, and again where it failed in passing."""
        for pause in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, None):
            try:
                return work()
            except (OSError, HTTPException) as error:
                if pause is None or (isinstance(error, HTTPError) and error.code not in PASSING):
                    raise
                if isinstance(error, HTTPError):
                    error.close()
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def download(self, uri: str, path: str, generation: str | None = None) -> bool:
        """Copy an object, or everything below a folder, to `path`; False if there is neither."""
        if not uri.endswith("/") and self.fetch(uri, path, generation):
            return True
        bucket, prefix = split(uri.rstrip("/") + "/")
        names = [name for name in self.list(f"gs://{bucket}/{prefix}") if not name.endswith("/")]
        for name in names:
            target = os.path.normpath(os.path.join(path, name[len(prefix) :]))
            if not target.startswith(os.path.abspath(path) + os.sep):
                raise OSError(f"the object name {name!r} would be written outside {path}")
            self.fetch(f"gs://{bucket}/{name}", target)
        return bool(names)

    def upload(self, path: str, uri: str) -> None:
        """Copy a file to an object, or a folder's files below an address."""
        if os.path.isfile(path):
            self.put_file(uri, path)
            return
        for folder, _, names in os.walk(path):
            for name in names:
                file = os.path.join(folder, name)
                relative = os.path.relpath(file, path).replace(os.sep, "/")
                self.put_file("{}/{}".format(uri.rstrip("/"), relative), file)


def main(words: list[str]) -> int:
    """Copy as the command line says; the exit status."""
    expected = words[1] if words[:1] == ["--expect"] else None
    source, destination = words[2:] if expected else words
    storage = Storage()
    generation = expected[len("generation:") :] if expected and expected.startswith("generation:") else None
    try:
        if source.startswith("gs://"):
            return 0 if storage.download(source, os.path.abspath(destination), generation) else MISSING
        if not os.path.exists(source):
            return MISSING
        storage.upload(source, destination)
    except OtherVersionError:
        return OTHER_VERSION
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"mlport: {source} -> {destination}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
