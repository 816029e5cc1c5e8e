"""JSON of any shape, read as a source or the table of a family describes it.

    message ─► shape (the first whose topic and `when` fit) ─► records ─► device, time, values by name

A shape is the model's JsonShape: paths are those of json_paths.py. What is not said follows what makers usually do: the
time stands under a usual key, nested keys are joined, {"value": 21.5, "unit": "°C"} is one value, and a payload that is
no object or list is one plain value, a number or a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from techport_ingest.checking.absence import RULE as ABSENT
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.checking.key_cache import remembered
from techport_ingest.checking.time_names import name_of
from techport_ingest.decoding.common import (
    MOST_VALUES,
    availability,
    is_none_of_state,
    json_document,
    json_type,
    number,
    place,
    too_many,
    unless_unreadable,
    utf8,
)
from techport_ingest.decoding.decoder import DecoderSettings
from techport_ingest.decoding.fields import lowered, mapped, meaning
from techport_ingest.decoding.flattening import flattened, is_identifier, time_keys, time_of, value_key
from techport_ingest.decoding.json_paths import MISSING, Place, parse_path
from techport_ingest.decoding.positions import OF_GATEWAYS, UNITS, Located
from techport_ingest.decoding.quantity_names import quantity_of_path
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.decoding.topic_levels import SAYS_NOTHING, joined_levels
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.model import DeviceRule, FieldMapping, JsonShape
from techport_pilots.topics import topic_matches
from techport_storage.model import Micros


class FamilyShape(JsonShape, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A shape as the table of a family gives it: with what a source says beside it, and more than one may be needed."""

    topic: str | None = None  # filter, "#/" in front for any levels before; None: every topic of the source
    more_records: list[str] = msgspec.field(
        default_factory=list
    )  # further lists of records, such as those of a station's modules
    has: str | None = None  # path that a message must have
    device: DeviceRule | None = None
    fields: dict[str, FieldMapping] = msgspec.field(default_factory=dict)
    ignore: list[str] = msgspec.field(default_factory=list)
    availability: bool = False  # the message says whether the device is there: an event
    text: bool = False  # numbers are sent as text
    words: dict[str, float] = msgspec.field(default_factory=dict)  # what words mean whatever their key
    missing: dict[str, list[float]] = msgspec.field(default_factory=dict)  # numbers of a key that say "no value"
    endings: dict[str, FieldMapping] = msgspec.field(default_factory=dict)  # {temperature: ...} of hall_temperature


class JsonReader:
    """Decoder. Stateless: how a message is read depends on nothing that came before it."""

    def __init__(self, shapes: Sequence[FamilyShape], settings: DecoderSettings) -> None:
        """What the source says of device and time goes before what the shapes say."""
        rule = settings.times.rule
        self._shapes = [
            _Shape(
                shape if rule is None else msgspec.structs.replace(shape, time=rule),
                settings.zone,
                settings.device or shape.device,
            )
            for shape in shapes
        ]
        self._says_device = settings.device is not None

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")
        document: Any = MISSING
        sender = device
        for shape in self._shapes:
            if not shape.is_about(message.topic, levels):
                continue
            if shape.availability:
                return [availability(message, shape.device_of(levels, device))]
            if document is MISSING:
                document = shape.parse(message)
            if shape.takes(document):
                return shape.read(document, message, levels, device)
            sender = shape.sender(document, levels, device)
        if document is MISSING and self._says_device:
            sender = self._sender(message, levels, device)
        return [Ignored(sender, "other-message")]

    def _sender(self, message: Message, levels: Sequence[str], device: str) -> str:
        """Who sent a message that no shape is about, as the source says it: each shape has its rule."""
        shape = self._shapes[0]
        try:
            return shape.sender(shape.parse(message), levels, device)
        except RejectedMessage:
            return shape.device_of(levels, device)


class _Shape:
    """A shape with its paths ready."""

    def __init__(self, shape: FamilyShape, zone: ZoneInfo, device: DeviceRule | None) -> None:
        self._topic = shape.topic
        self._last = shape.topic.count("/") if shape.topic is not None and shape.topic.startswith("#/") else 0
        self.availability = shape.availability
        self._shape = shape
        self._device = device or DeviceRule()
        self._clock = TimeReader(zone, shape.time)
        lists = () if shape.records is None else (shape.records, *shape.more_records)
        self._records = [parse_path(path) for path in lists]
        self._apart = {path.steps[-1] for path in self._records[1:]}  # members of a record that are records themselves
        self._within = None if shape.within is None else parse_path(shape.within)
        self._name = shape.name
        self._name_path = None if shape.name is None or shape.name.path is None else parse_path(shape.name.path)
        self._value = None if shape.value is None else parse_path(shape.value)
        self._unit = None if shape.unit is None else parse_path(shape.unit)
        self._time = None if shape.time is None else parse_path(shape.time.key)
        self._date = None if shape.time is None or shape.time.date is None else parse_path(shape.time.date)
        self._pointer = None if self._device.pointer is None else parse_path(self._device.pointer)
        self._joined = [parse_path(text) for text in self._device.join]
        self._has = None if shape.has is None else parse_path(shape.has)
        self._words = lowered(shape.words)
        self._missing = shape.missing
        self._when = [(parse_path(path), frozenset(texts)) for path, texts in shape.when.items()]
        self._fields = {_joined(key, shape.separator): field for key, field in shape.fields.items()}
        self._ignore = frozenset(_joined(key, shape.separator) for key in shape.ignore)
        own = (self._time, self._date, self._pointer, self._name_path, self._unit, *self._joined)
        self._not_values = {path.steps for path in own if path is not None}
        self._not_values |= {path.steps for path, _ in self._when}

    def is_about(self, topic: str, levels: Sequence[str]) -> bool:
        """Whether the shape reads messages of this topic."""
        if self._topic is None:
            return True
        if self._last:
            return len(levels) >= self._last and topic_matches(self._topic[2:], "/".join(levels[-self._last :]))
        return topic_matches(self._topic, topic)

    def parse(self, message: Message) -> Any:
        """The document of a message: JSON, or a plain word. Raises RejectedMessage."""
        payload = message.payload
        try:
            return msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            by_path = self._records or self._name_path is not None
            plain = self._name is not None or _PLAIN.fullmatch(payload)
            if by_path or not plain or payload.lstrip()[:1] in (b"{", b"["):
                return json_document(payload)  # says what is wrong with it
            return utf8(payload)

    def takes(self, document: Any) -> bool:
        """Whether the message is one that this shape is about."""
        if self._has is not None and self._has.first(document, document) is MISSING:
            return False
        return all(str(path.first(document, document)) in texts for path, texts in self._when)

    def device_of(self, levels: Sequence[str], default: str) -> str:
        """The device as far as the topic says it."""
        rule = self._device
        if rule.id is not None:
            return rule.id
        if rule.level is not None:
            return _segment(joined_levels(levels, rule.level, rule.to, "-"), rule.segment)
        return default

    def sender(self, document: Any, levels: Sequence[str], default: str) -> str:
        """Who sent a message that is not read, as far as it can be told."""
        try:
            return self._owner(document, Place(document), self.device_of(levels, default))
        except RejectedMessage:
            return default

    def read(self, document: Any, message: Message, levels: Sequence[str], default: str) -> list[Found]:
        """Raises RejectedMessage."""
        device = self.device_of(levels, default)
        if self._records:
            places = [
                Place(element, place.names)
                for path in self._records
                for place in path.places(document)
                for element in (place.value if type(place.value) is list else (place.value,))
            ]
        elif type(document) is list and self._value is None:
            places = [Place(record) for record in document]
        else:
            places = [Place(document)]
        decoded: list[Found] = []
        for number_of_record, record in enumerate(places, 1):
            owner = device
            before = len(decoded)
            try:
                owner = self._owner(document, record, device)
                time = self._instant(document, record.value, message.received)
                self._add(decoded, document, record, owner, time, message, levels)
                decoded += [Observed(owner, time, key, value) for key, value in self._shape.constants.items()]
            except RejectedMessage as error:
                del decoded[before:]  # of a record that cannot be read, nothing is taken
                count = 1 if self._value is not None else self._size(document, record)
                located = number_of_record if len(places) > 1 else None
                decoded.append(Unreadable.of(error, owner, values=count, record=located))
            if len(decoded) > MOST_VALUES:
                raise too_many()
        return unless_unreadable(decoded) or [Ignored(device, "empty")]

    def _size(self, document: Any, record: Place) -> int:
        """How many values a record has that cannot be read."""
        value = record.value if self._within is None else self._within.first(document, record.value)
        if type(value) is not dict:
            return 1
        return sum(1 for key in value if not name_of(key) and (key,) not in self._not_values)

    def _owner(self, document: Any, record: Place, device: str) -> str:
        rule = self._device
        if self._pointer is not None:
            named = _name_text(self._pointer.first(document, record.value))
            if not named:
                raise RejectedMessage("no-device.payload", pointer=rule.pointer)
            return _segment(named, rule.segment)
        if self._joined:
            parts = [_name_text(path.first(document, record.value)) for path in self._joined]
            if not any(parts):
                raise RejectedMessage("no-device.payload", pointer=", ".join(rule.join))
            return "-".join(part for part in parts if part)
        return record.names.get("device") or device

    def _instant(self, document: Any, record: Any, received: Micros) -> Micros | None:
        """When the record was measured; None where it does not say. Raises RejectedMessage."""
        if self._time is not None:
            given = self._time.first(document, record)
            if given is MISSING and type(record) is dict:
                given = self._time.first(document, document)
            if self._date is not None:
                day = self._date.first(document, record)
                given = MISSING if given is MISSING or day is MISSING else f"{day} {given}"
        else:
            given = time_of(record)
            if given is None and record is not document:
                given = time_of(document)
            if given is None:
                given = _time_of_header(document)
        return self._read_time(given, received)

    def _read_time(self, given: Any, received: Micros) -> Micros | None:
        """The instant of what stands under the name of a time; None where nothing does. Raises RejectedMessage."""
        if given is MISSING or given is None or given in ("", 0, "0"):
            return None  # zero: a clock that was not set
        return self._clock.read(given, received)

    def _add(
        self,
        decoded: list[Found],
        document: Any,
        record: Place,
        device: str,
        time: Micros | None,
        message: Message,
        levels: Sequence[str],
    ) -> None:
        """The values of one record. Raises RejectedMessage."""
        name = self._name_of(document, record, levels)
        value = record.value
        if self._value is not None:
            value = self._value.first(document, value)
            if value is MISSING:
                if name:
                    decoded.append(Ignored(device, "missing", name))
                return
        elif self._within is not None:
            value = self._within.first(document, value)
            if value is MISSING:
                return
        elif name and type(value) is dict and "value" in value:
            value = value["value"]
        if type(value) is not dict and type(value) is not list:
            if not name and value is document:
                name = _level_that_names(levels, None if self._device.id is not None else device)
            if not name:
                raise RejectedMessage("wrong-shape.json", kind=json_type(value))
            unit = None if self._unit is None else self._unit.first(document, record.value)
            decoded.append(self._one(device, time, (name,), value, unit if type(unit) is str and unit else None))
            return
        before = () if self._within is None else self._within.steps
        own_times: dict[Any, Micros | None] = {}
        timed = self._time is None
        transport = _TRANSPORT if _is_uplink(value) else _NOTHING
        for path, leaf, unit, given in flattened(value, time_keys(value) if timed else (), timed=timed):
            if not path and not name and type(value) is dict:  # one value with its unit, which has no name
                path = (value_key(value) or "value",)
            if self._apart and path and path[0] in self._apart:
                continue
            if path in self._not_values or (before and (*before, *path) in self._not_values):
                continue
            if transport and path and path[0].lower() in transport:
                maker = self._shape.separator.join(path)
                if maker not in self._fields:
                    decoded.append(Ignored(device, "transport", maker, leaf, time, unit))
                    continue
            measured = time
            if given is not None:
                try:
                    if given not in own_times:
                        own_times[given] = self._read_time(given, message.received)
                except RejectedMessage as error:
                    decoded.append(Unreadable.of(error, device, self._shape.separator.join(path)))
                    continue
                measured = own_times[given] or time
            decoded.append(self._one(device, measured, (name, *path) if name else path, leaf, unit))

    def _name_of(self, document: Any, record: Place, levels: Sequence[str]) -> str:
        rule = self._name
        if rule is None:
            return record.names.get("name", "")
        if self._name_path is not None:
            name = _name_text(self._name_path.first(document, record.value))
            if not name:
                raise RejectedMessage("no-name.json", path=rule.path)
            return name
        return rule.text or joined_levels(levels, rule.level or -1, rule.to, self._shape.separator)

    def _is_ignored(self, path: Sequence[str], maker: str) -> bool:
        if maker in self._ignore:
            return True
        before = (self._shape.separator.join(path[:end]) for end in range(1, len(path)))
        return bool(self._ignore) and any(name in self._ignore for name in before)

    def _by_ending(self, key: str) -> FieldMapping | None:
        """What a name like hall_temperature means: the quantity, with the rest as its channel."""
        for ending, field in self._shape.endings.items():
            if key == ending:
                return field
            if key.endswith(f"_{ending}"):
                channel = key[: -len(ending) - 1]
                return msgspec.structs.replace(field, quantity=f"{field.quantity}.{channel}")
        return None

    def _one(self, device: str, time: Micros | None, path: tuple[str, ...], value: object, unit: str | None) -> Found:
        maker = self._shape.separator.join(path)
        if self._is_ignored(path, maker):
            return Ignored(device, "not-a-reading", maker, value, time, unit)
        field = self._fields.get(maker) or self._by_ending(path[-1])
        key = ""
        if type(value) is Located:
            key, unit, value = value.quantity, UNITS[value.quantity], value.value
        if type(value) is str:
            text = value.strip().lower()
            if is_absent_text(value) and not is_none_of_state(quantity_of_path(path), value):
                return Ignored(device, ABSENT, maker, value, time, unit)
            if field is None and is_identifier(path[-1]):
                return Ignored(device, "identity", maker, value, time, unit, maker)
            value = _numeric(value) if self._shape.text else value
            if field is not None:
                value, unit = meaning(value, field, unit)
            value = self._words.get(text, value) if self._words and type(value) is str else value
        elif maker in self._missing and type(value) in (int, float) and value in self._missing[maker]:
            return Ignored(device, ABSENT, maker, value, time, unit)
        if field is not None:
            placed = place(device, time, maker, value, unit, maker)
            return mapped(placed, field) if isinstance(placed, Observed) else placed
        key = key or (quantity_of_path(path) if self._shape.separator == "." else maker)
        return place(device, time, key, value, unit, maker)


_COUNTERS = frozenset(("fcnt", "fcntup", "f_cnt", "counter_up", "seqno"))
_TRANSPORT = (
    OF_GATEWAYS
    | _COUNTERS
    | frozenset(
        (
            *(
                "fport",
                "f_port",
                "port",
                "toa",
                "dr",
                "datr",
                "codr",
                "freq",
                "frequency",
                "adr",
                "ack",
                "confirmed",
                "fcntdown",
            ),
            *(
                "applicationid",
                "devaddr",
                "dev_addr",
                "spreadingfactor",
                "bandwidth",
                "seqno",
                "duplicate",
                "chan",
                "rfch",
            ),
        )
    )
)
"""Keys beside the frame counter of an uplink that say how it came, in lower case."""
_NOTHING: frozenset[str] = frozenset()


def _is_uplink(record: Any) -> bool:
    """Whether a record is a LoRaWAN uplink: it has the counter of its frames."""
    return type(record) is dict and _has_counter(tuple(record))


@remembered(4096)
def _has_counter(keys: tuple[str, ...]) -> bool:
    return not _COUNTERS.isdisjoint(map(str.lower, keys))


def _numeric(text: str) -> object:
    """The number in a text; Modbus gateways write registers as lists, "[21]"."""
    value = number(text.strip().removeprefix("[").removesuffix("]"))
    return text if value is None else value


_HEADERS = (
    "meta",
    "metadata",
    "header",
    "head",
    "info",
    "envelope",
    "context",
    "message",
    "msg",
    "event",
    "properties",
    "date",
)
"""Objects of a message that say something about the values beside them."""


def _time_of_header(document: Any) -> Any:
    """The time that an object beside the values has; None where none does."""
    if type(document) is not dict:
        return None
    about = {key.lower(): inner for key, inner in document.items() if type(inner) is dict}
    return next((time for name in _HEADERS if name in about and (time := time_of(about[name])) is not None), None)


def _joined(key: str, separator: str) -> str:
    """The key of a field as values are called: a pointer is as good as the joined keys."""
    return separator.join(parse_path(key).steps) if key.startswith("/") else key


def _name_text(value: object) -> str:
    return str(value).strip() if type(value) in (str, int) else ""


_PLAIN = re.compile(rb"\s*[^\r\n{}\[\]\":=;|]{1,40}\s*")
"""A word or a number, with its unit perhaps. What has the signs of JSON, pairs or tables in it is damaged."""


def _level_that_names(levels: Sequence[str], device: str | None) -> str:
    """What the topic of a plain value calls it: its last level that says something, behind the one that names the
    device; "" for none. `device` is None where no level names it.
    """
    last = next((at for at in reversed(range(len(levels))) if levels[at].lower() not in SAYS_NOTHING), 0)
    return levels[last] if device is None or device in levels[:last] else ""


def _segment(name: str, segment: int | None) -> str:
    if segment is None:
        return name
    return joined_levels(name.split("/"), segment, None, "")


def shape_of(options: Mapping[str, Any] | JsonShape) -> FamilyShape:
    """A source's shape as the decoder takes it."""
    return msgspec.convert(msgspec.to_builtins(options), FamilyShape)
