"""Ruuvi Gateway: ruuvi/<gateway>/<tag>, JSON around the tag's Bluetooth advertisement.

    {"gw_mac": "C8:25:..", "rssi": -26, "gwts": "1653668027", "ts": "1653668027", "data": "0201061BFF990405...",
    "coords": ""}

`ts` (seconds, as text) is the time; gateways without time leave it out. The device is the tag's address. Data format 5
(RAWv2) and those of Ruuvi Air (6 and E1) are read; their "not available" patterns are ignored, and so is where the
gateway stands. gw_status is an event.
https://docs.ruuvi.com/communication/bluetooth-advertisements/data-format-5-rawv2
"""

from __future__ import annotations

from math import exp, log
from types import MappingProxyType
from typing import Any, NamedTuple

from techport_ingest.decoding.common import device_id, json_object, json_type, number, place
from techport_ingest.decoding.times import micros
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage
from techport_pilots.formats import Sender
from techport_storage.model import Micros

_RUUVI = b"\x99\x04"  # company identifier 0x0499, little-endian
_MANUFACTURER = 0xFF
_RAWV2 = 5
_SIZE = 24
_LONGEST = 512  # bytes of an extended advertisement, and room


class _Field(NamedTuple):
    name: str
    at: int
    size: int
    signed: bool
    missing: int
    divisor: int
    unit: str | None


_FIELDS = (
    _Field("air_temperature", 1, 2, True, -0x8000, 200, "Cel"),
    _Field("relative_humidity", 3, 2, False, 0xFFFF, 400, "%"),
    _Field("acceleration.x", 7, 2, True, -0x8000, 1000, "[g]"),
    _Field("acceleration.y", 9, 2, True, -0x8000, 1000, "[g]"),
    _Field("acceleration.z", 11, 2, True, -0x8000, 1000, "[g]"),
    _Field("movement_counter", 15, 1, False, 0xFF, 1, None),
    _Field("measurement_sequence", 16, 2, False, 0xFFFF, 1, None),
)
_STATUS = MappingProxyType({"online": "online", "offline": "offline"})


def decode(message: Message, device: str) -> list[Found]:
    """Raises RejectedMessage."""
    gateway, _, last = message.topic.rpartition("/")
    document = json_object(message.payload, "wrong-shape.ruuvi")
    if last == "gw_status":
        state = str(document.get("state", ""))[:40]
        return [DeviceEvent(device_id(gateway.rpartition("/")[2]) or device, None, _STATUS.get(state, "status"), state)]
    time = _time(document.get("ts") or document.get("gwts"))
    data = document.get("data")
    if data is None and "dataFormat" in document:
        device = device_id(last) if "/" in gateway else device
        return _decoded(device, time, document)
    if type(data) is not str:
        raise RejectedMessage("wrong-shape.ruuvi-data", kind=json_type(data))
    device = device_id(last) if "/" in gateway else device
    decoded = _advertisement(device, time, data)
    rssi = document.get("rssi")
    if type(rssi) is int:
        decoded.append(Observed(device, time, "rssi", rssi, "dBm"))
    if document.get("coords"):
        decoded.append(Ignored(device, "gateway-position", "coords"))
    return decoded


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message: the tag, not the gateway that heard it."""
    gateway, _, last = topic.rpartition("/")
    return Sender(device=device_id(last) if "/" in gateway and last != "gw_status" else "")


_DECODED = MappingProxyType(
    {
        "temperature": ("air_temperature", "Cel"),
        "humidity": ("relative_humidity", "%"),
        "pressure": ("air_pressure", "Pa"),
        "accelX": ("acceleration.x", "[g]"),
        "accelY": ("acceleration.y", "[g]"),
        "accelZ": ("acceleration.z", "[g]"),
        "voltage": ("battery_voltage", "V"),
        "txPower": ("transmit_power", "dBm"),
        "movementCounter": ("movement_counter", None),
        "measurementSequenceNumber": ("measurement_sequence", None),
        "PM1.0": ("pm1", "µg/m³"),
        "PM2.5": ("pm25", "µg/m³"),
        "PM4.0": ("pm4", "µg/m³"),
        "PM10.0": ("pm10", "µg/m³"),
        "CO2": ("co2", "ppm"),
        "VOC": ("voc_index", "1"),
        "NOx": ("nox_index", "1"),
        "luminosity": ("illuminance", "lx"),
        "rssi": ("rssi", "dBm"),
    }
)
"""What a gateway calls values where it is set to send them decoded, in the units of the data formats."""
_OF_THE_MESSAGE = frozenset(("gw_mac", "gwts", "ts", "aoa", "dataFormat", "id", "cnt", "coords"))


def _decoded(device: str, time: Micros | None, document: dict[str, Any]) -> list[Found]:
    """The values that a gateway has decoded itself; null where the tag had none."""
    decoded: list[Found] = []
    for key, value in document.items():
        if key not in _OF_THE_MESSAGE:
            name, unit = _DECODED.get(key, (key, None))
            decoded.append(place(device, time, name, value, unit, key))
    return decoded


def _time(text: object) -> Micros | None:
    if text is None or type(text) is int:
        return None if text is None else micros(text)
    seconds = number(text) if type(text) is str else None
    if seconds is None:
        raise RejectedMessage("bad-time.ruuvi")
    return micros(seconds)


def _advertisement(device: str, time: Micros | None, data: str) -> list[Found]:
    """The values of an advertisement in hex. Raises RejectedMessage; advertisements of other makers are ignored."""
    try:
        raw = bytes.fromhex(data) if len(data) <= 2 * _LONGEST else b""
    except ValueError:
        raw = b""
    if not raw:
        raise RejectedMessage("not-hex")
    at = 0
    while at < len(raw) and raw[at]:
        kind, content = raw[at + 1 : at + 2], raw[at + 2 : at + 1 + raw[at]]
        if at + 1 + raw[at] > len(raw):
            raise RejectedMessage("truncated.ruuvi-structure")
        if kind == bytes((_MANUFACTURER,)) and content.startswith(_RUUVI):
            body = content[2:]
            if body[:1] == bytes((_RAWV2,)):
                return rawv2(device, time, body)
            air = _AIR.get(body[0]) if body else None
            return [Ignored(device, "data-format")] if air is None else ruuvi_air(device, time, body, air)
        at += 1 + raw[at]
    return [Ignored(device, "not-ruuvi")]


class _Air(NamedTuple):
    """Where a data format of Ruuvi Air has what."""

    size: int
    fields: tuple[_Field, ...]
    voc: int  # the upper eight of nine bits; those of NOx follow
    flags: int
    luminosity: tuple[int, int]  # offset and size: one byte is logarithmic, three are hundredths of lux


def _dust(*named: tuple[str, int]) -> tuple[_Field, ...]:
    return tuple(_Field(name, at, 2, False, 0xFFFF, 10, "µg/m³") for name, at in named)


_AIR = MappingProxyType(
    {
        0x06: _Air(
            20, (*_FIELDS[:2], *_dust(("pm25", 7)), _Field("co2", 9, 2, False, 0xFFFF, 1, "ppm")), 11, 16, (13, 1)
        ),
        0xE1: _Air(
            40,
            (
                *_FIELDS[:2],
                *_dust(("pm1", 7), ("pm25", 9), ("pm4", 11), ("pm10", 13)),
                _Field("co2", 15, 2, False, 0xFFFF, 1, "ppm"),
            ),
            17,
            28,
            (19, 3),
        ),
    }
)
_INDEX_MISSING = 511
_LOGARITHM_STEP = log(65_536) / 254


def ruuvi_air(device: str, time: Micros | None, body: bytes, air: _Air) -> list[Found]:
    """The values of data formats 6 and E1. Raises RejectedMessage."""
    if len(body) < air.size:
        raise RejectedMessage("truncated.ruuvi-format", needed=air.size, size=len(body))
    decoded: list[Found] = []
    for field in air.fields:
        value = int.from_bytes(body[field.at : field.at + field.size], "big", signed=field.signed)
        missing = Ignored(device, "null", field.name)
        observed = Observed(device, time, field.name, value / field.divisor, field.unit)
        decoded.append(missing if value == field.missing else observed)
    pressure = int.from_bytes(body[5:7], "big")
    in_pascal = Observed(device, time, "air_pressure", pressure + 50_000.0, "Pa")
    decoded.append(Ignored(device, "null", "air_pressure") if pressure == 0xFFFF else in_pascal)
    for name, at, bit in (("voc_index", air.voc, 6), ("nox_index", air.voc + 1, 7)):
        index = body[at] << 1 | body[air.flags] >> bit & 1
        observed = Observed(device, time, name, float(index), "1")
        decoded.append(Ignored(device, "null", name) if index == _INDEX_MISSING else observed)
    at, size = air.luminosity
    light = int.from_bytes(body[at : at + size], "big")
    lux = exp(light * _LOGARITHM_STEP) - 1 if size == 1 else light / 100
    observed = Observed(device, time, "illuminance", lux, "lx")
    decoded.append(Ignored(device, "null", "illuminance") if light == 256**size - 1 else observed)
    return decoded


def rawv2(device: str, time: Micros | None, body: bytes) -> list[Found]:
    """The values of data format 5, 24 bytes. Raises RejectedMessage."""
    if len(body) < _SIZE:
        raise RejectedMessage("truncated.ruuvi-format", needed=_SIZE, size=len(body))
    decoded: list[Found] = []
    for field in _FIELDS:
        value = int.from_bytes(body[field.at : field.at + field.size], "big", signed=field.signed)
        decoded.append(
            Ignored(device, "null", field.name)
            if value == field.missing
            else Observed(device, time, field.name, value / field.divisor, field.unit)
        )
    pressure = int.from_bytes(body[5:7], "big")
    decoded.insert(
        2,
        Ignored(device, "null", "air_pressure")
        if pressure == 0xFFFF
        else Observed(device, time, "air_pressure", pressure + 50_000.0, "Pa"),
    )
    power = int.from_bytes(body[13:15], "big")
    battery, transmit = power >> 5, power & 0x1F
    decoded.append(
        Ignored(device, "null", "battery_voltage")
        if battery == 0x7FF
        else Observed(device, time, "battery_voltage", (1600 + battery) / 1000, "V")
    )
    decoded.append(
        Ignored(device, "null", "transmit_power")
        if transmit == 0x1F
        else Observed(device, time, "transmit_power", float(transmit * 2 - 40), "dBm")
    )
    return decoded
