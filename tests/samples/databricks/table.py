"""Which of the SDK's examples are run, which must fail and how, and which are not run and why: table.toml, the first that fits counts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A pattern of paths below examples/: run, run and refused with a text, or not run for a reason.

    In the text `*` stands for anything. A refusal that comes `sometimes` depends on which of two things happens first.
    """

    pattern: str
    reason: str = ""
    refused: str = ""
    why: str = ""  # of a refusal
    sometimes: bool = False

    def is_told(self, said: str) -> bool:
        """Whether an example has told the refusal."""
        return re.search(".*".join(map(re.escape, self.refused.split("*"))), said) is not None


@cache
def table() -> Sequence[Entry]:
    """In the order in which patterns are tried."""
    found = tomllib.loads(Path(__file__).with_name("table.toml").read_text("utf-8"))
    return [
        *(
            Entry(path, refused=each["message"], why=each["why"], sometimes=each.get("sometimes", False))
            for each in found["refused"]
            for path in each["examples"]
        ),
        *(Entry(path, reason=each["reason"]) for each in found["absent"] for path in each["examples"]),
        *(Entry(path) for path in found["run"]["examples"]),
    ]


def entry_of(path: str) -> Entry | None:
    """What the table says of an example; None if it says nothing."""
    return next((entry for entry in table() if fnmatch(path, entry.pattern)), None)


def examples(checkout: Path) -> list[str]:
    """The examples of a checkout of databricks/databricks-sdk-py, as paths under its examples/."""
    root = checkout / "examples"
    if not (root / "workspace").is_dir():
        raise SystemExit(f"{checkout}: examples/workspace is not there; give a checkout of databricks/databricks-sdk-py")
    return sorted(str(file.relative_to(root)) for file in root.rglob("*.py"))


def compare(checkout: Path) -> tuple[list[str], list[str]]:
    """Examples that the table does not know, and its patterns that fit none."""
    there = examples(checkout)
    unknown = [path for path in there if entry_of(path) is None]
    return unknown, [entry.pattern for entry in table() if not any(fnmatch(path, entry.pattern) for path in there)]
