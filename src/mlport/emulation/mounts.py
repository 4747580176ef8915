"""Folders at other paths for one program: it sees `/data` or `/volumes` where the machine has no such directory.

The program runs in a mount namespace of its own, whose root has the entries of the real root and the given folders beside
them. Nothing is left behind on the machine, process id, signals, exit status and output are the program's own.

This file is also the program that enters the namespace, run as a script: it imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# linux/sched.h, linux/mount.h, asm/unistd.h
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SECONDS = 30  # for the look whether it works here


def command(binds: Sequence[tuple[Path, str]], argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` with each folder at its path, such as `(Path("files"), "/volumes")`.

    Raises:
        ValueError: a path is not a single name under the root, or a folder is not there.
    """
    for folder, path in binds:
        if Path(path).parent != Path("/") or Path(path).name in ("", "..", "proc"):
            raise ValueError(f"{path}: a folder can be put directly under the root only, such as /volumes")
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    given = [word for folder, path in binds for word in (str(folder.absolute()), path)]
    return [sys.executable, "-I", "-S", str(Path(__file__).absolute()), str(len(binds)), *given, *argv]


@cache
def available() -> str | None:
    """Why programs cannot be given folders at other paths on this machine, None where they can."""
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    folder = Path(__file__).absolute().parent
    looked = subprocess.run(
        command([(folder, "/mlport-looks")], ["test", "-e", f"/mlport-looks/{Path(__file__).name}"]),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return None if looked.returncode == 0 else f"this machine allows no mount namespace: {looked.stderr.strip()}"


def main(arguments: Sequence[str]) -> None:
    """`COUNT FOLDER PATH ... PROGRAM ARGUMENT ...`: become the program."""
    count = int(arguments[0])
    given, argv = arguments[1 : 1 + 2 * count], list(arguments[1 + 2 * count :])
    enter(list(zip(given[::2], given[1::2], strict=True)))
    os.execvp(argv[0], argv)  # noqa: S606 - the caller's command, as it is


def enter(binds: Sequence[tuple[str, str]]) -> None:
    """Move this process, which must have one thread, into a mount namespace that has each folder at its path. Raises OSError."""
    here = Path.cwd()
    libc = ctypes.CDLL(None, use_errno=True)
    _unshare(libc)
    _mount(libc, "none", "/", MS_REC | MS_PRIVATE)
    base = _any_directory()
    held = {path: os.open(folder, os.O_PATH) for folder, path in binds}
    entries = [entry for entry in Path("/").iterdir() if str(entry) not in held]
    own = {entry: os.open(entry, os.O_PATH | os.O_NOFOLLOW) for entry in entries}  # `base` is covered in a moment
    _mount(libc, "tmpfs", str(base), 0, "tmpfs", "mode=0755")
    for entry, descriptor in own.items():
        if entry.is_symlink():
            (base / entry.name).symlink_to(entry.readlink())
        else:
            _place(libc, descriptor, base / entry.name, entry.is_dir())
    for path, descriptor in held.items():
        _place(libc, descriptor, base / path.lstrip("/"), is_folder=True)
    os.chdir(base)
    _checked(libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _checked(libc.umount2(b".", MNT_DETACH), "umount2")
    for descriptor in (*held.values(), *own.values()):
        os.close(descriptor)
    os.chdir(here)


def _unshare(libc: ctypes.CDLL) -> None:
    """A mount namespace; where that is not allowed, in a user namespace of one's own that has the same user in it."""
    user, group = os.geteuid(), os.getegid()
    if user == 0 and libc.unshare(CLONE_NEWNS) == 0:
        return
    _checked(libc.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _any_directory() -> Path:
    """A directory directly under the root on which the new root is built before it takes the place of the old one."""
    return next(path for path in map(Path, ("/mnt", "/srv", "/opt", "/tmp", "/usr")) if path.is_dir() and not path.is_symlink())  # noqa: S108


def _place(libc: ctypes.CDLL, descriptor: int, target: Path, is_folder: bool) -> None:
    if is_folder:
        target.mkdir()
    else:
        target.touch()
    _mount(libc, f"/proc/self/fd/{descriptor}", str(target), MS_BIND | MS_REC)


def _mount(libc: ctypes.CDLL, source: str, target: str, flags: int, kind: str = "", data: str = "") -> None:
    done = libc.mount(source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None)
    _checked(done, f"mount {source} at {target}")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
