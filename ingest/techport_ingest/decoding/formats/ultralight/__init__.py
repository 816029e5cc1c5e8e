"""FIWARE UltraLight 2.0."""

from __future__ import annotations

from techport_ingest.decoding.decoder import with_times
from techport_ingest.decoding.formats.ultralight.decoder import decode, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="ultralight",
    label="UltraLight 2.0",
    payload="other",
    decoder=with_times(decode),
    own_topic="attrs",
    keys_are_ours=True,
    topic="/ul/+/+/attrs",
    device_from="message",
    example="<QUANTITY>|21.5",
    sender=sender,
)
