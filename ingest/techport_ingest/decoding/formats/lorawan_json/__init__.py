"""LoRaWAN network servers that deliver JSON, a table each, and any other one as a source describes it."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from techport_ingest.decoding.decoder import Decoder, DecoderSettings
from techport_ingest.decoding.family_tables import device_phrase, tables
from techport_ingest.decoding.formats.lorawan_json.decoder import UplinkReader, UplinkShape
from techport_pilots.formats import Format
from techport_pilots.model import DeviceRule


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table."""

    label: str
    topic: str
    uplink: UplinkShape


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codec: str | None = None  # "cayenne-lpp", or a maker's JavaScript with decodeUplink; None: the server decodes
    codecs: dict[str, str] = {}  # others, by the name of a device or of its profile
    signal: bool = False  # give rssi, snr and the number of gateways as readings too


class OwnOptions(Options, frozen=True, forbid_unknown_fields=True):
    uplink: UplinkShape = msgspec.field(default_factory=UplinkShape)  # where the server writes what


def _reader(label: str, shape: UplinkShape, settings: DecoderSettings) -> Decoder:
    return UplinkReader(shape, label, settings.zone, settings.codecs, with_signal=settings.options.signal)


def _family(name: str, server: Server) -> Format:
    return Format(
        name=name,
        label=server.label,
        decoder=lambda settings: _reader(server.label, server.uplink, settings),
        topic=server.topic,
        device_from="message",
        options=Options,
        sender=UplinkReader(server.uplink, server.label, ZoneInfo("UTC")).sender,
        told_by_payload=True,
        device_phrase=device_phrase(DeviceRule(pointer=server.uplink.device[0])),
    )


FORMAT = Format(
    name="lorawan-json",
    label="LoRaWAN (any server with JSON)",
    decoder=lambda settings: _reader("the network server", settings.options.uplink, settings),
    topic="lorawan/#",
    device_from="message",
    options=OwnOptions,
)

FAMILIES = [_family(name, server) for name, server in tables(Path(__file__).parent / "families", Server)]
