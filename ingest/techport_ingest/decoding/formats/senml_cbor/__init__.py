"""SenML (RFC 8428) in CBOR."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.senml_cbor.decoder import decode
from techport_pilots.formats import Format

FORMAT = Format(
    name="senml-cbor",
    label="SenML CBOR",
    payload="other",
    decoder=stateless(decode),
    own_topic="senml-cbor",
    keys_are_ours=True,
)
