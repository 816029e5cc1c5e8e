"""The Things Stack v3 and The Things Network."""

from __future__ import annotations

import msgspec

from techport_ingest.decoding.formats.tts_v3.decoder import TheThingsStack, origin, sender
from techport_pilots.formats import Format


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codec: str | None = None  # "cayenne-lpp", or a maker's JavaScript with decodeUplink; None: the server decodes
    codecs: dict[str, str] = {}  # others, by the name of a device or of its profile
    signal: bool = False  # give rssi, snr and the number of gateways as readings too


SNIPPETS = {
    "The Things Stack (MQTT)": """
# A bridge reads its MQTT server, with an API key of the application. In the bridge's mosquitto.conf:
connection things-stack
address eu1.cloud.thethings.network:8883
remote_username <application>@ttn
remote_password <API key>
bridge_capath /etc/ssl/certs
topic v3/# in 1
""",
    "The Things Stack (device)": """
# The end device ID of the application is the device's id here; its DevEUI may stand under aliases: in the definition.
# Without a payload formatter, give the source a codec: cayenne-lpp, or the maker's JavaScript.
""",
}

FORMAT = Format(
    name="tts-v3",
    label="The Things Stack (LoRaWAN)",
    told_by_payload=True,
    decoder=lambda settings: TheThingsStack(settings.codecs, with_signal=settings.options.signal),
    topic="v3/+/devices/+/up",
    device_from="message",
    options=Options,
    snippets=SNIPPETS,
    sender=sender,
    origin=origin,
)
