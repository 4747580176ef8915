"""One endpoint's server: `python -m mlport_sample.serve FOLDER`. It asks the folder what to do at each request."""

from __future__ import annotations

import hmac
import json
import os
import random
import sys
import time
import uuid
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mlport.spi import Json
from mlport_sample import files

FOLDER = Path(sys.argv[-1])
GRACE = 300.0  # seconds for which a rotated key stays good


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@cache
def model(uri: str) -> Any:
    """A model, loaded once."""
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(uri)


class Handler(BaseHTTPRequestHandler):
    """`POST /invocations` with `{"dataframe_records": [...]}`, as MLflow's own server takes it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        begun, request_id, chosen = time.time(), uuid.uuid4().hex, None
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        status: int
        answer: Json
        try:
            self._authorize()
            chosen = _choose(files.read(FOLDER / "endpoint.json")["deployments"], self.headers["x-mlport-deployment"])
            status, answer = 200, {"predictions": _predict(chosen, body)}
        except RefusedError as error:
            status, answer = error.status, {"message": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever the model raises is the caller's to see
            status, answer = 500, {"message": f"{type(error).__name__}: {error}"}
        if chosen:
            _note({"time": begun, "seconds": time.time() - begun, "deployment": chosen["name"], "status": status})
        self._answer(
            status,
            answer,
            {
                "x-request-id": request_id,
                **({"x-mlport-deployment": chosen["name"], "x-mlport-version": chosen["version"]} if chosen else {}),
            },
        )

    def _authorize(self) -> None:
        given = (self.headers["authorization"] or "").encode()
        if not any(hmac.compare_digest(f"Bearer {key}".encode(), given) for key in _keys()):
            raise RefusedError(401, "a key is needed")

    def _answer(self, status: int, answer: Json, headers: dict[str, str]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: what was answered is in answers.jsonl."""


def _keys() -> list[str]:
    """The key, and the one before it for a while."""
    old = FOLDER / "key.old"
    former = [old.read_text()] if old.exists() and time.time() - old.stat().st_mtime < GRACE else []
    return [(FOLDER / "key").read_text(), *former]


def _choose(deployments: list[Json], wanted: str | None) -> Json:
    if wanted is None:
        return random.choices(deployments, [one["percent"] for one in deployments])[0]
    found = next((one for one in deployments if one["name"] == wanted), None)
    if found is None:
        raise RefusedError(404, f"no deployment {wanted!r}")
    return found


def _predict(chosen: Json, body: bytes) -> list[Any]:
    import pandas as pd

    try:
        rows = pd.DataFrame.from_records(json.loads(body)["dataframe_records"])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(400, f"the body must be {{'dataframe_records': [...]}}: {error}") from error
    from mlflow.exceptions import MlflowException

    try:
        found: list[Any] = model(chosen["uri"]).predict(rows).tolist()
    except MlflowException as error:
        raise RefusedError(400, error.message) from error
    return found


def _note(line: Json) -> None:
    with (FOLDER / "answers.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def main(handler: type[Handler] = Handler) -> None:
    """Load what is deployed, then answer until killed."""
    for one in files.read(FOLDER / "endpoint.json")["deployments"]:
        model(one["uri"])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        part = FOLDER / ".port"
        part.write_text(str(server.server_port))
        os.replace(part, FOLDER / "port")
        server.serve_forever()


if __name__ == "__main__":
    main()
