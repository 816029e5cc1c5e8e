"""Plugs and sensors with the firmware Tasmota."""

from __future__ import annotations

from techport_ingest.decoding.formats.tasmota.decoder import Tasmota, origin, sender
from techport_pilots.formats import Format

SNIPPETS = {
    "Tasmota (console)": """
<TLS>SetOption103 1
</TLS>Backlog MqttHost <HOST>; MqttPort <PORT>; MqttUser <USER>; MqttPassword <PASSWORD>; FullTopic <BASE>/%prefix%/
"""
}

FORMAT = Format(
    name="tasmota",
    label="Tasmota",
    decoder=lambda settings: Tasmota(settings.times.in_zone(settings.zone)),
    own_topic="tele/SENSOR",
    topic="tele/+/SENSOR",
    snippets=SNIPPETS,
    sender=sender,
    origin=origin,
)
