"""Vertex AI's own batch prediction through the client, against the emulator: what it scores, and how it stands among the jobs."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.account import Account
from aids.vertex.place import call, set_faults

import mlport
from mlport import BatchSpec, ModelRef, ModelVersion
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError, ConflictError, JobFailedError, NotFoundError, SpecError
from mlport.spi import Query, State
from mlport_vertex.session import VertexSession

SECONDS = 120.0
NATIVE = {"batch": "native"}


pytestmark = pytest.mark.usefixtures("no_server_left")


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture(scope="module")
def prebuilt(account: Account, classifier: dict[str, Path]) -> ModelVersion:
    """Served by Google's image, which takes rows by position."""
    return account(server_image=None).models.register("positional", classifier["cloudpickle"], trust=True)


@pytest.fixture(scope="module")
def ours(client: mlport.Client, classifier: dict[str, Path]) -> ModelVersion:
    """Served by mlport's model server."""
    return client.models.register("named", classifier["skops"], trust=True)


def vertex(client: mlport.Client) -> VertexSession:
    session = client.session
    assert isinstance(session, VertexSession)
    return session


def put(client: mlport.Client, name: str, content: str) -> str:
    uri = f"{client.config.staging}/{name}"  # type: ignore[attr-defined]
    vertex(client).api.objects.put(uri, content.encode())
    return uri


def spec_of(version: ModelVersion, source: str, output: str, options: dict[str, Any] | None = None, **fields: Any) -> BatchSpec:
    ref = ModelRef(name=version.name, version=version.version)
    return BatchSpec.model_validate(
        {"name": "score", "model": ref, "input": source, "output": output, "options": {"vertex": {**NATIVE, **(options or {})}}, **fields}
    )


def lines(client: mlport.Client, uri: str, files: str) -> list[Any]:
    objects = vertex(client).api.objects
    named = sorted(found for found, _ in objects.list(uri) if found.rpartition("/")[2].startswith(files))
    return [json.loads(line) for name in named for line in (objects.get(name) or b"").splitlines()]


ROWS = [{"id": 7, "x1": 0.0, "x0": 2.5}, {"id": 8, "x0": -2.5, "x1": 0.0}]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_rows_reach_googles_image_in_the_order_of_the_signature(account: Account, prebuilt: ModelVersion, transport: str) -> None:
    client = account(transport=transport)
    source, output = put(client, "in/positional.jsonl", TEXT), f"{client.config.staging}/out"  # type: ignore[attr-defined]
    key = secrets.token_hex(8)
    spec = spec_of(prebuilt, source, output, labels={"team": "a"})
    job = client.jobs.submit(spec, key=key).wait(SECONDS)
    assert job.id.startswith("batchPredictionJobs/")
    assert client.jobs.submit(spec, key=key).id == job.id
    assert client.jobs.find(key) == job
    status = job.status()
    assert (status.state, status.native_state, status.kind, status.name, status.labels["team"]) == (
        State.SUCCEEDED, "JOB_STATE_SUCCEEDED", "batch", "score", "a",
    )  # fmt: skip
    directory = job.outputs["predictions"]
    assert directory.startswith(f"{output}/prediction-positional-")
    found = lines(client, directory, "prediction.results")
    assert [(line["instance"], line["prediction"]) for line in found] == [(ROWS[0], 1), (ROWS[1], 0)]
    assert dict(job.metrics) == {"rows_scored": 2.0, "rows_failed": 0.0, "rows_left": 0.0}
    assert list(job.logs(follow=True)) == ["rows_scored: 2", "rows_failed: 0", "rows_left: 0"]
    assert job.result.resolved["version"] == prebuilt.version


def test_our_server_answers_a_folder_of_csv_and_a_keyed_file(client: mlport.Client, ours: ModelVersion) -> None:
    """The model server takes Vertex AI's form at its predict route: rows by position, and rows with names beside others."""
    for part in range(2):
        put(client, f"in/folder/{part}.csv", "x0,x1\n" + "".join(f"{1 if n % 2 else -1},0\n" for n in range(300)))
    put(client, "in/folder/readme.txt", "not asked for")
    output = f"{client.config.staging}/out-csv"  # type: ignore[attr-defined]
    first = client.jobs.submit(spec_of(ours, f"{client.config.staging}/in/folder", output, format="csv", batch_rows=100))  # type: ignore[attr-defined]
    second = client.jobs.submit(spec_of(ours, put(client, "in/named.jsonl", TEXT), output, {"key_field": "id"}))
    found = lines(client, first.wait(SECONDS).outputs["predictions"], "prediction.results")
    assert [line["prediction"] for line in found] == [0, 1] * 300
    keyed = lines(client, second.wait(SECONDS).outputs["predictions"], "prediction.results")
    assert keyed == [{"key": 7, "prediction": 1}, {"key": 8, "prediction": 0}]


def test_a_table_is_scored_into_a_table(client: mlport.Client, ours: ModelVersion, emulator: Ready) -> None:
    base = "/bigquery/v2/projects/emulated/datasets"
    call(emulator, "POST", base, {"datasetReference": {"datasetId": "scores"}})
    fields = [{"name": "id", "type": "INTEGER"}, {"name": "x1", "type": "FLOAT"}, {"name": "x0", "type": "FLOAT"}]
    table = {"tableReference": {"projectId": "emulated", "datasetId": "scores", "tableId": "rows"}, "schema": {"fields": fields}}
    call(emulator, "POST", f"{base}/scores/tables", table)
    call(emulator, "POST", f"{base}/scores/tables/rows/insertAll", {"rows": [{"json": row} for row in ROWS]})
    job = client.jobs.submit(spec_of(ours, "bq://emulated.scores.rows", "bq://emulated.scores.scored")).wait(SECONDS)
    assert job.outputs["predictions"] == "bq://emulated.scores.scored"
    _, found = call(emulator, "GET", f"{base}/scores/tables/scored/data")
    assert [[cell["v"] for cell in row["f"]] for row in found["rows"]] == [["7", "0.0", "2.5", "1"], ["8", "0.0", "-2.5", "0"]]
    with pytest.raises(SpecError, match=r"BatchSpec\.input"):
        client.jobs.plan(spec_of(ours, "bq://emulated.scores.nothing", "bq://emulated.scores"))
    with pytest.raises(SpecError, match="is no table"):
        client.jobs.plan(spec_of(ours, "bq://emulated.scores", "bq://emulated.scores"))


def test_rows_that_fail_are_told_and_a_job_of_nothing_but_failures_fails(client: mlport.Client, ours: ModelVersion) -> None:
    bad = json.dumps({"id": 9, "x0": "many", "x1": 0})
    output = f"{client.config.staging}/out-bad"  # type: ignore[attr-defined]
    some = client.jobs.submit(spec_of(ours, put(client, "in/some.jsonl", f"{TEXT}{bad}\nno json\n"), output))
    none = client.jobs.submit(spec_of(ours, put(client, "in/none.jsonl", f"{bad}\n"), output))
    status = some.wait(SECONDS).status()
    assert (status.state, dict(some.metrics)["rows_failed"]) == (State.SUCCEEDED, 2.0)
    assert "2 rows failed" in status.reason
    errors = lines(client, some.outputs["predictions"], "prediction.errors")
    assert [error["instance"] for error in errors] == [{"id": 9, "x0": "many", "x1": 0}, "no json"]
    assert any("not JSON" in line for line in some.logs())
    with pytest.raises(JobFailedError, match="x0"):
        none.wait(SECONDS)


def test_a_batch_stands_among_the_jobs_and_ends_when_it_is_told_to(client: mlport.Client, ours: ModelVersion, emulator: Ready) -> None:
    """Also after an answer that was lost."""
    jobs, label = vertex(client).jobs, secrets.token_hex(6)
    source = put(client, "in/long.jsonl", TEXT * 50_000)
    spec = spec_of(ours, source, f"{client.config.staging}/never", labels={"round": label}, batch_rows=1)  # type: ignore[attr-defined]
    custom = client.jobs.submit(mlport.JobSpec(name="custom", entrypoint=("python", "-c", "print(1)"), labels={"round": label}))
    set_faults(emulator, {"match": "POST *batchPredictionJobs", "effect": "reset", "when": "after", "times": 1})
    try:
        token = secrets.token_hex(16)
        with pytest.raises(AmbiguousError):
            jobs.submit(client.jobs.plan(spec), token=token)
    finally:
        set_faults(emulator)
    found = jobs.find(token)
    assert found is not None
    for ask in (jobs.result, jobs.delete):
        with pytest.raises(ConflictError):
            ask(found)
    assert not jobs.logs(found).complete
    asked = Query(labels={"round": label})
    assert [each.id for each in jobs.list(asked).items] == [found, custom.id]
    assert [each.id for each in jobs.list(Query(labels={"round": label}, newest_first=False)).items] == [custom.id, found]
    page = jobs.list(Query(labels={"round": label}, page_size=1))
    assert page.next is not None
    assert [each.id for each in [*page.items, *jobs.list(Query(labels={"round": label}, page_size=1), page.next).items]] == [
        found,
        custom.id,
    ]
    jobs.cancel(found)
    with pytest.raises(JobFailedError, match="CANCELLED"):
        client.jobs.get(found).wait(SECONDS)
    jobs.cancel(found)
    status = jobs.status(found)
    assert (status.state, status.cause) == (State.CANCELLED, "cancelled")
    assert jobs.list(Query(labels={"round": label}, states=frozenset({State.CANCELLED}))).items == [status]
    assert lines(client, f"{client.config.staging}/never", "") == []  # type: ignore[attr-defined]
    jobs.delete(found)
    jobs.delete(found)
    with pytest.raises(NotFoundError):
        jobs.status(found)
    assert [each.id for each in jobs.list(asked).items] == [custom.id]
    with pytest.raises(NotFoundError):
        jobs.status("batchPredictionJobs/x")
    custom.wait(SECONDS)
