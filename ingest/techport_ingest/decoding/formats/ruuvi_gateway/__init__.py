"""Ruuvi tags behind a Ruuvi Gateway."""

from __future__ import annotations

from techport_ingest.decoding.decoder import stateless
from techport_ingest.decoding.formats.ruuvi_gateway.decoder import decode, sender
from techport_pilots.formats import Format

FORMAT = Format(
    name="ruuvi-gateway",
    label="Ruuvi Gateway",
    told_by_payload=True,
    decoder=stateless(decode),
    topic="ruuvi/+/+",
    sender=sender,
    device_from="message",
)
