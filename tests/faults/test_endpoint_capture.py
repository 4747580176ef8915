"""The compactor is killed at every point of its work: what was captured stays, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlport import capture
from mlport.capture import layout, merging
from mlport.capture.frames import Column, Frame, Origin
from mlport.capture.spool import Spool

START = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = Origin("delays", "blue", "model", "3", 1.0, (Column("hour", "long"),))


def keep(folder: Path, number: int) -> None:
    writer = Spool(folder, ORIGIN)
    at = int(START.timestamp() * 1e6)
    body = json.dumps({"dataframe_records": [{"hour": number}]}).encode()
    assert writer.append(
        [Frame(f"r{number}-{i}", None, at + number + 1000 * i, 0.1, 200, 0, body, b'{"predictions":[1]}') for i in range(3)]
    )
    writer.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for batch in capture.read(folder, START, START + timedelta(days=1)) for row in batch.to_pylist()]


def compact(folder: Path, **env: str) -> int:
    return subprocess.run([sys.executable, "-m", "mlport.capture", folder], env={**os.environ, **env}, capture_output=True).returncode


@pytest.mark.parametrize(
    "point",
    ["before-compact-write", "before-compact-replace", "after-compact-replace", "before-compact-remove", "after-compact-remove"],
)
def test_a_killed_compaction_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    for number in range(3):
        keep(tmp_path, number)
    before = rows(tmp_path)
    assert len(before) == 9
    assert compact(tmp_path, MLPORT_FAULT=point) == -signal.SIGKILL
    assert rows(tmp_path) == before
    assert compact(tmp_path) == 0
    assert rows(tmp_path) == before
    assert layout.segments(tmp_path) == []
    assert not list((tmp_path / "data").glob(".*"))


@pytest.mark.parametrize("point", ["before-merge-replace", "after-merge-replace", "after-merge-remove"])
def test_a_killed_merge_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    for number in range(merging.FEWEST):
        keep(tmp_path, number)
    before = rows(tmp_path)
    assert compact(tmp_path, MLPORT_FAULT=point) == -signal.SIGKILL
    assert rows(tmp_path) == before
    assert compact(tmp_path) == 0
    assert rows(tmp_path) == before
    assert len(list((tmp_path / "data").iterdir())) == 1


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_torn_segment_keeps_all_that_is_whole(tmp_path: Path, cut: int) -> None:
    keep(tmp_path, 1)
    (segment,) = layout.segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - cut)
    with pytest.warns(capture.CaptureWarning, match=segment.name):
        whole = rows(tmp_path)
    assert len(whole) in (1, 2)
    keep(tmp_path, 2)
    assert compact(tmp_path) == 0
    with pytest.warns(capture.CaptureWarning, match=f"damaged/{segment.name}"):
        assert len(rows(tmp_path)) == len(whole) + 3
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == [segment.name]
