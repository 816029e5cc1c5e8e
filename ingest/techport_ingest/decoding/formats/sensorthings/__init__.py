"""Observations of OGC SensorThings."""

from __future__ import annotations

from techport_ingest.decoding.decoder import with_times
from techport_ingest.decoding.formats.sensorthings.decoder import decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="sensorthings",
    label="OGC SensorThings",
    decoder=with_times(decode),
    topic="v1.1/+/Observations",
    device_from="message",
)
