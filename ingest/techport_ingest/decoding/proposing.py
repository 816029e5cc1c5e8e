"""Which source would read these messages? Every format that their topics or their shape suggest is tried.

    messages ─► candidates (formats by topic, families, format json by shape) ─► each explained ─► the best one

A candidate is better the more of its values get a described quantity and the fewer are rejected. Nothing is invented:
a field whose unit or meaning the messages do not tell is listed, to be said by a person.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from techport_ingest.checking.time_names import is_time
from techport_ingest.decoding.common import number
from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.quantity_names import UNKNOWN_UNIT
from techport_ingest.decoding.router import Router
from techport_ingest.decoding.topic_levels import PLAIN_ENDS, SAYS_NOTHING
from techport_ingest.message import Message, RejectedMessage
from techport_pilots.accounting.rejection import Rejected
from techport_pilots.definition.load import source_yaml
from techport_pilots.devices.explanation import Explanation
from techport_pilots.devices.proposals import Captured, OpenField, Proposal
from techport_pilots.formats import DEFAULT, formats
from techport_pilots.model import (
    DeviceDefinition,
    DeviceRule,
    FieldMapping,
    NameRule,
    PilotDefinition,
    SourceDefinition,
    Text,
    TimeRule,
)
from techport_pilots.quantities import builtin
from techport_pilots.registry.view import IngestView
from techport_pilots.topics import topic_matches
from techport_storage.model import Micros

_MOST = 30  # messages that are looked at
_DEVICE_KEYS = (
    *("deviceId", "device_id", "deviceID", "devEUI", "dev_eui", "devEui", "DevEUI", "eui", "EUI", "device"),
    *("mac", "MAC", "sensorId", "sensor_id", "sensor", "serial", "serialNumber", "sn", "node", "from", "src", "imei"),
    "id",
)
_NAME_KEYS = ("name", "n", "tag", "key", "parameter", "type", "id", "measurement", "variable", "quantity")
_VALUE_KEYS = ("value", "v", "val", "measurementValue", "reading", "data", "record")
_UNIT_KEYS = ("unit", "u", "uom", "unitCode", "units")
_EPOCHS = ((1_400_000_000, 2_200_000_000), (1_400_000_000_000, 2_200_000_000_000))


class _Tried(NamedTuple):
    score: float
    source: SourceDefinition
    explanations: list[Explanation]
    devices: list[str]
    texts: list[OpenField]  # numbers sent as text of which something has to be said


_UNREADABLE = float("-inf")  # the score of a source by which none of the messages has a reading


def propose(captured: Sequence[Captured], received: Micros) -> Proposal | None:
    """The source that reads these messages best.

    Parameters
    ----------
    captured : sequence of Captured
        Of one kind: from one maker, with topics that differ in the device at most.
    received : Micros
        When they arrived, µs.

    Returns
    -------
    Proposal or None
        None where nothing reads any of them.
    """
    captured = list(captured)[:_MOST]
    tried = [_try(source, captured, received) for source in _candidates(captured)] if captured else []
    best = max(tried, key=lambda proposal: proposal.score, default=None)
    if best is None or best.score == _UNREADABLE:
        return None
    readings = [reading for explanation in best.explanations for reading in explanation.readings]
    fields = list(dict.fromkeys(reading.quantity.removeprefix(UNKNOWN_UNIT) for reading in readings))
    fields += [field.key for field in best.texts]
    rejected = sum(any(not _is_text(part) for part in explanation.rejected) for explanation in best.explanations)
    return Proposal(best.source, best.devices, fields, _open_fields(best), rejected)


def _open_fields(best: _Tried) -> list[OpenField]:
    open_fields = {field.key: field for field in best.texts}
    words = builtin()
    for explanation in best.explanations:
        for reading in explanation.readings:
            if reading.quantity in words or reading.unit is not None:
                continue
            key = reading.quantity.removeprefix(UNKNOWN_UNIT)
            lacks = "unit" if reading.quantity.startswith(UNKNOWN_UNIT) else "quantity"
            open_fields.setdefault(key, OpenField(key, f"{reading.value:g}", lacks, _near(key)))
        for part in explanation.ignored_parts:
            if part.rule == "text" and part.key and part.value:
                open_fields.setdefault(part.key, OpenField(part.key, part.value.strip('"')[:40], "words"))
    return list(open_fields.values())


def _try(source: SourceDefinition, captured: Sequence[Captured], received: Micros) -> _Tried:
    devices = _devices(source, captured, received)
    explanations = _explained(source, captured, received, devices)
    texts: list[OpenField] = []
    if any(_is_text(part) for explanation in explanations for part in explanation.rejected):
        described, texts = _texts(source, captured, received, devices)
        source = msgspec.structs.replace(source, fields={**source.fields, **described})
        explanations = _explained(source, captured, received, devices)
    shape = msgspec.structs.replace(source, topic=_back(source.topic, captured))
    readable = texts or any(explanation.readings for explanation in explanations)
    score = _score(explanations) - 0.02 * len(texts) + _specific(source)
    # Of two that read as well, the one with less to write: what follows from a device's own texts is no choice.
    score -= 0.002 * len(source_yaml(msgspec.structs.replace(shape, fields={})))
    return _Tried(score if readable else _UNREADABLE, shape, explanations, devices, texts)


def _explained(
    source: SourceDefinition, captured: Sequence[Captured], received: Micros, devices: Sequence[str]
) -> list[Explanation]:
    listed = [DeviceDefinition(id=name) for name in devices]
    pilot = PilotDefinition(id=_PILOT, title=Text(), question=Text(), devices=listed, sources=[source])
    return [explain(message.payload, _elsewhere(message.topic), received, None, pilot) for message in captured]


def _score(explanations: Sequence[Explanation]) -> float:
    words = builtin()
    score = 0.0
    for explanation in explanations:
        described = {
            reading.quantity.partition(".")[0] for reading in explanation.readings if reading.quantity in words
        }
        described_count = sum(reading.quantity in words for reading in explanation.readings)
        score += 3.0 * len(described - _OF_THE_RADIO) + 0.5 * len(described & _OF_THE_RADIO)
        score += 0.2 * described_count + 0.02 * (len(explanation.readings) - described_count)
        score -= sum(5.0 * part.values for part in explanation.rejected if not _is_text(part))
        score -= sum(1.0 for reading in explanation.readings if _looks_like_no_value(reading.quantity, reading.value))
        score += 0.2 * len(explanation.events)
        score += 0.3 * any(reading.time is not None for reading in explanation.readings)
    return score


_OF_THE_RADIO = frozenset({"rssi", "snr"})
"""What a network server says beside the device's own message: a source that reads nothing else has missed that."""


# -- Numbers that are sent as text.


def _is_text(part: Rejected) -> bool:
    return part.rejection.code == "not-a-number.as-text"


def _texts(
    source: SourceDefinition, captured: Sequence[Captured], received: Micros, devices: Sequence[str]
) -> tuple[dict[str, FieldMapping], list[OpenField]]:
    """Mappings of the numbers that these messages send as text, and those of which something has to be said.

    A rejection names the first key of its kind in a message: each round adds that one, until none is left.
    """
    sent: dict[str, tuple[str, str]] = {}  # by the maker's key: what it would be, and what was sent
    for _ in range(_MOST_TEXTS):
        mapped = {key: FieldMapping(quantity, text=True) for key, (quantity, _) in sent.items()}
        trial = msgspec.structs.replace(source, fields={**source.fields, **mapped})
        new = {
            str(part.rejection.params["key"]): (part.field or "", str(part.rejection.params["given"]))
            for explanation in _explained(trial, captured, received, devices)
            for part in explanation.rejected
            if _is_text(part)
        }
        if not new.keys() - sent.keys():
            break
        sent |= new
    words = builtin()
    as_numbers = [Captured(message.topic, _with_numbers(message.payload)) for message in captured]
    explanations = _explained(source, as_numbers, received, devices)
    stated = {reading.quantity for explanation in explanations for reading in explanation.readings}
    described = {
        key: FieldMapping(quantity, text=True)
        for key, (quantity, _) in sent.items()
        if quantity in words and quantity in stated
    }
    texts = [
        OpenField(key, given, "unit" if quantity in words else "quantity", _near(quantity), text=True)
        for key, (quantity, given) in sent.items()
        if key not in described
    ]
    return described, texts


_MOST_TEXTS = 40  # keys of a message


def _with_numbers(payload: bytes) -> bytes:
    """The JSON with its numbers as numbers: shows what they would be if they had not been sent as text."""

    def bare(value: Any) -> Any:
        if type(value) is dict:
            return {key: inner if key in _DEVICE_KEYS else bare(inner) for key, inner in value.items()}
        if type(value) is list:
            return [bare(inner) for inner in value]
        found = number(value) if type(value) is str else None
        return value if found is None else found

    try:
        return msgspec.json.encode(bare(msgspec.json.decode(payload)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload


def _near(key: str) -> list[str]:
    words = builtin()
    return [key] if key in words else words.near(key) or words.near(key.rpartition(".")[2])


def _specific(source: SourceDefinition) -> float:
    """What a source has ahead whose format was made for messages of such topics, or that says where names stand."""
    form = formats()[source.format]
    if form.topic:
        return 3.0 if source.topic == form.topic and not form.topic.startswith("+") else 1.0
    return 0.5 if source.name is not None and source.value is not None else 0.0


_PILOT = "proposal"


def _elsewhere(topic: str) -> str:
    """A topic of another pilot as one that the pilot of the trial may read."""
    levels = topic.split("/")
    return "/".join(["pilots", _PILOT, *levels[2:]]) if levels[0] == "pilots" and len(levels) > 2 else topic


def _back(topic: str, captured: Sequence[Captured]) -> str:
    levels, own = topic.split("/"), captured[0].topic.split("/")
    return "/".join([*own[:2], *levels[2:]]) if levels[0] == "pilots" == own[0] and len(levels) > 2 else topic


def _looks_like_no_value(key: str, value: float) -> bool:
    """Whether a reading may be a time or a long number of identity after all."""
    name = key.removeprefix(UNKNOWN_UNIT).rpartition(".")[2]
    return key not in builtin() and (name in _DEVICE_KEYS or any(low <= value <= high for low, high in _EPOCHS))


def _devices(source: SourceDefinition, captured: Sequence[Captured], received: Micros) -> list[str]:
    router = Router()
    pilot = PilotDefinition(id=_PILOT, title=Text(), question=Text(), devices=[], sources=[source])
    router.use(IngestView.of(1, [pilot], []))
    names: dict[str, None] = {}
    for captured_message in captured:
        topic = _elsewhere(captured_message.topic)
        route = router.route(topic)
        if route is None or route.decode is None:
            continue
        try:
            findings = route.decode(Message(topic, captured_message.payload, received, 1), route.device)
        except RejectedMessage:
            continue
        names |= dict.fromkeys(finding.device for finding in findings if finding.device)
    router.close()
    return sorted(names)


# -- What may read them.


def _candidates(captured: Sequence[Captured]) -> Iterator[SourceDefinition]:
    topics = [_elsewhere(captured_message.topic) for captured_message in captured]
    pattern = _pattern(topics)
    below = pattern.startswith("pilots/")
    rule = DeviceRule(level=3) if below else None
    for form in formats().values():
        if form.name == DEFAULT:
            yield SourceDefinition(pattern, form.name, rule if below else _topic_rule(pattern))
        elif form.topic and all(topic_matches(form.topic, topic) for topic in topics):
            yield SourceDefinition(form.topic, form.name)
        elif form.told_by_payload:
            yield SourceDefinition(pattern, form.name, rule)
    documents = [_document(captured_message.payload) for captured_message in captured]
    yield from _of_json(pattern, topics, documents, rule)


def _topic_rule(pattern: str) -> DeviceRule | None:
    levels = pattern.split("/")
    return None if "+" in levels or "#" in levels else DeviceRule(id=levels[-1])


def _pattern(topics: Sequence[str]) -> str:
    """A filter for these topics: where they differ, or where a level looks like the id of one device, any level."""
    divided = [topic.split("/") for topic in topics]
    if len({len(levels) for levels in divided}) > 1:
        shortest = min(len(levels) for levels in divided)
        columns = zip(*(each[:shortest] for each in divided), strict=True)
        common = [levels[0] for levels in itertools.takewhile(lambda levels: len(set(levels)) == 1, columns)]
        return "/".join([*common[: shortest - 1], "#"])
    levels = [
        column[0] if len(set(column)) == 1 and not _is_id(column[0]) else "+" for column in zip(*divided, strict=True)
    ]
    if levels[0] == "pilots" and len(levels) > _DEVICE_LEVEL:
        levels[_DEVICE_LEVEL] = "+"
    elif "+" not in levels and len(levels) > 1:  # one device so far: the last level that may be its name
        named = [at for at, level in enumerate(levels) if at and level and level not in SAYS_NOTHING]
        if named:
            levels[named[-1]] = "+"
    return "/".join(levels)


_DEVICE_LEVEL = 2  # of pilots/<pilot>/<device>, from 0


def _is_id(level: str) -> bool:
    return sum(letter.isdigit() for letter in level) >= 4 and len(level) >= 6


def _document(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")


def _of_json(
    pattern: str, topics: Sequence[str], documents: Sequence[Any], rule: DeviceRule | None
) -> Iterator[SourceDefinition]:
    first = next((document for document in documents if type(document) in (dict, list)), documents[0])
    if type(first) not in (dict, list):
        yield from _named_by_topic(pattern, topics)
        return
    sample = first[0] if type(first) is list and first and type(first[0]) is dict else first
    if type(sample) is not dict:
        return
    pointed = _device_pointer(sample)
    named = rule or _topic_rule(pattern)
    rules = [named]
    if pointed is not None and rule is None:  # rather than that all devices of a topic are one
        rules = [DeviceRule(pointer=pointed)] if named is not None else [named, DeviceRule(pointer=pointed)]
    for device in rules:
        yield SourceDefinition(pattern, "json", device, time=_time_rule(sample))
        yield from _of_topics(topics, pattern, sample)
        for path, record in _record_lists(sample):
            name = next((key for key in _NAME_KEYS if type(record.get(key)) is str), None)
            value = next((key for key in _VALUE_KEYS if key in record), None)
            if name is not None and value is not None:
                unit = next((key for key in _UNIT_KEYS if type(record.get(key)) is str), None)
                time = _time_rule(record) or _short_time(record)
                yield SourceDefinition(
                    pattern, "json", device, records=path, name=NameRule(name), value=value, unit=unit, time=time
                )
            else:
                yield SourceDefinition(pattern, "json", device, records=path, time=_time_rule(record))
        for path in _value_objects(sample):
            yield SourceDefinition(pattern, "json", device, within=path, time=_time_rule(sample))


def _of_topics(topics: Sequence[str], pattern: str, sample: dict[str, Any]) -> Iterator[SourceDefinition]:
    """A message that holds one value under a key such as "value": the topic says which."""
    key = next((key for key in _VALUE_KEYS if type(sample.get(key)) in (int, float, bool)), None)
    if key is None or any(type(sample.get(name)) is str for name in _NAME_KEYS):
        return
    unit = next((name for name in _UNIT_KEYS if type(sample.get(name)) is str), None)
    for source in _named_by_topic(pattern, topics):
        yield msgspec.structs.replace(source, value=key, unit=unit, time=_time_rule(sample))


def _named_by_topic(pattern: str, topics: Sequence[str]) -> Iterator[SourceDefinition]:
    """One value a message: the last level that is no word such as "state" names it, one before it the device."""
    levels = topics[0].split("/")
    named = max((at for at, level in enumerate(levels) if level not in PLAIN_ENDS), default=len(levels) - 1)
    wide = (pattern if len(set(topics)) > 1 else topics[0]).split("/")
    if len(wide) != len(levels):
        return
    varying = [at for at, level in enumerate(wide[:named]) if level == "+"]
    ids = [at for at in range(named) if _is_id(levels[at])]
    for device in varying or ids[:1] or [at for at in (1, 0) if at < named and levels[at]][:1]:
        filter_levels = list(wide)
        filter_levels[device] = filter_levels[named] = "+"
        yield SourceDefinition(
            "/".join(filter_levels), "json", DeviceRule(level=device + 1), name=NameRule(level=named + 1)
        )


def _device_pointer(record: dict[str, Any]) -> str | None:
    for key in _DEVICE_KEYS:
        if type(record.get(key)) in (str, int) and record[key] != "":
            return f"/{key}"
        for outer, inner in record.items():
            if type(inner) is dict and type(inner.get(key)) in (str, int) and inner[key] != "":
                return f"/{outer}/{key}"
    return None


def _time_rule(record: dict[str, Any]) -> TimeRule | None:
    """A time under a key that is not a usual one, recognised by its value."""
    if any(is_time(key) for key in record):
        return None
    for key, value in record.items():
        if type(value) in (int, float) and any(low <= value <= high for low, high in _EPOCHS):
            return TimeRule(f"/{key}")
    return None


def _short_time(record: dict[str, Any]) -> TimeRule | None:
    return TimeRule("t") if type(record.get("t")) in (int, float, str) else None


def _record_lists(record: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in record.items():
        if type(value) is list and value and type(value[0]) is dict:
            yield f"{path}/{_escaped(key)}", value[0]
        elif type(value) is dict:
            yield from _record_lists(value, f"{path}/{_escaped(key)}")


def _value_objects(record: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in record.items():
        if type(value) is dict:
            inner = f"{path}/{_escaped(key)}"
            if any(type(part) in (int, float, bool, dict) for part in value.values()):
                yield inner
            yield from _value_objects(value, inner)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
