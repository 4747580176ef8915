"""Plain calls to an emulator's direct address, and programs that find it by their environment alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest

from mlport.emulation.server import FAULTS_PATH, Ready


def call(url: str, method: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON (else text) of a call, of whatever status. Bytes go as they are, all else as JSON."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, content, dict(headers or {}), method=method)
    with urllib.request.build_opener(_Whatever).open(request, timeout=60) as answer:
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
    status, said = call(ready.urls[ready.provider] + FAULTS_PATH, "PUT", {"fault": list(rules)})
    assert status == 200, said


def struck(ready: Ready) -> int:
    """How often the faults in force were met."""
    status, rules = call(ready.urls[ready.provider] + FAULTS_PATH, "GET")
    assert status == 200
    return sum(rule["done"] for rule in rules["fault"])


def run(ready: Ready, program: str, *arguments: str, timeout: float, **environment: str) -> str:
    """What a program printed that has nothing but the environment. Fails the test with all that it said if it ends with an error."""
    with tempfile.TemporaryDirectory() as folder:  # a vendor's SDK may leave something where it is run
        told = subprocess.run(
            [sys.executable, "-c", program, *arguments],
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
