"""Zigbee devices behind the bridge Zigbee2MQTT."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.zigbee2mqtt.decoder import decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="zigbee2mqtt",
    label="Zigbee2MQTT",
    decoder=stateless(decode),
    topic="zigbee2mqtt/#",
)
