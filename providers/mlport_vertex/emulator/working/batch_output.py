"""Where a batch prediction job puts its results: a new directory of Cloud Storage, or tables of BigQuery.

The names are those of aiplatform.v1, BatchPredictionJob.OutputConfig; the names of the files are those seen in public.
Both are made of the time at which the job was made, so that a job that begins again writes to the same place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlport_vertex.emulator.storing.objects import Objects
from mlport_vertex.emulator.storing.tables import TableError, Tables, no_dataset
from mlport_vertex.emulator.working.batch_io import ROWS_AT_ONCE, in_chunks, table_of

Json = dict[str, Any]
TEXT = "STRING"
STATUS = {"name": "errors", "type": "RECORD", "fields": [{"name": "code", "type": "INTEGER"}, {"name": "message", "type": "STRING"}]}


def stamp(created: str) -> str:
    """A job's time of creation in names: 2026_11_23T10_39_12_123Z."""
    return re.sub(r"[-:.]", "_", created[: len("2026-11-23T10:39:12.123")]) + "Z"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of Cloud Storage."""

    objects: Objects
    uri: str

    @classmethod
    def of(cls, objects: Objects, job: Json, title: str) -> Directory:
        prefix = job["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        return cls(objects, f"{prefix}/prediction-{re.sub(r'[^-_A-Za-z0-9]', '_', title)}-{stamp(job['createTime'])}")

    def prepare(self) -> None:
        """Raises StorageError: there is no such bucket."""
        self.objects.need_bucket(self.uri.removeprefix("gs://").partition("/")[0])

    def write(self, folder: Path) -> Json:
        """Copy the files that were made; the job's outputInfo."""
        self.objects.upload_tree(folder, self.uri)
        return {"gcsOutputDirectory": self.uri}


@dataclass(frozen=True, slots=True)
class TwoTables:
    """Two tables of BigQuery: what was predicted, and what failed. `columns` are the input table's, none if it was no table."""

    tables: Tables
    project: str
    dataset: str
    predictions: str
    errors: str
    columns: Sequence[Json]
    makes_dataset: bool

    @classmethod
    def of(cls, tables: Tables, job: Json, title: str) -> TwoTables:
        uri, at = job["outputConfig"]["bigqueryDestination"]["outputUri"], stamp(job["createTime"])
        project, dataset, table = destination(uri) or ("", "", "")
        source = table_of(job["inputConfig"].get("bigquerySource", {}).get("inputUri", ""))
        columns = tables.table(*source)["schema"]["fields"] if source else []
        if not dataset:
            return cls(tables, project, f"prediction_{re.sub(r'[^_A-Za-z0-9]', '_', title)}_{at}", "predictions", "errors", columns, True)
        return cls(tables, project, dataset, table or f"predictions_{at}", f"errors_{at}", columns, False)

    def prepare(self) -> None:
        """Raises TableError: there is no such dataset, or there is such a table already."""
        if self.makes_dataset:
            return
        if not self.tables.has_dataset(self.project, self.dataset):
            raise no_dataset(self.project, self.dataset)
        if self.tables.has_table(self.project, self.dataset, self.predictions):
            raise TableError("ALREADY_EXISTS", f"Already Exists: Table {self.project}:{self.dataset}.{self.predictions}")

    def clear(self) -> None:
        """Remove what was written before the emulator was killed."""
        for table in (self.predictions, self.errors):
            with suppress(TableError):
                self.tables.delete(self.project, self.dataset, table)

    def write(self, folder: Path) -> Json:
        """Fill the tables from the files that were made; the job's outputInfo."""
        self._fill(self.predictions, {"name": "prediction", "type": TEXT}, folder, "prediction.results-*", self._predicted)
        self._fill(self.errors, STATUS, folder, "prediction.errors_stats-*", self._failed)
        return {"bigqueryOutputDataset": f"bq://{self.project}.{self.dataset}", "bigqueryOutputTable": self.predictions}

    def _fill(self, table: str, last: Json, folder: Path, files: str, row: Callable[[Json], Json]) -> None:
        first = [{**each, "mode": "NULLABLE"} if each.get("mode") != "REPEATED" else each for each in self.columns]
        self.tables.create(self.project, self.dataset, table, [*(first or [{"name": "instance", "type": TEXT}]), last])
        for chunk in in_chunks(_lines(folder, files), ROWS_AT_ONCE):
            self.tables.append(self.project, self.dataset, table, [row(line) for line in chunk])

    def _predicted(self, line: Json) -> Json:
        return {**self._instance(line["instance"]), "prediction": _text(line["prediction"])}

    def _failed(self, line: Json) -> Json:
        return {**self._instance(line["instance"]), "errors": line["error"]}

    def _instance(self, shown: Any) -> Json:
        """An input table's columns, or else the instance in one: a guess."""
        return dict(shown) if self.columns else {"instance": _text(shown)}


Target = Directory | TwoTables


def destination(uri: str) -> tuple[str, str, str] | None:
    """Project, dataset and table of `bq://project`, `bq://project.dataset` or `bq://project.dataset.table`; None for anything else."""
    found = re.fullmatch(r"bq://([^.:]+(?::[^.]+)?)(?:\.([^.]+)(?:\.([^.]+))?)?", uri)
    return (found[1], found[2] or "", found[3] or "") if found else None


def target_of(objects: Objects, tables: Callable[[], Tables], job: Json, title: str) -> Target:
    """Where a job writes to. `title` is its model's display name. Raises ApiError."""
    if "gcsDestination" in job["outputConfig"]:
        return Directory.of(objects, job, title)
    return TwoTables.of(tables(), job, title)


def _text(value: Any) -> str:
    """A prediction or an instance in a column of texts, as JSON unless it is a text: a guess."""
    return value if isinstance(value, str) else json.dumps(value)


def _lines(folder: Path, files: str) -> Iterator[Json]:
    for path in sorted(folder.glob(files)):
        with path.open(encoding="utf-8") as stream:
            yield from map(json.loads, stream)
