"""Zigbee2MQTT: <base>/<friendly name>, JSON of what the bridge knows of a device.

`last_seen` (milliseconds or ISO 8601, whichever the bridge is set to) is the time, so that a state which the bridge
repeats from its cache falls on the row that is already stored. Button presses (`action`, `click`) are events,
availability too; bridge/... is ignored. The friendly name may have several levels; they become one id: "floor-1/hall"
is floor-1-hall. https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.common import (
    availability,
    device_id,
    json_object,
    leaves,
    lenient_object,
    member,
    place,
    text_of,
)
from techport_ingest.decoding.quantity_names import quantity_of_path
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, RejectedMessage
from techport_pilots.formats import Sender
from techport_storage.model import Micros

KNOWN = MappingProxyType(
    {
        "temperature": ("air_temperature", "°C"),
        "humidity": ("relative_humidity", "%"),
        "pressure": ("air_pressure", "hPa"),
        "battery": ("battery_level", "%"),
        "illuminance": ("illuminance", "lx"),
        "illuminance_lux": ("illuminance", "lx"),
        "power": ("active_power", "W"),
        "current": ("current", "A"),
        "energy": ("energy_meter", "kWh"),
        "co2": ("co2", "ppm"),
        "voc_parts": ("tvoc", "ppb"),
        "formaldehyd": ("formaldehyd", "mg/m³"),
        "hcho": ("hcho", "mg/m³"),
        "noise": ("laeq", "dB(A)"),
        "pm1": ("pm1", "µg/m³"),
        "eco2": ("co2.eco2", "ppm"),
        "local_temperature": ("air_temperature.local", "°C"),
        "current_heating_setpoint": ("target_temperature", "°C"),
        "occupied_heating_setpoint": ("target_temperature.occupied", "°C"),
        "unoccupied_heating_setpoint": ("target_temperature.unoccupied", "°C"),
        "pi_heating_demand": ("pi_heating_demand", "%"),
        "position": ("position", "%"),
        "target_distance": ("target_distance", "m"),
        "produced_energy": ("energy_meter.produced", "kWh"),
        "energy_produced": ("energy_meter.produced", "kWh"),
        "power_apparent": ("apparent_power", "VA"),
        "power_reactive": ("reactive_power", "var"),
        "pm25": ("pm25", "µg/m³"),
        "pm10": ("pm10", "µg/m³"),
        "occupancy": ("room_occupied", None),
        "device_temperature": ("device_temperature", "°C"),
        "soil_moisture": ("soil_moisture", "%"),
        "ac_frequency": ("frequency", "Hz"),
        "power_factor": ("power_factor", None),
        "linkquality": ("link_quality", None),
    }
)
"""Names and units that Zigbee2MQTT lays down for all devices (its "exposes",
https://github.com/Koenkk/zigbee-herdsman-converters, src/lib/exposes.ts). `voc` is µg/m³ there and ppb for some
devices: it has no unit here.
"""

_OF_THE_MAINS = MappingProxyType(
    {key: KNOWN[key] for key in ("power", "current", "energy", "power_factor", "power_apparent", "power_reactive")}
    | {
        "voltage": ("voltage", "V"),
        "produced_energy": KNOWN["produced_energy"],
        "energy_produced": KNOWN["energy_produced"],
    }
)
_ENDPOINT = re.compile(r"(?P<name>.+?)_(?:phase_)?(?P<endpoint>[a-dn]|l?\d{1,2}|left|right|center|top|bottom|neutral)")

_EVENTS = frozenset(("action", "click"))
_OF_THE_BRIDGE = frozenset(("update", "update_available", "device", "elapsed"))
_STATES = MappingProxyType({"ON": True, "OFF": False, "OPEN": True, "CLOSE": False, "LOCK": True, "UNLOCK": False})


def decode(message: Message, device: str, times: TimeReader) -> list[Found]:
    """Raises RejectedMessage."""
    names = message.topic.split("/")[1:]
    if names[:1] == ["bridge"]:
        return [Ignored(device, "bridge")]
    if names and names[-1] in ("set", "get"):
        return [Ignored(device_id("-".join(names[:-1])) or device, "command")]
    if names[1:] and names[-1] == "availability":
        return [availability(message, device_id("-".join(names[:-1])) or device)]
    device = device_id("-".join(names)) or device
    state = json_object(message.payload, "wrong-shape.zigbee2mqtt")
    time = _last_seen(state.get("last_seen"), message, times)
    decoded: list[Found] = []
    for path, value in leaves(state):
        if path[0] != "last_seen":
            decoded.append(_one(device, time, path, value, state))
    return decoded or [Ignored(device, "empty")]


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message. The bridge adds a `device` where it is told to (include_device_information)."""
    names = topic.split("/")[1:]
    about = member(lenient_object(payload), "device")
    return Sender(
        device=device_id("-".join(names[:-1] if names[-1:] == ["availability"] else names)),
        title=text_of(about, "friendlyName"),
        kind=" ".join(part for part in (text_of(about, "manufacturerName"), text_of(about, "model")) if part),
    )


def origin(topic: str) -> str:
    """The base topic: two bridges may each have a lamp."""
    return topic.partition("/")[0]


_BATTERY = frozenset(("battery", "battery_low"))
_NO_MAINS = 1_000  # V


def _one(device: str, time: Micros | None, path: tuple[str, ...], value: object, state: dict[str, Any]) -> Found:
    key = path[0]
    if key in _EVENTS:
        pressed = type(value) is str and value != ""
        return DeviceEvent(device, time, "button", str(value)[:80]) if pressed else Ignored(device, "no-action", key)
    if key in _OF_THE_BRIDGE:
        return Ignored(device, "bridge", ".".join(path), value, time)
    if key == "contact" and type(value) is bool:
        return place(device, time, "door_open", not value, maker=key)  # true: the magnet is near, the door is closed
    if key == "voltage":
        # Battery devices report millivolts, mains devices volts: some of the former say no more than that it is low.
        millivolts = type(value) in (int, float) and value >= _NO_MAINS  # type: ignore[operator]
        of_a_battery = millivolts or not _BATTERY.isdisjoint(state)
        return (
            place(device, time, "battery_voltage", value, "mV", key)
            if of_a_battery
            else place(device, time, key, value, "V")
        )
    if type(value) is str and value in _STATES:
        value = _STATES[value]
    name, unit, maker = _named(path)
    return place(device, time, name, value, unit, maker)


@remembered(8192)
def _named(path: tuple[str, ...]) -> tuple[str, str | None, str]:
    """Key, unit and the bridge's own name of a value."""
    name, unit = KNOWN.get(path[0], (None, None)) if len(path) == 1 else (None, None)
    ending = _ENDPOINT.fullmatch(path[0]) if len(path) == 1 and name is None else None
    if ending is not None:  # of one endpoint or phase
        described = _OF_THE_MAINS.get(ending["name"]) or KNOWN.get(ending["name"])
        if described is not None:
            separator = "-" if "." in described[0] else "."
            return f"{described[0]}{separator}{ending['endpoint']}", described[1], path[0]
    return name or quantity_of_path(path), unit, ".".join(path)


def _last_seen(value: object, message: Message, times: TimeReader) -> Micros | None:
    """Milliseconds as a number always, however small; text is ISO 8601. Raises RejectedMessage."""
    if value is None:
        return None
    if type(value) is str:
        return times.read(value, message.received)
    if type(value) in (int, float) and abs(value) < 2.5e14:  # type: ignore[arg-type]
        return round(value * 1000)  # type: ignore[operator]
    raise RejectedMessage("bad-time.zigbee2mqtt")
