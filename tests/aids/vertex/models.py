"""Models in an emulator's bucket, deployments by plain calls, and the certainty that no model server is left: what these tests share."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from aids.vertex.place import call

import mlport
from mlport.emulation.server import Ready

Json = dict[str, Any]
BUCKET = "emulated-mlport"
SKLEARN = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
MACHINE = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
P = "/v1/projects/emulated/locations/us-central1"


def classifier() -> bytes:
    """A pickled LogisticRegression: True where the first column is positive."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 2))
    return pickle.dumps(LogisticRegression().fit(rows, rows[:, 0] > 0))


def held(gate: Path, row: float | None = None) -> bytes:
    """A pickled model that says what `classifier` says, and waits until there is a file `gate`.

    It waits with a row that begins with `row`; without one it waits before it is loaded.
    """
    import cloudpickle  # takes the class along, which the server does not have

    class Held:
        def __init__(self) -> None:
            self.gate, self.row = str(gate), row

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)
            self.wait(self.row is None)

        def predict(self, rows: Any) -> Any:
            self.wait(self.row is not None and bool((rows[:, 0] == self.row).any()))
            return rows[:, 0] > 0

        def wait(self, wanted: bool) -> None:
            import os
            import time

            while wanted and not os.path.exists(self.gate):
                time.sleep(0.02)

    return bytes(cloudpickle.dumps(Held()))


def constant(value: int) -> bytes:
    """A pickled model that says one thing whatever it is asked."""
    from sklearn.dummy import DummyRegressor

    return pickle.dumps(DummyRegressor(strategy="constant", constant=value).fit([[0.0]], [value]))


def put(ready: Ready, name: str, content: bytes) -> str:
    """Store an object; the address of the folder that it is in."""
    import urllib.request

    url = f"{ready.urls['vertex']}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
    with urllib.request.urlopen(urllib.request.Request(url, content, method="POST"), timeout=30):
        return f"gs://{BUCKET}/{name.rpartition('/')[0]}"


def read(ready: Ready, uri: str) -> dict[str, str]:
    """The texts of the objects under an address, by their last names."""
    import urllib.request

    prefix = uri.removeprefix(f"gs://{BUCKET}/")
    _, listed = call(ready, "GET", f"/storage/v1/b/{BUCKET}/o?prefix={quote(prefix, safe='')}")
    found = {}
    for each in listed.get("items", []):
        where = f"{ready.urls['vertex']}/storage/v1/b/{BUCKET}/o/{quote(each['name'], safe='')}?alt=media"
        with urllib.request.urlopen(where, timeout=30) as answer:
            found[each["name"].rpartition("/")[2]] = answer.read().decode()
    return found


def ask(ready: Ready, method: str, path: str, body: Any = None) -> Json:
    """The answer of a call that must succeed."""
    status, said = call(ready, method, path, body)
    assert status == 200, said
    return dict(said)


def refused(ready: Ready, method: str, path: str, body: Any = None) -> tuple[str, str]:
    """Code and message of a call that must be refused."""
    status, said = call(ready, method, path, body)
    assert status >= 400, said
    return str(said["error"]["status"]), str(said["error"]["message"])


def ended(ready: Ready, operation: Json, seconds: float = 180) -> Json:
    """The operation once it is done."""
    return until(lambda: seen if (seen := ask(ready, "GET", f"/v1/{operation['name']}")).get("done") else None, seconds)


def done(ready: Ready, operation: Json) -> Json:
    """The response of an operation that must succeed."""
    seen = ended(ready, operation)
    assert "error" not in seen, seen
    return dict(seen["response"])


def until(look: Callable[[], Any], seconds: float) -> Any:
    """What the look gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def upload(ready: Ready, artifacts: str, **fields: Any) -> str:
    """A registered model's name."""
    model = {"displayName": "iris", "artifactUri": artifacts, "containerSpec": {"imageUri": SKLEARN}, **fields}
    return str(done(ready, ask(ready, "POST", f"{P}/models:upload", {"model": model}))["model"])


def endpoint(ready: Ready, **fields: Any) -> str:
    """A new endpoint's name."""
    return str(done(ready, ask(ready, "POST", f"{P}/endpoints", {"displayName": "iris", **fields}))["name"])


def deploy(ready: Ready, where: str, model: str, split: dict[str, int] | None = None, **fields: Any) -> Json:
    """The operation that deploys."""
    body = {"deployedModel": {"model": model, "dedicatedResources": MACHINE, **fields}, "trafficSplit": split or {}}
    return ask(ready, "POST", f"/v1/{where}:deployModel", body)


@contextmanager
def nothing_left(ready: Ready) -> Iterator[None]:
    """Ends every container of the emulator."""
    try:
        yield
    finally:
        with mlport.connect(f"local://{ready.folder / 'vertex' / 'containers'}") as engine:
            until(lambda: _all_ended(engine), 60)


@pytest.fixture(scope="module")
def no_server_left(emulator: Ready) -> Iterator[None]:
    """Of a module's tests, for `pytest.mark.usefixtures`."""
    with nothing_left(emulator):
        yield


def _all_ended(engine: mlport.Client) -> bool:
    """Whether none is left; those that are not ending yet begin to."""
    left = [mlport.Job(found.id, engine) for found in engine.jobs.list() if not found.state.terminal]
    for job in left:
        job.cancel()
    return not left


def save(folder: Path, content: bytes, name: str = "model.pkl") -> str:
    """A local folder with a model, for the SDK to upload."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(name).write_bytes(content)
    return str(folder)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]
