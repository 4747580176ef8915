"""Images that were built here: each is a folder with its files and its Python, known by its digest and by tags.

    FOLDER/root        its files
    FOLDER/python      an environment over the interpreter that the emulator runs in, for what pip added
    FOLDER/shims       stand-ins for commands that would change this machine

A document of the kind `images`, named by its digest, holds `{"digest", "folder", "config", "made", "size"}`; one of the
kind `imageTags`, named `HOST/PROJECT/REPOSITORY/IMAGE:TAG`, `{"tag", "digest", "image", "made"}`.
A path of the image is one of this machine by `Layout.real`: no container and no chroot is at work.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import site
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlport_vertex.emulator.place import Place, now

Json = dict[str, Any]
IMAGES, TAGS = "images", "imageTags"
OWN_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_OF_THE_MACHINE = ("/dev/", "/proc/", "/sys/", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/lib/", "/usr/lib/")
_ABSOLUTE = re.compile(r"(?P<before>^|[\s'\"=<>|&;(\[,]|(?<=[\w])[:](?!//)|file://)(?P<path>/(?!/)[^\s'\"<>|&;:)\],]*)")
_REFUSED = ("apt", "apt-get", "aptitude", "dpkg", "apk", "yum", "dnf", "microdnf", "sudo", "su", "mount", "systemctl", "service")
_WITHOUT_EFFECT = ("useradd", "adduser", "groupadd", "addgroup", "usermod", "chown", "chgrp", "ldconfig")


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says of the containers made of it, as `docker inspect` names it."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: {"PATH": OWN_PATH})
    workdir: str = "/"
    user: str = ""
    exposed: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Json) -> Config:
        lists = {name: tuple(kept[name]) for name in ("entrypoint", "cmd", "exposed")}
        return cls(**{**kept, **lists})

    def kept(self) -> Json:
        lists = {name: list(getattr(self, name)) for name in ("entrypoint", "cmd", "exposed")}
        return {**lists, "env": dict(self.env), "workdir": self.workdir, "user": self.user, "labels": dict(self.labels)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an image's files and its Python are; of a container, `root` is a copy of its own."""

    root: Path
    python: Path
    shims: Path

    def real(self, path: str) -> str:
        """The path of this machine that an absolute path of the image stands for; commands that the image lacks are the machine's."""
        inside = Path(str(self.root) + os.path.normpath(path))
        if path.startswith("/usr/local/bin") and not inside.exists():
            return str(self.python / "bin") + os.path.normpath(path).removeprefix("/usr/local/bin")
        if (path + "/").startswith(_OF_THE_MACHINE) and not inside.exists():
            return path
        return str(inside) + ("/" if path.endswith("/") and path != "/" else "")

    def mapped(self, text: str) -> str:
        """A text with every absolute path in it made real; addresses stay as they are."""
        return _ABSOLUTE.sub(lambda found: found["before"] + self.real(found["path"]), text)

    def environment(self, declared: Mapping[str, str]) -> dict[str, str]:
        """An image's variables, as a process of this machine has them."""
        found = {name: self.mapped(value) for name, value in declared.items() if name != "PATH"}
        path = [self.real(entry) for entry in declared.get("PATH", OWN_PATH).split(":") if entry]
        return {**found, "PATH": os.pathsep.join((str(self.shims), *path))}


def layout(folder: Path, root: Path | None = None) -> Layout:
    """The layout of an image's folder, or of a container with files of its own."""
    return Layout(root or folder / "root", folder / "python", folder / "shims")


def prepare(folder: Path) -> Layout:
    """An empty image's folder, with the interpreter that every Python image stands for here."""
    import venv

    made = layout(folder)
    made.root.mkdir(parents=True)
    venv.EnvBuilder(symlinks=True, with_pip=False).create(made.python)
    packages = next(made.python.glob("lib/python*/site-packages"))
    parents = [path for path in (*site.getsitepackages(), *_pip()) if Path(path).exists()]
    packages.joinpath("_parent.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in parents), encoding="utf-8")
    _command(made.python / "bin" / "pip", 'exec "$(dirname "$0")/python" -m pip "$@"')
    _command(made.python / "bin" / "pip3", 'exec "$(dirname "$0")/python" -m pip "$@"')
    made.shims.mkdir()
    for name in _REFUSED:
        said = f"{name}: the emulator has no container engine: an image shares the system of this machine, which nothing may change"
        _command(made.shims / name, f"echo '{said}' >&2; exit 100")
    for name in _WITHOUT_EFFECT:
        _command(made.shims / name, f"echo '{name}: taken, and without effect in the emulator'")
    return made


def _pip() -> Iterator[str]:
    """The pip that comes with Python, where none is installed beside the emulator."""
    from importlib.util import find_spec

    if find_spec("pip") is None:
        import ensurepip

        yield from map(str, Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))


def _command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def copied(source: Path, target: Path) -> None:
    """A copy of a tree as it is, links as links; what is there is written over."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


# ---------------------------------------------------------------- digests


def digest_of(found: Layout, config: Config) -> tuple[str, int]:
    """The digest of an image, and its size in bytes: of its files, of what pip added, and of what it says of its containers."""
    said, size = hashlib.sha256(json.dumps(config.kept(), sort_keys=True).encode()), 0
    for tree in (found.root, *found.python.glob("lib/python*/site-packages")):
        for path in sorted(tree.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts or path.name in ("RECORD", "direct_url.json"):
                continue
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            size += len(content)
            said.update(f"\0{path.relative_to(tree)}\0{path.lstat().st_mode:o}\0{hashlib.sha256(content).hexdigest()}".encode())
    return f"sha256:{said.hexdigest()}", size


# ---------------------------------------------------------------- the store


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built: where it is, and what it says of its containers."""

    digest: str
    folder: Path
    config: Config


class ImageStore:
    """The images of one place."""

    def __init__(self, place: Place) -> None:
        self._place, self._documents = place, place.documents

    def keep(self, folder: Path, config: Config) -> str:
        """Note an image that is whole; its digest. One with the same content stands for it, if there is one."""
        digest, size = digest_of(layout(folder), config)
        with self._documents.together():
            if self._documents.get(IMAGES, digest) is None:
                kept = {"digest": digest, "folder": folder.name, "config": config.kept(), "made": now(), "size": size}
                self._documents.insert(IMAGES, digest, kept)
        return digest

    def tag(self, image: str, tag: str, digest: str) -> None:
        """Point a tag at an image, in place of what it pointed at."""
        name = f"{image}:{tag}"
        body = {"tag": tag, "digest": digest, "image": image, "made": now()}
        with self._documents.together():
            self._documents.delete(TAGS, name)
            self._documents.insert(TAGS, name, body)

    def find(self, reference: str) -> Built | None:
        """The image of `IMAGE:TAG` or `IMAGE@DIGEST`; None if none was built under that name."""
        image, tag, digest = split_reference(reference)
        if not digest:
            found = self._documents.get(TAGS, f"{image}:{tag}")
            digest = found["digest"] if found else ""
        elif not any(body["digest"] == digest for _, body in self._documents.list(TAGS, f"{image}:")):
            return None
        return self.of_digest(digest) if digest else None

    def of_digest(self, digest: str) -> Built | None:
        found = self._documents.get(IMAGES, digest)
        return Built(digest, self.folder(found["folder"]), Config.of(found["config"])) if found else None

    def folder(self, name: str) -> Path:
        """Where an image of this name is, or is to be."""
        return self._place.folder / "images" / name

    def sweep(self, prefix: str) -> None:
        """Remove the folders whose names begin so and that no image is in: of stages, of builds that failed or were killed."""
        kept = {body["folder"] for _, body in self._documents.list(IMAGES)}
        for path in self.folder(".").glob(f"{prefix}*"):
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def tags(self, prefix: str) -> list[Json]:
        """What is tagged below a name, newest first."""
        return [body for _, body in self._documents.list(TAGS, prefix)]

    def untag(self, image: str, tag: str) -> bool:
        return self._documents.delete(TAGS, f"{image}:{tag}")

    def described(self, digest: str) -> Json | None:
        return self._documents.get(IMAGES, digest)


def split_reference(reference: str) -> tuple[str, str, str]:
    """Image, tag and digest of a reference; `latest` where it has neither.

    >>> split_reference("a.pkg.dev/p/r/i:1"), split_reference("a:5000/i@sha256:00")
    (('a.pkg.dev/p/r/i', '1', ''), ('a:5000/i', '', 'sha256:00'))
    """
    rest, _, digest = reference.partition("@")
    head, colon, tag = rest.rpartition(":")
    image, tag = (head, tag) if colon and "/" not in tag else (rest, "")
    return image, tag if tag or digest else "latest", digest


def command_of(config: Config, command: Sequence[str], args: Sequence[str]) -> list[str]:
    """What a container runs, as Kubernetes joins them: `command` in the place of ENTRYPOINT, `args` in that of CMD.

    https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/#notes
    """
    if command:
        return [*command, *args]
    return [*config.entrypoint, *(args or config.cmd)] or ["python3"]
