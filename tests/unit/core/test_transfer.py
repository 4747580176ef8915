"""Copying to and from an object store, against moto's S3 server over a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aids.object_store import VERSIONED, ask, bucket, free_port, server

from mlport import transfer
from mlport.bundle import tree_digest
from mlport.errors import InputChangedError, NotFoundError, SpecError, UnavailableError

__all__ = ["bucket", "server"]


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
    assert ask(server, "PUT", f"/{bucket.removeprefix('s3://')}?versioning", VERSIONED) == 200
    (tmp_path / "x").write_text("one")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    first = transfer.identify(f"{bucket}/x")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    assert first.kind == "generation"
    assert transfer.identify(f"{bucket}/x").digest != first.digest


@pytest.mark.parametrize("versioned", [False, True])
def test_only_the_version_expected_is_fetched(bucket: str, server: int, tmp_path: Path, versioned: bool) -> None:
    if versioned:
        assert ask(server, "PUT", f"/{bucket.removeprefix('s3://')}?versioning", VERSIONED) == 200
    (tmp_path / "x").write_text("one")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    found = transfer.identify(f"{bucket}/x")
    expected = f"{found.kind}:{found.digest}"
    transfer.copy(f"{bucket}/x", str(tmp_path / "copy"), expected)
    (tmp_path / "x").write_text("two")
    transfer.copy(str(tmp_path / "x"), f"{bucket}/x")
    with pytest.raises(InputChangedError, match=expected):
        transfer.copy(f"{bucket}/x", str(tmp_path / "other"), expected)
    assert not (tmp_path / "other").exists()
    assert transfer.main(["--expect", expected, f"{bucket}/x", str(tmp_path / "other")]) == 4


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
