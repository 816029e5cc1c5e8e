"""The time axis of a chart: instants as the text that plotly.js shows unchanged."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from techport_dashboards.query import times
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Micros

FIXED_UP_TO: Micros = 8 * DAY


@dataclass(frozen=True, slots=True)
class Clock:
    """The zone's wall clock; or one fixed offset, for a short range over a clock change (`fixed` is not None)."""

    zone: ZoneInfo
    fixed: dt.timedelta | None

    @classmethod
    def over(cls, zone: ZoneInfo, start: Micros, end: Micros) -> Clock:
        offset = times.moment(start, zone).utcoffset()
        changes = offset != times.moment(end, zone).utcoffset()
        return cls(zone, offset if changes and end - start <= FIXED_UP_TO else None)

    @property
    def offset_text(self) -> str | None:
        """Like +02:00, for the charts to send back with a range; None where wall-clock times say it all."""
        return None if self.fixed is None else _offset(self.fixed)

    def label(self, instant: Micros) -> str:
        if self.fixed is not None:
            return f"UTC{_offset(self.fixed)}"
        offset = times.moment(instant, self.zone).utcoffset() or dt.timedelta()
        return f"{self.zone.key}, UTC{_offset(offset)}"

    def text(self, instant: Micros) -> str:
        return self.texts(np.array([instant], np.int64))[0]

    def local(self, instants: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the clock on the wall shows, as µs since its own 1970."""
        if self.fixed is not None:
            return instants + self.fixed // times.MICROSECOND
        stamps = pa.array(instants, pa.timestamp("us", tz=self.zone.key))
        return np.asarray(pc.local_timestamp(stamps).cast(pa.int64()).to_numpy(), np.int64)

    def texts(self, instants: NDArray[np.int64], ahead: Micros = 0) -> list[str]:
        """Like 2026-11-22T08:00:00, to the millisecond where one is not on a whole second; `ahead` is added."""
        local = self.local(instants) + ahead
        whole = not (local % SECOND).any()
        texts: list[str] = np.datetime_as_string(local.astype("datetime64[us]"), unit="s" if whole else "ms").tolist()
        return texts


def _offset(offset: dt.timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
