"""The wall clock: the one place where the product reads what time it is.

`TECHPORT_CLOCK_SHIFT` (seconds, may be negative or a fraction) moves it. It is meant for tests alone, which run under
other dates with it, and is read once, when this module is imported; sub-processes inherit it. Durations and timeouts
are measured with `time.monotonic()`, which no shift moves.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from techport_storage.model import Micros

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SHIFT: Micros = round(float(os.environ.get("TECHPORT_CLOCK_SHIFT") or 0) * 1_000_000)


_TOLD: ContextVar[Micros | None] = ContextVar("told", default=None)


def now() -> Micros:
    """The present in microseconds since 1970, UTC."""
    given_time = _TOLD.get()
    return time.time_ns() // 1000 + _SHIFT if given_time is None else given_time


@contextmanager
def as_of(instant: Micros) -> Iterator[None]:
    """Let it be that instant for what this thread does in the block: a history that is written down afterwards, such
    as that of the demo. Nothing that measures or waits may run in it."""
    token = _TOLD.set(instant)
    try:
        yield
    finally:
        _TOLD.reset(token)


def now_datetime(zone: dt.tzinfo = dt.UTC) -> dt.datetime:
    """The present to the microsecond, with the offset of `zone`."""
    return (_EPOCH + dt.timedelta(microseconds=now())).astimezone(zone)
