"""Sensor.Community (airRohr firmware): what it pushes to its own API, over HTTP or mirrored to MQTT.

    {"esp8266id": "12345", "sensordatavalues": [{"value_type": "SDS_P1", "value": "11.43"}, ...]}

All values are text and are converted here; there is no time. P1 is PM10 and P2 is PM2.5. Where the chip's number is
given, it is the device: "esp8266-12345". https://github.com/opendata-stuttgart/meta/wiki
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.common import (
    MOST_VALUES,
    device_id,
    json_object,
    json_type,
    lenient_object,
    number,
    too_many,
    unless_unreadable,
)
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.formats import Sender

TYPES = MappingProxyType(
    {
        "P0": ("pm1", "µg/m³"),
        "P1": ("pm10", "µg/m³"),
        "P2": ("pm25", "µg/m³"),
        "P4": ("pm4", "µg/m³"),
        "N05": ("particle_number.0-5", "{particles}/cm3"),
        "N1": ("particle_number.1", "{particles}/cm3"),
        "N25": ("particle_number.2-5", "{particles}/cm3"),
        "N4": ("particle_number.4", "{particles}/cm3"),
        "N10": ("particle_number.10", "{particles}/cm3"),
        "TS": ("particle_size", "µm"),
        "temperature": ("air_temperature", "°C"),
        "humidity": ("relative_humidity", "%"),
        "pressure": ("air_pressure", "Pa"),
        "pressure_at_sealevel": ("air_pressure_sea_level", "Pa"),
        "co2_ppm": ("co2", "ppm"),
        "noise_LAeq": ("laeq", "dB(A)"),
        "noise_LA_min": ("lamin", "dB(A)"),
        "noise_LA_max": ("lamax", "dB(A)"),
        "signal": ("rssi", "dBm"),
        "counts_per_minute": ("radiation_counts", "1/min"),
        "GPS_lat": ("latitude", "deg"),
        "GPS_lon": ("longitude", "deg"),
        "GPS_height": ("altitude", "m"),
    }
)
_PREFIXES = MappingProxyType(
    {
        # Sensors that a station has once give the plain quantity; the others a channel of their own.
        **dict.fromkeys(("SDS", "PMS", "HPM", "NPM", "SPS30", "BME280", "DNMS", "SCD30", "Si22G"), ""),
        "BMP": ".bmp",
        "BMP280": ".bmp280",
        "SHT3X": ".sht3x",
        "HTU21D": ".htu21d",
        "DS18B20": ".ds18b20",
        "BME680": ".bme680",
        "DHT": ".dht",
        "HECA": ".heca",
    }
)


def decode(message: Message, device: str) -> list[Found]:
    """Raises RejectedMessage."""
    document = json_object(message.payload, "wrong-shape.sensor-community")
    values = document.get("sensordatavalues")
    if type(values) is not list:
        raise RejectedMessage("wrong-shape.sensor-community-values", kind=json_type(values))
    if len(values) > MOST_VALUES:
        raise too_many()
    device = _chip(document) or device
    return unless_unreadable([_entry(device, entry) for entry in values]) or [Ignored(device, "empty")]


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    return Sender(device=_chip(lenient_object(payload)))


def _chip(document: dict[str, Any]) -> str:
    """The station, by the number of its chip; "" where none is given."""
    chip = document.get("esp8266id") or document.get("raspiid")
    if type(chip) is not str and type(chip) is not int:
        return ""
    return f"{'esp8266' if 'esp8266id' in document else 'raspi'}-{device_id(str(chip)[:40])}"


def _entry(device: str, entry: object) -> Found:
    try:
        return _one(device, entry)
    except RejectedMessage as error:
        return Unreadable.of(error, device)


def _one(device: str, entry: object) -> Found:
    if type(entry) is not dict or type(entry.get("value_type")) is not str:
        raise RejectedMessage("wrong-shape.sensor-community-entry")
    kind: str = entry["value_type"]
    described = _known(kind)
    if described is None:
        return Ignored(device, "diagnostics", kind[:80], entry.get("value"))
    key, unit = described
    raw = entry.get("value")
    text = raw.strip().removesuffix(" dBm") if type(raw) is str else raw
    value = number(text) if type(text) is str else text
    # What is no number goes on as it came: the check says what is wrong with it.
    return Observed(device, None, key, raw if value is None else value, unit, kind)


@remembered(1024)
def _known(kind: str) -> tuple[str, str | None] | None:
    described = TYPES.get(kind)
    if described is not None:
        return described
    prefix, _, rest = kind.partition("_")
    channel = _PREFIXES.get(prefix)
    described = TYPES.get(rest)
    return None if channel is None or described is None else (described[0] + channel, described[1])
