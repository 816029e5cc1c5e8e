"""Homie, versions 4 and 5: one topic a property, its value as bare text.

    4    homie/<device>/<node>/<property>        and $datatype, $unit, ... beside it
    5    homie/5/<device>/<node>/<property>      and homie/5/<device>/$description, one JSON object

The key is the property with the node as channel: engine/temperature is air_temperature.engine. What a device says of
its properties is remembered; a value that comes before its description is a reading if it is written as a number.
Numbers are sent as text by the convention and converted here. $state is an event. https://homieiot.github.io/specification/
"""

from __future__ import annotations

from typing import Any

import msgspec

from techport_ingest.decoding.common import device_id, is_state, json_object, number, utf8
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage
from techport_pilots.formats import Sender

_PROPERTIES = 2_000
_NUMBERS = ("integer", "float")


class _Property(msgspec.Struct):
    datatype: str | None = None
    unit: str | None = None


class Homie:
    """Decoder that remembers datatypes and units of `devices` devices, at most 2,000 properties each."""

    def __init__(self, devices: int = 5_000) -> None:
        self._most = devices
        self._devices: dict[str, dict[str, _Property]] = {}

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")[1:]
        if levels[:1] == ["5"] or levels[:1] == ["4"]:
            levels = levels[1:]
        if not levels or levels[0].startswith("$") or len(levels) < 2:
            return [Ignored(device, "broadcast")]
        name, rest = levels[0], levels[1:]
        device = device_id(name) or device
        if rest[0].startswith("$"):
            return [self._of_device(message, name, device, rest[0])]
        if len(rest) == 3 and rest[2].startswith("$"):
            return [self._of_property(message, name, device, rest)]
        if len(rest) != 2 or rest[1].startswith("$"):
            return [Ignored(device, "command" if rest[-1] == "set" else "description", "/".join(rest)[:80])]
        return [self._value(message, name, device, rest)]

    def _of_device(self, message: Message, name: str, device: str, attribute: str) -> Found:
        if attribute == "$state":
            return DeviceEvent(device, None, "state", utf8(message.payload)[:40])
        if attribute == "$description" and message.payload:
            self._describe(name, message.payload)
        return Ignored(device, "description", attribute)

    def _of_property(self, message: Message, name: str, device: str, rest: list[str]) -> Found:
        node, prop, attribute = rest
        if attribute in ("$datatype", "$unit"):
            described = self._open(name).setdefault(f"{node}/{prop}", _Property())
            text = utf8(message.payload)[:40]
            if attribute == "$datatype":
                described.datatype = text
            else:
                described.unit = text
            self._trim(name)
        return Ignored(device, "description", "/".join(rest)[:80])

    def _describe(self, name: str, payload: bytes) -> None:
        """Take in a $description of Homie 5. Raises RejectedMessage."""
        properties: dict[str, _Property] = {}
        for node, about in _objects(json_object(payload, "wrong-shape.homie-description").get("nodes")):
            for prop, attributes in _objects(about.get("properties")):
                unit = attributes.get("unit")
                properties[f"{node}/{prop}"] = _Property(
                    str(attributes.get("datatype", ""))[:40], unit[:40] if type(unit) is str else None
                )
        self._open(name).clear()
        self._devices[name].update(properties)
        self._trim(name)

    def _open(self, name: str) -> dict[str, _Property]:
        if name not in self._devices and len(self._devices) >= self._most:
            del self._devices[next(iter(self._devices))]
        return self._devices.setdefault(name, {})

    def _trim(self, name: str) -> None:
        properties = self._devices[name]
        while len(properties) > _PROPERTIES:
            del properties[next(iter(properties))]

    def _value(self, message: Message, name: str, device: str, rest: list[str]) -> Found:
        described = self._devices.get(name, {}).get("/".join(rest)) or _Property()
        key = f"{quantity(rest[1])}.{rest[0]}"
        text = utf8(message.payload)
        if not text:
            return Ignored(device, "empty", key)
        if described.datatype == "boolean" and text in ("true", "false"):
            return Observed(device, None, key, float(text == "true"), maker=".".join(rest))
        if described.datatype in _NUMBERS or described.datatype is None:
            value = number(text)
            if value is not None:
                return Observed(device, None, key, value, described.unit, maker=".".join(rest))
            if described.datatype is not None:
                raise RejectedMessage(
                    "not-a-number.homie", property="/".join(rest)[:100], datatype=described.datatype, given=text[:100]
                )
        if is_state(key):
            return Observed(device, None, key, text, maker=".".join(rest))
        return Ignored(device, "text", key, text, None, described.unit, ".".join(rest))


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    levels = topic.split("/")[1:]
    return Sender(device=device_id("".join((levels[1:] if levels[:1] in (["5"], ["4"]) else levels)[:1])))


def _objects(value: object) -> list[tuple[str, dict[str, Any]]]:
    return [(key, item) for key, item in value.items() if type(item) is dict] if isinstance(value, dict) else []
