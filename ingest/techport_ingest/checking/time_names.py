"""What messages call the time of their values. A field that is called so never becomes a reading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

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
    "zeitstempel",
    "tidpunkt",
)
"""Names of times, lower case, without anything between the words."""

_DATES = ("date", "dato")
"""Half of a time: with a time of day beside it, its date."""

_KNOWN = frozenset((*NAMES, *_DATES))
_NUMBERED = re.compile(r"\.\d+$")


@lru_cache(maxsize=8192)
def name_of(key: str) -> str:
    """The name that a key has among NAMES, or "": "measured_at" is "measuredat"."""
    name = key.lower().replace("_", "").replace("-", "").replace(" ", "")
    return name if name in _KNOWN else ""


@lru_cache(maxsize=8192)
def is_time(key: str) -> bool:
    """Whether a stream's key is the name of a time, at whatever depth: "gps.timestamp"."""
    return name_of(_NUMBERED.sub("", key).rpartition(".")[2]) != ""


def time_key(record: Mapping[str, Any]) -> str | None:
    """The key of a record that is its time, where nobody said; the earliest of NAMES that is there, and not null."""
    return next((key for key in _time_keys(tuple(record)) if record[key] is not None), None)


@lru_cache(maxsize=4096)
def _time_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the keys that are names of times, the earliest of NAMES first. Devices send the same keys all day."""
    named = {name: key for key in keys if (name := name_of(key))}
    return tuple(named[name] for name in NAMES if name in named)


_CLOCK = re.compile(r"\d{1,2}[:.]\d{2}([:.]\d{2}(\.\d+)?)?")


def date_beside(record: Mapping[str, Any], key: str) -> str | None:
    """The key of the date, where the time of a record is a time of day alone."""
    value = record.get(key)
    if type(value) is not str or len(value) > 15 or not _CLOCK.fullmatch(value.strip()):
        return None
    return next((other for other in record if name_of(other) in _DATES and other != key), None)
