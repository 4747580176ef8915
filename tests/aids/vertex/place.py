"""A running Vertex AI emulator, and a way to run programs of Google's SDK against it: what tests of Vertex AI share.

from aids.vertex.place import emulator, sdk  # noqa: F401 - fixtures
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aids import calls
from aids.calls import set_faults

from mlport.emulation.server import Ready, serve
from mlport_vertex.emulator import EMULATOR

__all__ = ["set_faults"]

Sdk = Callable[..., str]
QUICKLY = """
from google.api_core.future import polling
polling.DEFAULT_POLLING._initial, polling.DEFAULT_POLLING._maximum = 0.05, 0.2
"""
"""For programs of Google's: they look at an operation after a second and more, as suits a cloud, and tests have many."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """One emulator for the tests of a module."""
    with serve({"vertex": EMULATOR}, tmp_path_factory.mktemp("vertex")) as ready:
        yield ready


@pytest.fixture(scope="module")
def sdk(emulator: Ready) -> Sdk:
    """Runs a program with nothing but the environment, and gives what it printed: `sdk("print(1)", "argument") -> "1\\n"`."""
    return lambda program, *arguments: run(emulator, program, *arguments)


def run(ready: Ready, program: str, *arguments: str, timeout: float = 300) -> str:
    """What the program printed."""
    return calls.run(ready, (QUICKLY if "google" in program else "") + textwrap.dedent(program), *arguments, timeout=timeout)


def call(ready: Ready, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON (else text) of a call to the direct address. `path` begins with a slash."""
    return calls.call(ready.urls["vertex"] + path, method, body, headers)


def errors(error: Any) -> str:
    """The message of an answer that refuses."""
    return str(error["error"]["message"])
