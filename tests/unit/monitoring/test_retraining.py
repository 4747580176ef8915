"""Retraining for real: job, version, score, verdict and hand-over, each done once whoever is killed between; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aids.local.endpoints import _MLMODEL, until
from aids.monitoring import DAY, MOVED, ROWS, Place, lives, oldest_first, rows

import mlport
from mlport import JobSpec, Monitor, Window, labels
from mlport.costs.at_work.frozen import Frozen
from mlport.errors import AmbiguousError, AuthenticationError, ConflictError, NotFoundError
from mlport.jobs import Job
from mlport.monitoring.reading import decaying
from mlport.monitoring.records import Retraining
from mlport.monitoring.training.retraining import Trainer
from mlport.spi import JobStatus

TRAIN = """
import json, os, pathlib, pickle
import pandas
from sklearn.linear_model import LogisticRegression
rows = pandas.read_parquet(os.environ["MLPORT_INPUT_ROWS"])
made = pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"])
made.joinpath("MLmodel").write_text(pathlib.Path("MLmodel").read_text())
made.joinpath("model.pkl").write_bytes(pickle.dumps(LogisticRegression(C=1e6).fit(rows[["a", "b"]], rows["label"])))
seen = {"env": {name: os.environ[name] for name in ("MLPORT_DATA_START", "MLPORT_DATA_END")}, "rows": rows.to_dict("records")}
made.joinpath("seen.json").write_text(json.dumps(seen))
"""
COPY = """
import os, shutil
for name in ("MLmodel", "model.pkl"):
    shutil.copy(name, os.environ["MLPORT_OUTPUT_MODEL"])
"""
"""Trains what serves already."""
FALSE = {"name": "train", "entrypoint": ["false"]}
SECONDS = 120.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "mlport-monitors"


def source(place: Place, folder: Path, script: str) -> Path:
    folder.mkdir()
    folder.joinpath("main.py").write_text(script)
    folder.joinpath("MLmodel").write_text(_MLMODEL)
    shutil.copy(place.root / "files" / "model.pkl", folder)
    return folder


def run(client: mlport.Client) -> None:
    client.monitors.get("delays").run()


def newest(monitor: Monitor) -> Retraining:
    return next(monitor.retrainings())


def ended(place: Place, job: str | None) -> None:
    Job(str(job), place.client).wait(SECONDS)


def labelled(place: Place, *moved: float, cut: float = MOVED) -> list[list[str]]:
    """Days that moved, whose truth is whether `a` is above `cut`: the champion, who knows of 0 alone, is right for half of the rows."""
    ids = place.days(*moved)
    for one, a in zip(ids, moved, strict=True):
        place.label(one, rows(a), cut=cut)
    return ids


# ---------------------------------------------------------------- from decay to a deployment


def test_whoever_is_killed_between_two_writes_one_job_is_one_version_is_one_deployment(place: Place, tmp_path: Path, home: Path) -> None:
    code = source(place, tmp_path / "train", TRAIN)
    job = {"name": "train", "source": str(code), "entrypoint": ["python", "main.py"], "labels": {"team": "sky"}}
    policy = {"job": job, "data": "rows", "on_drift": False, "gate": {"metric": "accuracy", "at_least": 0.9, "least_gain": 0.3}}
    monitor = place.watch(3, retrain=policy)
    shutil.rmtree(code)  # what counts is the code as it was when the monitor was made
    ids = place.days(MOVED, MOVED, MOVED)
    monitor.run()
    assert list(monitor.retrainings()) == [], "nothing is labelled yet"
    for one, count in ((ids[2], 10), (ids[0], 10), (ids[1], 5)):
        place.label(one[:count], rows(MOVED), cut=MOVED)

    died = lives(place, run)
    begun = newest(monitor)
    assert (begun.phase, begun.trigger, begun.champion) == ("training", "decay", "lr:1"), begun
    assert begun.causes == tuple(place.day(ago).start.isoformat() for ago in (1, 2, 3))
    assert (begun.held_out, begun.data) == (place.day(1), Window(place.day(1).start - 365 * DAY, place.day(1).start))
    assert [each.retraining for each in oldest_first(monitor)] == [begun.id] * 3
    assert place.book.get(monitor.name).open == begun.id
    ended(place, begun.job)
    died += lives(place, run)
    scoring = newest(monitor)
    assert (scoring.phase, scoring.version, scoring.rows) == ("scoring", "2", ROWS + 100), scoring
    ended(place, scoring.scoring)
    deaths = []

    def look() -> bool:
        deaths.append(lives(place, run))
        return newest(monitor).over

    until(look, SECONDS)
    died += sum(deaths)
    assert died > 12
    done = newest(monitor)
    assert (done.phase, done.deployment, done.reason) == ("handed over", "v2", "lr:2 is deployed as v2 at 0 %, for a rollout"), done
    assert done.verdict is not None
    assert (done.verdict.passed, done.verdict.rows, done.verdict.champion) == (True, ROWS, 0.5)
    assert (done.verdict.challenger or 0) > 0.95

    assert len(list(monitor.retrainings())) == 1
    jobs = list(place.client.jobs.list(labels={"mlport_monitor": "delays"}))
    assert sorted(each.id for each in jobs) == sorted([str(done.job), str(done.scoring)])
    assert all(each.labels["mlport_monitor_retraining"] == done.id for each in jobs)
    assert [each.version for each in place.client.models.versions("lr")] == ["2", "1"]
    assert place.endpoint.split == {"v1": 100, "v2": 0}
    version = place.client.models.get("lr", "challenger")
    because = version.lineage["because"]
    assert (version.version, because["monitor"], because["trigger"], because["readings"]) == ("2", "delays", "decay", list(done.causes))
    assert version.record.tags.items() >= {"monitor": "delays", "gate": "passed"}.items()
    stored = place.book.get(monitor.name)
    assert (stored.open, stored.pending) == ("", ())
    assert not list(home.rglob("*.parquet"))
    assert monitor.run() == []
    assert newest(monitor) == done, "one reason is reason for one training"

    seen = json.loads((version.download(tmp_path / "made") / "seen.json").read_text())
    assert seen["env"] == {"MLPORT_DATA_START": done.data.start.isoformat(), "MLPORT_DATA_END": done.data.end.isoformat()}
    expected = [{**row, "label": int(row["a"] > MOVED)} for row in (*rows(MOVED), *rows(MOVED)[:100])]
    assert seen["rows"] == expected, "the labelled rows before those held out, in order"
    place.endpoint.undeploy("v2")


def test_the_rows_of_a_training_are_the_same_bytes_whenever_they_are_written(place: Place, home: Path) -> None:
    first, _ = labelled(place, MOVED, MOVED)
    place.keep(2, rows(MOVED)[:20] * 2, ids=first[:1] * 2)  # captured again
    monitor = place.watch(2, retrain={"job": FALSE, "data": "rows"})
    stored = place.book.get(monitor.name)
    now = datetime.now(UTC)
    one = Retraining("1", monitor.name, now, "drift", "", (), "due", place.day(2), place.day(1))
    place.label(first, rows(MOVED), cut=-9.0, at=now + timedelta(minutes=1))  # it came later than the training was decided on
    trainer = Trainer(place.client, place.book, stored, now)
    count, spec = trainer._job(one)
    path = Path(spec.inputs["rows"])
    assert (count, path.is_relative_to(home)) == (ROWS, True)
    before = path.read_bytes()
    trainer._job(one)
    assert path.read_bytes() == before
    table = pq.read_table(path)
    assert table.schema.names == ["a", "b", "label"]
    assert sum(table["label"].to_pylist()) == ROWS / 2
    with pytest.raises(NotFoundError, match="the scores of None:None are not in"):
        trainer._verdict(one)


def test_labels_of_an_undated_table_are_there_although_it_was_written_later(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("request_id,label\nr1,1\n")
    stored = place.book.get(place.watch(1, labels_from=str(path)).name)
    labels.put(place.client.session.state, "delays", [("r2", [0])])
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    assert [each[:3] for each in decaying.labels_of(place.client, stored, long_ago)] == [("r1", 0, 1)]
    assert [each[:3] for each in decaying.labels_of(place.client, stored)] == [("r2", 0, 0), ("r1", 0, 1)]


# ---------------------------------------------------------------- what comes of nothing


def test_a_challenger_that_is_no_better_is_refused_and_goes_nowhere(place: Place, tmp_path: Path) -> None:
    code = source(place, tmp_path / "copy", COPY)
    labelled(place, MOVED)
    job = {"name": "train", "source": str(code), "entrypoint": ["python", "main.py"]}
    monitor = place.watch(1, retrain={"job": job, "gate": {"metric": "accuracy", "least_gain": 0.1}, "hand_over": "register"})
    before = place.endpoint.split
    monitor.run()
    ended(place, newest(monitor).job)
    monitor.run()
    ended(place, newest(monitor).scoring)
    monitor.run()
    done = newest(monitor)
    assert (done.phase, done.reason) == ("refused", "its gain over the champion is 0, and 0.1 is wanted"), done
    assert done.trigger == "drift"
    version = place.client.models.get("lr", done.version)
    assert version.record.tags.items() >= {"gate": "refused"}.items()
    assert place.endpoint.split == before
    assert [each.event for each in oldest_first(monitor)[0].told] == ["drift", "decay"]
    assert place.book.get(monitor.name).open == ""


def test_a_job_that_fails_ends_it_and_what_may_work_later_does_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(place, MOVED)
    monitor = place.watch(1, retrain={"job": FALSE, "data_window": "6h"})

    def no_answer(*_: Any, **__: Any) -> str:
        raise AmbiguousError("no answer came")

    with monkeypatch.context() as patched:
        patched.setattr(type(place.client.jobs), "send", no_answer)
        for _ in range(2):
            with pytest.raises(AmbiguousError):
                monitor.run()
    assert newest(monitor).phase == "due", "it may have been sent: the next run finds it, or sends it"
    assert newest(monitor).data == Window(place.day(1).start - timedelta(hours=6), place.day(1).start)
    with pytest.raises(ConflictError, match="goes on: it is due"):
        monitor.retrain()
    monitor.run()
    job = Job(str(newest(monitor).job), place.client)
    with pytest.raises(mlport.errors.JobFailedError):
        job.wait(SECONDS)

    def nobody(*_: Any) -> JobStatus:
        raise AuthenticationError("who are you?")

    with monkeypatch.context() as patched:
        patched.setattr(place.client.session.jobs, "status", nobody)
        with pytest.raises(AuthenticationError):
            monitor.run()
    assert newest(monitor).phase == "training", "a look that failed says nothing of it"
    monitor.run()
    done = newest(monitor)
    assert (done.phase, done.reason.startswith(f"its job {job.id} ended FAILED")) == ("failed", True), done
    monitor.run(done.decided + 2 * DAY)
    assert newest(monitor) == done, "neither drift nor labels came since"
    asked = monitor.retrain("the data were mended")
    assert (asked.trigger, asked.why, asked.phase) == ("asked for", "the data were mended", "due")


def test_what_cannot_be_judged_or_paid_for_is_refused_before_anything_runs(place: Place) -> None:
    ids = place.days(MOVED)
    monitor = place.watch(1, retrain={"job": FALSE})
    monitor.run()
    unlabelled = newest(monitor)
    assert (unlabelled.phase, unlabelled.job) == ("refused", None)
    assert unlabelled.reason == "no window has labels enough to judge a challenger by: nothing was trained"
    place.label(ids[0], rows(MOVED), cut=MOVED)
    monitor.delete()
    with priced(place) as client:
        policy = {"job": {**FALSE, "expected": "1000h"}, "budget": "1 USD"}
        dear = client.monitors.create(place.spec(1, name="dear", retrain=policy))
        dear.run()
        refused = newest(dear)
        assert (refused.phase, refused.job) == ("refused", None), refused
        assert refused.reason.startswith("over the policy's budget: 0.00 spent this month"), refused
        assert list(client.jobs.list(labels={"mlport_monitor": "dear"})) == []
        assert [each.event for each in oldest_first(dear)[0].told] == ["drift", "decay"]


def test_what_the_trainings_of_this_month_cost_counts(place: Place) -> None:
    labelled(place, MOVED)
    with priced(place) as client:
        job = {"name": "train", "entrypoint": ["sleep", "60"], "expected": "1s"}
        price = Frozen.from_json(client.jobs.plan(JobSpec.model_validate(job)).facts.price or {})
        policy = {"job": job, "budget": f"{(price.expected or 0) * 3 / 2:.12f} USD"}
        monitor = client.monitors.create(place.spec(1, retrain=policy))
        monitor.run()
        running = Job(str(newest(monitor).job), client)
        try:
            until(lambda: running.status().started, SECONDS)
            trainer = Trainer(client, place.book, place.book.get(monitor.name), datetime.now(UTC))
            assert trainer._over_budget().startswith("over the policy's budget"), "one second fits, and two do not"
        finally:
            running.cancel()
        until(lambda: running.state.terminal, SECONDS)


@contextmanager
def priced(place: Place) -> Iterator[mlport.Client]:
    """The same place with what its machines cost."""
    hardware = Path(__file__).parents[3] / "examples" / "cost" / "hardware.toml"
    profile = {"provider": "local", "root": str(place.root / "place"), "hardware": str(hardware)}
    told = "\n".join(f"{name} = {json.dumps(value)}" for name, value in profile.items())
    (place.root / "priced.toml").write_text(f"[profiles.priced]\n{told}\n")
    with mlport.connect("priced", config=place.root / "priced.toml") as client:
        yield client


def test_a_monitor_without_a_policy_trains_nothing(place: Place) -> None:
    labelled(place, MOVED)
    monitor = place.watch(1)
    monitor.run()
    assert list(monitor.retrainings()) == []
    with pytest.raises(ConflictError, match="no policy of retraining"):
        monitor.retrain()
    assert isinstance(monitor.captured(place.day(1)), pa.Table)
