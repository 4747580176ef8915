"""Requests a second and latency of an endpoint, beside `mlflow models serve` on the same model in the same run.

One JSON row of 30 features a request, each a row of its own, to a LogisticRegression logged with MLflow. Ours goes through the
router with API key and capture on. Servers share all cores but the last, the clients have that one.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.error import URLError

from _load import Target, Work, cores, run
from _measure import FEWEST_RUNS, finish, interleaved, medians, program, quiet_mlflow, show

import mlport

CLIENTS = (1, 32)
AT_LEAST = {1: 8, 32: 40}
REQUESTS_APART = 10_000_000
Rows = tuple[list[str], list[list[float]]]


def train(folder: Path) -> Rows:
    """Log the model to a folder; the rows to ask with."""
    quiet_mlflow()
    import mlflow
    import sklearn
    from mlflow.models import infer_signature
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, target = load_breast_cancer(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, target)
    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=infer_signature(features, model.predict(features)),
        input_example=features.head(),
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
    )
    return list(features.columns), features.to_numpy().tolist()


@contextmanager
def our_endpoint(model: Path, root: Path) -> Iterator[tuple[Target, mlport.Endpoint]]:
    with mlport.connect(f"local://{root}") as ml:
        endpoint = ml.endpoints.create("bench", ml.models.register("bench", model, trust=True))
        try:
            yield Target(f"{endpoint.url}/invocations", {**endpoint.headers, "Content-Type": "application/json"}), endpoint
        finally:
            endpoint.delete()


@contextmanager
def mlflow_server(model: Path) -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program("mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local", "-p", str(port)]
    with model.with_name("mlflow.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, Path(log.name))
        yield Target(f"http://127.0.0.1:{port}/invocations", {"Content-Type": "application/json"})
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Wait until a server answers. Raises RuntimeError with its log when it ended or does not."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{url} does not answer: {log.read_text()}")


def measured(name: str, target: Target, rows: Rows, clients: int, seconds: int, numbers: Iterator[int], core: set[int]) -> dict[str, float]:
    """One run: requests a second, p50 and p99 in milliseconds, and how many requests."""
    load = run(Work(target, *rows, clients, seconds, next(numbers)), core)
    return {f"{name} {clients} {what}": getattr(load, what) for what in ("per_second", "p50_ms", "p99_ms", "requests")}


def captured_rows(endpoint: mlport.Endpoint) -> int:
    """How many rows were captured, counted batch by batch."""
    from mlport.endpoints import ALL_TIME

    return sum(batch.num_rows for batch in endpoint.client.session.endpoints.captured(endpoint.name, ALL_TIME))


def table(found: dict[str, float], clients: Sequence[int]) -> Iterator[tuple[object, ...]]:
    for number in clients:
        ours, peer = (found[f"{name} {number} per_second"] for name in ("mlport", "mlflow"))
        wanted = AT_LEAST.get(number)
        met = "-" if wanted is None else "yes" if ours / peer >= wanted else "NO"
        latencies = [found[f"{name} {number} {what}"] for name in ("mlport", "mlflow") for what in ("p50_ms", "p99_ms")]
        yield number, ours, peer, ours / peer, wanted or "-", met, *latencies, latencies[2] / latencies[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of one run")
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    options = parser.parse_args()
    servers, last = cores()
    os.sched_setaffinity(0, servers)
    with tempfile.TemporaryDirectory(prefix="mlport-bench-", ignore_cleanup_errors=True) as temporary:
        model = Path(temporary) / "model"
        rows = train(model)
        with our_endpoint(model, Path(temporary) / "root") as (ours, endpoint), mlflow_server(model) as peer:
            numbers = count(0, REQUESTS_APART)
            cases = [
                partial(measured, name, target, rows, clients, options.seconds, numbers, last)
                for clients in options.clients
                for name, target in (("mlport", ours), ("mlflow", peer))
            ]
            values = interleaved(cases, options.runs)
            counted = sum(seen.requests for seen in endpoint.observe().deployments)
            kept = captured_rows(endpoint)
    found = medians(values)
    print(f"One row of 30 features a request, key and capture on; median of {options.runs} runs of {options.seconds} s")
    header = ("clients", "mlport/s", "mlflow/s", "ratio", "at least", "met", "mlport p50 ms", "p99", "mlflow p50 ms", "p99", "p50 ratio")
    show(header, table(found, options.clients))
    print(f"{counted:,} requests counted by the endpoint, {kept:,} rows captured")
    ratios = {str(number): found[f"mlport {number} per_second"] / found[f"mlflow {number} per_second"] for number in options.clients}
    finish("serving", runs=options.runs, seconds=options.seconds, figures=found, ratios=ratios, counted=counted, captured=kept)


if __name__ == "__main__":
    main()
