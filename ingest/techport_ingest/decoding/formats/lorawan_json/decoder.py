"""Uplinks of LoRaWAN network servers that deliver JSON: where each writes the device, the bytes and what they mean.

The Things Stack and ChirpStack 4 have decoders of their own; others are tables, families/<format>.yaml, in the terms of
UplinkShape, and so is any server that a source describes under `options:` of `format: lorawan-json`. Paths are those of
json_paths.py.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from techport_ingest.checking.absence import RULE as MISSING_RULE
from techport_ingest.decoding.common import (
    MOST_VALUES,
    device_id,
    json_document,
    json_type,
    number,
    place,
    too_many,
    unless_unreadable,
)
from techport_ingest.decoding.json_paths import MISSING, parse_path
from techport_ingest.decoding.lorawan import Codecs, FirstHeard, Radio, no_object, object_values, radio_bytes, signal
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.formats import Sender
from techport_pilots.topics import topic_matches
from techport_storage.model import Micros


class UplinkShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a server writes what. Paths; where several are given, the first that leads to something is taken."""

    device: list[str] = msgspec.field(default_factory=lambda: ["devEUI"])
    time: list[str] = []
    data: list[str] = []  # the bytes
    encoding: Literal["base64", "hex"] = "base64"
    port: list[str] = []
    counter: list[str] = []
    object: list[str] = []  # what the server's codec made of them; JSON in text too
    names: list[str] = []  # of the device and its profile, to choose a codec by
    receptions: str | None = None  # the list of gateways that heard it
    rssi: str = "rssi"  # keys of a reception
    snr: str = "snr"
    battery: str | None = None  # of status messages: per cent
    battery_absent: list[str] = []  # paths that are true where the battery's level is not known
    latitude: list[str] = []  # of messages that say where a device is, by what gateways heard; numbers in text too
    longitude: list[str] = []
    events: list[str] = []  # topic filters ("+/+/+/+/event/join") of what is no uplink, told by its last level
    topics: list[str] = []  # topic filters of uplinks and status messages; none: every topic of the source


class UplinkReader:
    """Decoder that remembers the last uplink of up to `devices` devices, for those that are heard twice."""

    def __init__(
        self,
        shape: UplinkShape,
        server: str,
        zone: ZoneInfo,
        codecs: Codecs | None = None,
        *,
        with_signal: bool = False,
        devices: int = 50_000,
    ) -> None:
        self._shape = shape
        self._server = server
        self._clock = TimeReader(zone)
        self._codecs = codecs
        self._with_signal = with_signal
        self._first = FirstHeard(devices)
        self._paths = {name: [parse_path(text) for text in getattr(shape, name)] for name in _PATHS}
        self._receptions = None if shape.receptions is None else parse_path(shape.receptions)
        self._battery = None if shape.battery is None else parse_path(shape.battery)

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        document = json_document(message.payload)
        records = document if type(document) is list else [document]
        decoded: list[Found] = []
        for position, record in enumerate(records, 1):
            try:
                decoded += self._record(message, record, device)
            except RejectedMessage as error:
                owner = self._device(record) or device
                decoded.append(Unreadable.of(error, owner, record=position if len(records) > 1 else None))
            if len(decoded) > MOST_VALUES:
                raise too_many()
        return unless_unreadable(decoded) or [Ignored(device, "empty")]

    def sender(self, topic: str, payload: bytes) -> Sender:
        """Who sent a message; of a list, the first."""
        try:
            document = json_document(payload)
        except RejectedMessage:
            return Sender()
        record = document[0] if type(document) is list and document else document
        names = [path.first(record, record) for path in self._paths["names"]] if type(record) is dict else []
        texts = [name[:200] for name in names if type(name) is str]
        return Sender(device=self._device(record), title="".join(texts[:1]), kind="".join(texts[1:2]))

    def _device(self, record: object) -> str:
        return _eui(self._first_of("device", record)) if type(record) is dict else ""

    def radio(self, message: Message) -> Radio | None:
        """See RadioDecoder. Of a list of uplinks, none is decoded beforehand."""
        try:
            document = json_document(message.payload)
            return self._radio(message, document) if type(document) is dict else None
        except RejectedMessage:
            return None

    def _record(self, message: Message, record: Any, default: str) -> list[Found]:
        if type(record) is not dict:
            raise RejectedMessage("wrong-shape.lorawan", kind=json_type(record))
        device = self._device(record) or default
        kind = message.topic.rpartition("/")[2]
        if any(topic_matches(filter_, message.topic) for filter_ in self._shape.events):
            return [DeviceEvent(device, self._time(message, record), kind)]
        if self._shape.topics and not any(topic_matches(filter_, message.topic) for filter_ in self._shape.topics):
            return [Ignored(device, "not-uplink")]
        time = self._time(message, record)
        if self._battery is not None and (level := self._battery.first(record, record)) is not MISSING:
            absent = any(path.first(record, record) is True for path in self._paths["battery_absent"])
            if absent:
                return [Ignored(device, MISSING_RULE, "battery_level", level, time, "%", "batteryLevel")]
            return [_battery(device, time, level)]
        where = [(key, _number(self._first_of(key, record))) for key in ("latitude", "longitude")]
        if all(value is not None for _, value in where):
            parts = [Observed(device, time, key, value, "deg", key) for key, value in where]
            return [DeviceEvent(device, time, "location"), *parts]
        if time is not None:
            counter = (str(self._first_of("counter", record)), str(self._first_of("data", record)))
            time = self._first.time(device, counter, time)
        decoded = self._values(message, record, device, time)
        return [*decoded, *self._heard(record, device, time)] if self._with_signal else decoded

    def _values(self, message: Message, record: Any, device: str, time: Micros | None) -> list[Found]:
        radio = self._radio(message, record)
        codec = None if radio is None or self._codecs is None else self._codecs.of(radio.names)
        if radio is not None and codec is not None:
            return object_values(device, time, codec(radio.payload, radio.port, radio.received), " ".join(radio.names))
        made = self._first_of("object", record)
        if type(made) is str:
            made = json_document(made.encode()) if made else None
        if type(made) is list and made:  # of records that name themselves, as Helium's Cayenne decoder has them
            made = {"payload": made}
        if type(made) is dict and made:
            return object_values(device, time, made, self._profile(record))
        if made is not MISSING and made is not None and type(made) is not dict:
            raise RejectedMessage("wrong-shape.lorawan", kind=json_type(made))
        if radio is not None and type(made) is not dict:
            raise no_object(self._server, (self._shape.object or ["object"])[0].lstrip("/"))
        return [Ignored(device, "empty-uplink")]

    def _profile(self, record: Any) -> str:
        """What the server says of the device's name and profile, which mostly hold the maker's."""
        texts = (path.first(record, record) for path in self._paths["names"])
        return " ".join(text for text in texts if type(text) is str)

    def _radio(self, message: Message, record: Any) -> Radio | None:
        data = self._first_of("data", record)
        if data is MISSING or not data:
            return None
        payload = _hex(data) if self._shape.encoding == "hex" else radio_bytes(data)
        time = self._time(message, record)
        port = _whole(self._first_of("port", record))
        texts = [path.first(record, record) for path in (*self._paths["names"], *self._paths["device"])]
        names = tuple(text for text in texts if type(text) is str and text)
        return Radio(payload, port, (message.received if time is None else time) // 1000, names)

    def _heard(self, record: Any, device: str, time: Micros | None) -> list[Found]:
        heard = MISSING if self._receptions is None else self._receptions.first(record, record)
        alone = heard is MISSING and self._shape.rssi in record  # of one gateway; not said how many others heard it
        if type(heard) is dict or alone:
            heard = [record if alone else heard]
        if type(heard) is not list:
            return []
        keys = (("rssi", self._shape.rssi), ("snr", self._shape.snr))
        plain = [
            {key: _number(reception.get(name)) for key, name in keys} for reception in heard if type(reception) is dict
        ]
        numbers = [{key: value for key, value in reception.items() if value is not None} for reception in plain]
        decoded = signal(device, time, numbers)
        return (
            [part for part in decoded if type(part) is Observed and part.key != "gateway_count"] if alone else decoded
        )

    def _time(self, message: Message, record: Any) -> Micros | None:
        given = self._first_of("time", record)
        return None if given is MISSING or given in (0, "", "0") else self._clock.read(given, message.received)

    def _first_of(self, role: str, record: Any) -> Any:
        candidates = (path.first(record, record) for path in self._paths[role])
        return next((value for value in candidates if value is not MISSING and value is not None), MISSING)


_PATHS = ("latitude", "longitude", "device", "time", "data", "port", "counter", "object", "names", "battery_absent")


def _battery(device: str, time: Micros | None, level: object) -> Found:
    return place(device, time, "battery_level", level, "%", "batteryLevel")


def _eui(name: object) -> str:
    """A DevEUI as text, whether a server writes hexadecimal digits or, as protobuf does, base64."""
    if type(name) is not str:
        return ""
    try:
        raw = base64.b64decode(name, validate=True) if len(name) == _BASE64_EUI else b""
    except (binascii.Error, ValueError):
        raw = b""
    return raw.hex() if len(raw) == _EUI else device_id(name)


_EUI, _BASE64_EUI = 8, 12


def _hex(data: object) -> bytes:
    try:
        return bytes.fromhex(data)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise RejectedMessage("not-hex.uplink") from None


def _number(value: object) -> float | None:
    if type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    return number(value) if type(value) is str else None


def _whole(value: object) -> int:
    parsed = _number(value)
    return 0 if parsed is None or abs(parsed) > 2**31 else int(parsed)
