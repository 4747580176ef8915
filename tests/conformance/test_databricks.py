"""The conformance suite against the emulated Databricks, whole. `make conformance` runs any profile.

Databricks' own clock fires its schedules, so what waits for it goes on beside all other tests, for three minutes at least; and
what is asked of mlport's own clock, `OWN_CLOCK`, is skipped.
"""

from __future__ import annotations

import re
from pathlib import Path

from conformance.suite_run import run_suite

OWN_CLOCK = {
    "test_a_time_is_fired_once_however_many_ask_at_once",
    "test_times_that_were_missed_are_caught_up_by_one_job",
    "test_times_that_were_missed_are_left_out_where_that_was_asked",
}


def test_it_conforms(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=databricks-emulated", "--no-fold-skipped")
    assert status == 0, output
    assert set(re.findall(r"^SKIPPED .*::(\w+)", output, re.MULTILINE)) == OWN_CLOCK, output
    assert re.search(r"\b3 skipped\b", output), "what is absent is seen to be refused, never skipped"
