"""Quartz expressions: when they fire, and what is none. The examples are those of Quartz's own tutorial on cron triggers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mlport_databricks.emulator.working.quartz import BadSchedule, Quartz, next_firing

NOW = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "zone", "fires"),
    [
        ("0 0 12 * * ?", "UTC", ["2026-11-24T12:00:00", "2026-11-25T12:00:00"]),
        ("0 15 10 ? * *", "UTC", ["2026-11-24T10:15:00", "2026-11-25T10:15:00"]),
        ("0 0/5 14,18 * * ?", "UTC", ["2026-11-23T18:00:00", "2026-11-23T18:05:00"]),
        ("0 10,44 14 ? 3 WED", "UTC", ["2027-03-03T14:10:00", "2027-03-03T14:44:00"]),
        ("0 15 10 ? * MON-FRI", "UTC", ["2026-11-24T10:15:00", "2026-11-25T10:15:00"]),
        ("0 15 10 ? * 7", "UTC", ["2026-11-28T10:15:00", "2026-12-05T10:15:00"]),  # a Saturday
        ("0 15 10 L * ?", "UTC", ["2026-11-30T10:15:00", "2026-12-31T10:15:00"]),
        ("0 15 10 ? * 6L", "UTC", ["2026-11-27T10:15:00", "2026-12-25T10:15:00"]),  # the last Friday
        ("0 15 10 ? * 6#3", "UTC", ["2026-12-18T10:15:00", "2027-01-15T10:15:00"]),  # the third Friday
        ("0 11 11 11 11 ? 2027-2028", "UTC", ["2027-11-11T11:11:00", "2028-11-11T11:11:00"]),
        ("*/20 * * * * ?", "UTC", ["2026-11-23T16:30:20", "2026-11-23T16:30:40"]),
        ("0 0 2 * * ?", "Europe/Berlin", ["2026-11-24T01:00:00", "2026-11-25T01:00:00"]),
    ],
)
def test_when_it_fires(expression: str, zone: str, fires: list[str]) -> None:
    assert [instant.isoformat().removesuffix("+00:00") for instant in Quartz.parse(expression, zone).after(NOW, 2)] == fires


def test_a_year_that_has_passed_never_comes() -> None:
    assert next_firing("0 0 12 * * ? 2025", "UTC", NOW) is None


@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "0 0 12 * * *", "0 0 12 ? * ?", "0 ? 12 * * ?", "0 0 24 * * ?", "0 0 12 ? * 0", "0 0 12 ? * 8", "0 0 12 * * ? x", ""],
)
def test_what_is_none(expression: str) -> None:
    with pytest.raises(BadSchedule):
        Quartz.parse(expression, "UTC")
