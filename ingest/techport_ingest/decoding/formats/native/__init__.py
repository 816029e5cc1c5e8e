"""techport's own JSON."""

from __future__ import annotations

from techport_ingest.decoding.decoder import with_times
from techport_ingest.decoding.formats.native.decoder import decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="native",
    label="JSON",
    decoder=with_times(decode),
    own_topic="readings",
    example='{"<QUANTITY>": 21.5}',
)
