"""Copying to and from an object store, against moto's S3 server over a real socket."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlport import transfer
from mlport.bundle import tree_digest
from mlport.errors import NotFoundError, SpecError, UnavailableError

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def ask(port: int, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server that holds nothing yet."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    ask(port, "GET", "/")
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def bucket(server: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket of this test's own."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server}"}.items():
        monkeypatch.setenv(name, value)
    name = f"b-{abs(hash(request.node.nodeid)):x}"
    assert ask(server, "PUT", f"/{name}") == 200
    return f"s3://{name}"


def test_a_file_there_and_back(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(os.urandom(10_000))
    transfer.copy(str(tmp_path / "rows.parquet"), f"{bucket}/data/rows.parquet")
    transfer.copy(f"{bucket}/data/rows.parquet", str(tmp_path / "deep" / "copy"))
    assert (tmp_path / "deep" / "copy").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["copy"]


def test_a_folder_there_and_back_keeps_its_digest(bucket: str, tmp_path: Path) -> None:
    for name in ("MLmodel", "data/model.pkl", "data/a b é.txt"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(os.urandom(100))
    transfer.copy(str(tmp_path / "model"), f"{bucket}/models/1")
    transfer.copy(f"{bucket}/models/1", str(tmp_path / "copy"))
    assert tree_digest(tmp_path / "copy") == tree_digest(tmp_path / "model")


def test_a_prefix_does_not_take_its_neighbours(bucket: str, tmp_path: Path) -> None:
    for name in ("run/1/a", "run/10/b"):
        (tmp_path / "x").write_text(name)
        transfer.copy(str(tmp_path / "x"), f"{bucket}/{name}")
    transfer.copy(f"{bucket}/run/1", str(tmp_path / "copy"))
    assert [file.name for file in (tmp_path / "copy").rglob("*")] == ["a"]


def test_the_identity_of_an_object_changes_with_it(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    first = transfer.identify(f"{bucket}/x")
    assert (first.uri, first.kind, first.bytes) == (f"{bucket}/x", "etag", 3)
    (tmp_path / "x").write_text("two")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    assert transfer.identify(f"{bucket}/x").digest != first.digest


def test_a_versioned_object_is_known_by_its_generation(bucket: str, server: int, tmp_path: Path) -> None:
    enabled = b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'
    assert ask(server, "PUT", f"/{bucket.removeprefix('s3://')}?versioning", enabled) == 200
    (tmp_path / "x").write_text("one")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    first = transfer.identify(f"{bucket}/x")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    assert first.kind == "generation"
    assert transfer.identify(f"{bucket}/x").digest != first.digest


def test_a_prefix_is_unversioned(bucket: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("1234")
        transfer.copy(str(tmp_path / name), f"{bucket}/folder/{name}")
    found = transfer.identify(f"{bucket}/folder")
    assert (found.kind, found.digest, found.bytes) == ("unversioned", "", 8)


def test_what_is_not_there_is_not_found(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        transfer.identify(f"{bucket}/absent")
    with pytest.raises(NotFoundError):
        transfer.copy(f"{bucket}/absent", str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_no_bucket_and_no_server(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError):
        transfer.identify("s3://there-is-no-such-bucket/x")
    (tmp_path / "x").write_text("1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        transfer.copy(str(tmp_path / "x"), "s3://bucket/x")
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("url", ["gopher://host/x", "s3://"])
def test_a_url_that_nothing_can_read_is_a_wrong_spec(url: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="not a URL"):
        transfer.identify(url)
    with pytest.raises(SpecError, match="not a URL"):
        transfer.copy(url, str(tmp_path / "x"))


def test_one_side_is_a_path_and_the_other_a_url(tmp_path: Path) -> None:
    for sides in [(str(tmp_path), str(tmp_path)), ("s3://a/b", "s3://c/d")]:
        with pytest.raises(SpecError, match="must be a URL and the other a path"):
            transfer.copy(*sides)


def test_an_object_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="outside"):
        transfer._below(tmp_path / "inside", "../outside")


def test_file_urls_are_paths() -> None:
    assert not transfer.is_url("file:///a/b")
    assert not transfer.is_url("/a/b")
    assert transfer.is_url("s3://a/b")
    assert transfer.local_path("file:///a/b%20c") == Path("/a/b c")


def test_as_a_program(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "mlport.transfer", *words], capture_output=True, text=True, check=False)

    assert run(str(tmp_path / "x"), f"{bucket}/x").returncode == 0
    missing = run(f"{bucket}/absent", str(tmp_path / "y"))
    assert (missing.returncode, "Traceback" in missing.stderr) == (3, False)
    assert "absent" in missing.stderr
    assert run("one").returncode == 2
