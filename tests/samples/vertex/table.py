"""The table of samples: each is run with arguments and held to what must be true afterwards, or the reason is told why not."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples.vertex.world import Told, World

FOLDERS = ("model-builder", "snippets")  # of the checkout's samples/
NO_SAMPLES = ("_test.py", "conftest.py", "noxfile.py", "noxfile_config.py", "test_constants.py", "helpers.py")


@dataclass(frozen=True)
class Sample:
    """A sample that is run, after those above it in the table."""

    path: str
    arguments: Callable[[World], Mapping[str, Any]]
    after: Callable[[World, Told], None]
    refused: str = ""
    """What it must fail with: the SDK has not what it calls, or the published description does not allow what it asks."""


def runs() -> list[Sample]:
    """In the order in which they are run."""
    from samples.vertex import endpoints, jobs, models, snippets

    return [*models.RUNS, *endpoints.RUNS, *jobs.RUNS, *snippets.RUNS]


def transports(sample: Sample) -> tuple[str, ...]:
    """Those that a sample lets its caller choose; the clients that the snippets make are gRPC's."""
    return ("grpc",) if sample.path.startswith("snippets/") else ("grpc", "rest")


def absent() -> dict[str, str]:
    """Path and reason of each sample that is not run."""
    table = tomllib.loads(Path(__file__).with_name("absent.toml").read_text("utf-8"))
    return {path: group["reason"] for group in table["group"] for path in group["samples"]}


def there(checkout: Path) -> set[str]:
    """The samples of a checkout of googleapis/python-aiplatform, as paths under its samples/."""
    root = checkout / "samples"
    if missing := [name for name in FOLDERS if not (root / name).is_dir()]:
        raise SystemExit(f"{checkout}: samples/{missing[0]} is not there; give a checkout of googleapis/python-aiplatform")
    files = (file for name in FOLDERS for file in (root / name).rglob("*.py"))
    return {str(file.relative_to(root)) for file in files if not file.name.endswith(NO_SAMPLES)}


def compare(checkout: Path) -> tuple[set[str], set[str]]:
    """Samples of the checkout that the table does not know, and those that it knows and that are not there."""
    found, known = there(checkout), {sample.path for sample in runs()} | set(absent())
    return found - known, known - found
