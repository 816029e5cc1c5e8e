"""The wall clock: the one place where the product reads what time it is.

`TECHPORT_CLOCK_SHIFT` (seconds, may be negative or a fraction) moves it. It is meant for tests alone, which run under
other dates with it, and is read once, when this module is imported; sub-processes inherit it. Durations and timeouts
are measured with `time.monotonic()`, which no shift moves.
"""

from __future__ import annotations

import datetime as dt
import os
import time

from techport_storage.model import Micros

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SHIFT: Micros = round(float(os.environ.get("TECHPORT_CLOCK_SHIFT") or 0) * 1_000_000)


def now() -> Micros:
    """The present in microseconds since 1970, UTC."""
    return time.time_ns() // 1000 + _SHIFT


def now_datetime(zone: dt.tzinfo = dt.UTC) -> dt.datetime:
    """The present to the microsecond, with the offset of `zone`."""
    return (_EPOCH + dt.timedelta(microseconds=now())).astimezone(zone)
