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
import yaml

from techport_ingest.decoding.decoder import Decoder, DecoderSettings
from techport_ingest.decoding.formats.json.decoder import FamilyShape, JsonReader
from techport_pilots.definition.structure import fit
from techport_pilots.formats import BrokenFormat, Format
from techport_pilots.i18n import Message
from techport_pilots.model import DeviceRule

FOLDER = Path(__file__).parent / "families"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table."""

    label: str
    topic: str
    shapes: list[FamilyShape]


def load_families(folder: Path = FOLDER) -> list[Format]:
    """A format for each table. Raises BrokenFormat."""
    return [_format(file) for file in sorted(folder.glob("*.yaml"))]


def _format(file: Path) -> Format:
    values, misfits = fit(yaml.load(file.read_text("utf-8"), Loader=_LOADER), Family)
    if misfits:
        raise BrokenFormat(f"{file.name}: {misfits[0].path} {misfits[0].problem}. {misfits[0].remedy}")
    family = msgspec.convert(values, Family)

    rules = [shape.device for shape in family.shapes if not shape.availability]

    def decoder(settings: DecoderSettings) -> Decoder:
        return JsonReader(family.shapes, settings.zone, settings.device)

    return Format(
        name=file.stem,
        label=family.label,
        decoder=decoder,
        topic=family.topic,
        device_phrase=_phrase(next((rule for rule in rules if rule is not None), None)),
        reads_device_rule=True,
    )


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _phrase(rule: DeviceRule | None) -> Message:
    if rule is None:
        return Message("format.json.device")
    if rule.pointer is not None:
        return Message("format.json.device-path", {"path": rule.pointer})
    if rule.join:
        return Message("format.json.device-path", {"path": ", ".join(rule.join)})
    if rule.level is not None and rule.level < 0:
        return Message("format.json.device-last", {"level": str(-rule.level)})
    return Message("format.json.device-level", {"level": str(rule.level)})
