"""Jobs whose inputs and outputs lie in an object store, a real S3 server, and batch scoring with a real model."""

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aids.object_store import VERSIONED, ask, bucket, server
from sklearn.linear_model import LogisticRegression

from mlport import transfer
from mlport.bundle import tree_digest
from mlport.specs import BatchSpec
from mlport.spi import Facts, InputFact, Plan, Request, State
from mlport_local.engine.manifest import batch_request

__all__ = ["bucket", "server"]
Engine = Any
READS = "import os; print(open(os.environ['MLPORT_INPUT_ROWS']).read()); open(os.environ['MLPORT_OUTPUT_MODEL'] + '/m', 'w').write('1')"
_MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, predict_fn: predict, python_version: 3.11.7, env: {}}
  sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle, sklearn_version: '0', code: null}
mlflow_version: 3.17.2
"""


def put(tmp_path: Path, url: str, text: str) -> None:
    (tmp_path / "object").write_text(text)
    transfer.copy(str(tmp_path / "object"), url)


@pytest.mark.parametrize("kind", ["etag", "generation"])
def test_an_object_is_fetched_if_it_is_the_one_planned(engine: Engine, bucket: str, server: int, tmp_path: Path, kind: str) -> None:
    if kind == "generation":
        assert ask(server, "PUT", f"/{bucket.removeprefix('s3://')}?versioning", VERSIONED) == 200
    put(tmp_path, f"{bucket}/rows.csv", "one")
    facts = Facts(inputs={"rows": transfer.identify(f"{bucket}/rows.csv")})
    assert facts.inputs["rows"].kind == kind
    planned = engine.plan(READS, facts=facts)
    job_id = engine.jobs.submit(planned, token="a")
    assert engine.ended(job_id).state is State.SUCCEEDED, engine.log(job_id)
    assert engine.log(job_id) == ["one"]

    put(tmp_path, f"{bucket}/rows.csv", "two")
    status = engine.ended(engine.jobs.submit(planned, token="b"))
    assert (status.state, status.cause) == (State.FAILED, "input changed")
    assert f"{bucket}/rows.csv is no longer {kind}:" in status.reason
    assert engine.jobs.result(status.id).exit_code is None  # the program never began


def test_credentials_reach_the_transfer_and_no_file(engine: Engine, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, f"{bucket}/rows.csv", "one")
    facts = Facts(inputs={"rows": transfer.identify(f"{bucket}/rows.csv")})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    assert engine.ended(engine.jobs.submit(engine.plan(READS, facts=facts), token="a")).state is State.SUCCEEDED
    files = [path for path in engine.layout.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hush-hush" in path.read_bytes()]


def test_an_object_that_is_gone_is_told(engine: Engine, bucket: str) -> None:
    facts = Facts(inputs={"rows": InputFact(f"{bucket}/rows.csv", "etag", "0" * 32, 3)})
    status = engine.ended(engine.jobs.submit(engine.plan(READS, facts=facts), token="a"))
    assert (status.state, "could not be fetched" in status.reason) == (State.FAILED, True)


def test_batch_scoring_from_and_to_an_object_store(engine: Engine, bucket: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "MLmodel").write_text(_MLMODEL)
    rows = pd.DataFrame({"id": range(100), "x": [number % 2 for number in range(100)]})
    (model / "model.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(rows[["x"]], rows["x"])))
    rows.to_parquet(tmp_path / "rows.parquet")
    transfer.copy(str(tmp_path / "rows.parquet"), f"{bucket}/rows.parquet")

    spec = BatchSpec.model_validate(
        {
            "name": "score",
            "model": {"name": "m", "version": "1"},
            "input": f"{bucket}/rows.parquet",
            "output": f"{bucket}/scored",
            "keep": ["id"],
        }
    )
    facts = Facts(
        inputs={"rows": transfer.identify(spec.input)}, model={"uri": str(model), "digest": tree_digest(model), "name": "m", "version": "1"}
    )
    body = batch_request(spec, facts, engine.config)
    plan = Plan("local", engine.config.target, "batch", spec.name, spec.to_json(), facts, (Request("engine.submit", body),))
    job_id = engine.jobs.submit(plan, token="t")
    status = engine.ended(job_id, 120)
    assert status.state is State.SUCCEEDED, (status, engine.log(job_id))
    transfer.copy(f"{bucket}/scored", str(tmp_path / "scored"))
    scored = pd.read_parquet(tmp_path / "scored")
    assert (len(scored), (scored["prediction"] == scored["id"] % 2).all()) == (100, True)
