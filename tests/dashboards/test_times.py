"""Instants and durations as people write them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_dashboards.query import times

pytestmark = pytest.mark.dates

OSLO = ZoneInfo("Europe/Oslo")
REFERENCE = times.micros(dt.datetime(2026, 10, 26, 12, tzinfo=OSLO))  # the day after the clock went back


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-10-26T12:00:00+01:00"),
        ("-PT24H", "2026-10-25T12:00:00+01:00"),
        ("-P1D", "2026-10-25T12:00:00+01:00"),
        ("-P2D", "2026-10-24T12:00:00+02:00"),  # the same time on the wall, 49 hours before
        ("-PT49H", "2026-10-24T12:00:00+02:00"),
        ("-P1M", "2026-09-26T12:00:00+02:00"),
        ("-P1Y2M3DT4H", "2025-08-23T08:00:00+02:00"),
        ("P1W", "2026-11-02T12:00:00+01:00"),
        ("2026-03-29", "2026-03-29T00:00:00+01:00"),
        ("2026-03-29T03:30:00Z", "2026-03-29T05:30:00+02:00"),
        ("2026-03-29T03:30:00 02:00", "2026-03-29T03:30:00+02:00"),
        ("2026-11-22T08:00:00.123456+01:00", "2026-11-22T08:00:00.123456+01:00"),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert times.parse_instant(text, OSLO, REFERENCE) == times.micros(dt.datetime.fromisoformat(expected))


@pytest.mark.parametrize(
    "text", ["", "P", "-P", "PT", "1 day", "2026-13-01", "2026-11-22T08:00:00", "-P99999999Y", "-P9999Y"]
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.parse_instant(text, OSLO, REFERENCE)


def test_the_last_day_of_a_month_stays_in_it() -> None:
    end = times.micros(dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC))
    assert times.iso(times.parse_instant("-P1M", ZoneInfo("UTC"), end)) == "2026-02-28T12:00:00.000000Z"


@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)))
def test_iso_keeps_every_microsecond(moment: dt.datetime) -> None:
    instant = times.micros(moment)
    assert times.parse_instant(times.iso(instant), OSLO, 0) == instant
