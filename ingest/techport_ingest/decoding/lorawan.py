"""What The Things Stack and ChirpStack have in common: the object that a payload formatter made of the radio's
bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from techport_ingest.decoding.cayenne_names import cayenne_values, is_cayenne
from techport_ingest.decoding.common import MOST_VALUES, place, too_many
from techport_ingest.decoding.lorawan_makers import Table, table_of
from techport_ingest.decoding.positions import UNITS, Located, position_of
from techport_ingest.decoding.quantity_names import quantity
from techport_ingest.decoding.times import micros
from techport_ingest.decoding.typed_lists import tree_values
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.device_names import comparable_name
from techport_storage.microseconds import SECOND
from techport_storage.model import Micros

PayloadCodec = Callable[[bytes, int, int], Mapping[str, Any]]
"""(bytes of the uplink, its port, when it was received in ms) -> the values by name. Cayenne LPP is one, a maker's
JavaScript another. A value that is a RejectedMessage says why the rest of the payload cannot be read."""


class Radio(NamedTuple):
    """What came over the radio."""

    payload: bytes
    port: int
    received: int  # ms since 1970
    names: tuple[str, ...] = ()  # of the device and of its profile, by which a source may choose a codec


class Codecs:
    """The codecs of one source: one for all devices, or by the name of a device or of its profile."""

    def __init__(self, default: PayloadCodec | None, by_name: Mapping[str, PayloadCodec] | None = None) -> None:
        self._default = default
        self._by_name = {comparable_name(name): codec for name, codec in (by_name or {}).items()}

    def __iter__(self) -> Iterator[PayloadCodec]:
        yield from () if self._default is None else (self._default,)
        yield from self._by_name.values()

    def of(self, names: Iterable[str]) -> PayloadCodec | None:
        """The codec of a device; None where its network server is left to decode."""
        for name in names if self._by_name else ():
            codec = self._by_name.get(comparable_name(name))
            if codec is not None:
                return codec
        return self._default


_IDENTITY = frozenset(
    (
        *("device_id", "deviceId", "protocol_version", "firmware_version", "hardware_version", "sn", "sensor_id"),
        *("serial_number", "serialNumber", "deviceSerialNumber", "devEUI", "dev_eui", "devAddr", "type_id"),
        *("port", "fPort", "f_port", "fport", "fCnt", "f_cnt", "fcnt", "fCntUp", "length", "len", "payload_length"),
        *("err", "error", "errors", "packageTimestamp", "frame_counter", "frameCounter", "seq", "sequence_number"),
    )
)
"""Keys under which formatters say who the device is, and what counts on the way: numbers, but nothing that was
measured. They are readings only where a source's `fields` asks for them."""

_SAME_UPLINK: Micros = 10 * SECOND


class FirstHeard:
    """Gives the copies of one uplink one time, so that the store keeps one row.

    Two gateways that hear the same radio message, or a network server that repeats it, deliver it twice, a few
    milliseconds apart. The frame counter alone does not tell (it starts again at every join and reboot): session,
    counter and bytes together must be equal, within ten seconds. A copy gets the time of the first instead of being
    ignored, since the first may not be stored yet.
    """

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._last: dict[str, tuple[Hashable, Micros]] = {}

    def time(self, device: str, uplink: Hashable, time: Micros) -> Micros:
        """The time of this uplink: that of its first copy, or `time`."""
        last = self._last.get(device)
        if last is not None and last[0] == uplink and abs(time - last[1]) < _SAME_UPLINK:
            return last[1]
        if len(self._last) >= self._devices:
            self._last.clear()
        self._last[device] = (uplink, time)
        return time


@runtime_checkable
class RadioDecoder(Protocol):
    """A decoder that can say beforehand what its codec will be given, so that many messages are decoded at once."""

    def radio(self, message: Message) -> Radio | None:
        """What its codec will be given; None where there is nothing to read. Remembers nothing."""


def signal(device: str, time: Micros | None, receptions: object, snr: str = "snr") -> list[Found]:
    """How well an uplink was heard: the strongest signal, its distance to the noise, and by how many gateways.

    `snr` is the key of one reception. proto3 leaves a zero out, so a missing one beside a signal is 0.
    """
    heard = [reception for reception in receptions if type(reception) is dict] if type(receptions) is list else []
    if not heard:
        return []
    best = max(heard, key=lambda reception: reception["rssi"] if type(reception.get("rssi")) in (int, float) else -1000)
    decoded: list[Found] = [Observed(device, time, "gateway_count", len(heard), "1")]
    if type(best.get("rssi")) in (int, float):
        decoded.append(Observed(device, time, "rssi", best["rssi"], "dBm"))
        decoded.append(Observed(device, time, "snr", best.get(snr, 0), "dB"))
    return decoded


def codec_input(data: object, port: object, received: Micros, names: Iterable[object]) -> Radio | None:
    """What a codec is given of base64 text; None where there is nothing to read. Raises RejectedMessage."""
    if not data:
        return None
    texts = tuple(name for name in names if type(name) is str and name)
    return Radio(radio_bytes(data), port if type(port) is int else 0, received // 1000, texts)


def radio_bytes(data: object) -> bytes:
    """The bytes of a base64 field; None (left out) is empty. Raises RejectedMessage."""
    if data is None:
        return b""
    try:
        return base64.b64decode(data, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, ValueError, TypeError):
        raise RejectedMessage("not-base64") from None


def no_object(server: str, field: str) -> RejectedMessage:
    """The rejection of an uplink that nobody decoded."""
    return RejectedMessage("not-decoded", field=field, server=server)


def object_values(device: str, time: Micros | None, tree: Mapping[str, Any], brand: str = "") -> list[Found]:
    """The values of a formatter's object. `brand` is what the server says of the maker. Five customs are understood:

    {"temperature": 21.5}                                            plain numbers, nested objects as channels
    {"temperature": {"displayName": ..., "unit": "°C", "value": 21.5}}   Decentlab: value and unit
    {"temperatureSensor": {"1": 21.5}}                               ChirpStack's Cayenne codec: by channel
    {"messages": [[{"type": "Air Temperature", "measurementValue": 24.6}]]}   SenseCAP: records that name themselves
    {"history": [{"period_in": 11, "timestamp": 1693530747}, ...]}       Milesight: records with their own time
    """
    decoded: list[Found] = []
    table = table_of(tree, brand)
    located = position_of(tree)
    for key, value in tree.items():
        kind = type(value)
        if located and (key,) in located:
            decoded.append(_part_of_position(device, time, located[key,], key))
        elif kind is RejectedMessage:
            decoded.append(Unreadable.of(value, device))
        elif key in _IDENTITY:
            decoded.append(Ignored(device, "identity", key, value, time))
        elif kind is float or kind is int:
            if key in table:
                name, unit = table[key]
                decoded.append(Observed(device, time, name, value, unit, key))
            else:
                decoded.append(Observed(device, time, quantity(key), value, None, key))
        elif is_cayenne(key, value):
            decoded += [
                place(device, time, part.key, part.value, part.unit, ".".join(part.path))
                for part in cayenne_values(key, value)
            ]
        elif kind is dict and (inner := position_of(value)):
            decoded += [_part_of_position(device, time, part, ".".join((key, *path))) for path, part in inner.items()]
            rest = (
                {} if "coordinates" in value else {name: part for name, part in value.items() if (name,) not in inner}
            )
            decoded += _nested(device, time, {key: rest})
        elif kind is dict and "value" in value and type(value["value"]) not in (dict, list):
            stated = value.get("unit")
            unit = stated if type(stated) is str else None
            decoded.append(place(device, time, quantity(key), value["value"], unit, maker=key))
        elif kind is list and value and all(type(record) is dict and "timestamp" in record for record in value):
            decoded.extend(_history(device, value, table))
        elif kind is dict or kind is list:
            decoded += _nested(device, time, {key: value})
        else:
            name, unit = table.get(key) or (quantity(key), None)
            decoded.append(place(device, time, name, value, unit, maker=key))
        if len(decoded) > MOST_VALUES:
            raise too_many()
    return decoded or [Ignored(device, "empty-uplink")]


def _nested(device: str, time: Micros | None, tree: Mapping[str, Any]) -> list[Found]:
    """The values of nested objects and lists."""
    return [
        Ignored(device, "identity", leaf.maker, leaf.value, time)
        if leaf.maker.rpartition(".")[2] in _IDENTITY
        else place(device, time, leaf.key, leaf.value, leaf.unit, leaf.maker, leaf.part)
        for leaf in tree_values(tree)
    ]


def _part_of_position(device: str, time: Micros | None, part: Located, maker: str) -> Found:
    return place(device, time, part.quantity, part.value, UNITS[part.quantity], maker)


def _history(device: str, records: list[dict[str, Any]], table: Table) -> list[Found]:
    decoded: list[Found] = []
    for record in records:
        try:
            time = micros(record["timestamp"])
        except RejectedMessage as error:
            decoded.append(Unreadable.of(error, device, values=len(record) - 1))
            continue
        for key, value in record.items():
            if key != "timestamp":
                name, unit = table.get(key) or (quantity(key), None)
                decoded.append(place(device, time, name, value, unit, maker=key))
    return decoded


def without_repeats(values: list[Found], preferred: list[Found]) -> list[Found]:
    """`values` with those ignored that `preferred` says better: "temperature" beside a normalised "air_temperature"."""
    better = {part.key for part in preferred if isinstance(part, Observed)}
    result: list[Found] = []
    for part in values:
        key = getattr(part, "key", "") or ""
        repeated = key in better or any(name.endswith("_" + key) for name in better)
        result.append(Ignored(part.device, "normalized", key, getattr(part, "value", None)) if repeated else part)
    return result
