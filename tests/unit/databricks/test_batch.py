"""A batch over two machines: each scores the files that are its, and together they are the whole, in a volume."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

import mlport
from mlport import BatchSpec, ModelRef
from mlport_databricks.session import DatabricksSession


def rows(folder: Path) -> Path:
    """Three files of rows whose truth is whether x0 is above 0."""
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_text(
            "id,x0,x1\n" + "".join(f"{number * 10 + row},{1.5 if row % 2 else -1.5},0\n" for row in range(10))
        )
    return folder


def scored(folder: Path) -> dict[int, int]:
    found = [row for file in sorted(folder.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert len({row["id"] for row in found}) == len(found), "each row once"
    return {int(row["id"]): int(row["prediction"]) for row in found}


def test_two_machines_score_every_file_once(client: mlport.Client, classifier: Path, tmp_path: Path) -> None:
    version = client.models.register("batch-model", str(classifier), trust=True)
    wanted = {row: row % 10 % 2 for row in range(30)}
    ref = ModelRef(name=version.name, version=version.version)
    asked = {"name": "batch", "model": ref, "input": str(rows(tmp_path / "rows")), "keep": ("id",), "compute": {"nodes": 2}}
    there = "/Volumes/main/ml/mlport/scored-there"
    job = client.jobs.submit(BatchSpec.model_validate({**asked, "output": there})).wait(120)
    assert job.status().kind == "batch"
    assert len([line for line in job.logs() if '"done": true' in line]) == 2, "one a machine"
    assert job.outputs["predictions"] == f"dbfs://{there}"
    session = client.session
    assert isinstance(session, DatabricksSession)
    session.connection.files.download(there, tmp_path / "got")
    assert scored(tmp_path / "got") == wanted
