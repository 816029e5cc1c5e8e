"""Families of devices whose messages need no code: a table each, families/<format>.yaml.

    label: OwnTracks
    topic: owntracks/+/+                  usual topic filter
    shapes:                               the first whose topic and `when` fit reads the message
      - when: {_type: [location]}
        device: {level: 3}
        time: {key: tst, unit: s}
        fields: {lat: {quantity: latitude, unit: deg}}
        ignore: [tid]

A shape has the keys that a source of `format: json` may have, and besides `topic`, `availability` and `text`
(decoder.FamilyShape). The documentation that a table was written from is named in a comment.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from techport_ingest.decoding.decoder import Decoder, DecoderSettings
from techport_ingest.decoding.family_tables import device_phrase, tables
from techport_ingest.decoding.formats.json.decoder import FamilyShape, JsonReader
from techport_pilots.formats import Format

FOLDER = Path(__file__).parent / "families"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table."""

    label: str
    topic: str
    shapes: list[FamilyShape]


def load_families(folder: Path = FOLDER) -> list[Format]:
    """A format for each table. Raises BrokenFormat."""
    return [_format(name, family) for name, family in tables(folder, Family)]


def _format(name: str, family: Family) -> Format:
    rules = [shape.device for shape in family.shapes if not shape.availability]

    def decoder(settings: DecoderSettings) -> Decoder:
        return JsonReader(family.shapes, settings)

    return Format(
        name=name,
        label=family.label,
        decoder=decoder,
        topic=family.topic,
        device_phrase=device_phrase(next((rule for rule in rules if rule is not None), None)),
        reads_device_rule=True,
        told_by_payload=all(shape.has or shape.when or shape.availability for shape in family.shapes),
    )
