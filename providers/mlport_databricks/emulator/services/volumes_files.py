"""The Files API 2.0: files and directories of volumes.

Behaviour: databricks/cli libs/testserver/{handlers,fake_workspace}.go and libs/filer/files_client.go.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import os
import shutil
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from mlport.emulation.calls import Reply
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Handler, Request
from mlport_databricks.emulator.protocol.errors import ApiError, invalid
from mlport_databricks.emulator.storing.files import OutsideError, entry_count

Json = dict[str, Any]
LARGEST = 5 << 30  # bytes of one upload
PAGE = 1000  # entries at most


def handlers(place: Place) -> Mapping[str, Handler]:
    files, folders = "/api/2.0/fs/files{file_path}", "/api/2.0/fs/directories{directory_path}"
    work = {
        f"PUT {files}": upload,
        f"GET {files}": download,
        f"HEAD {files}": metadata,
        f"DELETE {files}": delete_file,
        f"PUT {folders}": make_folder,
        f"HEAD {folders}": folder_metadata,
        f"GET {folders}": list_folder,
        f"DELETE {folders}": delete_folder,
    }
    direct = {f"* POST /api/2.0/fs/create-{what}": no_direct for what in ("upload-part-urls", "download-url", "abort-upload-url")}
    return {key: partial(handler, place) for key, handler in {**work, **direct, f"* POST {files}": begin_upload}.items()}


def begin_upload(place: Place, request: Request) -> Json:
    """The SDK begins a large file so, finds that there are no direct URLs, and then sends it whole by PUT."""
    if request.arguments.get("action") != "initiate-upload":
        raise _direct_disabled()
    _path(place, request, "file_path", "WRITE_VOLUME")
    return {"multipart_upload": {"session_token": "emulated"}}


def no_direct(place: Place, request: Request) -> Json:
    """Databricks' answer where URLs straight to the cloud's storage are switched off (databricks/sdk/mixins/files.py reads the reason)."""
    raise _direct_disabled()


def _direct_disabled() -> ApiError:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "FILES_API_API_IS_NOT_ENABLED", "domain": "databricks.com"}
    return ApiError("PERMISSION_DENIED", "Presigned URLs API is not enabled", details=[info])


def upload(place: Place, request: Request) -> Reply:
    """Write a file whole; parents are made. `overwrite` is true if not given (docs/spi/databricks.md, trap 10)."""
    target = _path(place, request, "file_path", "WRITE_VOLUME")
    if target.is_dir() or str(request.arguments["file_path"]).endswith("/"):
        raise ApiError(
            "RESOURCE_CONFLICT", "The given path points to an existing directory. This API does not support operations on directories."
        )
    body = request.call.body
    if body.seek(0, os.SEEK_END) > LARGEST:
        raise ApiError("REQUEST_TOO_LARGE", f"The file is larger than {LARGEST} bytes.")
    body.seek(0)
    with place.files.writing(target, overwrite=request.arguments.get("overwrite", True)) as stream:
        shutil.copyfileobj(body, stream)
    return Reply(204)


def download(place: Place, request: Request) -> Reply:
    path = _file(place, request)
    size = path.stat().st_size
    if (since := request.call.headers.get("if-unmodified-since")) and int(path.stat().st_mtime) > _seconds(since):
        raise ApiError("PRECONDITION_FAILED", "The file was modified after the given time.")
    span = _range(request.call.headers.get("range", ""), size)
    if span is None:
        return Reply(200, path, _headers(path, size))
    start, end = span
    return Reply(206, path, {**_headers(path, end - start), "content-range": f"bytes {start}-{end - 1}/{size}"}, start, end)


def metadata(place: Place, request: Request) -> Reply:
    path = _file(place, request)
    return Reply(200, b"", _headers(path, path.stat().st_size))


def delete_file(place: Place, request: Request) -> Reply:
    path = _file(place, request, "WRITE_VOLUME")
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise _missing_file() from error
    return Reply(204)


def make_folder(place: Place, request: Request) -> Reply:
    path = _path(place, request, "directory_path", "WRITE_VOLUME")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        said = "The given path points to an existing file. This API does not support operations on files."
        raise ApiError("RESOURCE_CONFLICT", said) from error
    return Reply(204)


def folder_metadata(place: Place, request: Request) -> Reply:
    _folder(place, request, "READ_VOLUME")
    return Reply(200)


def list_folder(place: Place, request: Request) -> Json:
    """A page of the entries by name; the token holds the last name of the page before."""
    folder = _folder(place, request, "READ_VOLUME")
    size, token = int(request.arguments.get("page_size") or PAGE), str(request.arguments.get("page_token") or "")
    if size < 0:
        raise invalid(f"page_size must not be negative, got {size}")
    after = _name_of(token)
    names = sorted(path.name for path in folder.iterdir() if not after or path.name > after)
    page = names[: min(size, PAGE)]
    base = str(request.arguments["directory_path"]).rstrip("/")
    entries = [entry for name in page if (entry := _entry(folder / name, f"{base}/{name}")) is not None]
    return {"contents": entries, **({"next_page_token": _token_of(page[-1])} if len(names) > len(page) else {})}


def delete_folder(place: Place, request: Request) -> Reply:
    """Only an empty one: "To delete a non-empty directory, first delete all of its contents", says the SDK."""
    folder = _folder(place, request, "WRITE_VOLUME")
    if len(Path(str(request.arguments["directory_path"])).parts) < 6:
        raise invalid("The root of a volume cannot be deleted.")
    if entry_count(folder):
        raise ApiError("DIRECTORY_NOT_EMPTY", "The directory is not empty.")
    folder.rmdir()
    return Reply(204)


# ---------------------------------------------------------------- paths


def _path(place: Place, request: Request, argument: str, privilege: str) -> Path:
    """Where it is kept. Raises ApiError for what is in no volume that there is, or that the user may not use."""
    path = str(request.arguments[argument])
    parts = path.split("/")
    if len(parts) < 5 or parts[1] != "Volumes" or not all(parts[2:5]):
        raise invalid(f"Invalid path: {path or '/'} must be of the form /Volumes/<catalog>/<schema>/<volume>/...")
    volume = ".".join(parts[2:5]).lower()
    place.unity.need(request.workspace, "volume", volume)
    place.grants.require(request.workspace, request.user, privilege, "volume", volume)
    try:
        return place.files.path_of(request.workspace, "/".join(["/Volumes", *volume.split("."), *parts[5:]]).rstrip("/"))
    except OutsideError as error:
        raise invalid(f"Invalid path: {error}") from error


def _file(place: Place, request: Request, privilege: str = "READ_VOLUME") -> Path:
    path = _path(place, request, "file_path", privilege)
    if not path.is_file():
        raise _missing_file()
    return path


def _missing_file() -> ApiError:
    return ApiError("NOT_FOUND", "The file being accessed is not found.")


def _folder(place: Place, request: Request, privilege: str) -> Path:
    path = _path(place, request, "directory_path", privilege)
    if not path.is_dir():
        raise ApiError("NOT_FOUND", "The directory being accessed is not found.")
    return path


# ---------------------------------------------------------------- answers


def _headers(path: Path, length: int) -> dict[str, str]:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {
        "content-type": kind,
        "content-length": str(length),
        "last-modified": formatdate(path.stat().st_mtime, usegmt=True),
        "accept-ranges": "bytes",
    }


def _entry(path: Path, shown: str) -> Json | None:
    """None for what went meanwhile."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    said = {"path": shown, "name": path.name, "is_directory": path.is_dir(), "last_modified": int(found.st_mtime * 1000)}
    return said if path.is_dir() else {**said, "file_size": found.st_size}


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of `bytes=a-b`, `a-` or `-n`; None for the whole file."""
    if not header.startswith("bytes=") or "," in header:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not (first or last) or not (first + last).isdecimal():
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= end:
        raise ApiError("REQUESTED_RANGE_NOT_SATISFIABLE", "The requested range is not satisfiable.")
    return start, end


def _seconds(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError as error:
        raise invalid(f"If-Unmodified-Since: {text!r} is not an HTTP date") from error


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise invalid("page_token is not one that was given out") from error
