"""Bundles and tree digests: the same files, the same digest; nothing from outside gets in."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import string
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from mlport import bundle
from mlport.errors import SpecError

NAMES = st.text(string.ascii_letters + string.digits + "_é", min_size=1, max_size=8).filter(lambda name: name not in ("venv", "mlruns"))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=200), min_size=1, max_size=6)


def lay(root: Path, tree: dict[str, bytes], order: list[str] | None = None) -> bool:
    """Write a tree; False where a name would be both a file and a folder."""
    for name in order or list(tree):
        file = root / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(tree[name])
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return False
    return True


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@settings(max_examples=30, deadline=None)
@given(tree=TREES, order=st.randoms(use_true_random=False), mask=st.sampled_from([0o000, 0o022, 0o077]), moment=st.integers(0, 2**31))
def test_digests_depend_on_names_and_content_only(tree: dict[str, bytes], order: object, mask: int, moment: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second, out = Path(folder, "first"), Path(folder, "elsewhere", "second"), Path(folder, "out")
        names = list(tree)
        order.shuffle(names)  # type: ignore[attr-defined]
        if not lay(first, tree):
            return
        with umask(mask):
            lay(second, tree, names)
        for file in second.rglob("*"):
            os.utime(file, (moment, moment))
        assert bundle.tree_digest(first) == bundle.tree_digest(second)
        one, two = bundle.pack(first, out), bundle.pack(second, out)
        assert (one.digest, one.files) == (two.digest, two.files)
        assert one.files == tuple(sorted(tree))


@settings(max_examples=30, deadline=None)
@given(tree=TREES, data=st.data())
def test_a_changed_byte_or_name_changes_both_digests(tree: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder, "root"), Path(folder, "out")
        if not lay(root, tree):
            return
        before = bundle.tree_digest(root), bundle.pack(root, out).digest
        chosen = root / data.draw(st.sampled_from(sorted(tree)))
        if data.draw(st.booleans()):
            chosen.write_bytes(chosen.read_bytes() + b"x")
        else:
            chosen.rename(chosen.with_name(chosen.name + "-renamed"))
        after = bundle.tree_digest(root), bundle.pack(root, out).digest
        assert before[0] != after[0]
        assert before[1] != after[1]


def test_the_digest_is_of_the_tar_not_of_zlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "root", {"a.py": b"print(1)\n" * 100, "b/c.txt": b"text"})
    usual = bundle.pack(tmp_path / "root", tmp_path / "usual")
    real = gzip.GzipFile
    monkeypatch.setattr(gzip, "GzipFile", lambda **options: real(**{**options, "compresslevel": 0}))
    other = bundle.pack(tmp_path / "root", tmp_path / "other")
    assert other.bytes > usual.bytes
    assert other.digest == usual.digest == hashlib.sha256(gzip.decompress(other.path.read_bytes())).hexdigest()


def test_the_digest_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path / "root", {"a.py": b"1", "b/c.txt": b"2"})
    absolute = bundle.pack(tmp_path / "root", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "root")
    assert bundle.pack(".", tmp_path / "out").digest == absolute.digest


def test_the_tree_digest_is_what_its_docstring_says(tmp_path: Path) -> None:
    lay(tmp_path, {"b": b"2", "a/c": b"1"})
    lines = b"".join(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode() for name, content in [("a/c", b"1"), ("b", b"2")])
    assert bundle.tree_digest(tmp_path) == hashlib.sha256(lines).hexdigest()


def test_a_file_counts_as_a_folder_that_holds_it(tmp_path: Path) -> None:
    lay(tmp_path, {"folder/model.bin": b"x"})
    assert bundle.tree_digest(tmp_path / "folder" / "model.bin") == bundle.tree_digest(tmp_path / "folder")


def test_names_that_are_not_text_are_digested_too(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"x")
    assert len(bundle.tree_digest(tmp_path)) == 64


@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
def test_tree_digest_refuses_every_link(tmp_path: Path, target: str) -> None:
    lay(tmp_path, {"outside/folder/x": b"1", "outside/file": b"2", "root/a": b"3"})
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside" / target)
    with pytest.raises(SpecError, match="symbolic link"):
        bundle.tree_digest(tmp_path / "root")


def test_tree_digest_refuses_a_pipe_rather_than_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match="regular file"):
        bundle.tree_digest(tmp_path)


def test_tree_digest_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        bundle.tree_digest(tmp_path / "absent")


def test_the_packed_tar_says_nothing_of_times_and_owners(tmp_path: Path) -> None:
    lay(tmp_path / "root", {"run.sh": b"#!/bin/sh\n", "data": b""})
    (tmp_path / "root" / "run.sh").chmod(0o700)
    packed = bundle.pack(tmp_path / "root", tmp_path)
    with tarfile.open(packed.path) as archive:
        entries = {entry.name: (entry.mtime, entry.uid, entry.uname, oct(entry.mode)) for entry in archive}
    assert entries == {"data": (0, 0, "", "0o644"), "run.sh": (0, 0, "", "0o755")}


@pytest.mark.parametrize("kind", ["file", "folder", "broken"])
def test_pack_refuses_links_that_leave(tmp_path: Path, kind: str) -> None:
    lay(tmp_path, {"outside/secret": b"1", "root/a.py": b"2"})
    target = {"file": "outside/secret", "folder": "outside", "broken": "absent"}[kind]
    (tmp_path / "root" / "link").symlink_to(tmp_path / target)
    with pytest.raises(SpecError, match="link"):
        bundle.pack(tmp_path / "root", tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == []


def test_pack_follows_a_link_that_stays_inside(tmp_path: Path) -> None:
    lay(tmp_path, {"root/a.py": b"2"})
    (tmp_path / "root" / "b.py").symlink_to("a.py")
    with tarfile.open(bundle.pack(tmp_path / "root", tmp_path).path) as archive:
        assert archive.extractfile("b.py").read() == b"2"  # type: ignore[union-attr]


@pytest.mark.parametrize("ignored", ["data", "data/"])
def test_what_is_ignored_may_be_a_link_to_anywhere(tmp_path: Path, ignored: str) -> None:
    lay(tmp_path, {"outside/large": b"1", "root/a.py": b"2", "root/.mlportignore": ignored.encode()})
    (tmp_path / "root" / "data").symlink_to(tmp_path / "outside")
    assert bundle.pack(tmp_path / "root", tmp_path).files == (".mlportignore", "a.py")


PARTS = st.sampled_from(
    [*(name.rstrip("/").replace("*", "") for name in bundle.ALWAYS_IGNORED), ".mlport-x", "a.pyc", "pyc", "a", "xvenv", "venv.d"]
)


@given(st.lists(PARTS, min_size=1, max_size=4), st.sampled_from(["", "/"]))
def test_without_an_ignore_file_the_same_is_left_out_as_git_would_leave_out(parts: list[str], end: str) -> None:
    path = "/".join(parts) + end
    assert bundle.always_ignored(path) == GitIgnoreSpec.from_lines(bundle.ALWAYS_IGNORED).match_file(path)


def test_ignore_files_and_caches_are_left_out(tmp_path: Path) -> None:
    tree = {
        ".gitignore": b"*.log\n",
        "a.py": b"",
        "a.log": b"",
        "sub/b.log": b"",
        "__pycache__/a.pyc": b"",
        ".git/HEAD": b"",
        ".venv/x": b"",
    }
    lay(tmp_path / "root", tree)
    assert bundle.pack(tmp_path / "root", tmp_path).files == (".gitignore", "a.py")


def test_mlportignore_comes_before_gitignore(tmp_path: Path) -> None:
    lay(tmp_path / "root", {".gitignore": b"weights\n", ".mlportignore": b"*.log\n", "weights": b"", "a.log": b""})
    assert bundle.pack(tmp_path / "root", tmp_path).files == (".gitignore", ".mlportignore", "weights")


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    lay(tmp_path, {"train.py": b"print(1)"})
    assert bundle.pack(tmp_path / "train.py", tmp_path / "out").files == ("train.py",)


def test_missing_empty_and_too_large_sources_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"JobSpec\.source: .*absent does not exist"):
        bundle.pack(tmp_path / "absent", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="nothing to pack"):
        bundle.pack(tmp_path / "empty", tmp_path)
    lay(tmp_path / "large", {"big.csv": b"x" * 3000, "small.py": b""})
    monkeypatch.setattr(bundle, "LARGEST_BUNDLE", 2000)
    with pytest.raises(SpecError, match=r"big\.csv") as caught:
        bundle.pack(tmp_path / "large", tmp_path)
    assert ".mlportignore" in str(caught.value)


def test_git_state_knows_commit_and_dirt(tmp_path: Path) -> None:
    lay(tmp_path / "root", {"a.py": b"1"})
    assert bundle.git_state(tmp_path / "root") is None
    git = shutil.which("git")
    if git is None:
        pytest.skip("no git here")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run([git, "-C", str(tmp_path / "root"), *words], check=True)
        if words[0] == "init":
            assert bundle.git_state(tmp_path / "root") is None, "there is no commit yet"
    (tmp_path / "root" / "sub").mkdir()
    clean = bundle.git_state(tmp_path / "root")
    assert clean is not None
    assert (len(clean.commit), clean.dirty) == (40, False)
    (tmp_path / "root" / "b.py").write_text("2")
    assert bundle.git_state(tmp_path / "root") == bundle.GitState(clean.commit, dirty=True)
    assert bundle.git_state(tmp_path / "root" / "sub") == clean, "what is beside it is none of it"
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert bundle.git_state(tmp_path / "link") == bundle.GitState(clean.commit, dirty=True)
