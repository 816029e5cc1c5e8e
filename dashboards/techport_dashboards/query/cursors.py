"""Cursors: where the next page of an answer begins, and of which question."""

from __future__ import annotations

import base64
import binascii

import msgspec

from techport_dashboards.problems import Problem
from techport_storage.model import Cursor, Micros, Stream


def encode_cursor(fingerprint: str, start: Micros | None, end: Micros | None, last: Cursor) -> str:
    """Opaque to callers: the question's fingerprint, its range in absolute time, and the last row of this page."""
    parts = [fingerprint, start, end, *last.stream, last.time]
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def decode_cursor(text: str, fingerprint: str) -> tuple[Micros | None, Micros | None, Cursor]:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        mark, start, end, *stream, time = msgspec.json.decode(
            raw, type=tuple[str, int | None, int | None, str, str, str, int]
        )
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise Problem("bad-cursor", "This is not a valid cursor.", parameter="cursor") from error
    if mark != fingerprint:
        raise Problem("bad-cursor", "The cursor belongs to a different query.", parameter="cursor")
    return start, end, Cursor(Stream(*stream), time)
