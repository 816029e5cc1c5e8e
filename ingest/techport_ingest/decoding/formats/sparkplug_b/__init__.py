"""Eclipse Sparkplug B."""

from __future__ import annotations

from techport_ingest.decoding.formats.sparkplug_b.decoder import SparkplugB, origin, rebirth, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="sparkplug-b",
    label="Sparkplug B",
    payload="other",
    decoder=lambda settings: SparkplugB(),
    topic="spBv1.0/#",
    recovery=rebirth,
    sender=sender,
    origin=origin,
    device_from="message",
)
