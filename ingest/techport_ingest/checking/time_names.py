"""What messages call the time of their values. A field that is called so never becomes a reading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from techport_ingest.checking.key_cache import LONGEST_READ, remembered

RULE = "time"
"""The rule under which further times of a message are counted."""

NAMES: tuple[str, ...] = (
    # the first of them that a message has is its time
    "time",
    "timestamp",
    "ts",
    "tst",
    "datetime",
    "timeinstant",
    "dateobserved",
    "phenomenontime",
    "measuredat",
    "observedat",
    "sampledat",
    "sampletime",
    "measurementtime",
    "recordedat",
    "readingtime",
    "eventtime",
    "devicetime",
    "gatewaytime",
    "resulttime",
    "createdat",
    "sentat",
    "reportedat",
    "timestampms",
    "timems",
    "tsms",
    "timestamputc",
    "timeutc",
    "utctime",
    "utc",
    "unixtime",
    "unixtimestamp",
    "epoch",
    "epochtime",
    "epochms",
    "lastseen",
    "tidspunkt",
    "tid",
    "datotid",
    "receivedat",
    "recvtime",
    "localtime",
    "localdatetime",
    "zeit",
    "timeofmeasurement",
    "measuretime",
    "observationtime",
    "obstime",
    "collectedat",
    "capturedat",
    "loggedat",
    "publishedat",
    "updatedat",
    "lastupdated",
    "datetimeutc",
    "timestampus",
    "timestampns",
    "devicetimestamp",
    "sensortimestamp",
    "gatewaytimestamp",
    "servertimestamp",
    "systimestamp",
    "gpstime",
    "gwts",
    "zeitstempel",
    "tidpunkt",
    "klokkeslett",
    "klokke",
    "måletidspunkt",
    "måltidspunkt",
    "datetimelocal",
)
"""Names of times, lower case, without anything between the words."""

_SHORT = ("t", "dt", "uts", "rtc", "ut", "clock", "stamp", "sampled", "d")
"""Names that may mean anything else, and are a time where an epoch stands under them."""

_TIMELIKE = frozenset(
    (
        *(
            *_SHORT,
            "ts",
            "time",
            "timestamp",
            "date",
            "epoch",
            "utc",
            "unix",
            "unixtime",
            "at",
            "seen",
            "since",
            "store",
        ),
        *("setup", "updated", "update", "start", "started", "end", "stop", "last", "first", "boot", "sync", "reset"),
    )
)
"""Words of keys under which an epoch is one, and no count that happens to be as large."""

_DATES = ("date", "dato")
"""Half of a time: with a time of day beside it, its date."""

_KNOWN = frozenset((*NAMES, *_DATES))
_NUMBERED = re.compile(r"\.\d+$")


@remembered(8192)
def name_of(key: str) -> str:
    """The name that a key has among NAMES, or "": "measured_at" is "measuredat"."""
    name = key.lower().replace("_", "").replace("-", "").replace(" ", "")
    return name if name in _KNOWN else ""


@remembered(8192)
def is_time(key: str) -> bool:
    """Whether a stream's key is the name of a time, at whatever depth: "gps.timestamp"."""
    return name_of(_NUMBERED.sub("", key).rpartition(".")[2]) != ""


@remembered(8192)
def may_be_time(key: str) -> bool:
    """Whether an epoch under a key is a time: "date_setup", "bootTs", "t"."""
    words = _WORDS.findall(_NUMBERED.sub("", key[-LONGEST_READ:]).rpartition(".")[2])
    return any(word.lower() in _TIMELIKE for word in words)


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

EPOCH = 1_000_000_000
"""Smaller numbers are no epoch in any unit: seconds of September 2001."""

_LAST_EPOCH = 3_000_000_000  # 2065


def is_epoch(value: object) -> bool:
    """Whether a number is an instant of the years 2001 to 2065 in s, ms, µs or ns since 1970."""
    if type(value) is not int and type(value) is not float:
        return False
    return any(EPOCH <= value / unit < _LAST_EPOCH for unit in (1, 1e3, 1e6, 1e9))


def time_key(record: Mapping[str, Any]) -> str | None:
    """The key of a record that is its time, where nobody said.

    Parameters
    ----------
    record : mapping of str to JSON value
        As the message has it.

    Returns
    -------
    str or None
        The earliest of NAMES that is there, not null, and more than a time of day without a date; else a short name
        under which an epoch stands, such as t; else a date with a time of day; else a time of day.
    """
    named, short, dates = _time_keys(tuple(record))
    clock = None
    for key in named:
        value = record[key]
        if value is None:
            continue
        if type(value) is not str or not is_clock(value) or date_beside(record, key) is not None:
            return key
        clock = clock or key
    epoch = next((key for key in short if is_epoch(record[key])), None)
    return epoch or next((key for key in dates if _is_instant(record[key])), clock)


def _is_instant(value: object) -> bool:
    """Whether what stands under the name of a date has a time of day."""
    return (type(value) is str and len(value) > _DATE_DIGITS and ":" in value) or is_epoch(value)


_DATE_DIGITS = 10  # of 2026-05-04


@remembered(4096)
def _time_keys(keys: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Those of the keys that are names of times, the earliest of NAMES first, those that may be, and those of dates.
    Devices send the same keys all day.
    """
    named = {name: key for key in keys if (name := name_of(key))}
    short = {key.lower(): key for key in keys if key.lower() in _SHORT}
    dates = tuple(named[name] for name in _DATES if name in named)
    return (
        tuple(named[name] for name in NAMES if name in named),
        tuple(short[key] for key in _SHORT if key in short),
        dates,
    )


_CLOCK = re.compile(r"\d{1,2}[:.]\d{2}([:.]\d{2}(\.\d+)?)?")


def is_clock(text: str) -> bool:
    """Whether a text is a time of day without a date."""
    return len(text) <= 15 and _CLOCK.fullmatch(text.strip()) is not None


def date_beside(record: Mapping[str, Any], key: str) -> str | None:
    """The key of the date, where the time of a record is a time of day alone."""
    value = record.get(key)
    if type(value) is not str or not is_clock(value):
        return None
    return next((other for other in record if name_of(other) in _DATES and other != key), None)
