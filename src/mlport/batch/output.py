"""Parts that survive a kill, and an output folder that appears whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlport.capture.layout import sync
from mlport.errors import ConflictError

SUCCESS = "_SUCCESS"
_MARK = "fingerprint"


@dataclass(frozen=True)
class Parts:
    """The folder where finished parts wait. A part's name says which rows of which file it holds."""

    folder: Path

    @classmethod
    def prepare(cls, output: Path, mark: str) -> Parts:
        """The folder of a run with this fingerprint; what another run left there is removed."""
        checkpoint = os.environ.get("MLPORT_CHECKPOINT_DIR")
        folder = Path(checkpoint) / "batch" if checkpoint else output.with_name(f".{output.name}.unfinished")
        marker = folder / _MARK
        if folder.exists() and (not marker.is_file() or marker.read_text() != mark):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(mark)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        return cls(folder)

    def path(self, file: int, part: int) -> Path:
        return self.folder / f"part-{file:05d}-{part:05d}.parquet"

    def finished(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    @contextmanager
    def writing(self, file: int, part: int) -> Iterator[PartWriter]:
        """A writer of one part; the part has its name only when it is whole and on the disk."""
        target = self.path(file, part)
        unfinished = target.with_name(target.name + ".tmp")
        writer = PartWriter(unfinished)
        try:
            yield writer
        finally:
            writer.close()
        if writer.rows:
            sync(unfinished)
            os.replace(unfinished, target)


class PartWriter:
    """Appends tables to a Parquet file that is made when the first one comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, rows.schema, compression="zstd")
        self._writer.write_table(rows.cast(self._writer.schema))
        self.rows += len(rows)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def check_free(output: Path, mark: str) -> dict[str, int] | None:
    """What is said of an output that this very request made before; None when there is nothing yet.

    Raises:
        ConflictError: when the folder holds anything else.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    marker = output / SUCCESS
    if marker.is_file():
        said = json.loads(marker.read_text())
        if said.pop(_MARK, None) == mark:
            return {str(key): int(value) for key, value in said.items()}
    raise ConflictError(f"output {output}: is not empty", hint="name another folder, or remove what is in it")


def publish(parts: Parts, output: Path, mark: str, said: dict[str, int]) -> None:
    """Move the parts to the output folder, which appears with all of them and `_SUCCESS`."""
    ready = output.with_name(f".{output.name}.ready")
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    for part in parts.finished():
        _link_or_copy(part, ready / part.name)
    (ready / SUCCESS).write_text(json.dumps({_MARK: mark, **said}))
    sync(ready / SUCCESS)
    sync(ready)
    os.replace(ready, output)
    sync(output.parent)
    shutil.rmtree(parts.folder)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        sync(target)
