"""Batch scoring: every row of every file once, with the columns that were to be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlport
from mlport import BatchSpec, ModelRef, ModelVersion
from mlport.capabilities import Capability as C
from mlport.errors import SpecError
from mlport.testing import needs

pytestmark = needs(C.BATCH, C.MODEL_REGISTER, C.JOB_RUN)
COUNT = 1000


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two files of rows whose truth is whether their id is even."""
    (tmp_path / "rows").mkdir()
    for part in range(2):
        numbers = range(part * COUNT, (part + 1) * COUNT)
        lines = [f"{number},{1.5 if number % 2 == 0 else -1.5},0.25" for number in numbers]
        (tmp_path / "rows" / f"part-{part}.csv").write_text("\n".join(["id,x0,x1", *lines]) + "\n")
    return tmp_path / "rows"


def test_every_row_is_scored_once_and_keeps_its_columns(
    client: mlport.Client, version: ModelVersion, rows: Path, unique: str, seconds: float
) -> None:
    import pyarrow.parquet as pq

    ref = ModelRef(name=version.name, version=version.version)
    spec = BatchSpec(name=unique, model=ref, input=str(rows), output=str(rows.parent / "scored"), keep=("id",), batch_rows=300)
    job = client.jobs.submit(spec, key=unique).wait(seconds)
    assert client.jobs.submit(spec, key=unique).id == job.id
    assert job.status().kind == "batch"
    found = [row for file in sorted((rows.parent / "scored").rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert sorted(int(row["id"]) for row in found) == list(range(2 * COUNT))
    assert all(int(row["prediction"]) == (int(row["id"]) % 2 == 0) for row in found)


def test_a_missing_input_is_named_before_anything_starts(client: mlport.Client, version: ModelVersion, tmp_path: Path, unique: str) -> None:
    ref = ModelRef(name=version.name, version=version.version)
    with pytest.raises(SpecError, match=r"BatchSpec\.input"):
        client.jobs.submit(BatchSpec(name=unique, model=ref, input=str(tmp_path / "absent.csv"), output=str(tmp_path / "scored")))
