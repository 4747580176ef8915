"""Workspace objects: notebooks, files and folders under /Workspace, whose paths may be written without it.

Behaviour: databricks/cli libs/testserver/fake_workspace.go (Workspace*), libs/filer/workspace_files_client.go.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlport.emulation.calls import Reply
from mlport_databricks.emulator.accounts import USERS
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.protocol.api import Described, Handler, Request, form
from mlport_databricks.emulator.protocol.errors import ApiError, invalid, missing
from mlport_databricks.emulator.storing.files import OutsideError, entry_count
from mlport_databricks.emulator.storing.workspace_objects import HEADERS, Notebook

Json = dict[str, Any]
IMPORT = "POST /api/2.0/workspace/import"
LANGUAGES = {".py": "PYTHON", ".sql": "SQL", ".scala": "SCALA", ".r": "R"}
LARGEST = 10 << 20  # bytes of an object in a JSON body


def handlers(place: Place) -> Mapping[str, Handler]:
    work = {
        f"* {IMPORT}": import_object,
        "GET /api/2.0/workspace/export": export_object,
        "GET /api/2.0/workspace/get-status": get_status,
        "GET /api/2.0/workspace/list": list_objects,
        "POST /api/2.0/workspace/mkdirs": make_folder,
        "POST /api/2.0/workspace/delete": delete_object,
        "* POST /api/2.0/workspace-files/import-file{path}": import_file,
        "* GET /api/2.0/workspace-files{path}": read_file,
    }
    return {key: partial(handler, place) for key, handler in work.items()}


def import_object(place: Place, request: Request) -> Json:
    """By JSON with the content in base64, or as a form with the content as it is: `workspace.upload` of the SDK."""
    if request.call.headers.get("content-type", "").startswith("multipart/form-data"):
        fields = form(request.call)
        content = fields.pop("content", None)
        given: Json = {name: value.decode() for name, value in fields.items()}
        given["overwrite"] = given.get("overwrite") == "true"
        body = Described(IMPORT).checked(given)
    else:
        _, body = Described(IMPORT).request(request.call, {})
        content = _decoded(body.get("content"))
    if content is None:
        raise invalid("Missing required field: content")
    _import(place, request, body, content)
    return {}


def _decoded(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise invalid("The content is not base64-encoded.") from error
    if len(content) > LARGEST:
        raise ApiError("MAX_NOTEBOOK_SIZE_EXCEEDED", f"File size imported is ({len(content)} bytes), exceeded max size ({LARGEST} bytes)")
    return content


def _import(place: Place, request: Request, body: Json, content: bytes) -> None:
    path, kind = str(body["path"]), body.get("format") or "SOURCE"
    if kind == "SOURCE":
        language = body.get("language")
        if language is None:
            raise invalid("The language is required to import a single notebook in the SOURCE format.")
        _write(place, request, path, content, Notebook(language), bool(body.get("overwrite")))
    elif kind in ("AUTO", "RAW"):
        found = _notebook_in(path, content) if kind == "AUTO" else None
        where = path.removesuffix(posixpath.splitext(path)[1]) if found else path
        _write(place, request, where, content, found, bool(body.get("overwrite")))
    else:
        raise invalid(f"The emulator imports the formats SOURCE, AUTO and RAW, not {kind}.")


def _notebook_in(path: str, content: bytes) -> Notebook | None:
    """A source file that begins with the line by which Databricks knows a notebook."""
    language = LANGUAGES.get(posixpath.splitext(path)[1].lower())
    return Notebook(language) if language and content.startswith(HEADERS[language].encode()) else None


def _write(place: Place, request: Request, path: str, content: bytes, notebook: Notebook | None, overwrite: bool) -> None:
    target = _path(place, request, path, writes=True)
    if not target.parent.is_dir():
        raise missing(f"The parent folder ({posixpath.dirname(_clean(path))}) does not exist.")
    was = place.workspace_objects.notebook(request.workspace, target)
    if target.is_dir() or (target.exists() and (was is None) != (notebook is None)):
        wanted = "NOTEBOOK" if notebook else "FILE"
        there = "DIRECTORY" if target.is_dir() else "NOTEBOOK" if was else "FILE"
        said = f"Requested node type [{wanted}] is different from the existing node type [{there}]"
        raise ApiError("RESOURCE_ALREADY_EXISTS", said, status=400)
    if target.exists() and not overwrite:
        if notebook:
            raise ApiError("RESOURCE_ALREADY_EXISTS", f"Path ({path}) already exists.", status=400)
        raise ApiError("RESOURCE_ALREADY_EXISTS", f"File already exists at ({path}).")
    if notebook and not content.startswith(HEADERS[notebook.language].encode()):
        content = HEADERS[notebook.language].encode() + b"\n" + content
    with place.files.writing(target, overwrite=overwrite) as stream:
        stream.write(content)
    place.workspace_objects.written(request.workspace, target, notebook)


def import_file(place: Place, request: Request) -> Json:
    """What the command line uses: raw content, AUTO in effect."""
    path, content = str(request.arguments["path"]), request.call.read()
    body = {"path": path, "format": "AUTO", "overwrite": request.arguments.get("overwrite") == "true"}
    _import(place, request, body, content)
    return {}


def read_file(place: Place, request: Request) -> Reply:
    path = _existing(place, request, str(request.arguments["path"]))
    if path.is_dir():
        raise invalid("Only files and notebooks can be read.")
    return Reply(200, path, {"content-type": "application/octet-stream"})


def export_object(place: Place, request: Request) -> Json | Reply:
    path = _existing(place, request, str(request.arguments["path"]))
    kind = request.arguments.get("format") or "SOURCE"
    if kind not in ("SOURCE", "AUTO", "RAW"):
        raise invalid(f"The emulator exports the formats SOURCE, AUTO and RAW, not {kind}.")
    if path.is_dir():
        raise invalid("Exporting folders is supported in the DBC format only, which the emulator does not have.")
    content = path.read_bytes()
    if request.arguments.get("direct_download"):
        return Reply(200, content, {"content-type": "application/octet-stream"})
    notebook = place.workspace_objects.notebook(request.workspace, path)
    suffix = next((suffix for suffix, language in LANGUAGES.items() if notebook and language == notebook.language), Path(path).suffix)
    return {"content": base64.b64encode(content).decode(), "file_type": suffix.removeprefix(".")}


def get_status(place: Place, request: Request) -> Json:
    path = str(request.arguments["path"])
    return place.workspace_objects.told(request.workspace, _existing(place, request, path), _clean(path))


def list_objects(place: Place, request: Request) -> Json:
    path = str(request.arguments["path"])
    folder = _existing(place, request, path)
    if not folder.is_dir():
        return {"objects": [place.workspace_objects.told(request.workspace, folder, _clean(path))]}
    since = request.arguments.get("notebooks_modified_after")
    children = [
        place.workspace_objects.told(request.workspace, child, posixpath.join(_clean(path), child.name))
        for child in sorted(folder.iterdir())
    ]
    shown = [each for each in children if since is None or each["object_type"] != "NOTEBOOK" or each["modified_at"] > since]
    return {"objects": shown} if shown else {}


def make_folder(place: Place, request: Request) -> Json:
    path = str(request.body["path"])
    target = _path(place, request, path, writes=True)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ApiError("RESOURCE_ALREADY_EXISTS", f"Path ({path}) already exists and is not a folder.", status=400) from error
    return {}


def delete_object(place: Place, request: Request) -> Json:
    path = str(request.body["path"])
    target = _existing(place, request, path, writes=True)
    if len(target.relative_to(place.files.root(request.workspace, "/Workspace")).parts) < 2:
        raise ApiError("PERMISSION_DENIED", f"Folder {_clean(path)} is protected")
    if target.is_dir():
        if entry_count(target) and not request.body.get("recursive"):
            raise ApiError("DIRECTORY_NOT_EMPTY", f"Folder ({path}) is not empty")
        shutil.rmtree(target)
    else:
        target.unlink()
    place.workspace_objects.forget(request.workspace, target)
    return {}


# ---------------------------------------------------------------- paths


def _clean(path: str) -> str:
    """As the API shows it: doubled and last slashes away."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _path(place: Place, request: Request, path: str, *, writes: bool = False) -> Path:
    """Where it is kept. Raises ApiError for one that the user may not use."""
    if not path.startswith("/"):
        raise invalid(f"Path ({path}) doesn't start with '/'")
    if ".." in path.split("/"):
        raise invalid(f"Path ({path}) must not contain '..'")
    inner = _clean(path).removeprefix("/Workspace").lstrip("/")
    try:
        found = place.files.path_of(request.workspace, f"/Workspace/{inner}".rstrip("/"))
    except OutsideError as error:
        raise invalid(f"Path ({path}) is not valid: {error}") from error
    parts = inner.split("/")
    user = USERS[request.user]
    is_others = parts[0] == "Users" and (len(parts) < 2 or parts[1] != user.name)
    is_closed = not user.is_admin and is_others and (writes or len(parts) > 1)
    if is_closed and not place.permissions.opens(request.workspace, user.name, found, "CAN_EDIT" if writes else "CAN_READ"):
        raise ApiError(
            "PERMISSION_DENIED", f"{user.name} does not have Manage permissions on /{inner}. Please contact the owner or an administrator."
        )
    return found


def _existing(place: Place, request: Request, path: str, *, writes: bool = False) -> Path:
    found = _path(place, request, path, writes=writes)
    if not found.exists():
        raise missing(f"Path ({path}) doesn't exist.")
    return found
