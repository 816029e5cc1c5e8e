"""The Things Stack v3 (The Things Network): what its MQTT server publishes under
v3/<application>@<tenant>/devices/<device>/.

    up                 readings: normalized_payload first, and what only decoded_payload has
    join               an event
    location/...       an event, and the position that was solved
    down/..., service  ignored

The device is `end_device_ids.device_id`; the time is when the network server heard the uplink, unless the device itself
gave one (normalized_payload[].time). https://www.thethingsindustries.com/docs/integrations/data-formats/
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgspec

from techport_ingest.decoding.common import (
    device_id,
    json_struct,
    json_type,
    leaves,
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
    without_repeats,
)
from techport_ingest.decoding.times import micros
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, RejectedMessage, Unreadable
from techport_pilots.formats import Sender
from techport_storage.model import Micros

NORMALIZED = MappingProxyType(
    {
        "battery": ("battery_voltage", "V"),
        "soil.depth": ("soil_depth", "cm"),
        "soil.moisture": ("soil_moisture", "%"),
        "soil.temperature": ("soil_temperature", "Cel"),
        "soil.ec": ("soil_conductivity", "dS/m"),
        "soil.pH": ("soil_ph", "[pH]"),
        "soil.n": ("soil_nitrogen", "[ppm]"),
        "soil.p": ("soil_phosphorus", "[ppm]"),
        "soil.k": ("soil_potassium", "[ppm]"),
        "air.pressure": ("air_pressure", "hPa"),
        "air.relativeHumidity": ("relative_humidity", "%"),
        "air.temperature": ("air_temperature", "Cel"),
        "air.co2": ("co2", "[ppm]"),
        "air.lightIntensity": ("illuminance", "lx"),
        "wind.direction": ("wind_from_direction", "deg"),
        "wind.speed": ("wind_speed", "m/s"),
        "rain.intensity": ("precipitation_rate", "mm/h"),
        "rain.cumulative": ("precipitation_total", "mm"),
        "water.leak": ("water_leak", None),
        "water.temperature.min": ("water_temperature.min", "Cel"),
        "water.temperature.max": ("water_temperature.max", "Cel"),
        "water.temperature.avg": ("water_temperature.avg", "Cel"),
        "water.temperature.current": ("water_temperature", "Cel"),
        "metering.water.total": ("water_meter", "L"),
        "action.motion.detected": ("motion", None),
        "action.motion.count": ("motion_count", "1"),
        "action.contactState": ("door_open", None),
        "position.latitude": ("latitude", "deg"),
        "position.longitude": ("longitude", "deg"),
    }
)
"""The names of a normalised payload, with the units that its schema lays down."""

_STATES = MappingProxyType({"open": True, "closed": False, "true": True, "false": False})


class _Ids(msgspec.Struct):
    device_id: str
    dev_eui: Any = None


class _Uplink(msgspec.Struct):
    received_at: Any = None
    session_key_id: Any = None
    f_cnt: Any = None
    f_port: Any = None
    frm_payload: Any = None
    decoded_payload: Any = None
    normalized_payload: Any = None
    rx_metadata: msgspec.Raw = msgspec.Raw()  # passed over unless somebody asks how it was heard
    version_ids: Any = None


class _Envelope(msgspec.Struct):
    end_device_ids: _Ids
    received_at: Any = None
    uplink_message: _Uplink | None = None
    uplink_normalized: _Uplink | None = None
    join_accept: Any = None
    location_solved: Any = None


class TheThingsStack:
    """Decoder that remembers the last uplink of up to `devices` devices, for those that are heard twice.

    `codecs` read the bytes in place of the network server's formatter. With `with_signal`, how well an uplink was heard
    is given as readings too.
    """

    def __init__(self, codecs: Codecs | None = None, devices: int = 50_000, with_signal: bool = False) -> None:
        self._codecs = codecs
        self._with_signal = with_signal
        self._first = FirstHeard(devices)
        self._parser = msgspec.json.Decoder(_Envelope)

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        envelope = json_struct(self._parser, message.payload)
        device = device_id(envelope.end_device_ids.device_id)
        uplink = envelope.uplink_message or envelope.uplink_normalized
        if uplink is None:
            return _no_uplink(envelope, device)
        time = _instant(uplink.received_at)
        if time is None:
            time = _instant(envelope.received_at)
        if time is not None:
            time = self._first.time(device, (uplink.session_key_id, uplink.f_cnt, uplink.frm_payload), time)
        decoded = self._values(envelope, uplink, device, time, message.received)
        return [*decoded, *signal(device, time, raw_json(uplink.rx_metadata))] if self._with_signal else decoded

    def radio(self, message: Message) -> Radio | None:
        """See RadioDecoder."""
        try:
            envelope = json_struct(self._parser, message.payload)
            device_id(envelope.end_device_ids.device_id)
            uplink = envelope.uplink_message or envelope.uplink_normalized
            return None if uplink is None else _radio(envelope, uplink, message.received)
        except RejectedMessage:
            return None

    def _values(
        self, envelope: _Envelope, uplink: _Uplink, device: str, time: Micros | None, received: Micros
    ) -> list[Found]:
        if self._codecs is not None and (radio := _radio(envelope, uplink, received)) is not None:
            codec = self._codecs.of(radio.names)
            if codec is not None:
                return object_values(device, time, codec(radio.payload, radio.port, radio.received), _brand(uplink))
        decoded = uplink.decoded_payload
        if decoded is not None and type(decoded) is not dict:
            raise RejectedMessage("wrong-shape.tts-decoded", kind=json_type(decoded))
        normalized = _normalized(uplink.normalized_payload, device, time)
        if decoded:
            values = object_values(device, time, decoded, _brand(uplink))
            return [*normalized, *without_repeats(values, normalized)] if normalized else values
        if normalized:
            return normalized
        if uplink.frm_payload and decoded is None:
            raise no_object("The Things Stack", "decoded_payload")
        return [Ignored(device, "empty-uplink")]


def _radio(envelope: _Envelope, uplink: _Uplink, received: Micros) -> Radio | None:
    """Raises RejectedMessage."""
    time = _instant(uplink.received_at) or _instant(envelope.received_at) or received
    version = uplink.version_ids if type(uplink.version_ids) is dict else {}
    names = (envelope.end_device_ids.device_id, envelope.end_device_ids.dev_eui, version.get("model_id"))
    return codec_input(uplink.frm_payload, uplink.f_port, time, names)


def _brand(uplink: _Uplink) -> str:
    """The maker as the device repository calls it; "" where the server does not say."""
    ids = uplink.version_ids
    brand = ids.get("brand_id") if type(ids) is dict else None
    return brand if type(brand) is str else ""


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    document = lenient_object(payload)
    ids = member(document, "end_device_ids")
    versions = member(member(document, "uplink_message"), "version_ids")
    return Sender(
        device=device_id(text_of(ids, "device_id") or level_behind(topic, "devices")),
        origin=text_of(member(ids, "application_ids"), "application_id"),
        kind=" ".join(part for part in (text_of(versions, "brand_id"), text_of(versions, "model_id")) if part),
    )


def origin(topic: str) -> str | None:
    """The application: two of them may have devices of the same name. None where the topic does not say it."""
    return level_behind(topic, "v3").partition("@")[0] if topic.startswith("v3/") else None


def _no_uplink(envelope: _Envelope, device: str) -> list[Found]:
    time = _instant(envelope.received_at)
    if envelope.join_accept is not None:
        return [DeviceEvent(device, time, "join")]
    solved = envelope.location_solved
    if solved is not None:
        where = solved.get("location") if type(solved) is dict else None
        return [DeviceEvent(device, time, "location"), *location(device, time, where)]
    return [Ignored(device, "not-uplink")]


def _normalized(payload: object, device: str, time: Micros | None) -> list[Found]:
    decoded: list[Found] = []
    if not payload:
        return decoded
    for record in payload if type(payload) is list else [payload]:
        if type(record) is not dict:
            raise RejectedMessage("wrong-shape.tts-normalized", kind=json_type(record))
        try:
            measured = _instant(record.get("time"))
        except RejectedMessage as error:
            decoded.append(Unreadable.of(error, device, values=len(record) - 1))
            continue
        for path, value in leaves(record):
            if path == ("time",):
                continue
            name, unit = NORMALIZED.get(".".join(path)) or (".".join(path), None)
            value = _STATES.get(value, value) if type(value) is str else value
            decoded.append(place(device, time if measured is None else measured, name, value, unit, ".".join(path)))
    return decoded


def _instant(text: object) -> Micros | None:
    """A timestamp of The Things Stack; its zero value, year 0001, means that there is none. Raises RejectedMessage."""
    if type(text) is not str or not text or text.startswith("0001-"):
        return None
    return micros(text)
