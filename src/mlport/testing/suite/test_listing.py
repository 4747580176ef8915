"""Listings: nothing lost, nothing twice, in order, filtered as asked, however small the pages."""

from __future__ import annotations

from typing import Any

import pytest

import mlport
from mlport import Job, JobSpec, State
from mlport.capabilities import Capability as C
from mlport.paging import each
from mlport.spi import JobStatus, Query
from mlport.testing import needs

pytestmark = needs(C.JOB_RUN)
COUNT = 5


@pytest.fixture(scope="module")
def batch(client: mlport.Client, seconds: float) -> tuple[str, list[str]]:
    """A label's value, and the ids of the jobs that carry it in the order of their submission; the last one failed."""
    import secrets

    mark = secrets.token_hex(5)

    def submit(number: int) -> Job:
        words = ("python", "-c", f"raise SystemExit({int(number == COUNT - 1)})")
        return client.jobs.submit(JobSpec(name=f"suite-{mark}-{number % 2}", entrypoint=words, labels={"suite-batch": mark}))

    jobs = [submit(number) for number in range(COUNT)]
    for job in jobs[:-1]:
        job.wait(seconds)
    with pytest.raises(mlport.errors.JobFailedError):
        jobs[-1].wait(seconds)
    return mark, [job.id for job in jobs]


def listed(client: mlport.Client, mark: str, **query: Any) -> list[JobStatus]:
    asked = Query(labels={"suite-batch": mark}, **query)
    return list(each(lambda page: client.session.jobs.list(asked, page)))


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_small_pages_lose_and_repeat_nothing(client: mlport.Client, batch: tuple[str, list[str]], size: int) -> None:
    mark, ids = batch
    assert [status.id for status in listed(client, mark, page_size=size)] == ids[::-1]
    assert [status.id for status in listed(client, mark, page_size=size, newest_first=False)] == ids


def test_no_page_is_larger_than_asked_for(client: mlport.Client, batch: tuple[str, list[str]]) -> None:
    page = client.session.jobs.list(Query(labels={"suite-batch": batch[0]}, page_size=2))
    assert len(page.items) <= 2
    assert page.next is not None


def test_what_comes_between_two_pages_shifts_nothing(client: mlport.Client, batch: tuple[str, list[str]], seconds: float) -> None:
    query = Query(name=f"suite-{batch[0]}-0", page_size=1)
    first = client.session.jobs.list(query)
    late = client.jobs.submit(JobSpec(name=f"suite-{batch[0]}-0", entrypoint=("python", "-c", "")))
    rest = list(each(lambda page: client.session.jobs.list(query, page or first.next)))
    late.wait(seconds).delete()
    assert [status.id for status in [*first.items, *rest]] == batch[1][::-2]


def test_filters(client: mlport.Client, batch: tuple[str, list[str]]) -> None:
    mark, ids = batch
    assert [status.id for status in listed(client, mark, states=frozenset({State.FAILED}))] == ids[-1:]
    assert [status.id for status in listed(client, mark, states=frozenset({State.RUNNING, State.SUCCEEDED}), page_size=2)] == ids[-2::-1]
    assert [status.id for status in listed(client, mark, name=f"suite-{mark}-1")] == [ids[3], ids[1]]
    assert listed(client, mark, name="suite-nobody") == []
    assert listed(client, f"{mark}-other") == []


def test_a_listing_says_what_a_look_says(client: mlport.Client, batch: tuple[str, list[str]]) -> None:
    for status in listed(client, batch[0]):
        assert status == client.session.jobs.status(status.id)
        assert status.labels["suite-batch"] == batch[0]
        assert status.labels["mlport"] == "1"
