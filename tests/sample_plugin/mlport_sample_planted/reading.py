"""Bugs of listings and logs, one a class."""

from __future__ import annotations

from dataclasses import replace

from mlport_sample.jobs import SampleJobs

from mlport.spi import JobStatus, LogPage, Page, Query


class PageTokenIgnored(SampleJobs):
    """Every page is the first."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        return super().list(query)


class PageLosesItem(SampleJobs):
    """The first item behind a page's border is on neither page."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        found = super().list(query, page)
        return replace(found, items=found.items[1:]) if page else found


class StateFilterIgnored(SampleJobs):
    """Jobs are listed whatever their state."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        return super().list(replace(query, states=frozenset()), page)


class LabelFilterIgnored(SampleJobs):
    """Jobs are listed whatever their labels."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        return super().list(replace(query, labels={}), page)


class OldestFirst(SampleJobs):
    """The order that was asked for is not looked at."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        return super().list(replace(query, newest_first=False), page)


class ListingKnowsLess(SampleJobs):
    """A listing leaves out the labels."""

    def list(self, query: Query, page: str | None = None) -> Page[JobStatus]:
        found = super().list(query, page)
        return replace(found, items=[replace(job, labels={}) for job in found.items])


class LogOffByOne(SampleJobs):
    """A cursor is read on from one byte before it."""

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        return super().logs(job_id, after=str(max(int(after) - 1, 0)) if after else None)


class LogSkipsByte(SampleJobs):
    """A cursor is read on from one byte behind it."""

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        return super().logs(job_id, after=str(int(after) + 1) if after else None)


class LogLosesLastLine(SampleJobs):
    """What stands after the last line break is never told."""

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        page = super().logs(job_id, after=after)
        is_cut = page.complete and page.lines and not (self._folder(job_id) / "log").read_bytes().endswith(b"\n")
        return replace(page, lines=page.lines[:-1]) if is_cut else page


class LogEndsEarly(SampleJobs):
    """While the job runs, a page with nothing new says that no more will come."""

    def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        page = super().logs(job_id, after=after)
        return page if page.lines else replace(page, complete=True)
