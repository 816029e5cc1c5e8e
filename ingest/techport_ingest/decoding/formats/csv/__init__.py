"""A heading line and lines of values."""

from __future__ import annotations

import msgspec

from techport_ingest.decoding.formats.csv.decoder import CsvLines
from techport_pilots.formats import Format
from techport_pilots.model import CsvColumns


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    columns: CsvColumns | None = None  # where the heading calls them otherwise


FORMAT = Format(
    name="csv",
    label="CSV",
    payload="csv",
    decoder=lambda settings: CsvLines(settings.options.columns, settings.times),
    own_topic="csv",
    keys_are_ours=True,
    options=Options,
)
