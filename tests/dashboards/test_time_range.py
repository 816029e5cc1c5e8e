"""Times as people type them, and what a page opens on."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from techport_dashboards.pages.time_range import opening
from techport_dashboards.query.times import micros
from techport_dashboards.query.typed_times import parse_typed
from techport_pilots.model import Phase, PilotDefinition, Text
from techport_storage.microseconds import DAY, HOUR, SECOND

ZONE = ZoneInfo("Europe/Oslo")
NOW = micros(dt.datetime(2026, 11, 23, 15, 30, tzinfo=ZONE))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("17.11.2026", "2026-11-17T00:00:00"),
        ("17.11.26", "2026-11-17T00:00:00"),
        ("17.11.", "2026-11-17T00:00:00"),
        ("24.11", "2025-11-24T00:00:00"),  # this year's has not begun
        ("17/11/2026 14:05", "2026-11-17T14:05:00"),
        ("17. november 2026, 14:05", "2026-11-17T14:05:00"),
        ("17. nov. 2026 kl. 14.05", "2026-11-17T14:05:00"),
        ("17 nov kl 8", "2026-11-17T08:00:00"),
        ("1 Oct 2026", "2026-10-01T00:00:00"),
        ("1. oktober", "2026-10-01T00:00:00"),
        ("Nov 17, 2026 14:05:06", "2026-11-17T14:05:06"),
        ("2026-11-17", "2026-11-17T00:00:00"),
        ("2026-11-17T14:05", "2026-11-17T14:05:00"),
        ("I går", "2026-11-22T00:00:00"),
        ("yesterday 08:00", "2026-11-22T08:00:00"),
        ("08:15", "2026-11-23T08:15:00"),
        ("29. februar", "2024-02-29T00:00:00"),
        ("nå", "now"),
        ("now", "now"),
        ("-P7D", "-P7D"),
    ],
)
def test_a_time_is_read_as_people_type_it(typed: str, meant: str) -> None:
    assert parse_typed(typed, ZONE, NOW) == meant


def test_the_last_day_of_a_range_belongs_to_it() -> None:
    assert parse_typed("17.11.2026", ZONE, NOW, end=True) == "2026-11-18T00:00:00"
    assert parse_typed("17.11.2026 12:00", ZONE, NOW, end=True) == "2026-11-17T12:00:00"


@pytest.mark.parametrize(
    "typed", ["", "31.11.2026", "17. foo 2026", "17", "25:00", "-Pxx", "2026-13-01", "17.11.2026 25:00", "9999-12-31"]
)
def test_what_is_not_a_time_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_typed(typed, ZONE, NOW, end=True)


def pilot(*days: int) -> PilotDefinition:
    """With a phase between each two of the days, counted from now."""
    at = [dt.datetime(2026, 11, 23, 12, 30, tzinfo=ZONE) + dt.timedelta(days=day) for day in days]
    phases = [Phase("p", "baseline", start, end) for start, end in itertools.pairwise(at)]
    return PilotDefinition(id="p", title=Text(en="P"), question=Text(en="Q?"), devices=[], phases=phases)


@pytest.mark.parametrize(
    ("days", "newest", "closed", "range_"),
    [
        ((), None, False, ("-P1D", "now")),
        ((-30, 30), -SECOND, False, ("-P1D", "now")),
        ((-30, -10), -SECOND, False, ("2026-10-24T12:30:00", "2026-11-13T12:30:00")),  # it is over
        ((-30, 30), -5 * DAY, True, ("2026-10-24T12:30:00", "2026-11-18T15:30:01")),  # closed early
        ((0, 30), -SECOND, False, ("2026-11-23T12:30:00", "now")),  # it began three hours ago
        ((1, 30), None, False, ("-P1D", "now")),  # it has not begun
        ((), -3 * DAY - HOUR, False, ("2026-11-19T14:30:00", "2026-11-20T14:30:01")),  # its last day with readings
    ],
)
def test_a_pilot_opens_on_its_own_time(
    days: tuple[int, ...], newest: Any, closed: bool, range_: tuple[str, str]
) -> None:
    assert opening(pilot(*days), None if newest is None else NOW + newest, NOW, closed=closed) == range_
