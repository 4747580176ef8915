"""What all rooms share: JSON files that appear whole, a lock, pages, and processes that outlive the client."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlport.spi import Json, Page, Query

T = TypeVar("T")


def write(path: Path, value: Json) -> None:
    """Write a JSON file whole: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(value))
    os.replace(part, path)


def read(path: Path) -> Json:
    """A JSON file. Raises FileNotFoundError."""
    found: Json = json.loads(path.read_text())
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, between threads and processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def page_of(items: Sequence[tuple[str, T]], query: Query, after: str | None) -> Page[T]:
    """One page of sorted (key, item): what comes after the key that ended the last page."""
    ordered = sorted(items, key=lambda pair: pair[0], reverse=query.newest_first)
    rest = [pair for pair in ordered if after is None or (pair[0] < after if query.newest_first else pair[0] > after)]
    here = rest[: query.page_size]
    return Page([item for _, item in here], here[-1][0] if len(rest) > len(here) else None)


def start(folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Start a process in a session of its own that holds the lock of `folder/alive` as long as it lives; once only.

    The shell hands it to init, so that it outlives the client and leaves no zombie. `folder/group` is its process group.
    """
    with locked(folder / "lock"):
        if (folder / "group").exists():
            return
        with (folder / "alive").open("a") as life, (folder / "log").open("ab") as log:
            fcntl.flock(life, fcntl.LOCK_EX)
            script = 'set -e; echo $$ > "$0/group.part"; mv "$0/group.part" "$0/group"; "$@" &'
            words = ["sh", "-c", script, str(folder), *command]
            subprocess.run(
                words,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[life.fileno()],
                start_new_session=True,
                check=True,
            )


def alive(folder: Path) -> bool:
    """Whether the process that `start` started for this folder lives."""
    try:
        with (folder / "alive").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def signal_group(folder: Path, number: int) -> None:
    """Send a signal to all that the folder's process started, if it still lives."""
    if alive(folder):
        try:
            os.killpg(int((folder / "group").read_text()), number)
        except (ProcessLookupError, FileNotFoundError):
            return
