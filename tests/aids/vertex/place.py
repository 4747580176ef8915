"""A running Vertex AI emulator, and a way to run programs of Google's SDK against it: what tests of Vertex AI share.

from aids.vertex.place import emulator, sdk  # noqa: F401 - fixtures
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlport.emulation.server import FAULTS_PATH, Ready, serve
from mlport_vertex.emulator import EMULATOR

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
    """What the program printed. Fails the test with all that it said if it ends with an error."""
    whole = (QUICKLY if "google" in program else "") + textwrap.dedent(program)
    told = subprocess.run(
        [sys.executable, "-c", whole, *arguments],
        env={**os.environ, **ready.environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if told.returncode:
        pytest.fail(f"exit status {told.returncode}\n{told.stdout}\n{told.stderr}", pytrace=False)
    return told.stdout


def call(ready: Ready, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of a call to the direct address. `path` begins with a slash."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ready.urls["vertex"] + path, content, headers or {}, method=method)
    opener = urllib.request.build_opener(_Whatever)
    with opener.open(request, timeout=60) as answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


class _Whatever(urllib.request.HTTPErrorProcessor):
    """Hands over answers of any status."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


def set_faults(ready: Ready, *rules: dict[str, Any]) -> None:
    """The faults in force from now on; none of those before."""
    status, said = call(ready, "PUT", FAULTS_PATH, {"fault": list(rules)})
    assert status == 200, said


def errors(error: Any) -> str:
    """The message of an answer that refuses."""
    return str(error["error"]["message"])
