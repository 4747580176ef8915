"""Reproducible source bundles and content digests: the same files give the same digest, everywhere and always."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from mlport.errors import SpecError

ALWAYS_IGNORED = (
    ".git/",
    ".hg/",
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.pyc",
    ".mlport*/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ipynb_checkpoints/",
    "mlruns/",
)
IGNORE_FILES = (".mlportignore", ".gitignore")
LARGEST_BUNDLE = 512 * 2**20
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A packed source. `digest` is the SHA-256, hex, of the uncompressed tar, so it depends on no zlib's taste."""

    path: Path
    digest: str
    bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GitState:
    """Where the source stands in git: the commit, and whether it differs from it."""

    commit: str
    dirty: bool


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """SHA-256 of a folder's content, hex: over lines `<relative path> NUL <file's SHA-256> LF`, sorted by path.

    A single file counts as a folder that holds it. Raises SpecError on what `tree_files` refuses.
    """
    return listing_digest({relative: file_digest(file) for relative, file in tree_files(path)})


def listing_digest(files: Mapping[str, str]) -> str:
    """The digest of a folder from its files' digests, by their relative paths: what `tree_digest` gives."""
    lines = sorted((os.fsencode(relative), digest) for relative, digest in files.items())
    return hashlib.sha256(b"".join(b"%s\0%s\n" % (name, digest.encode()) for name, digest in lines)).hexdigest()


def tree_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Each regular file below `path` with its posix path relative to it.

    Raises:
        SpecError: on a symbolic link, whose content may lie elsewhere, a device or pipe, and a folder that cannot be read.
    """
    if path.is_file():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path, onerror=_unreadable):
        for name in (*folders, *names):
            file = Path(folder, name)
            if file.is_symlink():
                raise SpecError(f"{file} is a symbolic link; its content may lie elsewhere", hint="copy what it points to in its place")
        for name in names:
            file = Path(folder, name)
            if not file.is_file():
                raise SpecError(f"{file} is not a regular file", hint="remove it")
            yield file.relative_to(path).as_posix(), file


def _unreadable(error: OSError) -> None:
    raise SpecError(f"{error.filename} cannot be read: {error.strerror}") from error


def tree_bytes(path: Path) -> int:
    """The size of all files below `path`."""
    return sum(file.stat().st_size for _, file in tree_files(path))


def pack(source: str | Path, destination: Path) -> Bundle:
    """Pack a folder or file into `destination`/<digest>.tar.gz, reproducibly: sorted, no times, no owners.

    What `.mlportignore` (else `.gitignore`) names is left out, as are caches, virtual environments and git's own folder.

    Raises:
        SpecError: when the source is missing, empty, too large, or has a link that leaves it.
    """
    root = Path(source)
    if not root.exists():
        raise SpecError(f"JobSpec.source: {root} does not exist (looked from {Path.cwd()})")
    files = sorted(source_files(root))
    if not files:
        raise SpecError(f"JobSpec.source: nothing to pack in {root}", hint="all of it is ignored, or the folder is empty")
    _refuse_too_large(root, files)
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=destination, suffix=".part", delete=False) as target:
        try:
            digest = _write(files, target.file)
            target.flush()
            os.replace(target.name, destination / f"{digest}.tar.gz")
        except BaseException:
            Path(target.name).unlink(missing_ok=True)
            raise
    packed = destination / f"{digest}.tar.gz"
    return Bundle(packed, digest, packed.stat().st_size, tuple(name for name, _ in files))


class _Hashing(io.RawIOBase):
    """A stream that hashes what it passes on."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self.target, self.hash = target, hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.hash.update(data)
        return self.target.write(data)

    def tell(self) -> int:
        return self.target.tell()


def _write(files: list[tuple[str, Path]], stream: IO[bytes]) -> str:
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as zipped:
        hashing = _Hashing(zipped)
        with tarfile.open(fileobj=hashing, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, file in files:
                entry = tarfile.TarInfo(name)
                status = file.stat()
                entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
                with file.open("rb") as content:
                    archive.addfile(entry, content)
        return hashing.hash.hexdigest()


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """The files to pack, each with its posix path in the bundle."""
    if root.is_file():
        yield root.name, root
        return
    ignored = _ignored(root)
    inside = root.resolve()
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not ignored(f"{(here / name).relative_to(root).as_posix()}/"))
        for name in folders:
            if (here / name).is_symlink():
                raise SpecError(
                    f"JobSpec.source: {here / name} is a link to a folder", hint="copy the folder in its place, or list it in .mlportignore"
                )
        for name in names:
            file = here / name
            relative = file.relative_to(root).as_posix()
            if ignored(relative):
                continue
            if not file.is_file():
                raise SpecError(
                    f"JobSpec.source: {file} is a broken link or not a regular file", hint="remove it, or list it in .mlportignore"
                )
            if not file.resolve().is_relative_to(inside):
                raise SpecError(
                    f"JobSpec.source: {file} is a link that leaves {root}", hint="copy the file in its place, or list it in .mlportignore"
                )
            yield relative, file


def _ignored(root: Path) -> Callable[[str], bool]:
    """Says of a path below the folder whether it is left out; a folder's path ends with `/`."""
    listing = next((root / name for name in IGNORE_FILES if (root / name).is_file()), None)
    if listing is None:
        return always_ignored
    from pathspec import GitIgnoreSpec  # takes longer to load than most sources to pack

    return GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *listing.read_text(encoding="utf-8").splitlines()]).match_file


def always_ignored(path: str) -> bool:
    """Whether ALWAYS_IGNORED alone leaves a path out, as git reads it: a name at any depth, with `/` at its end a folder's.

    >>> always_ignored("a/__pycache__/b"), always_ignored("a/b.pyc"), always_ignored("venv")
    (True, True, False)
    """
    return _always().search(path) is not None


@cache
def _always() -> re.Pattern[str]:
    names = (re.escape(name).replace(r"\*", "[^/]*") + ("" if name.endswith("/") else r"(?:/|\Z)") for name in ALWAYS_IGNORED)
    return re.compile(f"(?:^|/)(?:{'|'.join(names)})")


def _refuse_too_large(root: Path, files: list[tuple[str, Path]]) -> None:
    sizes = sorted(((file.stat().st_size, name) for name, file in files), reverse=True)
    total = sum(size for size, _ in sizes)
    if total > LARGEST_BUNDLE:
        largest = ", ".join(f"{name} ({size / 2**20:.0f} MiB)" for size, name in sizes[:3])
        raise SpecError(
            f"JobSpec.source: {root} holds {total / 2**20:.0f} MiB, more than the {LARGEST_BUNDLE / 2**20:.0f} MiB that a source may have; largest: {largest}",
            hint="data belongs in inputs; list what is not code in .mlportignore",
        )


def git_state(source: str | Path) -> GitState | None:
    """The commit and dirty flag of the checkout that holds `source`; None outside git, before the first commit, or without git."""
    root = Path(source).resolve()
    folder = root if root.is_dir() else root.parent
    if "GIT_DIR" not in os.environ and not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return None  # as git would say, some milliseconds later
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--", "."]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next(line.rpartition(" ")[2] for line in told if line.startswith("# branch.oid "))
    return None if commit == "(initial)" else GitState(commit, any(not line.startswith("#") for line in told))
