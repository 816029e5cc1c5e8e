"""FIWARE UltraLight 2.0: name|value pairs, `#` between groups, an optional time in front of a group.

    /ul/<key>/<device>/attrs          t|21.5|h|47#2026-05-04T12:30:00Z|t|21.7|h|46
    /ul/<key>/<device>/attrs/<name>   21.5

Values are text by the format and converted here; true and false are states, gps|63.4/10.4 is a position, other text is
ignored. Commands are ignored. https://fiware-iotagent-ul.readthedocs.io/en/latest/usermanual.html
"""

from __future__ import annotations

from techport_ingest.decoding.common import (
    MOST_VALUES,
    device_id,
    number,
    text_value,
    too_many,
    unless_unreadable,
    utf8,
)
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.formats import Sender
from techport_storage.model import Micros

_PLACES = frozenset(("gps", "location", "position"))
"""Names under which latitude/longitude are one value."""


def decode(message: Message, device: str, times: TimeReader) -> list[Found]:
    """Raises RejectedMessage."""
    levels = message.topic.strip("/").split("/")
    single = None
    if "attrs" in levels:
        at = levels.index("attrs")
        device = device_id(levels[at - 1]) if at else device
        single = levels[at + 1] if at + 1 < len(levels) else None
    elif levels[-1] in ("cmd", "cmdexe", "configuration", "commands"):
        return [Ignored(device, "command")]
    text = utf8(message.payload).strip()
    if not text:
        raise RejectedMessage("empty.ultralight")
    if single is not None:
        return _one(device, None, single, text)
    decoded: list[Found] = []
    for group in text.split("#"):
        try:
            decoded.extend(_group(message, device, group, times))
        except RejectedMessage as error:
            decoded.append(Unreadable.of(error, device, values=group.count("|") // 2))
        if len(decoded) > MOST_VALUES:
            raise too_many()
    return unless_unreadable(decoded)


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    levels = topic.strip("/").split("/")
    return Sender(device=device_id(levels[levels.index("attrs") - 1]) if "attrs" in levels[1:] else "")


def _group(message: Message, device: str, group: str, times: TimeReader) -> list[Found]:
    parts = group.split("|")
    time: Micros | None = None
    if len(parts) % 2 == 1:
        time = times.read(parts[0], message.received) if len(parts) > 1 and parts[0][:4].isdigit() else None
        if time is None:
            raise RejectedMessage("not-ultralight.pairs", group=group[:100])
        parts = parts[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [part for name, value in pairs for part in _one(device, time, name, value)]


def _one(device: str, time: Micros | None, name: str, text: str) -> list[Found]:
    key = quantity(name.strip())
    if not key:
        raise RejectedMessage("not-ultralight.no-name")
    value = number(text)
    if value is None and text in ("true", "false"):
        value = float(text == "true")
    if value is not None:
        return [Observed(device, time, key, value, maker=name.strip())]
    lat, slash, lon = text.partition("/")
    if slash and key in _PLACES and (north := number(lat)) is not None and (east := number(lon)) is not None:
        return [Observed(device, time, "latitude", north, "deg"), Observed(device, time, "longitude", east, "deg")]
    if text in ("null", ""):
        return [Ignored(device, "null", key)]
    return [text_value(device, time, key, text, None, name.strip())]
