"""Rows and labels from files: JSON, JSON lines, CSV or Parquet, or standard input."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlport.cli.values import scalar
from mlport.errors import SpecError

FORMATS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def read_rows(file: str, form: str | None) -> list[dict[str, Any]]:
    """The rows of a file, or of standard input for `-`; `form` where the name does not tell it.

    Raises:
        SpecError: it cannot be read, or is not what its form says.
    """
    form = form or FORMATS.get(Path(file).suffix.lower(), "json")
    try:
        if form == "parquet":
            return _parquet(file)
        return parse_rows(_text(file), form, file)
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}", hint=f"looked from {Path.cwd()}") from error


def parse_rows(text: str, form: str, where: str) -> list[dict[str, Any]]:
    """Rows from JSON (one object, or a list of them), JSON lines or CSV; CSV's numbers become numbers, empty becomes null."""
    try:
        if form == "csv":
            return [{name: typed(value) for name, value in row.items()} for row in _csv(text, where)]
        found = [json.loads(line) for line in text.splitlines() if line.strip()] if form == "jsonl" else json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{where}: not {form}: {error}", hint='for example [{"hour": 17, "carrier": "UA"}]') from error
    return [found] if isinstance(found, dict) else found


def typed(text: str | None) -> Any:
    """A cell of a CSV file: a number or boolean where it reads as one, null where it is empty."""
    return scalar(text) if text else None


def read_labels(file: str) -> list[tuple[str, list[Any]]]:
    """Labels by request from a CSV file with the columns request_id, label and, where a request had several rows, row.

    Without `row`, the order in the file is the order of the request's rows. A row that is not named gets null: not known yet.
    """
    try:
        return group_labels(_csv(_text(file), file), file)
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}", hint=f"looked from {Path.cwd()}") from error


def group_labels(rows: Iterable[Mapping[str, str | None]], where: str) -> list[tuple[str, list[Any]]]:
    """Labels by request, each request's in the order of its rows."""
    found: dict[str, dict[int, Any]] = {}
    for number, row in enumerate(rows, start=2):
        if not row.get("request_id") or "label" not in row:
            raise SpecError(
                f"{where}, line {number}: needs a request_id and a label", hint="the columns are request_id,label or request_id,row,label"
            )
        labels = found.setdefault(str(row["request_id"]), {})
        labels[_row_index(row, len(labels), f"{where}, line {number}")] = typed(row["label"])
    return [(request_id, [labels.get(index) for index in range(max(labels) + 1)]) for request_id, labels in found.items()]


def _row_index(row: Mapping[str, str | None], default: int, where: str) -> int:
    text = row.get("row")
    if not text:
        return default
    if not text.isdigit():
        raise SpecError(f"{where}: row {text!r} is not a row's number, counted from 0")
    return int(text)


def _csv(text: str, where: str) -> Iterator[dict[str, str | None]]:
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        if None in row:
            raise SpecError(f"{where}, line {reader.line_num}: more values than columns ({', '.join(reader.fieldnames or ())})")
        yield row


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    return Path(file).read_text(encoding="utf-8-sig")


def _parquet(file: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows
