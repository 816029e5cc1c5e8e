"""ChirpStack v4 integration events: application/<id>/device/<DevEUI>/event/<up|status|join|log|location|...>.

    up        readings: the codec's `object`
    status    battery_level, where the device has a battery and could measure it (the margin is ignored)
    join, log an event
    location  an event, and the position
    ack, txack, integration   ignored

Messages are proto3 JSON: fields with the value zero are left out. The device is the DevEUI in lower case.
https://www.chirpstack.io/docs/chirpstack/integrations/events.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.decoding.common import (
    device_id,
    json_struct,
    json_type,
    lenient_object,
    level_behind,
    location,
    member,
    place,
    raw_json,
    text_of,
)
from techport_ingest.decoding.lorawan import (
    Codecs,
    FirstHeard,
    Radio,
    codec_input,
    no_object,
    object_values,
    signal,
)
from techport_ingest.decoding.times import micros
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, RejectedMessage
from techport_pilots.formats import Sender
from techport_storage.model import Micros


class _Info(msgspec.Struct, rename="camel"):
    dev_eui: str
    device_name: Any = None
    device_profile_name: Any = None

    @property
    def profile(self) -> str:
        """The device profile, which mostly names maker and model; "" where there is none."""
        return self.device_profile_name if type(self.device_profile_name) is str else ""


class _Event(msgspec.Struct, rename="camel"):
    device_info: _Info
    time: Any = None
    dev_addr: Any = None
    f_cnt: Any = None
    f_port: Any = None
    data: Any = None
    object: Any = None
    rx_info: msgspec.Raw = msgspec.Raw()  # passed over unless somebody asks how it was heard
    battery_level: Any = None
    battery_level_unavailable: Any = None
    external_power_source: Any = None
    margin: Any = None
    level: Any = None
    code: Any = None
    description: Any = None
    location: Any = None


class ChirpStack:
    """Decoder that remembers the last uplink of up to `devices` devices, for those that are heard twice.

    `codecs` read the bytes in place of the network server's formatter. With `with_signal`, how well an uplink was heard
    is given as readings too.
    """

    def __init__(self, codecs: Codecs | None = None, devices: int = 50_000, with_signal: bool = False) -> None:
        self._codecs = codecs
        self._with_signal = with_signal
        self._first = FirstHeard(devices)
        self._parser = msgspec.json.Decoder(_Event)

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        event = json_struct(self._parser, message.payload)
        device = device_id(event.device_info.dev_eui)
        time = micros(event.time) if event.time else None
        kind = _kind(message.topic, event)
        if kind == "up":
            decoded = self._uplink(event, device, time, message.received)
            return [*decoded, *signal(device, time, raw_json(event.rx_info))] if self._with_signal else decoded
        if kind == "status":
            return _status(event, device, time)
        if kind == "join":
            return [DeviceEvent(device, time, kind)]
        if kind == "location":
            return [DeviceEvent(device, time, kind), *location(device, time, event.location)]
        if kind == "log":
            text = " ".join(str(part) for part in (event.level, event.code, event.description) if type(part) is str)
            return [DeviceEvent(device, time, "log", text[:500])]
        return [Ignored(device, "not-uplink")]

    def radio(self, message: Message) -> Radio | None:
        """See RadioDecoder."""
        try:
            event = json_struct(self._parser, message.payload)
            device_id(event.device_info.dev_eui)
            return _radio(event, message.received) if _kind(message.topic, event) == "up" else None
        except RejectedMessage:
            return None

    def _uplink(self, event: _Event, device: str, time: Micros | None, received: Micros) -> list[Found]:
        if time is not None:
            time = self._first.time(device, (event.dev_addr, event.f_cnt, event.data), time)
        if self._codecs is not None and (radio := _radio(event, received)) is not None:
            codec = self._codecs.of(radio.names)
            if codec is not None:
                return object_values(
                    device, time, codec(radio.payload, radio.port, radio.received), event.device_info.profile
                )
        if event.object is not None and type(event.object) is not dict:
            raise RejectedMessage("wrong-shape.chirpstack", kind=json_type(event.object))
        if event.object:
            return object_values(device, time, event.object, event.device_info.profile)
        if event.data and event.object is None:
            raise no_object("ChirpStack", "object")
        return [Ignored(device, "empty-uplink")]


def _radio(event: _Event, received: Micros) -> Radio | None:
    """Raises RejectedMessage."""
    info = event.device_info
    names = (info.dev_eui, info.device_name, info.device_profile_name)
    return codec_input(event.data, event.f_port, micros(event.time) if event.time else received, names)


def _kind(topic: str, event: _Event) -> str:
    """What happened: the end of the topic; where it says none (posted without `?event=`), what the event holds."""
    kind = topic.rpartition("/")[2]
    if kind in _EVENTS or (event.object is None and event.data is None):
        return kind
    return "up"


_EVENTS = frozenset(("up", "status", "join", "ack", "txack", "log", "location", "integration"))


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    info = member(lenient_object(payload), "deviceInfo")
    return Sender(
        device=device_id(text_of(info, "devEui") or level_behind(topic, "device")),
        title=text_of(info, "deviceName"),
        kind=text_of(info, "deviceProfileName"),
    )


def _status(event: _Event, device: str, time: Micros | None) -> list[Found]:
    """The level that the device gave in its DevStatusAns. The server writes 0 where it gave none: the marks beside it
    say that there is no battery, or that the device could not measure it.
    """
    margin = Ignored(device, "status", "margin", event.margin, time)
    if event.battery_level is None:
        return [Ignored(device, "status")]
    if event.external_power_source is True or event.battery_level_unavailable is True:
        return [Ignored(device, MISSING, "battery_level", event.battery_level, time, "%", "batteryLevel"), margin]
    return [place(device, time, "battery_level", event.battery_level, "%", "batteryLevel"), margin]
