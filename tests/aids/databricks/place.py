"""A running Databricks emulator, and a way to run programs of its SDK against it: what its tests share.

from aids.databricks.place import emulator, sdk  # noqa: F401 - fixtures
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlport.emulation.server import FAULTS_PATH, Ready, serve
from mlport_databricks.emulator import EMULATOR
from mlport_databricks.emulator.accounts import HOST, PLAIN, token_of

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
    """What the program printed. Fails the test with all that it said if it ends with an error."""
    with tempfile.TemporaryDirectory() as folder:  # MLflow leaves a database where it is run
        told = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *arguments],
            env={**os.environ, **ready.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=folder,
        )
    if told.returncode:
        pytest.fail(f"exit status {told.returncode}\n{told.stdout}\n{told.stderr}", pytrace=False)
    return told.stdout


def call(
    ready: Ready, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, token: str = ADMIN_TOKEN
) -> tuple[int, Any]:
    """Status and JSON (else text) of a call to the direct address as the token's user. `path` begins with a slash; bytes go as they are."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
    request = urllib.request.Request(ready.urls["databricks"] + path, content, sent, method=method)
    opener = urllib.request.build_opener(_Whatever)
    with opener.open(request, timeout=60) as answer:
        text = answer.read()
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text.decode(errors="replace")


class _Whatever(urllib.request.HTTPErrorProcessor):
    """Hands over answers of any status."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


def set_faults(ready: Ready, *rules: dict[str, Any]) -> None:
    """The faults in force from now on; none of those before."""
    status, said = call(ready, "PUT", FAULTS_PATH, {"fault": list(rules)})
    assert status == 200, said


def error(said: Any) -> tuple[str, str]:
    """Code and message of an answer that refuses."""
    return str(said["error_code"]), str(said["message"])
