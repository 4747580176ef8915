"""Rows a second of `batch_predict` on 1,000,000 rows of Parquet, beside posting the same rows in batches to `mlflow models serve`.

30 features, a LogisticRegression logged with MLflow. Ours is timed from the call to the finished output folder: hashing the
input, the job's start, scoring and the atomic publication. The peer has one server process, as it comes, and the best of several
batch sizes with one and with two connections, tried on some of the rows; it gets the rows as JSON that msgspec writes, while
the server works on the batch before. All answers on both sides are compared with the model's own.

Memory is the sum of the resident memory of all processes of the job, sampled 20 times a second, for 1 and for 4 million rows,
in runs of their own: sampling takes time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from _measure import Goal, finish, show
from _watch import MIB, processes, role
from serving import mlflow_server, train

import mlport
from mlport import BatchSpec, ModelRef

AT_LEAST = 5
MOST_GROWTH = 1.1  # of the peak, from the rows to `TIMES` as many
TIMES = 4
GROUP = 100_000  # rows of a row group
SIZES = (100, 1_000, 5_000, 20_000)
SAMPLE = 0.05  # seconds
OF_THE_JOB = ("supervisor", "runner", "program")


def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float]], count: int) -> Path:
    """Rows like those that the model was trained on, none like another."""
    known, random = np.array(rows), np.random.default_rng(0)
    schema = pa.schema([(name, pa.float64()) for name in columns])
    with pq.ParquetWriter(path, schema) as out:
        for start in range(0, count, GROUP):
            size = min(GROUP, count - start)
            some = known[random.integers(len(known), size=size)] * random.normal(1, 0.2, size=(size, len(columns)))
            out.write_table(pa.table(dict(zip(columns, some.T.copy(), strict=True)), schema=schema))
    return path


def expected(model: Path, path: Path) -> np.ndarray[Any, Any]:
    import mlflow

    loaded = mlflow.sklearn.load_model(str(model))
    with pq.ParquetFile(path) as file:
        return np.concatenate([loaded.predict(batch.to_pandas()) for batch in file.iter_batches(GROUP)])


# ---------------------------------------------------------------- ours


@contextmanager
def peak(root: Path) -> Iterator[list[float]]:
    """Samples of the resident memory of a root's job, MiB."""
    samples, over = list[float](), threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE):
            samples.append(sum(resident(process, root) for process in processes(root)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def resident(process: psutil.Process, root: Path) -> float:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.memory_info().rss / MIB if role(process, root).startswith(OF_THE_JOB) else 0.0
    return 0.0


def ours(ml: mlport.Client, version: mlport.ModelVersion, path: Path, output: Path) -> float:
    """Seconds of one batch job, from the call to its end."""
    ref = ModelRef(name=version.name, version=version.version)
    began = time.perf_counter()
    ml.jobs.submit(BatchSpec(name="bench", model=ref, input=str(path), output=str(output))).wait()
    return time.perf_counter() - began


def answers(output: Path) -> np.ndarray[Any, Any]:
    table = pq.read_table(output, columns=["row", "prediction"]).sort_by("row")
    return np.asarray(table.column("prediction").to_numpy())


# ---------------------------------------------------------------- the peer


def bodies(path: Path, rows: int, size: int) -> Iterator[bytes]:
    """The first rows of a file as MLflow's scoring protocol has them, `size` to a request."""
    with pq.ParquetFile(path) as file:
        batches = islice(file.iter_batches(size), -(-rows // size))
        for batch in batches:
            data = np.column_stack([column.to_numpy() for column in batch.columns]).tolist()
            yield msgspec.json.encode({"dataframe_split": {"columns": batch.schema.names, "data": data}})


def posted(url: str, path: Path, rows: int, size: int, connections: int) -> tuple[float, np.ndarray[Any, Any]]:
    """Seconds to send rows and have all answers, and the answers in order."""
    pool = urllib3.PoolManager(maxsize=connections, retries=False)

    def ask(content: bytes) -> list[int]:
        response = pool.request("POST", url, body=content, headers={"Content-Type": "application/json"}, timeout=300)
        if response.status != 200:
            raise RuntimeError(f"{url} answered {response.status}: {response.data[:300]!r}")
        return list(msgspec.json.decode(response.data)["predictions"])

    began, found, source = time.perf_counter(), list[int](), bodies(path, rows, size)
    with ThreadPoolExecutor(connections) as threads:
        waiting = [threads.submit(ask, content) for content in islice(source, connections + 1)]
        while waiting:
            found += waiting.pop(0).result()
            waiting += [threads.submit(ask, content) for content in islice(source, 1)]
    return time.perf_counter() - began, np.array(found)


def best(url: str, path: Path, rows: int) -> tuple[tuple[int, int], dict[str, float]]:
    """The batch size and number of connections with the most rows a second, and the figures of all that were tried."""
    tried = {}
    for size in (size for size in SIZES if size <= rows):
        for connections in (1, 2):
            seconds, _ = posted(url, path, rows, size, connections)
            tried[size, connections] = rows / seconds
    return max(tried, key=lambda pair: tried[pair]), {f"{size} rows, {n} connections": speed for (size, n), speed in tried.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="of ours; the peer sends all rows once")
    parser.add_argument("--quick", action="store_true", help="40,000 rows, one run")
    options = parser.parse_args()
    count, runs = (40_000, 1) if options.quick else (options.rows, options.runs)
    with tempfile.TemporaryDirectory(prefix="mlport-bench-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        model, root = folder / "model", folder / "root"
        columns, rows = train(model)
        small, large = (write(folder / f"{n}.parquet", columns, rows, n) for n in (count, count * TIMES))
        right = expected(model, small)
        with mlport.connect(f"local://{root}") as ml:
            version = ml.models.register("bench", model, trust=True)
            seconds, wrong = [], 0
            for number in range(runs):
                seconds.append(ours(ml, version, small, folder / f"out-{number}"))
                wrong += int((answers(folder / f"out-{number}") != right).sum())
            with peak(root) as of_small:
                ours(ml, version, small, folder / "out-sampled")
            with peak(root) as of_large:
                took_large = ours(ml, version, large, folder / "out-large")
            scored = pq.ParquetDataset(folder / "out-large").read(columns=["row"]).num_rows
        with mlflow_server(model) as peer:
            posted(peer.url, small, min(count, 1000), 100, 1)
            (size, connections), tried = best(peer.url, small, min(count, 40_000))
            took_peer, theirs = posted(peer.url, small, count, size, connections)
    took = median(seconds)
    figures = {"mlport": count / took, "mlflow": count / took_peer}
    memory = {"rows": max(of_small), f"{TIMES} times the rows": max(of_large)}
    print(f"{count:,} rows of 30 features; ours median of {runs} runs, mlflow once, {size:,} rows a request, {connections} connections")
    show(("", "rows/s", "seconds"), [("mlport", figures["mlport"], took), ("mlflow", figures["mlflow"], took_peer)])
    show(("tried of mlflow", "rows/s"), list(tried.items()))
    print(f"Peak of all processes of the job: {memory['rows']:.0f} MiB at {count:,} rows, {max(of_large):.0f} MiB at {count * TIMES:,}")
    goals = [
        Goal("times the rows a second of mlflow", figures["mlport"] / figures["mlflow"], "at least", AT_LEAST),
        Goal(f"times the peak memory at {TIMES} times the rows", max(of_large) / max(of_small), "at most", MOST_GROWTH),
        Goal("rows answered wrong, ours and theirs", wrong + int((theirs != right).sum()), "at most", 0),
        Goal("rows missing of the large file", count * TIMES - scored, "at most", 0),
    ]
    return finish("batch", goals, rows_per_second=figures, seconds=seconds, large_seconds=took_large, tried=tried, peak_mib=memory)


if __name__ == "__main__":
    sys.exit(main())
