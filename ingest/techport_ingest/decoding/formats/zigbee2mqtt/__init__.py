"""Zigbee devices behind the bridge Zigbee2MQTT."""

from __future__ import annotations

from techport_ingest.decoding.decoder import with_times
from techport_ingest.decoding.formats.zigbee2mqtt.decoder import decode, origin, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="zigbee2mqtt",
    label="Zigbee2MQTT",
    decoder=with_times(decode),
    topic="zigbee2mqtt/#",
    sender=sender,
    origin=origin,
)
