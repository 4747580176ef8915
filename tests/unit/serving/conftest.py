"""Models saved once a session, and servers that really answer: in a thread for variants, as a process for the whole."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
NAMES = ["hour of day", "distance", "delay"]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"])


@dataclass(frozen=True)
class Address:
    """Where a server listens, and one request to it on a connection of its own."""

    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, ({"content-type": "application/json"} if data else {}) | named)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/invocations", **headers: str) -> Reply:
        return self.call("POST", path, body, **headers)

    def get(self, path: str) -> Reply:
        return self.call("GET", path)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves an estimator as an MLflow model folder: `saved(name, estimator, **arguments of save_model)`."""
    root = tmp_path_factory.mktemp("models")

    def save(name: str, estimator: Any, **arguments: Any) -> Path:
        folder = root / name
        if not folder.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import mlflow.sklearn

                mlflow.sklearn.save_model(
                    estimator, folder, **{"serialization_format": "cloudpickle", "pip_requirements": ["scikit-learn"], **arguments}
                )
        return folder

    return save


@pytest.fixture(scope="session")
def table() -> Any:
    import pandas as pd

    rng = np.random.default_rng(7)
    return pd.DataFrame(rng.normal(10, 5, (200, 3)).round(3), columns=NAMES)


@pytest.fixture(scope="session")
def linear(saved: Callable[..., Path], table: Any) -> Path:
    """A regression whose answer tells its row: distinct for distinct rows."""
    from sklearn.linear_model import LinearRegression

    target = table @ np.array([1.0, 100.0, 10000.0])
    return saved("linear", LinearRegression().fit(table, target), input_example=table.head(5))


@pytest.fixture(scope="session")
def load() -> Callable[..., Any]:
    def loaded(folder: Path, **arguments: Any) -> Any:
        from mlport.serving import flavors

        return flavors.load(folder, **arguments)

    return loaded


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[Address]]:
    """Serves a loaded model in a thread, on a port of its own: `with serve(model, **options) as address`."""

    @contextmanager
    def serving(model: Any, **arguments: Any) -> Iterator[Address]:
        import uvloop

        from mlport.capture.spool import Spool
        from mlport.serving import process
        from mlport.serving.app import App
        from mlport.serving.http1 import Server
        from mlport.serving.options import Options

        options = Options(Path(), **{"model_version": model.version, **arguments})
        loop = uvloop.new_event_loop()
        spool = Spool(options.capture, process.origin(model, options)) if options.capture else None
        app = App(model, options, spool, loop)
        server = Server(app.handle, options.most_body)
        listener = loop.run_until_complete(loop.create_server(server.connect, "127.0.0.1", 0))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield Address(listener.sockets[0].getsockname()[1])
        finally:
            asyncio.run_coroutine_threadsafe(_close(listener, server), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            app.batcher.close()
            if spool is not None:
                spool.close()

    return serving


async def _close(listener: asyncio.Server, server: Any) -> None:
    listener.close()
    server.abort()
    await asyncio.sleep(0)  # the aborted transports say goodbye in the loop's next round


@dataclass
class Running:
    """A server process: its first line and its address."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def address(self) -> Address:
        return Address(int(self.ready["address"].rsplit(":", 1)[1]))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `python -m mlport.serving` and waits for its line; whatever still runs is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path, **env: str) -> Running:
        log = (tmp_path / f"server-{len(started)}.log").open("w")
        command = [sys.executable, "-m", "mlport.serving", *map(str, arguments)]
        with log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | env)
        started.append(process)
        assert process.stdout is not None
        return Running(process, json.loads(process.stdout.readline() or "{}"))

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds, at most 20 s."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come to hold"
            time.sleep(0.01)

    return wait
