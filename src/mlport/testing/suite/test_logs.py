"""Logs: every line once, whole, in order, from any cursor, while it runs and afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mlport
from mlport import Job
from mlport.capabilities import Capability as C
from mlport.spi import LogPage
from mlport.testing import needs
from mlport.testing.waiting import eventually

pytestmark = needs(C.JOB_RUN, C.JOB_LOGS)
RunProgram = Callable[..., Job]
MARK = "line "
TEXTS = ["plain", "ünïcödé 語 \U0001f600", "", "x" * 5000, "tab\tand \u2028 and \x0b and \x1c inside", "  spaces  "]
COUNT = 200
WANTED = [f"{MARK}{number} {TEXTS[number % len(TEXTS)]}" for number in range(COUNT)]
PRINTS = f"""
import sys, time
texts = {TEXTS!r}
out = sys.stdout.buffer
for number in range({COUNT}):
    line = f"{MARK}{{number}} {{texts[number % len(texts)]}}".encode()
    half = len(line) // 2
    out.write(line[:half])
    if number % 20 == 0:
        out.flush()
        time.sleep(0.01)
    out.write(line[half:] + (b"" if number == {COUNT - 1} else b"\\n"))
out.flush()
"""


def ours(lines: list[str]) -> list[str]:
    """The program's lines, without those that the provider adds."""
    return [line for line in lines if line.startswith(MARK)]


def pages_of(client: mlport.Client, job: Job, seconds: float, after: str | None = None) -> list[LogPage]:
    """Every page from a cursor to the end."""
    pages: list[LogPage] = []

    def look() -> LogPage:
        page = client.session.jobs.logs(job.id, after=pages[-1].after if pages else after)
        pages.append(page)
        return page

    eventually(look, lambda page: page.complete, seconds)
    return pages


def test_every_line_once_in_order_while_it_runs(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    pages = pages_of(client, run(PRINTS), seconds)
    assert ours([line for page in pages for line in page.lines]) == WANTED


@pytest.mark.parametrize("follow", [True, False])
def test_the_job_gives_the_same_lines(run: RunProgram, seconds: float, *, follow: bool) -> None:
    job = run(PRINTS)
    if not follow:
        job.wait(seconds)
    assert ours(list(job.logs(follow=follow))) == WANTED


def test_every_cursor_goes_on_exactly_where_it_stands(run: RunProgram, client: mlport.Client, again: mlport.Client, seconds: float) -> None:
    job = run(PRINTS)
    pages = pages_of(client, job, seconds)
    whole = [line for page in pages_of(again, job, seconds) for line in page.lines]
    assert ours(whole) == WANTED
    read: list[str] = []
    for page in pages:
        read += page.lines
        rest = [line for later in pages_of(again, job, seconds, after=page.after) for line in later.lines]
        assert read + rest == whole, "not even an empty line more or less"


def test_no_line_holds_a_line_break(run: RunProgram, seconds: float) -> None:
    assert not [line for line in run(PRINTS).wait(seconds).logs() if "\n" in line]


def test_a_job_that_prints_nothing_is_complete(run: RunProgram, client: mlport.Client, seconds: float) -> None:
    job = run("").wait(seconds)
    assert ours([line for page in pages_of(client, job, seconds) for line in page.lines]) == []


def test_bytes_that_are_not_text_do_not_stop_the_reading(run: RunProgram, seconds: float) -> None:
    job = run("import sys; sys.stdout.buffer.write(b'line \\xff\\xfe bad\\nline good\\n')").wait(seconds)
    lines = ours(list(job.logs()))
    assert (len(lines), lines[1]) == (2, "line good")
