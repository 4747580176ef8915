"""Workspace files and volumes by the SDK, as its users call them, and by bad requests."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, error, set_faults

from mlport.emulation.server import Ready

VOLUME = "/Volumes/main/ml/mlport"
WORKSPACE_PROGRAM = """
import io
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, ResourceAlreadyExists, ResourceDoesNotExist
from databricks.sdk.service.workspace import ImportFormat, Language, ObjectType

w = WorkspaceClient()
home = f"/Users/{w.current_user.me().user_name}"

w.workspace.upload(f"{home}/note.py", io.BytesIO(b"print(1)"))
assert w.workspace.download(f"{home}/note.py").read() == b"# Databricks notebook source\\nprint(1)"
found = w.workspace.get_status(f"{home}/note.py")
assert (found.object_type, found.language) == (ObjectType.NOTEBOOK, Language.PYTHON)

w.workspace.upload(f"{home}/auto.py", io.BytesIO(b"# Databricks notebook source\\n2"), format=ImportFormat.AUTO)
assert w.workspace.get_status(f"{home}/auto").object_type == ObjectType.NOTEBOOK
w.workspace.upload(f"{home}/data.txt", io.BytesIO(b"x\\r\\ny"), format=ImportFormat.RAW)
assert w.workspace.get_status(f"/Workspace{home}/data.txt").size == 4
assert w.workspace.download(f"{home}/data.txt").read() == b"x\\r\\ny"
assert w.workspace.export(f"{home}/data.txt").content == "eA0KeQ=="

w.workspace.mkdirs(f"{home}/deep/er")
w.workspace.upload(f"{home}/deep/er/f.bin", io.BytesIO(b"1"), format=ImportFormat.AUTO)
assert sorted(each.path for each in w.workspace.list(home, recursive=True)) == [
    f"{home}/{name}" for name in ("auto", "data.txt", "deep/er/f.bin", "note.py")
]

def refused(kind, work):
    try:
        work()
    except kind as error:
        return str(error)
    raise AssertionError(kind)

assert "already exists" in refused(ResourceAlreadyExists, lambda: w.workspace.upload(f"{home}/note.py", io.BytesIO(b"")))
assert "File already exists at" in refused(
    ResourceAlreadyExists, lambda: w.workspace.upload(f"{home}/data.txt", io.BytesIO(b""), format=ImportFormat.AUTO)
)
assert "existing node type [FILE]" in refused(
    ResourceAlreadyExists, lambda: w.workspace.upload(f"{home}/data.txt", io.BytesIO(b""), language=Language.PYTHON, overwrite=True)
)
assert "is not empty" in refused(BadRequest, lambda: w.workspace.delete(f"{home}/deep"))
assert "The parent folder" in refused(
    ResourceDoesNotExist, lambda: w.workspace.upload("/Shared/none/f", io.BytesIO(b""), format=ImportFormat.AUTO)
)
w.workspace.delete(f"{home}/deep", recursive=True)
assert "doesn't exist" in refused(ResourceDoesNotExist, lambda: w.workspace.get_status(f"{home}/deep/er/f.bin"))
"""
VOLUME_PROGRAM = """
import io, sys
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound

w, volume = WorkspaceClient(), sys.argv[1]
w.files.upload(f"{volume}/a/b ü.bin", io.BytesIO(b"hello"))
assert w.files.download(f"{volume}/a/b ü.bin").contents.read() == b"hello"
assert w.files.get_metadata(f"{volume}/a/b ü.bin").content_length == 5
for number in range(5):
    w.files.upload(f"{volume}/a/{number}", io.BytesIO(b"x"))
assert [each.name for each in w.files.list_directory_contents(f"{volume}/a", page_size=2)] == ["0", "1", "2", "3", "4", "b ü.bin"]
try:
    w.files.upload(f"{volume}/a/1", io.BytesIO(b"y"), overwrite=False)
    raise AssertionError
except AlreadyExists:
    pass
w.files.upload(f"{volume}/a/1", io.BytesIO(b"y"))
assert w.files.download(f"{volume}/a/1").contents.read() == b"y"
large = bytes(range(256)) * 240_000  # beyond what the SDK sends in one request
w.files.upload(f"{volume}/large", io.BytesIO(large))
assert w.files.download(f"{volume}/large").contents.read() == large
w.files.create_directory(f"{volume}/c/d")
w.files.create_directory(f"{volume}/c/d")
w.files.get_directory_metadata(f"{volume}/c/d")
w.files.delete_directory(f"{volume}/c/d")
try:
    w.files.delete_directory(f"{volume}/a")
    raise AssertionError
except BadRequest as error:
    assert "not empty" in str(error)
w.files.delete(f"{volume}/a/0")
for gone in (lambda: w.files.download(f"{volume}/a/0"), lambda: w.files.get_directory_metadata(f"{volume}/c/d")):
    try:
        gone()
        raise AssertionError
    except NotFound:
        pass
"""


def test_workspace_objects_by_the_sdk(sdk: Sdk) -> None:
    sdk(WORKSPACE_PROGRAM)


def test_volumes_by_the_sdk(sdk: Sdk) -> None:
    sdk(VOLUME_PROGRAM, VOLUME)


def test_a_part_of_a_file_is_read_by_range(emulator: Ready) -> None:
    path = f"/api/2.0/fs/files{VOLUME}/range"
    assert call(emulator, "PUT", path, b"abcdefghij")[0] == 204
    parts = {"bytes=2-4": "cde", "bytes=7-": "hij", "bytes=-2": "ij", "bytes=0-99": "abcdefghij"}
    for header, expected in parts.items():
        assert call(emulator, "GET", path, headers={"range": header}) == (206, expected)
    status, said = call(emulator, "GET", path, headers={"range": "bytes=10-"})
    assert (status, error(said)[0]) == (416, "REQUESTED_RANGE_NOT_SATISFIABLE")


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/api/2.0/fs/files/Volumes/main/ml", 400, "INVALID_PARAMETER_VALUE", "must be of the form /Volumes"),
        ("GET", "/api/2.0/fs/files/Volumes/main/none/v/x", 404, "SCHEMA_DOES_NOT_EXIST", "Schema 'main.none' does not exist."),
        ("GET", "/api/2.0/fs/files/Volumes/main/ml/none/x", 404, "RESOURCE_DOES_NOT_EXIST", "Volume 'main.ml.none'"),
        ("GET", f"/api/2.0/fs/files{VOLUME}/../../../x", 400, "INVALID_PARAMETER_VALUE", "not a path under"),
        ("GET", f"/api/2.0/fs/directories{VOLUME}?page_size=many", 400, "MALFORMED_REQUEST", "Expected int"),
        ("GET", f"/api/2.0/fs/directories{VOLUME}?pagesize=1", 400, "INVALID_PARAMETER_VALUE", "unknown query parameter 'pagesize'"),
        ("GET", f"/api/2.0/fs/directories{VOLUME}?page_token=!", 400, "INVALID_PARAMETER_VALUE", "page_token"),
        ("DELETE", f"/api/2.0/fs/directories{VOLUME}", 400, "INVALID_PARAMETER_VALUE", "root of a volume"),
        ("GET", "/api/2.0/workspace/list", 400, "INVALID_PARAMETER_VALUE", "Missing required field: path"),
        ("GET", "/api/2.0/workspace/get-status?path=Users", 400, "INVALID_PARAMETER_VALUE", "doesn't start with '/'"),
        ("GET", "/api/2.0/workspace/get-status?path=/../x", 400, "INVALID_PARAMETER_VALUE", "must not contain '..'"),
        ("GET", "/api/2.0/workspace/export?path=/Shared&format=PDF", 400, "MALFORMED_REQUEST", "'PDF' is not one of"),
        ("GET", "/api/2.0/no/such", 404, "ENDPOINT_NOT_FOUND", "No API found for 'GET /api/2.0/no/such'"),
        ("GET", "/api/2.0/genie/spaces", 501, "NOT_IMPLEMENTED", "The emulator has no GET /api/2.0/genie/spaces"),
    ],
)
def test_a_bad_request_is_refused_by_name(emulator: Ready, method: str, path: str, status: int, code: str, message: str) -> None:
    answered, said = call(emulator, method, path)
    assert (answered, error(said)[0]) == (status, code)
    assert message in error(said)[1]


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("workspace/mkdirs", {}, "INVALID_PARAMETER_VALUE", "Missing required field: path"),
        ("workspace/mkdirs", {"path": 1}, "MALFORMED_REQUEST", "Expected str, got a number at 'path'"),
        ("workspace/mkdirs", {"path": "/Shared/x", "recursive": True}, "INVALID_PARAMETER_VALUE", "unknown field 'recursive'"),
        ("workspace/mkdirs", [1], "MALFORMED_REQUEST", "expected a map"),
        ("workspace/mkdirs", b"{", "MALFORMED_REQUEST", "failed to parse given JSON"),
        ("workspace/import", {"path": "/Shared/x", "content": "!!", "format": "AUTO"}, "INVALID_PARAMETER_VALUE", "base64"),
        ("workspace/import", {"path": "/Shared/x", "content": "eA=="}, "INVALID_PARAMETER_VALUE", "language is required"),
        ("workspace/import", {"path": "/Shared/x", "content": "eA==", "format": "auto"}, "MALFORMED_REQUEST", "'auto' is not one of"),
        ("workspace/delete", {"path": "/Shared"}, "PERMISSION_DENIED", "protected"),
    ],
)
def test_a_bad_body_is_refused_by_its_field(emulator: Ready, path: str, body: object, code: str, message: str) -> None:
    _, said = call(emulator, "POST", f"/api/2.0/{path}", body)
    assert error(said)[0] == code
    assert message in error(said)[1]


def test_a_user_without_grants_reaches_neither_the_volume_nor_other_homes(emulator: Ready) -> None:
    status, said = call(emulator, "GET", f"/api/2.0/fs/directories{VOLUME}", token=PLAIN_TOKEN)
    assert (status, error(said)) == (403, ("PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'main'."))
    grants = {"catalogs": "USE_CATALOG", "schemas": "USE_SCHEMA", "volumes": "READ_VOLUME"}
    for (kind, privilege), name in zip(grants.items(), ("main", "main.ml", "main.ml.mlport"), strict=True):
        change = {"changes": [{"principal": "plain@emulated.example", "add": [privilege]}]}
        assert call(emulator, "PATCH", f"/api/2.1/unity-catalog/permissions/{kind[:-1]}/{name}", change)[0] == 200
    assert call(emulator, "GET", f"/api/2.0/fs/directories{VOLUME}", token=PLAIN_TOKEN)[0] == 200
    status, said = call(emulator, "PUT", f"/api/2.0/fs/files{VOLUME}/x", b"x", token=PLAIN_TOKEN)
    assert (status, error(said)[1]) == (403, "User does not have WRITE VOLUME on Volume 'main.ml.mlport'.")
    status, said = call(emulator, "GET", f"/api/2.0/workspace/list?path={quote('/Users/admin@emulated.example')}", token=PLAIN_TOKEN)
    assert (status, error(said)[0]) == (403, "PERMISSION_DENIED")
    assert call(emulator, "POST", "/api/2.0/workspace/mkdirs", {"path": "/Users/plain@emulated.example/x"}, token=PLAIN_TOKEN)[0] == 200


def test_faults_are_worded_as_databricks_does_and_say_when_to_come_again(emulator: Ready) -> None:
    set_faults(emulator, {"effect": "error", "status": 429, "times": 1})
    status, said = call(emulator, "GET", "/api/2.0/workspace/list?path=/")
    assert (status, error(said)[0]) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert call(emulator, "GET", "/api/2.0/workspace/list?path=/")[0] == 200
