"""Home Assistant: MQTT statestream, and devices that announce themselves by MQTT discovery."""

from __future__ import annotations

from techport_ingest.decoding.formats.homeassistant.decoder import HomeAssistant
from techport_pilots.formats import Format

FORMAT = Format(
    name="homeassistant",
    label="Home Assistant (statestream, discovery)",
    decoder=lambda settings: HomeAssistant(),
    topic="homeassistant/#",
    device_from="message",
    self_described=True,
)
