"""What passed is counted once, whatever kills the router or fills the disk; and no second is claimed that is not written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlport.spi import Observation, Window
from mlport_local.serving import observe
from mlport_local.serving.observe import Observer, observation
from mlport_local.serving.tally import BINS, Tally, bin_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


def look(folder: Path, start: float = 0, end: float = 1000) -> Observation:
    return observation(folder, Window(at(start), at(end)))


def count(folder: Path, start: float = 0, end: float = 1000) -> int:
    return sum(one.requests for one in look(folder, start, end).deployments)


def test_counts_and_latencies_come_back_as_they_were(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    for status in (200, 200, 404, 500):
        observer.tallies["blue"].count(status, 0.01)
    observer.tallies["green"].count(200, 1e9)  # what takes longer than the last bin is in it
    observer.flush(NOON + 1)
    blue, green = look(tmp_path).deployments
    assert (blue.requests, blue.errors, blue.rejected, list(blue.latency.weights)) == (4, 1, 1, [4])
    assert blue.latency.values[0] == pytest.approx(0.01, rel=0.021)
    assert green.requests == 1
    assert bin_of(1e9) == BINS - 1


def test_what_a_killed_router_counted_is_written_by_the_next_and_the_gap_is_said(tmp_path: Path) -> None:
    first = Observer(tmp_path)
    first.flush(NOON + 1)
    first.tallies["blue"].count(200, 0.01)
    second = Observer(tmp_path)  # the first was killed before it wrote
    second.tallies["blue"].count(200, 0.01)
    second.flush(NOON + 60)
    assert count(tmp_path) == 2
    within = look(tmp_path, 0, 30)  # nobody knows when in this minute
    assert (within.complete_until, within.deployments) == (at(1), ())
    later = look(tmp_path, 30, 90)
    assert later.deployments == ()
    assert later.complete_from is not None
    assert at(59) < later.complete_from <= at(60)
    Observer(tmp_path).flush(NOON + 61)
    assert count(tmp_path) == 2


def test_a_router_killed_after_it_wrote_is_not_counted_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Observer(tmp_path)
    first.tallies["blue"].count(200, 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(Tally, "settle", lambda _: None)  # as if it died between the two
        first.flush(NOON + 1)
    second = Observer(tmp_path)
    second.flush(NOON + 2)
    assert count(tmp_path) == 1
    second.tallies["blue"].count(200, 0.01)
    second.flush(NOON + 3)
    assert count(tmp_path) == 2


def test_half_a_line_is_cut_off_before_the_next_is_written(tmp_path: Path) -> None:
    first = Observer(tmp_path)
    first.tallies["blue"].count(200, 0.01)
    first.flush(NOON + 1)
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("ab") as stream:
        stream.write(b'{"t": 17')
    assert count(tmp_path) == 1
    second = Observer(tmp_path)
    second.tallies["blue"].count(200, 0.01)
    second.flush(NOON + 2)
    assert count(tmp_path) == 2
    before, after = (json.loads(line)["epochs"]["blue"] for line in file.read_text().splitlines())
    assert after == before + 1


def test_what_a_deployment_that_is_gone_held_is_let_go_of(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    held = set(os.listdir("/proc/self/fd"))
    for number in range(5):
        observer.tallies[f"v{number}"].count(200, 0.01)
        observer.tallies.keep({"blue"})
        assert f"v{number}" in observer.tallies  # what it counted is not written yet
        observer.flush(NOON + number + 1)
        observer.tallies.keep({"blue"})
    assert (list(observer.tallies), list((tmp_path / "live").iterdir())) == ([], [])
    assert len(os.listdir("/proc/self/fd")) <= len(held) + 1  # the hour's file
    assert count(tmp_path) == 5


def test_a_name_used_again_loses_nothing_to_the_one_before(tmp_path: Path) -> None:
    first = Observer(tmp_path)
    first.tallies["blue"].count(200, 0.01)
    first.flush(NOON + 1)
    first.tallies.keep(())
    first.tallies["blue"].count(200, 0.01)  # and now it is killed
    Observer(tmp_path).flush(NOON + 2)
    assert count(tmp_path) == 2


def test_a_full_disk_delays_the_figures_and_claims_nothing(tmp_path: Path) -> None:
    """In a process whose files may not grow for a while."""
    program = textwrap.dedent(
        f"""
        import resource, signal, sys
        from pathlib import Path
        from mlport_local.serving.observe import Observer
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        observer = Observer(Path(sys.argv[1]))
        def second(n):
            observer.tallies["blue"].count(200, 0.01)
            observer.flush({NOON} + n)
        second(1)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (120, most))
        for n in range(2, 6):
            try:
                second(n)
            except OSError:
                print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        second(6)
        """
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, env=_env())
    assert done.stdout.count("refused") == 4
    assert count(tmp_path) == 6
    assert look(tmp_path, 0, 3).complete_until == at(1)
    lines = [json.loads(line) for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert lines[-1]["from"] == NOON + 1


def test_a_disk_without_room_for_the_counts_leaves_them_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    observer = Observer(tmp_path)
    observer.tallies["blue"].count(200, 0.01)
    observer.flush(NOON + 1)
    assert count(tmp_path) == 1


def test_a_line_in_the_next_hour_may_stand_for_time_in_this_one(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    observer.flush(NOON + 3590)
    observer.tallies["blue"].count(200, 0.01)
    observer.flush(NOON + 3610)
    assert look(tmp_path, 0, 3595).complete_until == at(3590)
    assert count(tmp_path, 3000, 4000) == 1


def test_old_hours_are_removed(tmp_path: Path) -> None:
    observer = Observer(tmp_path)
    for days in (0, 40):
        observer.tallies["blue"].count(200, 0.01)
        observer.flush(NOON + timedelta(days=days).total_seconds())
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert timedelta(days=31) == observe.KEPT


def _env() -> dict[str, str]:
    from mlport_local.serving import staff

    return staff.environment(None, {})
