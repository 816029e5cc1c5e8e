"""Stations of Sensor.Community (airRohr)."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.sensor_community.decoder import decode, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="sensor-community",
    label="Sensor.Community",
    told_by_payload=True,
    decoder=stateless(decode),
    topic="sensor-community/+",
    sender=sender,
)
