"""DBFS, the old file store: a folder beside the workspace's files, which programs see as `/dbfs`."""

from __future__ import annotations

import base64
import binascii
import posixpath
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing

Json = dict[str, Any]
MOST = 1024 * 1024  # bytes of one call (SDK, DbfsAPI)
HANDLES = "dbfs streams"


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their paths."""
    service = DbfsService(place)
    return {
        "POST /api/2.0/dbfs/create": service.create,
        "POST /api/2.0/dbfs/add-block": service.add_block,
        "POST /api/2.0/dbfs/close": service.close,
        "POST /api/2.0/dbfs/put": service.put,
        "GET /api/2.0/dbfs/read": service.read,
        "GET /api/2.0/dbfs/get-status": lambda request: service.status(request, service.need(request)),
        "GET /api/2.0/dbfs/list": service.list,
        "POST /api/2.0/dbfs/mkdirs": service.mkdirs,
        "POST /api/2.0/dbfs/delete": service.delete,
        "POST /api/2.0/dbfs/move": service.move,
    }


class DbfsService:
    """The files of each workspace."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def path(self, request: Request, field: str = "path") -> Path:
        """Where a path is kept. Raises ApiError for one that is not absolute."""
        given = str(request.given(field, "")).removeprefix("dbfs:")
        if not given.startswith("/") or "\0" in given:
            raise invalid(f"Absolute path must start with '/': {given!r}")
        return self._place.dbfs(request.workspace) / posixpath.normpath(f"/{given.lstrip('/')}").lstrip("/")

    def need(self, request: Request, field: str = "path") -> Path:
        """A path at which something is. Raises ApiError."""
        found = self.path(request, field)
        if not found.exists():
            raise missing(f"No file or directory exists on path {request.given(field)}.")
        return found

    def status(self, request: Request, path: Path) -> Json:
        about, shown = path.stat(), path.relative_to(self._place.dbfs(request.workspace))
        size = 0 if path.is_dir() else about.st_size
        return {"path": f"/{shown}", "is_dir": path.is_dir(), "file_size": size, "modification_time": int(about.st_mtime * 1000)}

    def create(self, request: Request) -> Json:
        path = self._new(request)
        path.write_bytes(b"")
        handle = self._place.documents.next_number(HANDLES)
        self._place.documents.insert(HANDLES, f"{request.workspace}/{handle}", {"path": str(path)})
        return {"handle": handle}

    def add_block(self, request: Request) -> None:
        with Path(self._stream(request)["path"]).open("ab") as stream:
            stream.write(_content(request.body["data"]))

    def close(self, request: Request) -> None:
        self._stream(request)
        self._place.documents.delete(HANDLES, f"{request.workspace}/{request.body['handle']}")

    def put(self, request: Request) -> None:
        self._new(request).write_bytes(_content(request.body.get("contents", "")))

    def read(self, request: Request) -> Json:
        path, offset, length = self.need(request), request.given("offset", 0), request.given("length", MOST // 2)
        if path.is_dir() or offset < 0 or length < 0:
            raise invalid("The path must be of a file, offset and length must not be negative.")
        if length > MOST:
            raise ApiError("BAD_REQUEST", f"The length must be at most {MOST}, not {length}.")
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
        return {"bytes_read": len(data), "data": base64.b64encode(data).decode()}

    def list(self, request: Request) -> Json:
        path = self.need(request)
        return {"files": [self.status(request, each) for each in (sorted(path.iterdir()) if path.is_dir() else [path])]}

    def mkdirs(self, request: Request) -> None:
        try:
            self.path(request).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"A file exists at a prefix of {request.body['path']}.") from error

    def delete(self, request: Request) -> None:
        path = self.path(request)
        if path.is_dir() and not request.body.get("recursive") and any(path.iterdir()):
            raise ApiError(
                "DIRECTORY_NOT_EMPTY", f"{request.body['path']} is a non-empty directory."
            )  # the real code, IO_ERROR, has no class
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def move(self, request: Request) -> None:
        source, target = self.need(request, "source_path"), self.path(request, "destination_path")
        if target.exists():
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"A file or directory already exists at {request.body['destination_path']}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)

    def _new(self, request: Request) -> Path:
        path = self.path(request)
        if path.is_dir() or (path.exists() and not request.body.get("overwrite")):
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"A file or directory already exists at the input path {request.body['path']}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _stream(self, request: Request) -> Json:
        found = self._place.documents.get(HANDLES, f"{request.workspace}/{request.body['handle']}")
        if found is None:
            raise missing(f"No stream is open with the handle {request.body['handle']}.")
        return found


def _content(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ApiError("MALFORMED_REQUEST", f"The data is not base64: {error}") from error
    if len(data) > MOST:
        raise ApiError("BAD_REQUEST", f"At most {MOST} bytes can be sent at once, not {len(data)}.")
    return data
