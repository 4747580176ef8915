"""The reference of a monitor in Cloud Storage: JSON lines, with values spelled as requests spell them, so that both sides are read alike."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mlport_vertex.google.objects import Objects

ROWS = 10_000  # at once in memory


def upload(objects: Objects, reference: Path, uri: str) -> None:
    """Write a Parquet file as JSON lines. NaN and infinities are null, as in requests: Vertex AI leaves them out on both sides."""
    with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
        lines = Path(folder) / "reference.jsonl"
        write(reference, lines)
        objects.put(uri, lines)


def write(reference: Path, lines: Path) -> None:
    """The rows of a Parquet file, one JSON object a line."""
    import pyarrow.parquet as pq

    from mlport.rows import encoded

    with lines.open("wb") as stream, pq.ParquetFile(reference) as file:
        for batch in file.iter_batches(ROWS):
            stream.writelines(encoded(row) + b"\n" for row in batch.to_pylist())
