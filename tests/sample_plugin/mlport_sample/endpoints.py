"""Endpoints: a folder with the wanted state, and one server process that reads it anew at each request."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, NotFoundError, PredictionError, UnavailableError, UnsupportedError, stamped
from mlport.spi import (
    Answer,
    DeploymentRecord,
    EndpointRecord,
    EndpointState,
    Json,
    Latency,
    Observation,
    Observed,
    Operation,
    Page,
    Plan,
    Query,
    Window,
)
from mlport_sample import files
from mlport_sample.config import SampleConfig

if TYPE_CHECKING:
    import pyarrow as pa


@stamped("sample", "endpoints")
class SampleEndpoints:
    """`endpoint.json` holds deployments, split and etag; `key` the caller's key; `answers.jsonl` what was answered."""

    server = "mlport_sample.serve"

    def __init__(self, config: SampleConfig) -> None:
        self._root = config.root / "endpoints"

    def create(self, plan: Plan, *, token: str) -> Operation:
        folder, body = self._root / plan.name, plan.requests[0].body
        with files.locked(self._root / ".lock"):
            if (folder / "endpoint.json").exists():
                if files.read(folder / "endpoint.json")["tokens"][0] != token:
                    raise ConflictError(
                        f"an endpoint named {plan.name!r} exists",
                        hint="delete it, or deploy to it",
                    )
            else:
                folder.mkdir(parents=True, exist_ok=True)
                _write_secret(folder / "key", secrets.token_urlsafe(32))
                first = {
                    "deployments": [{**body["deployment"], "percent": 100}],
                    "labels": body["labels"],
                    "created": datetime.now(UTC).isoformat(),
                }
                files.write(folder / "endpoint.json", {**first, "tokens": [token], "etag": "1"})
        files.start(folder, [sys.executable, "-m", self.server, str(folder)], os.environ)
        return Operation(f"endpoint/{plan.name}", "endpoint.create", plan.name)

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        name, added = plan.spec["endpoint"], plan.requests[0].body["deployment"]
        self._change(name, lambda record: _with_deployment(record, {**added, "percent": 0}, token))
        return Operation(f"endpoint/{name}", "endpoint.deploy", name)

    def find(self, token: str) -> Operation | None:
        for path in self._root.glob("*/endpoint.json"):
            if token in files.read(path)["tokens"]:
                return Operation(f"endpoint/{path.parent.name}", "endpoint", path.parent.name)
        return None

    def get(self, name: str) -> EndpointRecord:
        record, folder = self._read(name), self._root / name
        port = folder / "port"
        state, native = (EndpointState.READY, "answers") if port.exists() else (EndpointState.CREATING, "starting")
        if not files.alive(folder):
            state, native = EndpointState.FAILED, "gone"
        return EndpointRecord(
            name=name,
            state=state,
            native_state=native,
            url=f"http://127.0.0.1:{port.read_text() if port.exists() else 0}",
            deployments=tuple(
                DeploymentRecord(one["name"], state, native, one["model"], one["version"], one["percent"]) for one in record["deployments"]
            ),
            etag=record["etag"],
            created=datetime.fromisoformat(record["created"]),
            labels=record["labels"],
        )

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]:
        names = [path.parent.name for path in self._root.glob("*/endpoint.json")]
        return files.page_of([(name, self.get(name)) for name in names if query.name in (None, name)], query, page)

    def headers(self, name: str, *, method: str = "POST", path: str = "", body: bytes | None = None) -> Mapping[str, str]:
        self._read(name)
        return {"authorization": f"Bearer {(self._root / name / 'key').read_text()}", "content-type": "application/json"}

    def rotate_key(self, name: str, *, token: str) -> str:
        self._read(name)
        key, fresh = self._root / name / "key", secrets.token_urlsafe(32)
        _write_secret(key.with_name("key.old"), key.read_text())
        _write_secret(key, fresh)
        return fresh

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        def changed(record: Json) -> Json:
            if etag not in (None, record["etag"]):
                raise ConflictError(
                    f"endpoint {name} is at etag {record['etag']}, not {etag}",
                    hint="look again",
                )
            if set(split) != {one["name"] for one in record["deployments"]}:
                raise ConflictError(
                    f"the split {dict(split)} does not name the deployments",
                    hint="look again",
                )
            return {**record, "deployments": [{**one, "percent": split[one["name"]]} for one in record["deployments"]]}

        self._change(name, changed)
        return Operation(f"endpoint/{name}", "endpoint.traffic", name)

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation:
        def changed(record: Json) -> Json:
            if any(one["name"] == deployment and one["percent"] for one in record["deployments"]):
                raise ConflictError(f"{deployment} still gets traffic", hint="set_traffic first")
            return {**record, "deployments": [one for one in record["deployments"] if one["name"] != deployment]}

        self._change(name, changed)
        return Operation(f"endpoint/{name}", "endpoint.undeploy", name)

    def delete(self, name: str, *, token: str) -> Operation:
        folder = self._root / name
        with files.locked(self._root / ".lock"):
            if (folder / "endpoint.json").exists():
                (folder / "endpoint.json").unlink()
                files.signal_group(folder, signal.SIGKILL)
                shutil.rmtree(folder)
        return Operation(f"gone/{name}", "endpoint.delete", name)

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        chosen = {"x-mlport-deployment": deployment} if deployment else {}
        own = {"x-request-id": request_id} if request_id else {}
        body = json.dumps({"dataframe_records": list(rows)}).encode()
        request = urllib.request.Request(f"{self.get(name).url}/invocations", body, {**self.headers(name), **chosen, **own})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                found, headers = json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                told = error.read().decode(errors="replace")
            raise PredictionError(f"endpoint {name}: {told}", status=error.code, request_id=error.headers["x-request-id"]) from error
        except urllib.error.URLError as error:
            raise UnavailableError(f"endpoint {name} does not answer: {error.reason}") from error
        return Answer(found["predictions"], headers["x-request-id"], headers["x-mlport-deployment"], headers["x-mlport-version"])

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        raise UnsupportedError("sample", [("endpoint.capture", "the sample shows the interface, and stays small")])

    def observe(self, name: str, window: Window) -> Observation:
        self._read(name)
        complete_until = datetime.now(UTC)
        path = self._root / name / "answers.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        inside = [line for line in lines if window.start.timestamp() <= line["time"] < window.end.timestamp()]
        names = sorted({line["deployment"] for line in inside})
        return Observation(
            window, complete_until, tuple(_observed(one, [line for line in inside if line["deployment"] == one]) for one in names)
        )

    def _read(self, name: str) -> Json:
        try:
            return files.read(self._root / name / "endpoint.json")
        except FileNotFoundError as error:
            raise NotFoundError(f"no endpoint {name!r}") from error

    def _change(self, name: str, change: Change) -> None:
        with files.locked(self._root / ".lock"):
            record = self._read(name)
            files.write(self._root / name / "endpoint.json", {**change(record), "etag": str(int(record["etag"]) + 1)})


if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Json], Json]


def _with_deployment(record: Json, added: Json, token: str) -> Json:
    if token in record["tokens"]:
        return record
    if any(one["name"] == added["name"] for one in record["deployments"]):
        raise ConflictError(f"there is a deployment {added['name']!r} already", hint="give it another name")
    return {**record, "deployments": [*record["deployments"], added], "tokens": [*record["tokens"], token]}


def _observed(deployment: str, lines: Sequence[Json]) -> Observed:
    errors, rejected = (sum(low <= line["status"] < low + 100 for line in lines) for low in (500, 400))
    return Observed(deployment, len(lines), errors, rejected, Latency("samples", [line["seconds"] for line in lines]))


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
