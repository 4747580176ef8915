"""`mlport demo`: train, register, serve, call, label, watch and train again, on any profile, with real flights; and what that costs anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlport.client import Client, connect
from mlport.demo.costs import Served
from mlport.demo.flights import FEATURES, flights, months
from mlport.demo.watching import Watched, rows_of, spec, watch
from mlport.errors import DeadlineError
from mlport.specs import Compute, JobSpec
from mlport.spi import Window
from mlport.waiting import delays, wait_until

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlport.endpoints import Endpoint
    from mlport.jobs import Job
    from mlport.models import ModelVersion

NAME = "flight-delays"
ROWS_A_REQUEST = 250
COMPUTE = Compute(cpus=1, memory_gib=1)
SOURCE = Path(__file__).parent / "source"
SOON_SECONDS, LAG_SECONDS = 5.0, 600.0  # clouds have what passed through an endpoint minutes late
SHOWN = {"key": "API key", "identity": "the provider's credentials", "none": "nothing"}
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demo found, for a caller and for tests."""

    job: str
    version: str
    train_auc: float
    replay_auc: float
    requests: int
    rows: int
    captured: int
    labelled: int
    watched: Watched


@dataclass(frozen=True, slots=True)
class Replayed:
    """Flights that passed: when, what is true of each request's rows, and the seconds that asking took."""

    window: Window
    truth: dict[str, list[int]]
    seconds: float

    @property
    def rows(self) -> int:
        return sum(map(len, self.truth.values()))


def run(target: str | None = None, *, folder: Path | None = None, keep: bool = False, say: Say = print) -> Summary:
    """Run the whole demo.

    Args:
        target: a profile's name or URL; the default is a root of its own under `folder`.
        folder: where the data and, by default, everything else goes; `.mlport-demo` here if not given.
        keep: leave the endpoint up when done.
    """
    place = (folder or Path(".mlport-demo")).absolute()
    began = time.monotonic()
    with connect(target or f"local://{place / 'root'}") as ml:
        say(f"Profile: {ml.config.target}")
        frame = flights()
        training = _save(months(frame, 1, 4), place / "flights-2013-01-to-04.parquet")
        job = _train(ml, training, say)
        version = _register(ml, job, say)
        serving = time.monotonic()
        with _served(ml, version, keep, say) as endpoint:
            _call(endpoint, frame, say)
            may = _replay(endpoint, frame, say)
            auc, captured, labelled = _read_back(endpoint, job, may, say)
            serving = time.monotonic() - serving
            watched = _watch(endpoint, job, frame, training, may, place, keep, say)
        _price(job, Served(serving, len(may.truth), may.rows, may.seconds, training.stat().st_size), place, say)
        _where(ml, job, place, keep, say)
    say(f"Done in {time.monotonic() - began:.0f} s.")
    return Summary(job.id, version.version, job.metrics["train_auc"], auc, len(may.truth), may.rows, captured, labelled, watched)


def _save(frame: pd.DataFrame, path: Path) -> Path:
    import hashlib

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    frame.to_parquet(part, index=False)
    if path.exists() and hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(part.read_bytes()).digest():
        part.unlink()
    else:
        part.replace(path)
    return path


def _training(data: Path) -> JobSpec:
    return JobSpec(
        name=NAME,
        source=str(SOURCE),
        entrypoint=("python", "train.py"),
        params={"max_iter": 60, "max_leaf_nodes": 31},
        inputs={"flights": str(data)},
        compute=COMPUTE,
        timeout="10m",
    )


def _train(ml: Client, data: Path, say: Say) -> Job:
    say("\n1. Train on January to April, as a job")
    job = ml.jobs.submit(_training(data))
    for line in job.logs(follow=True):
        say(f"   | {line}")
    job.wait()
    usage = job.result.usage
    metrics = job.metrics
    say(
        f"   job {job.id}: {job.state}, AUC {metrics['train_auc']:.3f} on its own rows, {metrics['unseen_auc']:.3f} on a fifth before seeing it"
    )
    say(
        f"   it took {usage.wall_seconds or 0:.1f} s, {usage.cpu_seconds or 0:.1f} s of CPU, {(usage.max_rss_bytes or 0) / 2**20:.0f} MiB at most"
    )
    return job


def _register(ml: Client, job: Job, say: Say) -> ModelVersion:
    say("\n2. Register what it made")
    version = ml.models.register(NAME, from_job=job, alias="champion")
    lineage = version.lineage
    say(f"   {version.name}:{version.version} is the champion; digest {str(version.digest)[:12]}")
    say(
        f"   made by job {lineage['job']} from source {str(lineage['bundle'])[:12]} and flights {lineage['inputs']['flights']['digest'][:12]}"
    )
    return version


@contextmanager
def _served(ml: Client, version: ModelVersion, keep: bool, say: Say) -> Iterator[Endpoint]:
    say("\n3. Serve it")
    endpoint = ml.endpoints.create(NAME, version)
    try:
        record = endpoint.record
        say(f"   {record.url} is {record.state}, split {record.split}, {SHOWN[record.auth]} required")
        yield endpoint
    finally:
        if not keep:
            endpoint.delete()


def _call(endpoint: Endpoint, frame: pd.DataFrame, say: Say) -> None:
    row = frame.loc[frame["month"] == 5, FEATURES].iloc[[0]]
    answer = endpoint.predict(row)
    chance = answer[0][1]
    say(
        f"   {row['carrier'].iloc[0]} from {row['origin'].iloc[0]} to {row['dest'].iloc[0]} at {row['hour'].iloc[0]:.0f}h: {chance:.0%} likely to be late"
    )


def _replay(endpoint: Endpoint, frame: pd.DataFrame, say: Say) -> Replayed:
    say("\n4. Replay May through it, and label each flight once it has landed")
    found = _passed(endpoint, months(frame, 5, 5))
    say(
        f"   {found.rows:,} flights in {len(found.truth)} requests, {found.rows / found.seconds:,.0f} flights a second; {found.rows:,} labels stored"
    )
    return found


def _passed(endpoint: Endpoint, flights: pd.DataFrame) -> Replayed:
    """Ask for flights in their order, and label them."""
    truth: dict[str, list[int]] = {}
    start, began = datetime.now(UTC), time.monotonic()
    for part, late in rows_of(flights, ROWS_A_REQUEST):
        truth[endpoint.predict(part).request_id] = late
    seconds = time.monotonic() - began
    endpoint.label_many(truth.items())
    return Replayed(Window(start, datetime.now(UTC)), truth, seconds)


def _read_back(endpoint: Endpoint, job: Job, may: Replayed, say: Say) -> tuple[float, int, int]:
    """AUC in May, rows captured, and rows labelled."""
    import pyarrow.compute as pc
    from sklearn.metrics import roc_auc_score

    say("\n5. Read back what was captured, with the labels joined")
    asked = datetime.now(UTC)
    table = _once_all_is_there("capture", lambda: _captured(endpoint, may.truth), lambda found: found.num_rows >= may.rows, say)
    judged = table.filter(pc.is_valid(table["label"]))
    late = judged["label"].to_numpy()
    scores = [answer[1] for answer in judged["prediction"].to_pylist()]
    auc = float(roc_auc_score(late, scores))
    complete = _once_all_is_there("counts", endpoint.observe, lambda found: found.complete_until >= asked, say)
    seen = next(found for found in complete.deployments if found.requests)
    say(
        f"   {table.num_rows:,} rows captured, {judged.num_rows:,} of them labelled; the endpoint counted {seen.requests} requests, {seen.errors} errors"
    )
    say(f"   late: {late.mean():.1%} in May. AUC {auc:.3f} in May, against {job.metrics['unseen_auc']:.3f} on rows of January to April")
    return auc, table.num_rows, judged.num_rows


def _watch(endpoint: Endpoint, job: Job, frame: pd.DataFrame, training: Path, may: Replayed, place: Path, keep: bool, say: Say) -> Watched:
    def replay(flights: pd.DataFrame) -> Window:
        found = _passed(endpoint, flights)
        _once_all_is_there("capture", lambda: endpoint.captured(found.window).num_rows, lambda rows: rows >= found.rows, say)
        return found.window

    say("\n6. Watch May to December: has it drifted, do the answers suffer, is a training due")
    watcher = spec(endpoint.name, training, _training(training), job.metrics["unseen_auc"])
    monitors = endpoint.client.monitors
    monitors.delete(watcher.monitor_name)  # that of an earlier demo
    try:
        return watch(endpoint, watcher, frame, may.window, replay, place, say)
    finally:
        if not keep:
            monitors.delete(watcher.monitor_name)


def _captured(endpoint: Endpoint, truth: dict[str, list[int]]) -> pa.Table:
    """What was captured of these requests."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = endpoint.captured(labelled=True)
    return table.filter(pc.is_in(table["provider_id"], value_set=pa.array(list(truth), pa.string())))


def _once_all_is_there(what: str, look: Callable[[], T], done: Callable[[T], bool], say: Say) -> T:
    """What is seen once it is complete: some providers have it only minutes later."""
    try:
        return wait_until(look, done, pauses=delays(first=0.1, ceiling=1.0), timeout=SOON_SECONDS, what=f"the provider's {what}")
    except DeadlineError:
        say(f"   (the provider has its {what} some minutes later: waiting)")
    return wait_until(look, done, pauses=delays(first=1.0, ceiling=10.0), timeout=LAG_SECONDS, what=f"the provider's {what}")


def _price(job: Job, served: Served, place: Path, say: Say) -> None:
    from mlport.demo.costs import table

    say("\n7. What this costs, anywhere")
    status = job.status()
    assert status.started is not None  # noqa: S101 - it has succeeded
    assert status.ended is not None  # noqa: S101
    for line in table((status.ended - status.started).total_seconds(), COMPUTE, served, place):
        say(f"   {line}")


def _where(ml: Client, job: Job, place: Path, keep: bool, say: Say) -> None:
    say("\nWhere everything lies")
    say(f"   everything      {ml.config.target}")
    say(f"   training data   {place / 'flights-2013-01-to-04.parquet'}")
    say(f"   model           {job.outputs['model']}")
    say(f"   look around     mlport -p {ml.config.profile} ls")
    if keep:
        say(f"   endpoint and monitor are still there; stop with: mlport -p {ml.config.profile} endpoints delete {NAME}")
