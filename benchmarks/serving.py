"""Requests a second and latency of an endpoint, beside `mlflow models serve` on the same model in the same run.

One JSON row of 30 features a request, each a row of its own, to a LogisticRegression logged with MLflow. Ours goes through the
router with API key and capture on. Servers share all cores but the last, the clients have that one. For the table, other servers
answer the same rows from the same pipeline in fewer turns; they have neither key nor capture.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from _load import Target, Work, body, cores, run
from _measure import FEWEST_RUNS, Goal, finish, interleaved, medians, program, quiet_mlflow, show
from _peers import PEERS, free_port, served

import mlport

CLIENTS = (1, 32)
AT_LEAST = {1: 8, 32: 40}
P50_AT_LEAST = 5
TABLE_RUNS = 3
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
    port = free_port()
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
        except OSError:  # nobody there yet, or not ready
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


def rows_of(found: dict[str, float], names: Sequence[str], clients: Sequence[int]) -> Iterator[tuple[object, ...]]:
    """For each server what it did at each number of clients, and how many times as many requests a second ours answered."""
    for name in names:
        figures = [
            (found[f"{name} {n} per_second"], found[f"{name} {n} p50_ms"], found[f"{name} {n} p99_ms"], ratio(found, name, n))
            for n in clients
        ]
        yield name, *(figure for each in figures for figure in each)


def ratio(found: dict[str, float], name: str, clients: int) -> float:
    """Ours to theirs, requests a second."""
    return found[f"mlport {clients} per_second"] / found[f"{name} {clients} per_second"]


def goals(found: dict[str, float], clients: Sequence[int]) -> list[Goal]:
    ratios = [
        Goal(f"times the requests a second of mlflow at {n} clients", ratio(found, "mlflow", n), "at least", AT_LEAST[n])
        for n in clients
        if n in AT_LEAST
    ]
    if 1 in clients:
        shorter = found["mlflow 1 p50_ms"] / found["mlport 1 p50_ms"]
        ratios.append(Goal("times shorter p50 than mlflow's at 1 client", shorter, "at least", P50_AT_LEAST))
    return ratios


def peers(names: Sequence[str], model: Path, rows: Rows, stack: ExitStack) -> tuple[dict[str, Target], dict[str, str]]:
    """The peers that could be started and gave the right answer, and what is wrong with the others."""
    running, wrong = {}, {}
    for name in names:
        try:
            target = stack.enter_context(served(name, model, model.with_name(name), wait_for))
            check_answer(target, model, rows)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            wrong[name] = f"{type(error).__name__}: {error}"
        else:
            running[name] = target
    return running, wrong


def check_answer(target: Target, model: Path, rows: Rows) -> None:
    """Ask for one row. Raises RuntimeError when the answer does not hold the model's own prediction."""
    import mlflow
    import numpy as np
    import pandas as pd

    columns, (row, *_) = rows
    expected = int(mlflow.sklearn.load_model(str(model)).predict(pd.DataFrame([row], columns=columns))[0])
    request = urllib.request.Request(target.url, body(columns, row, target.form).encode(), dict(target.headers))
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    found = answer["outputs"][0]["data"] if target.form == "v2" else answer["predictions"] if isinstance(answer, dict) else answer
    if np.ravel(found).tolist() != [expected]:
        raise RuntimeError(f"{target.url} answered {answer}, not {expected}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of one run")
    parser.add_argument("--runs", type=int, default=FEWEST_RUNS)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--peers", type=lambda text: [name for name in text.split(",") if name], default=list(PEERS))
    parser.add_argument("--quick", action="store_true", help="one run of a second each")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))}: not among {', '.join(PEERS)}")
    seconds, runs, table_runs = (1, 1, 1) if options.quick else (options.seconds, options.runs, TABLE_RUNS)
    servers, last = cores()
    os.sched_setaffinity(0, servers)
    with tempfile.TemporaryDirectory(prefix="mlport-bench-", ignore_cleanup_errors=True) as temporary:
        model = Path(temporary) / "model"
        rows = train(model)
        numbers = count(0, REQUESTS_APART)

        def run_all(targets: dict[str, Target], turns: int) -> dict[str, float]:
            cases = [
                partial(measured, name, target, rows, clients, seconds, numbers, last)
                for clients in options.clients
                for name, target in targets.items()
            ]
            return medians(interleaved(cases, turns))

        with our_endpoint(model, Path(temporary) / "root") as (ours, endpoint):
            with mlflow_server(model) as mlflow:
                found = run_all({"mlport": ours, "mlflow": mlflow}, runs)
            with ExitStack() as stack:
                others, wrong = peers(options.peers, model, rows, stack)
                beside = run_all({"mlport": ours, **others}, table_runs) if others else {}
            counted = sum(seen.requests for seen in endpoint.observe().deployments)
            kept = captured_rows(endpoint)
    print(f"One row of 30 features a request; median of {runs} runs of {seconds} s")
    header = ("", *(f"{what} at {n}" for n in options.clients for what in ("req/s", "p50 ms", "p99 ms", "mlport's times")))
    show(header, rows_of(found, ("mlport", "mlflow"), options.clients))
    if others:
        print(f"\nBeside servers that have neither key nor capture; median of {table_runs} runs of {seconds} s")
        show(header, rows_of(beside, ("mlport", *others), options.clients))
    for name, why in wrong.items():
        print(f"{name} was not measured: {why}")
    print(f"{counted:,} requests counted by the endpoint, {kept:,} rows captured")
    said = [*goals(found, options.clients), Goal("requests counted and not captured", abs(counted - kept), "at most", 0)]
    return finish("serving", said, runs=runs, seconds=seconds, figures=found, beside=beside, not_measured=wrong, captured=kept)


if __name__ == "__main__":
    sys.exit(main())
