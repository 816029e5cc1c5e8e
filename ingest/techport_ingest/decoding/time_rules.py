"""What a source says about the times of its messages: key, unit, format and zone."""

from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

from techport_ingest.decoding.common import number
from techport_ingest.decoding.times import micros
from techport_ingest.message import RejectedMessage
from techport_pilots.model import TimeRule
from techport_storage.model import Micros

USUAL_KEYS = (
    *(
        "time",
        "timestamp",
        "ts",
        "tst",
        "datetime",
        "dateTime",
        "date_time",
        "TimeInstant",
        "measuredAt",
        "measured_at",
    ),
    *("observedAt", "dateObserved", "utc", "tmst", "created_at", "published_at", "updated_at", "lastUpdated"),
)
"""Under which makers write the time of a message; never readings."""

_MICROS_OF = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
_NORWEGIAN = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})[ T]+(?:kl\.? *)?(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?")
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?=[ T])")
_OFFSET = re.compile(r"([+-]\d{2}) ?(\d{2})$")
_LATEST = 2**62


class Clock:
    """Reads the times of one source.

    A time without an offset is a local one of the source's zone. In the hour that an autumn night has twice, the
    instant that is nearer to the arrival of the message is meant; in the hour that a spring night skips, the one that
    is as long after midnight.
    """

    def __init__(self, zone: ZoneInfo, rule: TimeRule | None = None) -> None:
        self._zone = zone if rule is None or rule.zone is None else ZoneInfo(rule.zone)
        self._format = None if rule is None else rule.format
        self._factor = None if rule is None or rule.unit is None else _MICROS_OF[rule.unit]

    def read(self, value: object, received: Micros) -> Micros:
        """The instant that a value names.

        Parameters
        ----------
        value : object
            A number since 1970, or text.
        received : Micros
            When the message arrived, µs.

        Returns
        -------
        Micros
            µs since 1970, UTC.

        Raises
        ------
        RejectedMessage
            "bad-time".
        """
        kind = type(value)
        if kind is str:
            return self._of_text(str(value).strip(), received)
        if self._factor is not None and (kind is int or kind is float):
            return self._counted(value)
        return micros(value)

    def _counted(self, value: object) -> Micros:
        instant = float(value) * (self._factor or 1.0)  # type: ignore[arg-type]
        if abs(instant) < _LATEST:
            return round(instant)
        raise RejectedMessage("bad-time.too-large")

    def _of_text(self, text: str, received: Micros) -> Micros:
        if self._format is not None:
            try:
                return self._placed(dt.datetime.strptime(text, self._format), received)
            except ValueError:
                raise RejectedMessage("bad-time.format", given=text[:60], format=self._format) from None
        counted = number(text)
        if counted is not None and "-" not in text[1:]:
            return self.read(counted if "." in text or "e" in text.lower() else int(text), received)
        return self._placed(_parsed(text), received)

    def _placed(self, time: dt.datetime, received: Micros) -> Micros:
        if time.tzinfo is not None:
            return micros(time.isoformat())
        both = [micros(time.replace(tzinfo=self._zone, fold=fold).isoformat()) for fold in (0, 1)]
        return both[0] if both[0] >= both[1] else min(both, key=lambda instant: abs(instant - received))


def _parsed(text: str) -> dt.datetime:
    """ISO 8601 as makers write it, and Norwegian dates: 29.11.2026 20:00. Raises RejectedMessage."""
    norwegian = _NORWEGIAN.fullmatch(text)
    try:
        if norwegian is not None:
            day, month, year, hour, minute, second = (int(part or 0) for part in norwegian.groups())
            return dt.datetime(year, month, day, hour, minute, second)
        text = _OFFSET.sub(r"\1:\2", _SLASHED.sub(r"\1-\2-\3", text.removesuffix(" UTC") + "Z" * text.endswith(" UTC")))
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise RejectedMessage("bad-time.text", given=text[:60]) from None
