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

from techport_ingest.decoding.common import json_document, json_type, not_json
from techport_ingest.decoding.senml import read_pack
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Message, Observed, RejectedMessage
from techport_storage.model import Micros

_STRICT = TimeReader()
"""Times of devices that nobody said more about need an offset."""


def decode(message: Message, device: str, times: TimeReader = _STRICT) -> list[Found]:
    """Values in the order of the payload. Raises RejectedMessage for what is not JSON of that shape."""
    payload = message.payload
    document = json_document(payload)
    received = message.received
    time: Micros | None = None
    observed: list[Found] = []
    append = observed.append
    strings = 0
    for record in document if type(document) is list else (document,):
        if type(record) is not dict:
            raise RejectedMessage("wrong-shape.native", kind=json_type(record))
        keys = times.keys_of(record)
        time = times.of(record, keys, received, time)
        strings += len(record)
        for key, value in record.items():
            if type(value) is str:
                strings += 1
            if key not in keys:
                append(Observed(device, time, key, value))
    if payload.count(b'"') != 2 * strings:
        _reject_duplicate_keys(payload)
    if type(document) is list and _is_senml(document):
        # The topic says whose readings these are, whatever the pack calls it: it is what the broker checked.
        return [msgspec.structs.replace(one, device=device) for one in read_pack(document, message.received, device)]
    if not observed:
        raise RejectedMessage("no-values.native")
    return observed


def _reject_duplicate_keys(payload: bytes) -> None:
    """The exact check, in Python, of the few payloads that may hold a key twice.

    A parser keeps the last of two equal keys and says nothing. Each string of a payload has two quotation marks, so
    fewer strings in the parsed document than half the quotation marks means that a key was dropped, or else that the
    payload has escaped quotation marks or nested values, which is why the count alone proves nothing.
    """
    try:
        json.loads(payload, object_pairs_hook=_object_without_duplicates)
    except RecursionError as error:
        raise not_json(payload, error) from None


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise RejectedMessage("duplicate-key.native", key=twice[:100])


def _is_senml(records: list[dict[str, Any]]) -> bool:
    """SenML packs (RFC 8428) are arrays too; as plain objects they would become streams called "n" and "v"."""
    return any(
        "bn" in record or ("n" in record and ("v" in record or "u" in record or "vs" in record or "vb" in record))
        for record in records
    )
