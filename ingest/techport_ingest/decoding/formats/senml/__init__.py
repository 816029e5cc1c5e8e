"""SenML (RFC 8428) in JSON."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.senml.decoder import decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="senml",
    label="SenML JSON",
    told_by_payload=True,
    decoder=stateless(decode),
    own_topic="senml",
    keys_are_ours=True,
    example='[{"n": "<QUANTITY>", "v": 21.5}]',
)
