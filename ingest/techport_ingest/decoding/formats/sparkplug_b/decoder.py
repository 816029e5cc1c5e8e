"""Eclipse Sparkplug B: spBv1.0/<group>/<type>/<edge node>[/<device>], protobuf (sparkplug_b.proto beside this file).

A birth (NBIRTH, DBIRTH) lists the metrics with name, type and alias; later messages may name a metric by its alias
alone and leave its type out. So this decoder remembers births, and a message that needs one it has not seen, because
the worker was started since, goes to quarantine; `rebirth` is the command that asks the node for another, and then the
message can be reprocessed.

The id of a device is "<edge node>-<device>", of metrics of the node itself "<edge node>". Deaths are events. Numbers of
types Int8 to Int64 arrive as unsigned and are signed again. https://sparkplug.eclipse.org/specification/ chapters 4
and 6.
"""

from __future__ import annotations

from math import isfinite
from types import MappingProxyType

import msgspec
from google.protobuf.message import DecodeError

from techport_ingest.decoding.common import MOST_VALUES, device_id, text_value, too_many, unless_unreadable
from techport_ingest.decoding.formats.sparkplug_b.sparkplug_b_pb2 import Metric, Payload
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.formats import Sender
from techport_storage.model import Micros

_SIGNED = MappingProxyType({1: 8, 2: 16, 3: 32, 4: 64})  # Int8 .. Int64: bits
_UNSIGNED = frozenset((5, 6, 7, 8))
_BOOLEAN = 11
_NUMBERS = frozenset((*_SIGNED, *_UNSIGNED, 9, 10, _BOOLEAN))
_IGNORED_TYPES = MappingProxyType(
    {12: "text", 13: "date", 14: "text", 15: "text", 16: "data-set", 17: "data", 18: "data", 19: "template"}
)
_UNIT_PROPERTIES = frozenset(("engUnit", "engineeringUnits", "Engineering Units", "unit", "units"))
_CONTROL = ("Node Control/", "Device Control/", "Properties/")


class Described(msgspec.Struct, frozen=True):
    """What a birth said of one metric."""

    name: str
    datatype: int
    unit: str | None = None


class _Birth(msgspec.Struct):
    """The metrics of one edge node or device, by alias and by name."""

    time: int  # ms
    by_alias: dict[int, Described] = {}
    by_name: dict[str, Described] = {}


class SparkplugB:
    """Decoder that remembers births: two for each node and device, so that messages of before the last one keep their
    names.

    Bounded: `births` sources of at most MOST_VALUES metrics; beyond, the longest unchanged is forgotten.
    """

    def __init__(self, births: int = 5_000) -> None:
        self._most = births
        self._births: dict[str, list[_Birth]] = {}

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")
        if levels[0] != "spBv1.0" or len(levels) < 4 or levels[1] == "STATE":
            if "STATE" in levels[:2]:
                return [Ignored(device, "host-state")]
            raise RejectedMessage("wrong-topic.sparkplug", topic=message.topic[:100])
        kind = levels[2]
        source = "/".join((levels[1], *levels[3:5]))
        device = device_id("-".join(levels[3:5])) or device
        if kind in ("NCMD", "DCMD"):
            return [Ignored(device, "command")]
        payload = _parse(message.payload)
        sent = payload.timestamp * 1000 if payload.HasField("timestamp") else None
        sent = sent if sent is not None and sent < 2**62 else None
        if kind in ("NDEATH", "DDEATH"):
            return [DeviceEvent(device, None, "offline")]  # its timestamp is that of the connection, not of the death
        if kind in ("NBIRTH", "DBIRTH"):
            self._remember(source, payload)
            return [DeviceEvent(device, sent, "online"), *self._values(payload, source, device, sent)]
        if kind not in ("NDATA", "DDATA"):
            raise RejectedMessage("wrong-topic.sparkplug-type", type=kind[:100])
        return self._values(payload, source, device, sent) or [Ignored(device, "empty")]

    def _remember(self, source: str, payload: Payload) -> None:
        birth = _Birth(payload.timestamp)
        for metric in payload.metrics:
            if metric.HasField("name"):
                described = Described(metric.name, metric.datatype, _unit(metric))
                birth.by_name[metric.name] = described
                if metric.HasField("alias"):
                    birth.by_alias[metric.alias] = described
        earlier = self._births.pop(source, [])
        self._births[source] = [
            birth,
            *(earlier_birth for earlier_birth in earlier if earlier_birth.time < birth.time),
        ][:2]
        if len(self._births) > self._most:
            del self._births[next(iter(self._births))]

    def _birth_of(self, source: str, payload: Payload) -> _Birth | None:
        births = self._births.get(source, [])
        sent = payload.timestamp
        return next((birth for birth in births if birth.time <= sent), births[0] if births else None)

    def _values(self, payload: Payload, source: str, device: str, sent: Micros | None) -> list[Found]:
        birth = self._birth_of(source, payload)
        decoded: list[Found] = []
        for metric in payload.metrics:
            try:
                described = _described(metric, birth)
            except RejectedMessage as error:
                decoded.append(Unreadable.of(error, device))
                continue
            time = metric.timestamp * 1000 if metric.HasField("timestamp") and metric.timestamp < 2**52 else sent
            try:
                decoded.append(_one(metric, described, device, time))
            except RejectedMessage as error:
                decoded.append(Unreadable.of(error, device, described.name))
        return unless_unreadable(decoded)


def sender(topic: str, payload: bytes) -> Sender:
    """Who sent a message."""
    return Sender(device=device_id("-".join(topic.split("/")[3:5])))


def origin(topic: str) -> str:
    """The group: two groups may have nodes of the same name."""
    levels = topic.split("/")
    return levels[1] if len(levels) > 3 else ""


def rebirth(reason: str, topic: str, time: Micros) -> tuple[str, bytes] | None:
    """Topic and payload of the command that lets the edge node of a message be born again (specification, 5.6), where
    that is what was missing.
    """
    if reason != "unknown-alias":
        return None
    levels = topic.split("/")
    if levels[0] != "spBv1.0" or len(levels) < 4 or not levels[1] or not levels[3] or {"+", "#"} & set(levels[1:4]):
        return None
    command = Payload(timestamp=max(time, 0) // 1000)
    command.metrics.add(name="Node Control/Rebirth", datatype=_BOOLEAN, boolean_value=True)
    return f"spBv1.0/{levels[1]}/NCMD/{levels[3]}", command.SerializeToString()


def _parse(payload: bytes) -> Payload:
    parsed = Payload()
    try:
        parsed.ParseFromString(payload)
    except DecodeError:
        raise RejectedMessage("not-sparkplug") from None
    if len(parsed.metrics) > MOST_VALUES:
        raise too_many()
    if any(type(metric.name) is not str for metric in parsed.metrics):  # the library gives bytes where UTF-8 is broken
        raise RejectedMessage("not-utf8.sparkplug")
    return parsed


def _described(metric: Metric, birth: _Birth | None) -> Described:
    """Name, type and unit of a metric. Raises RejectedMessage for an alias without birth."""
    if metric.HasField("name") and metric.name:
        from_birth = birth.by_name.get(metric.name) if birth is not None else None
        if from_birth is not None and not metric.HasField("datatype"):
            return from_birth
        return Described(metric.name, metric.datatype, from_birth.unit if from_birth else _unit(metric))
    described = birth.by_alias.get(metric.alias) if birth is not None and metric.HasField("alias") else None
    if described is None:
        raise RejectedMessage("unknown-alias", alias=str(metric.alias))
    return described


def _one(metric: Metric, described: Described, device: str, time: Micros | None) -> Found:
    name = described.name
    if name == "bdSeq" or name.startswith(_CONTROL):
        return Ignored(device, "control", name)
    if metric.is_transient:
        return Ignored(device, "transient", name)
    kind = metric.WhichOneof("value")
    if metric.is_null or kind is None:
        return Ignored(device, "null", name)
    if described.datatype in _IGNORED_TYPES or described.datatype > 19:
        if kind == "string_value":
            return text_value(device, time, quantity(name), metric.string_value, described.unit, name)
        return Ignored(device, _IGNORED_TYPES.get(described.datatype, "array"), name)
    if kind in ("string_value", "bytes_value", "dataset_value", "template_value"):
        if kind == "string_value":
            return text_value(device, time, quantity(name), metric.string_value, described.unit, name)
        return Ignored(device, "data", name)
    value = float(_signed(getattr(metric, kind), described))
    if not isfinite(value):
        return Ignored(device, "not-finite", name)  # how PLCs say that a sensor is broken
    return Observed(device, time, quantity(name), value, described.unit, maker=name)


def _signed(value: float | int | bool, described: Described) -> float | int | bool:
    """Integers of signed types come as unsigned: 0xFFFFFFFB of an Int32 is -5.

    Raises RejectedMessage where the type is unknown and the number could be either.
    """
    if type(value) is not int:
        return value
    bits = _SIGNED.get(described.datatype)
    if bits is not None:
        half = 1 << (bits - 1)
        return ((value & (2 * half - 1)) ^ half) - half
    if described.datatype not in _NUMBERS and value >= 2**31:
        raise RejectedMessage("unknown-type", name=described.name[:100], value=str(value))
    return value


def _unit(metric: Metric) -> str | None:
    for key, value in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key in _UNIT_PROPERTIES and type(value.string_value) is str and value.string_value:
            return value.string_value[:40]
    return None
