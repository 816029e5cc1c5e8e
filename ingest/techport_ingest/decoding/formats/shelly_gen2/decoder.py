"""Shelly, generation 2 and later: <device>/events/rpc (NotifyStatus, NotifyFullStatus, NotifyEvent) and
<device>/status/<component>.

A notification holds only what changed; null means that a value is no longer there. Units are in the names (tC, tF). The
device is `src`, or the topic's. A component's number is the channel, none for number 0: switch:0 is active_power,
switch:1 is active_power.1. https://shelly-api-docs.shelly.cloud/gen2/General/Notifications
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding.common import (
    availability,
    device_id,
    json_document,
    json_type,
    leaves,
    lenient_object,
    place,
    text_of,
)
from techport_ingest.decoding.times import micros
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, RejectedMessage
from techport_pilots.formats import Sender
from techport_storage.model import Micros

VALUES = MappingProxyType(
    {
        "tC": ("air_temperature", "°C"),
        "rh": ("relative_humidity", "%"),
        "lux": ("illuminance", "lx"),
        "apower": ("active_power", "W"),
        "act_power": ("active_power", "W"),
        "aprtpower": ("apparent_power", "V.A"),
        "aprt_power": ("apparent_power", "V.A"),
        "voltage": ("voltage", "V"),
        "current": ("current", "A"),
        "freq": ("frequency", "Hz"),
        "pf": ("power_factor", None),
        "aenergy.total": ("energy_meter", "Wh"),
        "ret_aenergy.total": ("energy_meter_returned", "Wh"),
        "total_act_energy": ("energy_meter", "Wh"),
        "total_act_ret_energy": ("energy_meter_returned", "Wh"),
        "total_act": ("energy_meter.total", "Wh"),
        "total_act_ret": ("energy_meter_returned.total", "Wh"),
        "total_act_power": ("active_power.total", "W"),
        "total_aprt_power": ("apparent_power.total", "V.A"),
        "total_current": ("current.total", "A"),
        "battery.V": ("battery_voltage", "V"),
        "battery.percent": ("battery_level", "%"),
        "output": ("output", None),
        "state": ("input", None),
        "temperature.tC": ("device_temperature", "°C"),
        "xvoltage": ("xvoltage", None),  # what the user's formula makes of the voltage
        "rssi": ("rssi", "dBm"),
        "battery": ("battery_level", "%"),
        "percent": ("percent", "%"),
        "counts.total": ("pulse_count", "1"),
        "current_pos": ("position", "%"),
        "alarm": ("alarm", None),
    }
)
_MEASURING = frozenset(
    (
        "switch",
        "cover",
        "light",
        "rgb",
        "rgbw",
        "cct",
        "input",
        "em",
        "em1",
        "emdata",
        "em1data",
        "pm1",
        "temperature",
        "humidity",
        "illuminance",
        "voltmeter",
        "devicepower",
        "smoke",
        "flood",
        "presence",
        "bthomesensor",
        "bthomedevice",
    )
)
_OF_KINDS = MappingProxyType(
    {
        # what several kinds of component call alike
        ("flood", "alarm"): "water_leak",
        ("smoke", "alarm"): "alarm",
        ("bthomesensor", "value"): "bthomesensor",  # the gateway's configuration says of what
    }
)
_NOT_MEASURED = frozenset(
    (
        "source",
        "tF",
        "temperature.tF",
        "aenergy.minute_ts",
        "ret_aenergy.minute_ts",
        "timer_started_at",
        "timer_duration",
        "counts.minute_ts",
        "last_updated_ts",
        "packet_id",
        "mute",
    )
)
_NOT_YET = frozenset(("errors", "flags", "transition"))
"""Parts of a component that say what is going on or will be, and not what is."""
_PHASES = frozenset("abcn")


def decode(message: Message, device: str) -> list[Found]:
    """Raises RejectedMessage."""
    levels = message.topic.split("/")
    if levels[-1] == "online" and len(levels) > 1:
        return [availability(message, device_id(levels[-2]))]
    document = json_document(message.payload)
    if "status" in levels[1:-1]:
        at = levels.index("status", 1)
        decoded = _component(device_id(levels[at - 1]), None, levels[at + 1], document)
        return decoded or [Ignored(device_id(levels[at - 1]), "empty")]
    if type(document) is not dict:
        raise RejectedMessage("wrong-shape.shelly", kind=json_type(document))
    source = document.get("src")
    device = device_id(source) if type(source) is str and source else device
    params = document.get("params")
    method = document.get("method")
    if method not in ("NotifyStatus", "NotifyFullStatus", "NotifyEvent"):
        return [Ignored(device, "rpc")]
    if type(params) is not dict:
        raise RejectedMessage("wrong-shape.shelly-field", field="params", kind=json_type(params))
    if method == "NotifyEvent":
        return _events(device, params)
    time = _seconds(params.get("ts"))
    decoded = []
    for component, state in params.items():
        if component != "ts":
            decoded.extend(_component(device, time, component, state))
    return decoded or [Ignored(device, "empty")]


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    levels = topic.split("/")
    named = text_of(lenient_object(payload), "src")
    behind = next((at for at, level in enumerate(levels) if at and level in ("status", "events", "online")), 0)
    return Sender(device=device_id(named or (levels[behind - 1] if behind else "")))


def _component(device: str, time: Micros | None, component: str, state: object) -> list[Found]:
    kind, _, number = component.partition(":")
    if kind not in _MEASURING:
        return [Ignored(device, "status", component, state, time)]
    if type(state) is not dict:
        return [Ignored(device, "removed" if state is None else "status", component, state, time)]
    decoded: list[Found] = []
    time = _seconds(state.get("last_updated_ts")) or time
    for path, value in leaves(state):
        name = path[0] if len(path) == 1 else ".".join(path)
        if name == "id" or (path[-1].isdecimal() and path[-1] != "0"):
            continue  # the number is in the component's name; a list is ignored once
        if name in _NOT_MEASURED or path[-1] == "0" or path[0] in _NOT_YET:
            decoded.append(Ignored(device, "status", f"{component}.{name}".removesuffix(".0"), value, time))
        elif value is None:
            decoded.append(Ignored(device, "removed", f"{component}.{name}"))
        else:
            key, unit = _name(kind, number, name)
            decoded.append(place(device, time, key, value, unit, f"{component}.{name}"))
    return decoded


@remembered(8192)
def _name(kind: str, number: str, name: str) -> tuple[str, str | None]:
    """Key and unit: ("em", "0", "a_act_power") is active_power.a in W."""
    phase = ""
    if kind in ("em", "emdata") and name[:1] in _PHASES and name[1:2] == "_":
        phase, name = name[0], name[2:]
    quantity_name, unit = VALUES.get(name, (name, None))
    quantity_name = _OF_KINDS.get((kind, name), quantity_name)
    channel = "-".join(part for part in (number if number != "0" else "", phase) if part)
    if not channel:
        return quantity_name, unit
    return (f"{quantity_name}-{channel}" if "." in quantity_name else f"{quantity_name}.{channel}"), unit


def _events(device: str, params: dict[str, Any]) -> list[Found]:
    events = params.get("events")
    if type(events) is not list:
        raise RejectedMessage("wrong-shape.shelly-field", field="events", kind=json_type(events))
    decoded: list[Found] = []
    for event in events:
        if type(event) is dict and type(data := event.get("data")) is dict and "BTHome_version" in data:
            decoded += _bluetooth(_seconds(event.get("ts", params.get("ts"))), data)
        elif type(event) is dict:
            text = f"{event.get('component', '')!s:.40} {event.get('event', '')!s:.40}".strip()
            decoded.append(DeviceEvent(device, _seconds(event.get("ts", params.get("ts"))), "button", text))
    return decoded or [Ignored(device, "empty")]


_BTHOME = MappingProxyType(
    {
        "battery": ("battery_level", "%"),
        "temperature": ("air_temperature", "°C"),
        "humidity": ("relative_humidity", "%"),
        "illuminance": ("illuminance", "lx"),
        "pressure": ("air_pressure", "hPa"),
        "co2": ("co2", "ppm"),
        "voltage": ("battery_voltage", "V"),
        "distance_mm": ("distance", "mm"),
        "distance_m": ("distance", "m"),
        "rotation": ("tilt", "deg"),
        "rssi": ("rssi", "dBm"),
        "window": ("door_open", None),
        "door": ("door_open", None),
        "motion": ("motion", None),
        "moisture": ("soil_moisture", "%"),
        "wind_speed": ("wind_speed", "m/s"),
        "wind_direction": ("wind_from_direction", "deg"),
        "uv_index": ("uv_index", None),
        "precipitation": ("precipitation_total", "mm"),
        "dewpoint": ("dew_point", "°C"),
    }
)
"""What Shelly's script for BLU devices calls BTHome's object ids, with the units of https://bthome.io/format."""

_OF_THE_RADIO = frozenset(("encryption", "BTHome_version", "pid", "address", "rssi_gateway", "device_name"))


def _bluetooth(time: Micros | None, data: dict[str, Any]) -> list[Found]:
    """What a gateway heard of a BLU device, which is a device of its own: called by its address."""
    address = data.get("address")
    if type(address) is not str or not address:
        raise RejectedMessage("no-device.payload", pointer="/params/events/0/data/address")
    device = device_id(address)
    decoded: list[Found] = []
    for key, value in data.items():
        if key in _OF_THE_RADIO:
            continue
        values = value if type(value) is list else [value]
        for number, item in enumerate(values[:_MOST_OF_A_KIND], 1):
            if key == "button":
                pressed = type(item) is int and item > 0
                event = DeviceEvent(device, time, "button", f"{number}: {item}")
                decoded.append(event if pressed else Ignored(device, "no-action", key))
                continue
            name, unit = _BTHOME.get(key.lower(), (key, None))
            channel = f".{number}" if len(values) > 1 else ""
            decoded.append(place(device, time, name + channel, item, unit, key))
    return decoded or [Ignored(device, "empty")]


_MOST_OF_A_KIND = 20


def _seconds(ts: object) -> Micros | None:
    """`ts` is seconds since 1970; before the clock is set it is null or near zero."""
    if type(ts) not in (int, float) or not ts or ts < 1e6:  # type: ignore[operator]
        return None
    return micros(ts)
