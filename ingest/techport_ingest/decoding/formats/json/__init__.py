"""JSON of any shape, and the families of devices that are read by a table."""

from __future__ import annotations

from techport_ingest.decoding.formats.json.decoder import JsonReader, shape_of
from techport_ingest.decoding.formats.json.families import load_families
from techport_pilots.formats import Format
from techport_pilots.model import JsonShape

FORMAT = Format(
    name="json",
    label="JSON of any shape",
    decoder=lambda settings: JsonReader([shape_of(settings.options)], settings),
    own_topic="json",
    keys_are_ours=True,
    example='{"<QUANTITY>": 21.5}',
    options=JsonShape,
    reads_device_rule=True,
)

FAMILIES = load_families()
