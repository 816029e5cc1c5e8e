"""Integration events of ChirpStack v4."""

from __future__ import annotations

import msgspec

from techport_ingest.decoding.formats.chirpstack_v4.decoder import ChirpStack, sender
from techport_pilots.formats import Format


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codec: str | None = None  # "cayenne-lpp", or a maker's JavaScript with decodeUplink; None: the server decodes
    codecs: dict[str, str] = {}  # others, by the name of a device or of its profile
    signal: bool = False  # give rssi, snr and the number of gateways as readings too


FORMAT = Format(
    name="chirpstack-v4",
    label="ChirpStack (LoRaWAN)",
    told_by_payload=True,
    decoder=lambda settings: ChirpStack(settings.codecs, with_signal=settings.options.signal),
    topic="application/+/device/+/event/up",
    device_from="message",
    options=Options,
    sender=sender,
)
