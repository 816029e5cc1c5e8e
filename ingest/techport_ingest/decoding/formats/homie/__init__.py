"""The Homie convention, versions 4 and 5."""

from __future__ import annotations

from techport_ingest.decoding.formats.homie.decoder import Homie, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="homie",
    label="Homie",
    payload="other",
    decoder=lambda settings: Homie(),
    topic="homie/#",
    device_from="message",
    self_described=True,
    sender=sender,
)
