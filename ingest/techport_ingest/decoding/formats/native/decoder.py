"""techport's own JSON: one object, or an array of them.

    {"time": "2026-05-04T12:30:00Z", "pm10": 21.5, "temperature": 7}

`time` is read by techport_ingest/decoding/times.py and may be left out. Every other key is a quantity. Which values are
acceptable is not decided here: that is the check step, which knows the device. An array that is a SenML pack is read as
one.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from techport_ingest.decoding.senml import read_pack
from techport_ingest.decoding.times import micros
from techport_ingest.message import BadMessage, Found, Message, Observed

_SHAPE = 'Send one object, {"time": "2026-05-04T12:30:00Z", "pm10": 21.5}, or an array of such objects'


def decode(message: Message, device: str) -> list[Found]:
    """Values in the order of the payload. Raises BadMessage for what is not JSON of that shape."""
    payload = message.payload
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(payload, error) from None
    observed: list[Found] = []
    append = observed.append
    strings = 0
    for record in document if type(document) is list else (document,):
        if type(record) is not dict:
            raise BadMessage("wrong-shape", f"the payload holds {_name(record)} where an object belongs", _SHAPE)
        given = record.get("time")
        time = None if given is None else micros(given)
        strings += len(record)
        for key, value in record.items():
            if type(value) is str:
                strings += 1
            if key != "time":
                append(Observed(device, time, key, value))
    if payload.count(b'"') != 2 * strings:
        _refuse_duplicate_keys(payload)
    if type(document) is list and _is_senml(document):
        # The topic says whose readings these are, whatever the pack calls it: it is what the broker checked.
        return [msgspec.structs.replace(one, device=device) for one in read_pack(document, message.received, device)]
    if not observed:
        raise BadMessage("no-values", "there is no value in it", _SHAPE)
    return observed


def _refuse_duplicate_keys(payload: bytes) -> None:
    """The exact check, in Python, of the few payloads that may hold a key twice.

    A parser keeps the last of two equal keys and says nothing. Each string of a payload has two quotation marks, so
    fewer strings in the parsed document than half the quotation marks means that a key was dropped, or else that the
    payload has escaped quotation marks or nested values, which is why the count alone proves nothing.
    """
    try:
        json.loads(payload, object_pairs_hook=_object_without_duplicates)
    except RecursionError as error:
        raise _explain(payload, error) from None


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    raise BadMessage(
        "duplicate-key",
        f"{twice[:60]!r} stands twice in one object",
        "Send each quantity once; two readings belong in two objects, each with its own time",
    )


def _is_senml(records: list[dict[str, Any]]) -> bool:
    """SenML packs (RFC 8428) are arrays too; as plain objects they would become streams called "n" and "v"."""
    return any(
        "bn" in record or ("n" in record and ("v" in record or "u" in record or "vs" in record or "vb" in record))
        for record in records
    )


def _explain(payload: bytes, error: Exception) -> BadMessage:
    """Why the parser stopped, in words that help the person who wrote the device's code."""
    if isinstance(error, RecursionError):
        return BadMessage("too-deep", "objects or arrays are nested too deeply to be a reading", _SHAPE)
    if not payload.strip():
        return BadMessage("empty", "the payload is empty", _SHAPE)
    try:
        payload.decode()
    except UnicodeDecodeError as wrong:
        detail = f"byte {wrong.start} (0x{payload[wrong.start]:02x}) is not UTF-8"
        return BadMessage(
            "not-utf8", detail, "Encode the JSON text as UTF-8, not Latin-1; binary payloads need a format"
        )
    return _explain_text(payload, str(error))


def _explain_text(payload: bytes, problem: str) -> BadMessage:
    if payload.startswith(b"\xef\xbb\xbf"):
        return BadMessage(
            "not-json", "a byte order mark stands before the JSON", "Leave the mark out (UTF-8 without BOM)"
        )
    if "out of range" in problem:
        return BadMessage("number-too-large", problem, "Numbers end at about 1.8e308")
    if b"NaN" in payload or b"Infinity" in payload or b"nan" in payload:
        return BadMessage("nan", problem, "JSON has no NaN and no Infinity: leave the key out when there is no value")
    where = re.search(r"\(byte (\d+)\)", problem)
    if "truncated" in problem or (where and int(where[1]) >= len(payload)):
        detail = f"the payload ends after {len(payload)} bytes, in the middle of the JSON"
        return BadMessage("truncated", detail, "A buffer on the device may be too small for the text; send all of it")
    return BadMessage("not-json", problem, _SHAPE)


def _name(value: object) -> str:
    names = {list: "an array", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")
