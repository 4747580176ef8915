"""The nouns over a real provider, the sample one: what is refused early, idempotent, trusted, traced and reproduced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlport_sample.jobs import SampleJobs
from mlport_sample_planted.reading import LogOffByOne
from mlport_sample_planted.release import PlantedProvider

import mlport
from mlport import Job, JobSpec, State
from mlport.errors import (
    ConflictError,
    DeadlineError,
    InputChangedError,
    JobFailedError,
    MlportError,
    NotFoundError,
    SpecError,
    UnsupportedError,
    UntrustedModelError,
)
from mlport.explain import explain
from mlport.specs import EndpointSpec, ModelSpec
from mlport.spi import LogPage
from mlport.testing.waiting import eventually

Writes = Callable[..., JobSpec]


def test_a_job_from_submit_to_lineage(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model("abc")).wait(60)
    assert (job.state, dict(job.metrics)) == (State.SUCCEEDED, {"length": 3.0})
    assert Path(job.outputs["model"], "weights").read_text() == "abc"
    assert job.lineage["params"] == {"text": "abc"}
    assert job.lineage["bundle"] == sample.jobs.plan(writes_model("abc")).facts.bundle


def test_a_dry_run_starts_and_leaves_nothing(sample: mlport.Client, writes_model: Writes, tmp_path: Path) -> None:
    plan = sample.jobs.plan(writes_model())
    assert plan.requests[0].body["params"] == {"text": "weights"}
    assert plan.facts.labels["mlport"] == "1"
    assert list(sample.jobs.list()) == []
    assert not (tmp_path / "account" / "state.db").exists()


@pytest.mark.parametrize(("find_lag", "key", "recorded"), [(0.0, None, False), (0.0, "k", True), (0.1, None, True)])
def test_only_what_nobody_can_ask_for_again_and_needs_no_time_to_be_found_is_not_recorded(
    sample: mlport.Client, writes_model: Writes, *, find_lag: float, key: str | None, recorded: bool
) -> None:
    plan = sample.jobs.plan(writes_model("abc")).to_json()
    sample.session.asked = lambda job_id: plan  # type: ignore[attr-defined]
    sample.session.find_lag = find_lag
    job = sample.jobs.submit(writes_model("abc"), key=key)
    assert (sample.journal.get(job.status().token or "") is not None) == recorded
    assert job.wait(60).lineage["params"] == {"text": "abc"}
    assert sample.runs.reproduce(job.id).id != job.id


def test_a_key_gives_the_same_job_and_refuses_other_work(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model("one"), key="k")
    assert sample.jobs.submit(writes_model("one"), key="k").id == job.id
    assert sample.jobs.submit(writes_model("one")).id != job.id
    with pytest.raises(ConflictError, match="'k'"):
        sample.jobs.submit(writes_model("two"), key="k")
    found = sample.jobs.find("k")
    assert found is not None
    assert found.id == job.id
    assert sample.jobs.find("other") is None


def test_a_source_that_lies_elsewhere_is_the_same_work(sample: mlport.Client, writes_model: Writes, tmp_path: Path) -> None:
    job = sample.jobs.submit(writes_model(), key="k")
    os.rename(tmp_path / "source", tmp_path / "moved")
    assert sample.jobs.submit(writes_model(source=str(tmp_path / "moved")), key="k").id == job.id


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"entrypoint": ["python", "trian.py"]}, ["JobSpec.entrypoint", "'trian.py'", "did you mean 'train.py'?"]),
        ({"source": None}, ["JobSpec.entrypoint", "'train.py'", "(none given)"]),
        ({"source": "/absent"}, ["JobSpec.source", "/absent does not exist"]),
        ({"inputs": {"rows": "/absent.csv"}}, ["JobSpec.inputs.rows", "/absent.csv does not exist"]),
        ({"secrets": ["NOT_SET_ANYWHERE"]}, ["JobSpec.secrets", "NOT_SET_ANYWHERE"]),
        ({"options": {"sample": {"x": 1}}}, ["JobSpec.options.sample", "x"]),
    ],
)
def test_bad_input_is_one_clear_error_before_anything_starts(
    sample: mlport.Client, writes_model: Writes, fields: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        sample.jobs.submit(writes_model(**fields))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert list(sample.jobs.list()) == []


def test_every_gap_is_named_before_the_source_is_read(sample: mlport.Client) -> None:
    spec = JobSpec(name="x", entrypoint=("x",), source="/absent", retries=1, compute={"gpus": 1, "spot": True})  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError) as caught:
        sample.jobs.submit(spec)
    assert set(caught.value.gaps) == {"job.gpu", "job.retry", "job.spot"}


def test_a_failure_shows_the_end_of_the_log(sample: mlport.Client) -> None:
    job = sample.jobs.submit(JobSpec(name="fails", entrypoint=("sh", "-c", "echo why it failed; exit 3")))
    with pytest.raises(JobFailedError, match=r"ended FAILED: .*3[\s\S]*why it failed") as caught:
        job.wait(60)
    assert (caught.value.job_id, caught.value.state, job.result.exit_code) == (job.id, "FAILED", 3)


def test_a_log_whose_cursor_stands_still_is_not_read_for_ever(sample: mlport.Client, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    script = f"import pathlib, time; print('one', flush=True)\nwhile not pathlib.Path({str(stop)!r}).exists(): time.sleep(0.02)"
    job = sample.jobs.submit(JobSpec(name="prints", entrypoint=("python", "-c", script)))
    with mlport.Client(PlantedProvider(LogOffByOne), sample.config) as faulty, pytest.raises(MlportError, match="never end"):
        eventually(lambda: list(Job(job.id, faulty).logs(follow=True)), bool, 60)
    stop.touch()
    job.wait(60)


def test_a_log_is_read_to_where_it_stood_however_fast_it_grows(sample: mlport.Client) -> None:
    """The provider here prints one more line for each page that is read of it."""
    job = sample.jobs.submit(JobSpec(name="prints", entrypoint=("true",))).wait(60)
    with mlport.Client(PlantedProvider(EndlessLog), sample.config) as endless:
        assert list(Job(job.id, endless).logs()) == ["line 0", "line 1"]


class EndlessLog(SampleJobs):
    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        number = int(after or 0)
        return LogPage([f"line {number}"], str(number + 1), complete=False, caught_up=number > 0)


def test_a_wait_that_is_over_leaves_the_job_alone(sample: mlport.Client) -> None:
    job = sample.jobs.submit(JobSpec(name="sleeps", entrypoint=("sleep", "600")))
    with pytest.raises(DeadlineError):
        job.wait(0.05)
    assert not job.state.terminal
    job.cancel()
    with pytest.raises(JobFailedError, match="CANCELLED"):
        job.wait(60)


# ---------------------------------------------------------------- runs


def test_runs_side_by_side(sample: mlport.Client, writes_model: Writes) -> None:
    ids = [sample.jobs.submit(writes_model(text)).wait(60).id for text in ("a", "bbb")]
    found = sample.runs.compare(ids)
    assert found.params == {"text": ["a", "bbb"]}
    assert found.metrics == {"length": [1.0, 3.0]}
    assert "bundle" not in found.lineage
    assert [run.id for run in sample.runs.list()] == ids[::-1]


def test_a_run_is_reproduced_until_its_code_or_data_changes(sample: mlport.Client, writes_model: Writes, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("1")
    first = sample.jobs.submit(writes_model(inputs={"rows": str(rows)})).wait(60)
    again = sample.runs.reproduce(first.id).wait(60)
    assert again.id != first.id
    assert again.result.outputs["model"].digest == first.result.outputs["model"].digest
    rows.write_text("2")
    with pytest.raises(InputChangedError, match="'rows'"):
        sample.runs.reproduce(first.id)
    rows.write_text("1")
    (tmp_path / "source" / "train.py").write_text("")
    with pytest.raises(ConflictError, match="no longer what job"):
        sample.runs.reproduce(first.id)


# ---------------------------------------------------------------- models


def test_a_model_from_elsewhere_needs_trust(sample: mlport.Client, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("x")
    with pytest.raises(UntrustedModelError, match="trust=True"):
        sample.models.register("m", folder)
    version = sample.models.register("m", folder, trust=True)
    assert version.lineage["path"] == str(folder)


def test_trust_is_about_where_it_comes_from_not_how_it_is_written(
    sample: mlport.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("x")
    monkeypatch.chdir(tmp_path)
    for way in ("model", f"file://{tmp_path}/model", Path("model")):
        with pytest.raises(UntrustedModelError):
            sample.models.register("m", way)
        assert sample.models.register("m", way, trust=True).lineage["path"] == str(tmp_path / "model")


def test_a_jobs_output_is_registered_once_and_traced(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model()).wait(60)
    version = sample.models.register("m", from_job=job, alias="champion", tags={"stage": "test"})
    assert (version.version, version.record.aliases, version.record.tags["stage"]) == ("1", ("champion",), "test")
    assert sample.models.register("m", from_job=job, tags={"stage": "test"}).version == "1"
    assert version.lineage["job"] == job.id
    assert version.lineage["params"] == {"text": "weights"}
    assert version.digest == job.result.outputs["model"].digest
    assert [sample.models.get(text).version for text in ("m", "m@champion", "m:1")] == ["1", "1", "1"]


def test_registering_after_deleting_is_a_new_wish(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model()).wait(60)
    sample.models.register("m", from_job=job).delete()
    assert sample.models.register("m", from_job=job).version == "2"


def test_an_output_that_changed_since_is_refused(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model()).wait(60)
    Path(job.outputs["model"], "weights").write_text("tampered")
    with pytest.raises(ConflictError, match="was written with"):
        sample.models.register("m", from_job=job)


def test_a_damaged_version_is_not_downloaded(sample: mlport.Client, writes_model: Writes, tmp_path: Path) -> None:
    version = sample.models.register("m", from_job=sample.jobs.submit(writes_model()).wait(60))
    assert Path(version.download(tmp_path / "good"), "weights").read_text() == "weights"
    with pytest.raises(SpecError, match="exists already"):
        version.download(tmp_path / "good")
    Path(version.record.uri, "weights").write_text("damaged")
    with pytest.raises(ConflictError, match="changed or damaged"):
        version.download(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_what_is_not_there_says_what_is(sample: mlport.Client, writes_model: Writes) -> None:
    job = sample.jobs.submit(writes_model()).wait(60)
    sample.models.register("m", from_job=job)
    for ask, words in [
        (lambda: sample.models.get("n"), "no model named 'n'"),
        (lambda: sample.models.get("m", "7"), "m:7"),
        (lambda: sample.models.get("m@gold"), "'gold'"),
        (lambda: sample.models.register("m", from_job=job, output="plots"), "left: model"),
        (lambda: sample.jobs.get("absent"), "absent"),
        (lambda: sample.endpoints.get("absent"), "absent"),
    ]:
        with pytest.raises(NotFoundError, match=words):
            ask()


def test_an_alias_must_not_look_like_a_version(sample: mlport.Client) -> None:
    with pytest.raises(SpecError, match="alias '7'"):
        sample.models.alias("m", "7", "1")


def test_a_version_is_copied_with_its_lineage(sample: mlport.Client, writes_model: Writes, tmp_path: Path) -> None:
    version = sample.models.register("m", from_job=sample.jobs.submit(writes_model()).wait(60), tags={"a": "b"})
    with mlport.connect(f"sample://{tmp_path}/other") as other:
        copied = sample.models.copy(version, to=other)
        assert (copied.digest, copied.record.tags, copied.lineage["job"]) == (version.digest, {"a": "b"}, version.lineage["job"])
        assert "m:1" in copied.lineage["copied_from"]


# ---------------------------------------------------------------- explain


def test_explain_refuses_without_raising(sample: mlport.Client) -> None:
    spec = JobSpec.model_validate({"name": "x", "entrypoint": ["x"], "compute": {"gpus": 1}})
    found = explain(sample, spec)
    assert not found.possible
    assert "no GPU" in (found.refused or "")
    assert found.needs["job.run"].available
    assert found.to_json()["price"] is None


def test_explain_names_all_gaps_of_an_endpoint_whose_model_is_not_there_yet(sample: mlport.Client) -> None:
    spec = EndpointSpec.model_validate(
        {"name": "e", "deployment": {"model": {"name": "m", "version": "1"}, "runtime": "build"}, "auth": "none"}
    )
    refused = explain(sample, spec).refused or ""
    assert all(name in refused for name in ("endpoint.build", "endpoint.public", "endpoint.capture"))


def test_explain_gives_the_exact_request(sample: mlport.Client, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x")
    found = explain(sample, ModelSpec(name="m", path=str(tmp_path / "weights")))
    assert found.plan is not None
    assert found.plan.requests[0].body["path"] == str(tmp_path / "weights")


# ---------------------------------------------------------------- processes

SUBMIT = """
import sys, mlport
with mlport.connect(sys.argv[1]) as ml:
    print(ml.jobs.submit(mlport.JobSpec(name="once", entrypoint=["true"]), key="k").id)
"""


def test_a_key_raced_by_processes_is_one_job(sample: mlport.Client) -> None:
    words = [sys.executable, "-c", SUBMIT, sample.config.target]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(ids) == 1
    assert len(list(sample.jobs.list())) == 1
