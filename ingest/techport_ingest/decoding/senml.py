"""SenML (RFC 8428): packs of records, whichever way they were written.

Base fields carry over to the records behind them; a time below 2^28 counts from now, which is the message's arrival.
The device is the name up to its last separator, without "urn:dev:<kind>:" before it; what follows is the quantity:

    {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "v": 120.1}  device 10e2073a01080063, key voltage
    {"bn": "10e2073a01080063", "u": "%RH", "v": 20}                      no name behind it: the unit says which quantity
    {"n": "temperature", "v": 21.5}                                      no device in it: the topic's

RFC 8428 section 4 is `resolve`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from types import MappingProxyType
from typing import Any

import msgspec

from techport_ingest.decoding.common import MOST_VALUES, device_id, json_type, text_value, too_many
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import Found, Ignored, Observed, RejectedMessage, Unreadable
from techport_storage.model import Micros

UNIT_QUANTITIES = MappingProxyType(
    {
        "Cel": "air_temperature",
        "%RH": "relative_humidity",
        "%EL": "battery_level",
        "lat": "latitude",
        "lon": "longitude",
        "Pa": "air_pressure",
        "lx": "illuminance",
        "W": "active_power",
        "J": "energy_meter",
        "V": "voltage",
        "A": "current",
        "Hz": "frequency",
        "m/s": "wind_speed",
        "dBW": "rssi",
        "pH": "ph",
        "EL": "battery_remaining",
        "beat/min": "heart_rate",
    }
)
"""What a unit of the SenML registry measures where a record has no name of its own."""

VERSION = 10
RELATIVE = 2**28
"""Seconds: smaller times are relative to now (RFC 8428 section 4.5.3)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:._/]*", re.ASCII)
_URN = re.compile(r"urn:dev:[a-z0-9]+:", re.IGNORECASE)
_BASE = ("bver", "bn", "bt", "bu", "bv", "bs")


class Resolved(msgspec.Struct, frozen=True):
    """A record that stands on its own (RFC 8428 section 4.6). `t` is in seconds since 1970."""

    n: str
    t: float
    timed: bool  # the pack gave a time other than now
    u: str | None = None
    v: object = None  # int, float; text of vs; bool of vb; bytes of vd
    s: object = None
    own: str = ""  # the part of the name that is not the base name
    kind: str = "v"  # the field that the value is of: v, vs, vb, vd


def read_pack(pack: object, received: Micros, device: str) -> list[Found]:
    """The values of a pack that arrived at `received`; `device` is who sends what has no device in its name.

    Raises RejectedMessage.
    """
    unreadable: list[Found] = []
    decoded = _values(_resolved(pack, received / 1e6, device, unreadable), device)
    return decoded + unreadable


def resolve(pack: object, now: float) -> list[Resolved]:
    """The records of a pack, each complete. `now` in seconds since 1970. Raises RejectedMessage."""
    return _resolved(pack, now, "", None)


def _resolved(pack: object, now: float, device: str, unreadable: list[Found] | None) -> list[Resolved]:
    """The records of a pack. Those that cannot be read are added to `unreadable`, where there is one and something else
    can be read; base fields that are wrong spoil what stands behind them, and so the pack. Raises RejectedMessage.
    """
    if type(pack) is not list:
        raise RejectedMessage("wrong-shape.senml-pack", kind=json_type(pack))
    if len(pack) > MOST_VALUES:
        raise too_many()
    base: dict[str, Any] = {}
    resolved: list[Resolved] = []
    rejected: list[RejectedMessage] = []
    for number, record in enumerate(pack, 1):
        try:
            if type(record) is not dict:
                raise RejectedMessage("wrong-shape.senml-record", kind=json_type(record))
            _check_fields(record)
            base.update((field, record[field]) for field in _BASE if field in record)
            if base.get("bver", VERSION) > VERSION:
                raise RejectedMessage("senml-version", given=f"{base['bver']!s:.20}", newest=VERSION)
            if resolved_record := _resolve(record, base, now):
                resolved.append(resolved_record)
        except RejectedMessage as error:
            if unreadable is None or (type(record) is dict and not record.keys().isdisjoint(_BASE)):
                raise
            rejected.append(error)
            unreadable.append(Unreadable.of(error, device, record=number))
    if rejected and not resolved:
        raise rejected[0]
    if not resolved:
        raise RejectedMessage("no-values.senml")
    return resolved


def _resolve(record: dict[str, Any], base: dict[str, Any], now: float) -> Resolved | None:
    kind = next((field for field in ("v", "vs", "vb", "vd") if field in record), "")
    value = record.get(kind)
    if "bv" in base and ("v" in record or value is None):
        value = base["bv"] + record.get("v", 0)
    total = base["bs"] + record.get("s", 0) if "bs" in base else record.get("s")
    if value is None and total is None:
        return None
    if any(type(sum_) is float and not isfinite(sum_) for sum_ in (value, total)):
        raise RejectedMessage("number-too-large.senml")
    own = record.get("n", "")
    name = base.get("bn", "") + own
    if not _NAME.fullmatch(name):
        raise RejectedMessage("bad-name.senml", name=name[:100]) if name else RejectedMessage("bad-name.senml-none")
    time = base.get("bt", 0) + record.get("t", 0)
    seconds = time if time >= RELATIVE else now + time
    if not isfinite(seconds) or abs(seconds) > 2.5e11:
        raise RejectedMessage("bad-time.senml", seconds=f"{seconds:.3g}")
    timed = time != 0  # a record of just now is as good as one without a time
    return Resolved(name, seconds, timed, record.get("u", base.get("bu")), value, total, own, kind)


def _check_fields(record: dict[Any, Any]) -> None:
    """Each field has its type; labels that must be understood (they end in _) are rejected, others are ignored."""
    for field, value in record.items():
        check = _TYPES.get(field) if type(field) is str else None
        if check is not None:
            if not check(value):
                raise RejectedMessage("wrong-shape.senml-field", field=field, kind=json_type(value))
        elif type(field) is str and field.endswith("_"):
            raise RejectedMessage("senml-field", field=field[:100])


def _is_number(value: object) -> bool:
    # An integer of more bits than a float has room for would stop the sums below.
    return (type(value) is float and isfinite(value)) or (type(value) is int and value.bit_length() < 1000)


def _is_text(value: object) -> bool:
    return type(value) is str


_TYPES: MappingProxyType[str, Callable[[object], bool]] = MappingProxyType(
    {
        **dict.fromkeys(("bn", "bu", "n", "u", "vs"), _is_text),
        **dict.fromkeys(("bt", "bv", "bs", "v", "s", "t", "ut"), _is_number),
        "bver": lambda value: type(value) is int,
        "vb": lambda value: type(value) is bool,
    }
)


def _values(records: list[Resolved], device: str) -> list[Found]:
    decoded: list[Found] = []
    for record in records:
        named, key = split_name(record)
        owner = named or device
        time: Micros | None = round(record.t * 1e6) if record.timed else None
        value = record.v
        if record.kind in ("vs", "vd"):
            if record.kind == "vs":
                decoded.append(text_value(owner, time, key, str(value), record.u, record.own or record.n))
            else:
                decoded.append(Ignored(owner, "data", key))
        elif value is not None:
            boolean = type(value) is bool
            number = float(value) if boolean else value  # type: ignore[arg-type]
            unit = None if boolean else record.u  # a base unit is not meant for these
            decoded.append(Observed(owner, time, key, number, unit, maker=record.own or record.n))
        if record.s is not None:
            decoded.append(Observed(owner, time, f"{key}.sum", record.s, f"{record.u}.s" if record.u else None))
    return decoded


def split_name(record: Resolved) -> tuple[str, str]:
    """(device, key) of a record's name; the device is "" where the name holds none."""
    name = record.n
    own = record.own
    base = name.removesuffix(own) if own else name
    if own and not base:
        base, separator, own = _last_part(own)
        if not separator and not _URN.match(own):
            return "", quantity(own)
        if _URN.match(name) and len(base) <= len(_URN.match(name)[0]):  # type: ignore[index]
            base, own = name, ""
    device = device_id(_URN.sub("", base.rstrip(":/._-"), count=1))
    if own:
        return device, quantity(own.strip(":/._-") or own)
    return device, UNIT_QUANTITIES.get(record.u or "", record.u or "value")


def _last_part(name: str) -> tuple[str, str, str]:
    at = max(name.rfind(":"), name.rfind("/"))
    return (name[: at + 1], name[at], name[at + 1 :]) if at >= 0 else ("", "", name)
