"""techport's own JSON: one object, or an array of them.

    {"time": "2026-05-04T12:30:00Z", "pm10": 21.5, "temperature": 7}

`time`, or another usual name of it, is read by techport_ingest/decoding/time_fields.py and may be left out. Every other
key is a quantity. Which values are
acceptable is not decided here: that is the check step, which knows the device. An array that is a SenML pack is read as
one.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from techport_ingest.decoding.common import json_document, json_type, not_json, unless_unreadable
from techport_ingest.decoding.positions import position_of
from techport_ingest.decoding.senml import read_pack
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Message, Observed, RejectedMessage, Unreadable
from techport_storage.model import Micros

_STRICT = TimeReader()
"""Times of devices that nobody said more about need an offset."""


def decode(message: Message, device: str, times: TimeReader = _STRICT) -> list[Found]:
    """Values in the order of the payload. Raises RejectedMessage for what is not JSON of that shape; of an array, only
    the records that are not are unreadable.
    """
    payload = message.payload
    document = json_document(payload)
    received = message.received
    if type(document) is not list:
        if type(document) is not dict:
            if not message.topic.startswith("pilots/"):
                raise RejectedMessage("wrong-shape.source", kind=json_type(document))
            raise RejectedMessage("wrong-shape.native", kind=json_type(document))
        keys, time = times.keys_and_time(document, received)
        values = _with_position(document) if payload.find(b"{", 1) > 0 else document
        decoded = _values(values, device, time, keys)
        # With a time in text, as most have one, all strings but that one are keys.
        strings = len(document) + (type(document.get(keys[0])) is str)
        if (marks := payload.count(b'"')) != 2 * strings and marks != 2 * _strings(document):
            _reject_duplicate_keys(payload)
        if not decoded:
            raise RejectedMessage("no-values.native")
        return decoded
    if _is_senml(document):
        # The topic says whose readings these are, whatever the pack calls it: it is what the broker checked.
        return [msgspec.structs.replace(part, device=device) for part in read_pack(document, received, device)]
    twice = _duplicate_keys(payload) if payload.count(b'"') != 2 * sum(map(_strings, document)) else {}
    decoded = []
    time = None
    nested = payload.count(b"{") > len(document)
    for number, record in enumerate(document):
        try:
            if number in twice:
                raise RejectedMessage("duplicate-key.native", key=twice[number][:100])
            if type(record) is not dict:
                raise RejectedMessage("wrong-shape.native", kind=json_type(record))
            keys, time = times.keys_and_time(record, received, time)
            decoded += _values(_with_position(record) if nested else record, device, time, keys)
        except RejectedMessage as error:
            count = len(record) - len(times.keys_of(record)) if type(record) is dict else 1
            decoded.append(Unreadable.of(error, device, values=count, record=number + 1))
    if not decoded:
        raise RejectedMessage("no-values.native")
    return unless_unreadable(decoded)


def _values(record: dict[str, Any], device: str, time: Micros | None, keys: tuple[str, ...]) -> list[Found]:
    """The values of one object, whose time these keys hold."""
    decoded: list[Found]
    if len(keys) == 1:
        only = keys[0]
        decoded = [Observed(device, time, key, value) for key, value in record.items() if key != only]
    else:
        decoded = [Observed(device, time, key, value) for key, value in record.items() if key not in keys]
    return decoded


def _with_position(record: dict[str, Any]) -> dict[str, Any]:
    """The record with latitude and longitude in place of an object that is the device's position, such as
    {"location": {"lat": 63.4, "lon": 10.4}}; other objects stay, for the check to explain.
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        located = position_of(value) if type(value) is dict else {}
        flat |= {part.quantity: part.value for part in located.values()} or {key: value}
    return flat


def _strings(record: object) -> int:
    """How many strings a flat object has, keys included."""
    if type(record) is not dict:
        return 0
    return len(record) + sum(type(value) is str for value in record.values())


def _reject_duplicate_keys(payload: bytes) -> None:
    """The exact check, in Python, of the few payloads that may hold a key twice.

    A parser keeps the last of two equal keys and says nothing. Each string of a payload has two quotation marks, so
    fewer strings in the parsed document than half the quotation marks means that a key was dropped, or else that the
    payload has escaped quotation marks or nested values, which is why the count alone proves nothing.
    """
    if twice := _duplicate_keys(payload):
        raise RejectedMessage("duplicate-key.native", key=next(iter(twice.values()))[:100])


def _duplicate_keys(payload: bytes) -> dict[int, str]:
    """The first key that a record has twice, by the number of the record; an object alone is record 0."""
    try:
        document = json.loads(payload, object_pairs_hook=_Object)
    except RecursionError as error:
        raise not_json(payload, error) from None
    records = document if type(document) is list else [document]
    repeated = ((number, _twice(record)) for number, record in enumerate(records))
    return {number: key for number, key in repeated if key is not None}


class _Object(list[tuple[str, Any]]):
    """The members of a JSON object as they were written."""


def _twice(value: object) -> str | None:
    """The first key that stands twice in an object within a value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Object):
            seen: set[str] = set()
            for key, inner in part:
                if key in seen:
                    return key
                seen.add(key)
                waiting.append(inner)
        elif type(part) is list:
            waiting.extend(part)
    return None


def _is_senml(records: list[Any]) -> bool:
    """SenML packs (RFC 8428) are arrays too; as plain objects they would become streams called "n" and "v"."""
    return any(
        "bn" in record or ("n" in record and ("v" in record or "u" in record or "vs" in record or "vb" in record))
        for record in records
        if type(record) is dict
    )
