"""SenML in CBOR: the same records with numbers for labels (RFC 8428, section 6)."""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import Any

import cbor2

from techport_ingest.decoding.common import json_type
from techport_ingest.decoding.senml import read_pack
from techport_ingest.message import Found, Message, RejectedMessage

LABELS = MappingProxyType(
    {
        -1: "bver",
        -2: "bn",
        -3: "bt",
        -4: "bu",
        -5: "bv",
        -6: "bs",
        0: "n",
        1: "u",
        2: "v",
        3: "vs",
        4: "vb",
        5: "s",
        6: "t",
        7: "ut",
        8: "vd",
    }
)
"""CBOR labels, RFC 8428 table 4."""


def decode(message: Message, device: str) -> list[Found]:
    """The values of a CBOR pack. Raises RejectedMessage."""
    return read_pack(_cbor(message.payload), message.received, device)


def _cbor(payload: bytes) -> list[Any]:
    try:
        pack = cbor2.loads(payload, max_depth=4, allow_duplicate_keys=False, semantic_decoders=_TAGS, tag_hook=_no_tag)
    except (cbor2.CBORError, _Tagged, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise _not_cbor(payload, error) from None
    if type(pack) is not list:
        raise RejectedMessage("wrong-shape.senml-pack", kind=json_type(pack))
    return [
        {LABELS.get(key, key) if type(key) is int else key: _plain(value) for key, value in record.items()}
        if type(record) is dict
        else record
        for record in pack
    ]


def _not_cbor(payload: bytes, error: Exception) -> RejectedMessage:
    if not payload:
        return RejectedMessage("not-cbor.empty")
    if isinstance(error, _Tagged) or isinstance(error.__cause__, _Tagged):
        return RejectedMessage("not-cbor.tag")
    if isinstance(error, cbor2.CBORDecodeEOF):
        return RejectedMessage("not-cbor.truncated", size=len(payload))
    return RejectedMessage("not-cbor.malformed", problem=str(error)[:200])


class _Tagged(Exception):
    """A CBOR tag that has no business in SenML."""


def _no_tag(decoder: object, tag: object = None) -> object:
    raise _Tagged


def _plain(value: object) -> object:
    return float(value) if type(value) is Decimal and value.is_finite() and abs(value.adjusted()) < 400 else value


# Tag 4, decimal fraction, is the only one that RFC 8428 knows. The others can be made to cost a decoder its memory.
_TAGS = MappingProxyType(
    dict.fromkeys(
        (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _no_tag
    )
)
