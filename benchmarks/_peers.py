"""Other model servers, each in an environment of its own under the cache folder: `mlport-bench` in $XDG_CACHE_HOME or ~/.cache.

They serve the same scikit-learn pipeline, taken out of the MLflow folder, with one worker each, as their guides say. None of
them has an API key or capture.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from _load import Form, Target
from _measure import PYTHON

INSTALL_SECONDS = 600
BENTOML = """
import bentoml, joblib, numpy as np

@bentoml.service(workers=1)
class Bench:
    def __init__(self):
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(rows)
"""
LITSERVE = """
import sys
import joblib, litserve, numpy as np

class Bench(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load("model.joblib")

    def decode_request(self, request):
        return np.asarray(request["rows"])

    def predict(self, rows):
        return self.model.predict(rows)

    def encode_response(self, answers):
        return {"predictions": answers.tolist()}

if __name__ == "__main__":
    litserve.LitServer(Bench(), accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server: what to install, what to put into its folder, how to start it there, and how to ask it."""

    packages: Sequence[str]
    files: Callable[[int], dict[str, str]]
    command: Callable[[int], list[str]]
    path: str
    ready: str
    form: Form


def _mlserver(port: int) -> dict[str, str]:
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0}
    model = {"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
    return {"settings.json": json.dumps(settings), "model-settings.json": json.dumps(model)}


PEERS = {
    "mlserver": Peer(
        ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"),
        _mlserver,
        lambda port: ["mlserver", "start", "."],
        "/v2/models/bench/infer",
        "/v2/models/bench/ready",
        "v2",
    ),
    "bentoml": Peer(
        ("bentoml==1.4.39",),
        lambda port: {"service.py": BENTOML},
        lambda port: ["bentoml", "serve", "service:Bench", "--host", "127.0.0.1", "--port", str(port)],
        "/predict",
        "/readyz",
        "rows",
    ),
    "litserve": Peer(
        ("litserve==0.2.19",),
        lambda port: {"service.py": LITSERVE},
        lambda port: ["python", "service.py", str(port)],
        "/predict",
        "/health",
        "rows",
    ),
}


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(name: str) -> Path:
    """The environment of a peer, made at first use with scikit-learn and NumPy as ours are.

    Raises:
        RuntimeError: it cannot be installed; says the installer's last words.
    """
    return installed(name, [*PEERS[name].packages, *(f"{package}=={version(package)}" for package in ("scikit-learn", "numpy"))])


def installed(name: str, packages: Sequence[str]) -> Path:
    """An environment with these packages, made at first use. Raises RuntimeError with the installer's last words."""
    from uv import find_uv_bin

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlport-bench"
    place = cache / f"{name}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    done = place / "installed"
    if not done.exists():
        _run([find_uv_bin(), "venv", "--quiet", "--clear", "--python", PYTHON, str(place)])
        _run([find_uv_bin(), "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), *packages])
        done.touch()
    return place


def _run(command: list[str]) -> None:
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if found.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ended with {found.returncode}: {found.stderr.strip()[-600:]}")


@contextmanager
def served(name: str, model: Path, folder: Path, wait_for: Callable[[str, subprocess.Popen[bytes], Path], None]) -> Iterator[Target]:
    """A peer that serves the MLflow folder's scikit-learn model from `folder`; it is killed at the end.

    Raises:
        RuntimeError: it cannot be installed, or does not answer; says its last words.
    """
    import joblib
    import mlflow

    peer, port, programs = PEERS[name], free_port(), environment(name) / "bin"
    folder.mkdir()
    joblib.dump(mlflow.sklearn.load_model(str(model)), folder / "model.joblib")
    for file, content in peer.files(port).items():
        (folder / file).write_text(content)
    first, *rest = peer.command(port)
    variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "true"}
    log = folder / "log"
    with log.open("wb") as out:
        command = [str(programs / first), *rest]
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}{peer.ready}", server, log)
        yield Target(f"http://127.0.0.1:{port}{peer.path}", {"Content-Type": "application/json"}, peer.form)
    finally:
        everyone = psutil.Process(server.pid).children(recursive=True)  # some are in sessions of their own
        server.kill()
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait()
