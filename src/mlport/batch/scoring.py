"""One batch run from its request to its output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlport.batch.inputs import columns_of, tables
from mlport.batch.output import Parts, check_free, publish
from mlport.batch.request import Format, Request, files, fingerprint
from mlport.batch.scorer import kinds_of, score
from mlport.errors import UsageError
from mlport.serving import flavors
from mlport.serving.flavors import Model

_BATCHES_A_PART = 25
_PROGRESS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did. `resumed` parts were there already; `rows_per_second` is of the rows that this run scored."""

    rows: int
    parts: int
    resumed: int
    seconds: float
    rows_per_second: float


@dataclass
class _Progress:
    """Counts rows and says so at most once a second."""

    say: Callable[[dict[str, Any]], None]
    rows: int = 0
    scored: int = 0
    started: float = 0.0
    said: float = 0.0

    def add(self, rows: int, *, scored: bool = True) -> None:
        self.rows += rows
        self.scored += rows if scored else 0
        now = time.monotonic()
        if now - self.said >= _PROGRESS_SECONDS:
            self.said = now
            self.say({"rows": self.rows, "rows_per_second": self.speed(), "seconds": round(now - self.started, 3)})

    def speed(self) -> float:
        return round(self.scored / max(time.monotonic() - self.started, 1e-9), 1)


def run(request: Request, say: Callable[[dict[str, Any]], None]) -> Summary:
    """Score the request's input. `say` gets progress.

    Raises:
        UsageError: for what can be seen before anything is scored: no input, columns missing, output not empty.
        BadRowError: for a row that cannot be read or scored; parts before it are kept.
    """
    inputs = files(request)
    mark = fingerprint(request, inputs)
    if (said := check_free(request.output, mark)) is not None:
        return Summary(said["rows"], said["parts"], said["parts"], 0.0, 0.0)
    model = flavors.load(request.model, name=request.model_name, version=request.version, threads=request.threads)
    wanted = [_columns(model, request, *file) for file in inputs]
    say({"model": str(request.model), "platform": model.platform, "why": model.why, "files": len(inputs)})
    parts = Parts.prepare(request.output, mark)
    resumed = len(parts.finished())
    progress = _Progress(say, started=time.monotonic())
    numbered = list(enumerate(zip(inputs, wanted, strict=True)))
    for number, ((path, form), kinds) in numbered[request.shard :: request.shards]:
        _score_file(model, request, parts, number, path, tables(path, form, kinds, request.keep, request.batch_rows), kinds, progress)
    count = len(parts.finished())
    publish(parts, request.output, mark, {"rows": progress.rows, "parts": count})
    return Summary(progress.rows, count, resumed, round(time.monotonic() - progress.started, 3), progress.speed())


def _columns(model: Model, request: Request, path: Path, format: Format) -> dict[str, str]:
    columns = columns_of(path, format)
    missing = [name for name in request.keep if name not in columns]
    if missing:
        raise UsageError(f"{path}: keep names {missing[0]!r}, and its columns are: {', '.join(columns)}")
    return kinds_of(model, columns, str(path))


def _score_file(
    model: Model,
    request: Request,
    parts: Parts,
    number: int,
    path: Path,
    batches: Iterator[pa.Table],
    kinds: dict[str, str],
    progress: _Progress,
) -> None:
    row = 0
    for part in range(10**9):
        some = islice(batches, _BATCHES_A_PART)
        first = next(some, None)
        if first is None:
            return
        if parts.path(number, part).exists():  # an earlier run did it: its rows are only passed over
            held = pq.read_metadata(parts.path(number, part)).num_rows
            for _ in some:
                pass
            progress.add(held, scored=False)
            row += held
            continue
        with parts.writing(number, part) as writer:
            for batch in chain([first], some):
                predictions = score(model, batch, kinds, f"{path}, from row {row}")
                writer.write(_output(batch, predictions, request.keep, path, row))
                row += len(batch)
                progress.add(len(batch))


def _output(batch: pa.Table, predictions: pa.Array, keep: tuple[str, ...], path: Path, row: int) -> pa.Table:
    """`file`, `row` (from 0 within the file), the kept columns, `prediction`."""
    file = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(batch), np.int32)), [path.name])
    numbers = pa.array(np.arange(row, row + len(batch)))
    kept = {name: batch.column(name) for name in keep}
    return pa.table({"file": file, "row": numbers, **kept, "prediction": predictions})
