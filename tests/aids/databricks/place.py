"""A running Databricks emulator, and a way to run programs of its SDK against it: what its tests share.

from aids.databricks.place import emulator, sdk  # noqa: F401 - fixtures
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aids import calls
from aids.calls import set_faults

from mlport.emulation.server import Ready, serve
from mlport_databricks.emulator import EMULATOR
from mlport_databricks.emulator.accounts import HOST, PLAIN, token_of

__all__ = ["set_faults"]

Sdk = Callable[..., str]
ADMIN_TOKEN, PLAIN_TOKEN = token_of(HOST), token_of(HOST, PLAIN)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """One emulator for the tests of a module."""
    with serve({"databricks": EMULATOR}, tmp_path_factory.mktemp("databricks"), keep=False) as ready:
        yield ready


@pytest.fixture(scope="module")
def sdk(emulator: Ready) -> Sdk:
    """Runs a program with nothing but the environment, and gives what it printed: `sdk("print(1)", "argument") -> "1\\n"`."""
    return lambda program, *arguments: run(emulator, program, *arguments)


def run(ready: Ready, program: str, *arguments: str, timeout: float = 120, **environment: str) -> str:
    """What the program printed."""
    return calls.run(ready, textwrap.dedent(program), *arguments, timeout=timeout, **environment)


def call(
    ready: Ready, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, token: str = ADMIN_TOKEN
) -> tuple[int, Any]:
    """Status and JSON (else text) of a call to the direct address as the token's user. `path` begins with a slash."""
    signed = {"authorization": f"Bearer {token}"} if token else {}
    return calls.call(ready.urls["databricks"] + path, method, body, {**signed, **(headers or {})})


def error(said: Any) -> tuple[str, str]:
    """Code and message of an answer that refuses."""
    return str(said["error_code"]), str(said["message"])
