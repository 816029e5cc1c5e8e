"""Cayenne Low Power Payload."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.cayenne_lpp.decoder import codec, decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="cayenne-lpp",
    label="Cayenne LPP",
    payload="other",
    decoder=stateless(decode),
    own_topic="lpp",
    codec=codec,
)
