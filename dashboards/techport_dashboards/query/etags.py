"""ETags of answers that are not held whole: made of the question and of what decides its answer.

The same tag is given as long as the readings asked for, the registry and this program stay the same, so a client that
has the answer is told so (304) before the store is read at all. There is none where that cannot be said: over a store
that has no version tokens, and for buckets whose completeness still changes with the clock.
"""

from __future__ import annotations

import hashlib

import msgspec

from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.query.shaping import Shape
from techport_storage.model import Micros, Query

HEADERS = {"Cache-Control": "no-cache"}
"""Keep it, and ask whether it still holds. Last-Modified counts whole seconds, in which readings come many times."""


def etag_of(
    query: Query,
    token: bytes | None,
    catalogue: RegistryView,
    file_format: str,
    shape: Shape,
    program: str,
    now: Micros,
) -> str | None:
    """The ETag, weak: compression changes the bytes, not what they say. `token` is the version token of the readings
    asked for, from before they were read: an answer that is newer than its tag is fetched once more, one that is older
    would be kept.
    """
    running = query.every is not None and (query.end is None or query.end > now)
    if token is None or running:
        return None
    digest = hashlib.blake2b(token, digest_size=12)
    digest.update(msgspec.json.encode([query, shape, file_format, catalogue.version, program]))
    return f'W/"{digest.hexdigest()}"'


def matches(asked: str, tag: str) -> bool:
    """Does If-None-Match name the tag?"""
    if asked.strip() == "*":
        return True
    plain = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") == plain for part in asked.split(","))
