"""Cayenne Low Power Payload: (channel, type, value) triples, big-endian, as many as fit a LoRaWAN frame.

As a payload of its own, or as codec inside The Things Stack and ChirpStack. Types up to 0x88 are those of myDevices'
specification; 0x64 and 0x74 to 0x8E are the ones that the Arduino library CayenneLPP added.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from techport_ingest.message import Found, Message, Observed, RejectedMessage, Unreadable

LARGEST = 4096
"""Bytes. A LoRaWAN frame holds 242."""


class _Type(NamedTuple):
    name: str  # of the vocabulary where it has one
    size: int  # bytes of one part
    divisor: int
    signed: bool
    unit: str | None = None
    parts: tuple[str, ...] = ()


TYPES = MappingProxyType(
    {
        0x00: _Type("digital_input", 1, 1, False),
        0x01: _Type("digital_output", 1, 1, False),
        0x02: _Type("analog_input", 2, 100, True),
        0x03: _Type("analog_output", 2, 100, True),
        0x64: _Type("generic", 4, 1, False),
        0x65: _Type("illuminance", 2, 1, False, "lx"),
        0x66: _Type("presence", 1, 1, False),
        0x67: _Type("air_temperature", 2, 10, True, "Cel"),
        0x68: _Type("relative_humidity", 1, 2, False, "%"),
        0x71: _Type("acceleration", 2, 1000, True, "[g]", ("x", "y", "z")),
        0x73: _Type("air_pressure", 2, 10, False, "hPa"),
        0x74: _Type("voltage", 2, 100, False, "V"),
        0x75: _Type("current", 2, 1000, False, "A"),
        0x76: _Type("frequency", 4, 1, False, "Hz"),
        0x78: _Type("percentage", 1, 1, False, "%"),
        0x79: _Type("altitude", 2, 1, True, "m"),
        0x7D: _Type("concentration", 2, 1, False, "[ppm]"),
        0x80: _Type("active_power", 2, 1, False, "W"),
        0x82: _Type("distance", 4, 1000, False, "m"),
        0x83: _Type("energy_meter", 4, 1000, False, "kW.h"),
        0x84: _Type("direction", 2, 1, False, "deg"),
        0x85: _Type("unixtime", 4, 1, False, "s"),
        0x86: _Type("angular_rate", 2, 100, True, "deg/s", ("x", "y", "z")),
        0x87: _Type("colour", 1, 1, False, None, ("red", "green", "blue")),
        0x8E: _Type("switch", 1, 1, False),
    }
)
_GPS = 0x88
_GPS_PARTS = (("latitude", 10_000, "deg"), ("longitude", 10_000, "deg"), ("altitude", 100, "m"))


def decode(message: Message, device: str) -> list[Found]:
    """The values of a binary payload: quantity.channel. Raises RejectedMessage."""
    values, error = fields(message.payload)
    decoded: list[Found] = [Observed(device, None, key, value, unit) for key, value, unit in values]
    return decoded if error is None else [*decoded, Unreadable.of(error, device)]


def codec(payload: bytes, port: int) -> dict[str, object]:
    """As PayloadCodec: {"air_temperature.3": {"value": 27.2, "unit": "Cel"}}. Raises RejectedMessage."""
    values, error = fields(payload)
    named: dict[str, object] = {key: {"value": value, "unit": unit} for key, value, unit in values}
    return named if error is None else {**named, "": error}


def fields(payload: bytes) -> tuple[list[tuple[str, float, str | None]], RejectedMessage | None]:
    """What a payload holds, up to its end or to where it is damaged.

    Parameters
    ----------
    payload : bytes
        As the device sent it.

    Returns
    -------
    list of (str, float, str or None)
        quantity.channel, value and unit (UCUM) in the order of the payload.
    RejectedMessage or None
        Why the rest cannot be read: nothing says where the next value begins.

    Raises
    ------
    RejectedMessage
        Not even the first value can be read.
    """
    if not payload:
        raise RejectedMessage("empty.cayenne-lpp")
    if len(payload) > LARGEST:
        raise RejectedMessage("too-long.radio", size=len(payload))
    decoded: list[tuple[str, float, str | None]] = []
    at = 0
    while at < len(payload):
        try:
            read, at = _value_at(payload, at)
        except RejectedMessage as error:
            if not decoded:
                raise
            return decoded, error
        decoded += read
    return decoded, None


def _value_at(payload: bytes, at: int) -> tuple[list[tuple[str, float, str | None]], int]:
    """The parts of the value that begins at a byte, and where the next one begins. Raises RejectedMessage."""
    channel = payload[at]
    code = payload[at + 1] if at + 1 < len(payload) else -1
    at += 2
    read: list[tuple[str, float, str | None]] = []
    if code == _GPS:
        for name, divisor, unit in _GPS_PARTS:
            read.append((f"{name}.{channel}", _integer(payload, at, 3, True) / divisor, unit))
            at += 3
        return read, at
    kind = TYPES.get(code)
    if kind is None:
        if code < 0:
            raise RejectedMessage("not-cayenne.channel")
        raise RejectedMessage("not-cayenne.type", type=f"0x{code:02x}", byte=at - 1)
    for part in kind.parts or ("",):
        key = f"{kind.name}.{channel}-{part}" if part else f"{kind.name}.{channel}"
        read.append((key, _integer(payload, at, kind.size, kind.signed) / kind.divisor, kind.unit))
        at += kind.size
    return read, at


def _integer(payload: bytes, at: int, size: int, signed: bool) -> int:
    if at + size > len(payload):
        raise RejectedMessage("truncated.cayenne-lpp", size=len(payload))
    return int.from_bytes(payload[at : at + size], "big", signed=signed)
