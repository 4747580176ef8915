"""Cloud Storage of the Vertex AI emulator, as Google's own library and the object-store library of mlport's adapter use it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import obstore
import pytest
from aids.vertex.place import Sdk, call, errors, set_faults
from obstore.exceptions import AlreadyExistsError, NotModifiedError, PreconditionError
from obstore.store import GCSStore

from mlport.emulation.server import Ready
from mlport_vertex.emulator.storing.objects import Objects

BUCKET = "emulated-mlport"


@pytest.fixture
def store(emulator: Ready, request: pytest.FixtureRequest) -> GCSStore:
    """A store that reaches the emulator through the front door by what it is given, and by nothing in the environment."""
    return GCSStore(
        BUCKET,
        prefix=f"tests/{request.node.name}",
        service_account=str(emulator.folder / "vertex" / "credentials" / "service_account.json"),
        client_options={"proxy_url": emulator.proxy, "root_certificate": emulator.ca.read_bytes()},
    )


def test_obstore_reads_what_it_wrote(store: GCSStore) -> None:
    written = obstore.put(store, "a/b.txt", b"hello", attributes={"Content-Type": "text/plain", "Cache-Control": "no-store"})
    found = obstore.get(store, "a/b.txt")
    assert bytes(found.bytes()) == b"hello"
    assert found.attributes["Content-Type"] == "text/plain"
    assert found.attributes["Cache-Control"] == "no-store"
    assert found.meta["version"] == written["version"]
    assert found.meta["e_tag"] == f'"{hashlib.md5(b"hello").hexdigest()}"' == written["e_tag"]
    assert bytes(obstore.get_range(store, "a/b.txt", start=1, end=3)) == b"el"
    assert obstore.head(store, "a/b.txt")["size"] == 5
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "a/none")
    obstore.delete(store, "a/b.txt")
    with pytest.raises(FileNotFoundError):
        obstore.head(store, "a/b.txt")


def test_obstore_conditional_writes(store: GCSStore) -> None:
    first = obstore.put(store, "state", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "state", b"2", mode="create")
    second = obstore.put(store, "state", b"2", mode={"version": first["version"]})
    with pytest.raises(PreconditionError):
        obstore.put(store, "state", b"3", mode={"version": first["version"]})
    assert int(str(second["version"])) > int(str(first["version"]))
    with pytest.raises(NotModifiedError):
        obstore.get(store, "state", options={"if_none_match": second["e_tag"]})
    assert bytes(obstore.get(store, "state").bytes()) == b"2"


def test_obstore_lists_and_copies(store: GCSStore) -> None:
    names = ["a", "a/b", "a/b+ c&d<.txt", "a/é", "c/d/e", "z"]
    for name in names:
        obstore.put(store, name, name.encode())
    assert [item["path"] for page in obstore.list(store) for item in page] == sorted(names)
    assert [item["path"] for page in obstore.list(store, offset="a/b+ c&d<.txt") for item in page] == ["a/é", "c/d/e", "z"]
    found = obstore.list_with_delimiter(store)
    assert ([item["path"] for item in found["objects"]], list(found["common_prefixes"])) == (["a", "z"], ["a", "c"])
    obstore.copy(store, "a/é", "copied")
    assert bytes(obstore.get(store, "copied").bytes()) == "a/é".encode()
    with pytest.raises(AlreadyExistsError):
        obstore.copy(store, "a", "copied", overwrite=False)
    obstore.rename(store, "copied", "renamed")
    assert bytes(obstore.get(store, "renamed").bytes()) == "a/é".encode()


def test_obstore_lists_page_after_page(store: GCSStore) -> None:
    for number in range(1005):
        obstore.put(store, f"{number:04}", b"")
    assert [item["path"] for page in obstore.list(store) for item in page] == [f"{number:04}" for number in range(1005)]


def test_obstore_writes_in_parts(store: GCSStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 12
    file = tmp_path / "large"
    file.write_bytes(content)
    obstore.put(store, "large", file, chunk_size=5 << 20)
    digest = hashlib.sha256()
    for chunk in obstore.get(store, "large").stream():
        digest.update(chunk)
    assert digest.digest() == hashlib.sha256(content).digest()
    obstore.put(store, "nothing", iter([b""]))
    assert obstore.head(store, "nothing")["size"] == 0


LIBRARY = """
    import datetime, hashlib, io, json, os, sys, tempfile
    from google.api_core import exceptions
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    client = storage.Client()
    bucket = client.create_bucket("sdk-bucket", location="EU")
    assert [b.name for b in client.list_buckets(prefix="sdk-")] == ["sdk-bucket"]
    assert client.get_bucket("sdk-bucket").location == "EU"
    assert client.lookup_bucket("no-such-bucket") is None
    try:
        client.create_bucket("sdk-bucket")
    except exceptions.Conflict as error:
        print("conflict", error.errors[0]["reason"])

    blob = bucket.blob("folder/small name+é.txt")
    blob.metadata = {"who": "me"}
    blob.cache_control = "no-cache"
    blob.upload_from_string("hello", content_type="text/plain", if_generation_match=0)
    try:
        blob.upload_from_string("again", if_generation_match=0)
    except exceptions.PreconditionFailed as error:
        print("precondition", error.response.json()["error"]["errors"][0]["reason"])
    again = bucket.get_blob("folder/small name+é.txt")
    assert (again.size, again.content_type, again.metadata, again.cache_control) == (5, "text/plain", {"who": "me"}, "no-cache")
    assert again.generation == blob.generation and again.metageneration == 1
    assert isinstance(again.time_created, datetime.datetime) and again.crc32c and again.md5_hash and again.etag
    assert again.download_as_bytes(start=1, end=2) == b"el"
    again.metadata = {"who": "you", "more": "1"}
    again.patch(if_metageneration_match=1)
    assert again.metageneration == 2 and again.generation == blob.generation
    assert bucket.get_blob(again.name).metadata == {"who": "you", "more": "1"}

    content = os.urandom(9 * 1024 * 1024)
    large = bucket.blob("large", chunk_size=2 * 1024 * 1024)
    large.upload_from_file(io.BytesIO(content), size=len(content))     # resumable, in parts
    with bucket.blob("streamed").open("wb", chunk_size=256 * 1024) as stream:  # resumable, of unknown size
        for at in range(0, 3_000_000, 100_000):
            stream.write(content[at:at + 100_000])
    assert bucket.blob("streamed").download_as_bytes() == content[:3_000_000]
    assert bucket.blob("large").download_as_bytes() == content
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x")
        open(path, "wb").write(content)
        transfer_manager.upload_chunks_concurrently(path, bucket.blob("parts"), chunk_size=5 << 20, worker_type=transfer_manager.THREAD)
        transfer_manager.download_chunks_concurrently(bucket.blob("parts"), path + "2", chunk_size=4 << 20, worker_type=transfer_manager.THREAD)
        assert open(path + "2", "rb").read() == content
    empty = bucket.blob("empty")
    empty.upload_from_string(b"")
    assert empty.download_as_bytes() == b""

    copied = bucket.copy_blob(large, bucket, "copied", if_generation_match=0)
    assert copied.md5_hash == large.md5_hash
    renamed = bucket.rename_blob(copied, "renamed")
    token, done, total = bucket.blob("rewritten").rewrite(renamed)
    assert (token, done, total) == (None, len(content), len(content))
    whole = bucket.blob("whole")
    whole.compose([bucket.blob("empty"), again, again])
    assert whole.download_as_text() == "hellohello" and whole.component_count == 3 and whole.md5_hash is None
    moved = bucket.blob("whole")
    moved.reload()
    assert moved.component_count == 3

    for n in range(5):
        bucket.blob(f"d/{n}/x").upload_from_string(str(n))
    listed = client.list_blobs(bucket, prefix="d/", delimiter="/", page_size=2)
    assert list(listed) == [] and sorted(listed.prefixes) == [f"d/{n}/" for n in range(5)]
    assert [b.name for b in client.list_blobs(bucket, prefix="d/", max_results=3, start_offset="d/1")] == ["d/1/x", "d/2/x", "d/3/x"]
    assert [b.name for page in client.list_blobs(bucket, prefix="d/", page_size=2).pages for b in page] == [f"d/{n}/x" for n in range(5)]
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    bucket.labels = {"a": "b"}
    bucket.patch()
    assert client.get_bucket("sdk-bucket").labels == {"a": "b"}
    for name, generation in (("nothing", None), ("d/0/x", 7)):
        try:
            bucket.delete_blob(name, if_generation_match=generation)
        except (exceptions.NotFound, exceptions.PreconditionFailed) as error:
            print(type(error).__name__, error.errors[0]["reason"])
    try:
        bucket.delete()
    except exceptions.Conflict as error:
        print(error.errors[0]["message"])
    bucket.delete(force=True)
    try:
        client.get_bucket("sdk-bucket")
    except exceptions.NotFound as error:
        print(error.errors[0]["message"])
"""


def test_googles_library(sdk: Sdk) -> None:
    assert sdk(LIBRARY).splitlines() == [
        "conflict conflict",
        "precondition conditionNotMet",
        "NotFound notFound",
        "PreconditionFailed conditionNotMet",
        "The bucket you tried to delete is not empty.",
        "The specified bucket does not exist.",
    ]


# ---------------------------------------------------------------- on the wire

PATH = f"/storage/v1/b/{BUCKET}/o"
UP = f"/upload{PATH}"


def send(ready: Ready, method: str, path: str, content: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a call to the direct address."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(ready.urls["vertex"] + path, content or None, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def put(ready: Ready, name: str, content: bytes, **headers: str) -> dict[str, str]:
    status, _, body = send(ready, "POST", f"{UP}?uploadType=media&name={name}", content or b"", **headers)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.parametrize(
    ("asked", "status", "sent", "said"),
    [
        ("bytes=0-1", 206, b"01", "bytes 0-1/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=3-1,4-5", 200, b"0123456789", None),
        ("bytes=10-", 416, None, None),
    ],
)
def test_ranges(emulator: Ready, asked: str, status: int, sent: bytes | None, said: str | None) -> None:
    put(emulator, "ten", b"0123456789")
    got, headers, body = send(emulator, "GET", f"/download{PATH}/ten?alt=media", range=asked)
    assert (got, headers.get("content-range")) == (status, said)
    assert sent is None or body == sent


def test_a_resumable_upload_goes_on_where_it_stopped(emulator: Ready) -> None:
    grain = 256 * 1024
    content = bytes(range(256)) * 1024 * 2 + b"end"
    status, headers, _ = send(emulator, "POST", f"{UP}?uploadType=resumable&name=resumed", b"{}", x_upload_content_type="text/x")
    at = headers["location"].removeprefix(emulator.urls["vertex"])
    assert (status, at.startswith("/upload/")) == (200, True)
    assert send(emulator, "PUT", at, content_range="bytes */*")[:1] == (308,)
    status, headers, _ = send(emulator, "PUT", at, content[:grain], content_range=f"bytes 0-{grain - 1}/*")
    assert (status, headers["range"]) == (308, f"bytes=0-{grain - 1}")
    assert send(emulator, "PUT", at, b"xy", content_range=f"bytes {grain}-{grain + 1}/*")[0] == 400  # too little for a part
    assert send(emulator, "PUT", at, b"xy", content_range=f"bytes {grain + 5}-{grain + 6}/*")[0] == 503  # a gap
    again = content[: 2 * grain]  # the answer to the first part was lost: it comes again, with more behind it
    assert send(emulator, "PUT", at, again, content_range=f"bytes 0-{2 * grain - 1}/*")[1]["range"] == f"bytes=0-{2 * grain - 1}"
    assert send(emulator, "GET", f"{PATH}/resumed")[0] == 404  # nothing is seen of it before it is whole
    last = f"bytes {2 * grain}-{len(content) - 1}/{len(content)}"
    status, _, body = send(emulator, "PUT", at, content[2 * grain :], content_range=last)
    made = json.loads(body)
    assert (status, made["size"], made["contentType"]) == (200, str(len(content)), "text/x")
    assert json.loads(send(emulator, "PUT", at, content_range=f"bytes */{len(content)}")[2]) == made  # asked once more
    assert send(emulator, "GET", f"{PATH}/resumed?alt=media")[2] == content


def test_a_cancelled_upload_is_gone(emulator: Ready) -> None:
    _, headers, _ = send(emulator, "POST", f"{UP}?uploadType=resumable&name=cancelled", b"{}")
    at = headers["location"].removeprefix(emulator.urls["vertex"])
    assert send(emulator, "DELETE", at)[0] == 499
    assert send(emulator, "PUT", at, b"x", content_range="bytes 0-0/1")[0] == 404


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_multipart_upload(emulator: Ready, newline: bytes) -> None:
    content = b"--almost" + newline + b"--bound" + newline + newline + b"\x00end" + newline
    metadata = {"name": "multi", "metadata": {"k": "v"}, "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode()}
    parts = [
        b"--boundary",
        b"content-type: application/json",
        b"",
        json.dumps(metadata).encode(),
        b"--boundary",
        b"content-type: text/x",
        b"",
    ]
    body = newline.join([*parts, content, b"--boundary--", b""])
    status, _, said = send(emulator, "POST", f"{UP}?uploadType=multipart", body, content_type='multipart/related; boundary="boundary"')
    assert status == 200, said
    assert send(emulator, "GET", f"{PATH}/multi?alt=media")[2] == content
    made = json.loads(said)
    assert (made["contentType"], made["metadata"]) == ("text/x", {"k": "v"})
    broken = send(emulator, "POST", f"{UP}?uploadType=multipart", body[:-20], content_type="multipart/related; boundary=boundary")
    assert broken[0] == 400


@pytest.mark.parametrize("digest", ["crc32c=AAAAAA==", "md5=" + base64.b64encode(bytes(16)).decode()])
def test_what_does_not_match_its_digest_is_not_kept(emulator: Ready, digest: str) -> None:
    status, _, body = send(emulator, "POST", f"{UP}?uploadType=media&name=corrupt", b"content", x_goog_hash=digest)
    assert status == 400
    assert "doesn't match calculated" in errors(json.loads(body))
    assert send(emulator, "GET", f"{PATH}/corrupt")[0] == 404


def test_what_is_zipped_is_unzipped_for_who_does_not_take_it(emulator: Ready) -> None:
    zipped = gzip.compress(b"words " * 100)
    name = "zipped"
    put(emulator, name, zipped)
    assert call(emulator, "PATCH", f"{PATH}/{name}", {"contentEncoding": "gzip"})[0] == 200
    _, headers, body = send(emulator, "GET", f"{PATH}/{name}?alt=media", accept_encoding="gzip")
    assert (headers["content-encoding"], body) == ("gzip", zipped)
    _, headers, body = send(emulator, "GET", f"{PATH}/{name}?alt=media", accept_encoding="identity")
    assert ("content-encoding" in headers, body) == (False, b"words " * 100)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("ifGenerationMatch={g}", 200),
        ("ifGenerationMatch=1", 412),
        ("ifGenerationNotMatch={g}", 304),
        ("ifMetagenerationMatch=2", 412),
        ("ifMetagenerationNotMatch=1", 304),
        ("generation={g}", 200),
        ("generation=1", 404),
        ("ifGenerationMatch=x", 400),
        ("ifNothingMatch=1", 400),
    ],
)
def test_conditions_of_reads(emulator: Ready, query: str, status: int) -> None:
    generation = put(emulator, "conditional", b"x")["generation"]
    assert send(emulator, "GET", f"{PATH}/conditional?{query.format(g=generation)}")[0] == status


def test_refusals_have_googles_shape(emulator: Ready) -> None:
    status, said = call(emulator, "GET", f"{PATH}/none")
    assert (status, said["error"]["errors"][0]["reason"]) == (404, "notFound")
    assert errors(said) == f"No such object: {BUCKET}/none"
    status, said = call(emulator, "GET", "/storage/v1/b/nobucket/o")
    assert (status, errors(said)) == (404, "The specified bucket does not exist.")
    status, said = call(emulator, "POST", PATH, {"name": "x"})
    assert (status, "/upload/storage" in errors(said)) == (400, True)
    status, said = call(emulator, "POST", "/storage/v1/b?project=p", {"name": "Upper"})
    assert (status, said["error"]["errors"][0]["reason"]) == (400, "invalid")
    status, said = call(emulator, "POST", "/storage/v1/b?project=p", {"name": "versions", "versioning": {"enabled": True}})
    assert status == 501


def test_patch_removes_what_is_null(emulator: Ready) -> None:
    put(emulator, "patched", b"x", content_type="text/x")
    call(emulator, "PATCH", f"{PATH}/patched", {"metadata": {"a": "1", "b": "2"}, "cacheControl": "no-store"})
    status, said = call(emulator, "PATCH", f"{PATH}/patched", {"metadata": {"a": None}, "cacheControl": None})
    assert (status, said["metadata"], "cacheControl" in said, said["metageneration"]) == (200, {"b": "2"}, False, "3")


def test_a_fault_says_so_as_storage_does(emulator: Ready, store: GCSStore) -> None:
    set_faults(emulator, {"match": f"GET {PATH}*", "effect": "error", "status": 503, "times": 1})
    status, said = call(emulator, "GET", PATH)
    assert (status, said["error"]["errors"][0]["reason"]) == (503, "backendError")
    set_faults(emulator, {"match": "GET */faulty", "host": "storage.googleapis.com", "effect": "error", "status": 429, "times": 1})
    obstore.put(store, "faulty", b"x")
    assert bytes(obstore.get(store, "faulty").bytes()) == b"x"  # it tried again
    set_faults(emulator)


def test_a_download_outlives_its_object(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    found = objects.put(BUCKET, "x", b"1" * 100)
    objects.put(BUCKET, "x", b"2")
    assert objects.sweep() == 0
    assert found.read() == b"1" * 100
    assert objects.sweep(kept=0) == 1
    assert not found.path.exists()
    objects.close()
    again = Objects(tmp_path)
    kept = again.need(BUCKET, "x")
    assert kept.read() == b"2"
    assert zlib.crc32(kept.read()) == zlib.crc32(b"2")
    assert kept.generation > found.generation
    assert again.put(BUCKET, "x", b"3").generation > kept.generation
    again.close()


def test_folders_are_copied_both_ways(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "place")
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}")
    (tmp_path / "model" / "deep" / "data").write_bytes(b"\0")
    assert objects.upload_tree(tmp_path / "model", f"gs://{BUCKET}/models/m") == 2
    assert objects.download_tree(f"gs://{BUCKET}/models/m", tmp_path / "out") == 2
    assert (tmp_path / "out" / "deep" / "data").read_bytes() == b"\0"
    assert objects.download_tree(f"gs://{BUCKET}/models/m/MLmodel", tmp_path / "one") == 1
    objects.put(BUCKET, "models/bad/../../up", b"")
    with pytest.raises(ValueError, match="out of the folder"):
        objects.download_tree(f"gs://{BUCKET}/models/bad", tmp_path / "bad")
    objects.close()
