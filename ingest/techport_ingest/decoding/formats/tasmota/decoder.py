"""Tasmota: tele/<device>/SENSOR and stat/<device>/STATUS8 or STATUS10 (the same behind "StatusSNS").

    {"Time": "2019-11-03T19:34:28", "BME280": {"Temperature": 21.7, "Humidity": 66.6}, "TempUnit": "C"}

`Epoch`, or a `Time` with offset, is the time. A `Time` without offset is local to the device, whose clock is taken to
be in the pilot's zone. What a bridge heard of Zigbee and Bluetooth devices is theirs, not the bridge's. LWT is an
event; STATE, INFO and RESULT are ignored.
https://tasmota.github.io/docs/MQTT/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.common import DEEPEST, availability, device_id, json_object, json_type, leaves, place
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.decoding.times import micros
from techport_ingest.message import Found, Ignored, Message, RejectedMessage
from techport_pilots.formats import Sender
from techport_storage.model import Micros

LEAVES = MappingProxyType(
    {
        "CarbonDioxide": ("co2", "ppm"),
        "PM1": ("pm1", "µg/m³"),
        "PM1_0": ("pm1", "µg/m³"),
        "PM2_5": ("pm25", "µg/m³"),
        "PM4_0": ("pm4", "µg/m³"),
        "PM2.5": ("pm25", "µg/m³"),
        "PM10": ("pm10", "µg/m³"),
        "Illuminance": ("illuminance", "lx"),
        "Humidity": ("relative_humidity", "%"),
        "Voltage": ("voltage", "V"),
        "Current": ("current", "A"),
        "Power": ("active_power", "W"),
        "ApparentPower": ("apparent_power", "V.A"),
        "ReactivePower": ("reactive_power", "var"),
        "Factor": ("power_factor", None),
        "Frequency": ("frequency", "Hz"),
        "Total": ("energy_meter", "kWh"),
        "Today": ("energy_today", "kWh"),
        "Yesterday": ("energy_yesterday", "kWh"),
        "Period": ("energy", "Wh"),
        "Gas": ("gas_resistance", "kOhm"),
        "UvIndex": ("uv_index", None),
        "TVOC": ("tvoc", "ppb"),
        "eCO2": ("co2", "ppm"),
        "Distance": ("distance", "cm"),
        "Moisture": ("soil_moisture", "%"),
        "LinkQuality": ("link_quality", None),
        "BatteryPercentage": ("battery_level", "%"),
    }
)
_TEMPERATURES = MappingProxyType(
    {
        "Temperature": "air_temperature",
        "DewPoint": "dew_point",
        "OBJTMP": "surface_temperature",  # MLX90614: of what it looks at
        "AMBTMP": "device_temperature",  # and of itself
    }
)
_LIGHTNING = MappingProxyType({"Distance": ("lightning_distance", "km")})
_WIND: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("Speed", "Act"): "wind_speed",
        ("Speed", "Avg"): "wind_speed.avg",
        ("Speed", "Min"): "wind_speed.min",
        ("Speed", "Max"): "wind_speed.max",
        ("Dir", "Deg"): "wind_from_direction",
        ("Dir", "Avg"): "wind_from_direction.avg",
    }
)
"""Of the anemometers TX20 and TX23: the speed in SpeedUnit."""
_PRESSURES = MappingProxyType({"Pressure": "air_pressure", "SeaPressure": "air_pressure_sea_level"})
_PLAIN = frozenset(("ENERGY",))  # what a plug measures itself; its values are the device's, not a sensor's
_CHIPS = frozenset(("ESP32", "ESP8266", "ESP"))
_NOT_VALUES = frozenset(("Time", "Epoch", "TempUnit", "PressureUnit", "SpeedUnit"))
_NAMES = ("Name", "Device")  # of a Zigbee device, the one that people gave it first
_OF_RADIO = frozenset((*_NAMES, "Endpoint", "Group", "IEEEAddr", "ModelId", "Manufacturer", "mac", "MAC"))
_BLUETOOTH = re.compile(r"\w+-[0-9a-f]{6}")  # sensor and the end of its address: "ATC-1a2b3c"
_NUMBERED = re.compile(r"(.+?)[-_ ]?(\d+)")


class Tasmota:
    """Decoder; `times` knows where devices that send local times keep their clocks."""

    def __init__(self, times: TimeReader) -> None:
        self._times = times

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")
        device, kind = _place_of(levels, device)
        if kind == "LWT":
            return [availability(message, device)]
        if kind not in ("SENSOR", "STATUS8", "STATUS10"):
            return [Ignored(device, "status")]
        document = json_object(message.payload, "wrong-shape.tasmota")
        sensors = document.get("StatusSNS", document)
        if type(sensors) is not dict:
            raise RejectedMessage("wrong-shape.tasmota-status", kind=json_type(sensors))
        decoded = _values(sensors, device, _time(sensors, message.received, self._times))
        return decoded or [Ignored(device, "no-sensor")]


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    return Sender(device=_place_of(topic.split("/"), "")[0])


def origin(topic: str) -> str:
    """The levels of the topic that are neither device nor prefix: two sites may each have a tele/plug/SENSOR."""
    levels = topic.split("/")
    at = next((i for i, level in enumerate(levels[:-1]) if level in ("tele", "stat")), 0)
    return "/".join(levels[:at]) if at and levels[at + 1 : -1] else "tele"


def _place_of(levels: list[str], device: str) -> tuple[str, str]:
    """Device and kind of a topic, with the prefix first (tele/x/SENSOR) or behind (x/tele/SENSOR)."""
    for i, level in enumerate(levels[:-1]):
        if level in ("tele", "stat"):
            names = levels[i + 1 : -1] or levels[:i]
            return device_id("-".join(names)) or device, levels[-1]
    return device, levels[-1]


def _time(sensors: dict[str, Any], received: Micros, times: TimeReader) -> Micros | None:
    """The instant of the message, or None where the device gave none."""
    epoch = sensors.get("Epoch")
    if type(epoch) is int and epoch > 0:
        return micros(epoch)
    text = sensors.get("Time")
    if type(text) is not str or text.startswith("1970-"):
        return None  # the clock was not set yet
    try:
        return times.read(text, received)
    except RejectedMessage as error:
        if error.reason == "bad-time":
            raise RejectedMessage("bad-time.tasmota", given=text[:100]) from None
        raise


def _values(sensors: dict[str, Any], device: str, time: Micros | None) -> list[Found]:
    temperature = sensors.get("TempUnit") if type(sensors.get("TempUnit")) is str else "C"
    pressure = sensors.get("PressureUnit") if type(sensors.get("PressureUnit")) is str else "hPa"
    speed = sensors.get("SpeedUnit") if type(sensors.get("SpeedUnit")) is str else None
    decoded: list[Found] = []
    own, radio = _radio_devices(sensors)
    for owner, part, values in radio:
        for path, value in leaves(values):
            if path[0] not in _OF_RADIO:
                key, unit = _name(("", *path), str(temperature), str(pressure))
                decoded.append(place(owner, time, key.removeprefix("."), value, unit, ".".join(path), part))
    for path, value in leaves(own):
        if path[0] in _NOT_VALUES or len(path) > DEEPEST:
            continue
        key, unit = _name(path, str(temperature), str(pressure))
        if unit is None and path[1:] in _WIND:
            key, unit = _WIND[path[1:]], speed if path[1] == "Speed" else "deg"
        elif unit == "ppm" and path[-1] == "eCO2" and "CarbonDioxide" in own[path[0]]:
            key = (
                f"{key}-eco2" if "." in key else f"{key}.eco2"
            )  # SCD30 and SCD40 give what they measure and an average
        if type(value) is str and value in ("ON", "OFF"):
            value = value == "ON"
        decoded.append(place(device, time, key, value, unit, ".".join(path), _sensor(path)))
    return decoded


def _radio_devices(sensors: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str, dict[str, Any]]]]:
    """What the device measured itself, and what it heard of others as a bridge: (device, its endpoint, values).

    A Zigbee device is called by its friendly name or its short address, a Bluetooth device by its MAC address.
    """
    own: dict[str, Any] = {}
    radio: list[tuple[str, str, dict[str, Any]]] = []
    for key, content in sensors.items():
        if key == "ZbReceived" and type(content) is dict:
            for address, values in content.items():
                if type(values) is dict:
                    name = next((values[word] for word in _NAMES if type(values.get(word)) is str), address)
                    radio.append((device_id(name), str(values.get("Endpoint", "")), values))
        elif type(content) is not dict:
            own[key] = content
        elif type(address := content.get("mac", content.get("MAC"))) is str:
            radio.append((device_id(address), "", content))
        elif "-" in key and _BLUETOOTH.fullmatch(key):
            radio.append((device_id(key), "", content))
        else:
            own[key] = content
    return own, radio


def _sensor(path: tuple[str, ...]) -> str:
    """The sensor of a value, without the number that is the value's channel; "" for what no sensor measured."""
    return "" if len(path) == 1 or path[0] in _PLAIN else _without_number(path[0])


@remembered(1024)
def _without_number(sensor: str) -> str:
    return re.sub(r"-\d+$", "", sensor)


def _name(path: tuple[str, ...], temperature: str, pressure: str) -> tuple[str, str | None]:
    """Key and unit of a value: ("DS18B20-2", "Temperature") is air_temperature.2 in TempUnit."""
    sensor, leaf = path[0], path[-1]
    phase = ""
    if leaf.isdecimal() and len(path) > 2:  # one value for each phase: ["ENERGY", "Voltage", "0"]
        leaf, phase = path[-2], f".{int(leaf[:4]) + 1}"
    if len(path) == 1:
        numbered = _NUMBERED.fullmatch(leaf)
        return (f"{numbered[1].lower()}.{numbered[2]}", None) if numbered else (quantity(leaf), None)
    numbered = re.fullmatch(r".+-(\d+)", sensor)
    channel = phase or (f".{numbered[1]}" if numbered else "")
    if leaf in _TEMPERATURES:
        name = "device_temperature" if sensor in _CHIPS else _TEMPERATURES[leaf]
        return name + channel, "°F" if temperature == "F" else "°C"
    if leaf in _PRESSURES:
        return _PRESSURES[leaf] + channel, pressure
    described = (_LIGHTNING if sensor == "AS3935" else LEAVES).get(leaf)
    if described is not None:
        return described[0] + channel, described[1]
    return ".".join(path), None
