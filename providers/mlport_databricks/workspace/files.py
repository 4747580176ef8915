"""Files of volumes (Files API 2.0) and files of the workspace, by their absolute paths."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from mlport.errors import ConflictError, NotFoundError, SpecError, UnavailableError
from mlport.spi import InputFact, Json

if TYPE_CHECKING:
    from requests import Response

    from mlport_databricks.workspace.connection import Connection

FILES, FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"
LARGEST = 5 << 30  # bytes of one PUT: databricks/sdk/service/files.py, FilesAPI
CHUNK = 4 << 20
AT_ONCE = 8
UPLOAD_SECONDS = 3600.0


class Files:
    """What lies in `/Volumes` and `/Workspace`. Errors are ours."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # ---------------------------------------------------------------- volumes

    def get(self, path: str) -> bytes | None:
        """A file's content, None if there is no such file."""
        response = self._exchange("GET", path, "files.download")
        if response.status_code == 404:
            return None
        self._connection.check(response, "GET", path, operation="files.download")
        return response.content

    def stream(self, path: str) -> Iterator[bytes]:
        """A file's content in pieces. Raises NotFoundError."""
        import requests

        with closing(self._exchange("GET", path, "files.download", stream=True)) as response:
            self._connection.check(response, "GET", path, operation="files.download")
            try:
                yield from response.iter_content(CHUNK)
            except requests.RequestException as error:
                raise UnavailableError(f"{path} could not be read to its end: {error}", provider="databricks") from error

    def head(self, path: str) -> Json | None:
        """`size` (bytes) and `modified` (as HTTP has it) of a file, None if there is no such file."""
        response = self._exchange("HEAD", path, "files.get_metadata")
        if response.status_code == 404:
            return None
        self._connection.check(response, "HEAD", path, operation="files.get_metadata")
        return {"size": int(response.headers.get("content-length", 0)), "modified": response.headers.get("last-modified", "")}

    def put(self, path: str, content: bytes | Path) -> None:
        """Write a file, in place of the one that is there."""
        self._put(path, content, overwrite=True)

    def put_once(self, path: str, content: bytes | Path) -> bool:
        """Write a file unless it is there; whether it was written. For content that its name says (a digest)."""
        try:
            self._put(path, content, overwrite=False)
        except ConflictError:
            return False
        return True

    def _put(self, path: str, content: bytes | Path, *, overwrite: bool) -> None:
        if isinstance(content, bytes):
            self._send(path, content, overwrite=overwrite)
            return
        if content.stat().st_size > LARGEST:
            raise SpecError(
                f"{content}: larger than the 5 GiB that the Files API takes in one file", hint="split it, or put it there by other means"
            )
        with content.open("rb") as stream:
            self._send(path, stream if content.stat().st_size else b"", overwrite=overwrite)

    def _send(self, path: str, content: bytes | BinaryIO, *, overwrite: bool) -> None:
        self._connection.call(
            "PUT",
            f"{FILES}{quote(path)}",
            operation="files.upload",
            raw=content,
            query={"overwrite": overwrite},
            headers={"content-type": "application/octet-stream"},
            repeatable=True,
            timeout=UPLOAD_SECONDS,
        )

    def list(self, folder: str) -> Iterator[Json]:
        """What lies in a folder: `path`, `name`, `is_directory`, `file_size`; nothing if there is no such folder."""
        token = None
        while True:
            try:
                page = self._connection.call(
                    "GET", f"{FOLDERS}{quote(folder)}", operation="files.list_directory_contents", query={"page_token": token}
                )
            except NotFoundError:
                return
            yield from page.get("contents", ())
            token = page.get("next_page_token")
            if not token:
                return

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Path and size of each file below a folder."""
        for entry in self.list(folder):
            if entry.get("is_directory"):
                yield from self.walk(str(entry["path"]).rstrip("/"))
            else:
                yield str(entry["path"]), int(entry.get("file_size", 0))

    def upload(self, source: Path, path: str) -> None:
        """Copy a file, or a folder's files below a path."""
        from mlport.bundle import tree_files

        if source.is_file():
            self.put(path, source)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda found: self.put(f"{path.rstrip('/')}/{found[0]}", found[1]), tree_files(source)))

    def download(self, folder: str, destination: Path) -> int:
        """Copy what is below a folder to `destination`; how many files that were."""
        count = 0
        for path, _ in self.walk(folder):
            target = _inside(destination, path.removeprefix(folder.rstrip("/") + "/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                stream.writelines(self.stream(path))
            count += 1
        return count

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        self._remove(f"{FILES}{quote(path)}", "files.delete")

    def delete_below(self, folder: str) -> None:
        """Remove a folder and everything below it: the API removes empty folders only."""
        entries = list(self.list(folder))
        for entry in entries:
            if entry.get("is_directory"):
                self.delete_below(str(entry["path"]).rstrip("/"))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.delete, (str(entry["path"]) for entry in entries if not entry.get("is_directory"))))
        self._remove(f"{FOLDERS}{quote(folder)}", "files.delete_directory")

    def _remove(self, address: str, operation: str) -> None:
        try:
            self._connection.call("DELETE", address, operation=operation, repeatable=True)
        except NotFoundError:
            return

    def identify(self, path: str) -> InputFact:
        """What lies at a path of a volume. It is read by jobs as it is then: volumes have no versions. Raises NotFoundError."""
        found = self.head(path)
        if found is not None:
            return InputFact(path, "unversioned", "", found["size"])
        sizes = [size for _, size in self.walk(path)]
        if not sizes:
            raise NotFoundError(f"there is no file at {path}, and none below it", provider="databricks", operation="input")
        return InputFact(path, "unversioned", "", sum(sizes))

    def _exchange(self, verb: str, path: str, operation: str, *, stream: bool = False) -> Response:
        return self._connection.exchange(verb, f"{FILES}{quote(path)}", operation=operation, stream=stream)

    # ---------------------------------------------------------------- workspace

    def import_once(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write files into a workspace folder, one after the other, each unless it is there. For content that the folder's name says.

        Paths are the API's, which leaves out `/Workspace`: a script under either name is the same file.
        """
        place = folder.removeprefix("/Workspace")
        self._connection.call("POST", "/api/2.0/workspace/mkdirs", operation="workspace.mkdirs", body={"path": place}, repeatable=True)
        for name, content in files.items():
            body = {"path": f"{place}/{name}", "format": "AUTO", "content": base64.b64encode(content).decode(), "overwrite": False}
            with suppress(ConflictError):
                self._connection.call("POST", "/api/2.0/workspace/import", operation="workspace.import", body=body, repeatable=True)

    def workspace_status(self, path: str) -> Json | None:
        """What a workspace path is, None if it is not there."""
        query = {"path": path.removeprefix("/Workspace")}
        try:
            return self._connection.call("GET", "/api/2.0/workspace/get-status", operation="workspace.get_status", query=query)
        except NotFoundError:
            return None


def _inside(folder: Path, relative: str) -> Path:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise NotFoundError(f"the file name {relative!r} would be written outside {folder}")
    return target
