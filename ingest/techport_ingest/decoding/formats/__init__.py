"""Decoders by format name. A decoder is one small module: a function from a message to what it found in it.

To add a format: a module here with a `decode` function (or a class, where it has to remember something between
messages), a line below, and a folder of cases under tests/ingest/decoders/<format>/<case>/ (topic, message,
expected.json).

Who the device is: formats whose payload or deeper topic names it say so in what they return (README.md lists how);
the others return the device that they were given, the one named by the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from techport_ingest.decoding.formats import (
    cayenne_lpp,
    native,
    ruuvi_gateway,
    senml,
    sensor_community,
    sensorthings,
    shelly_gen2,
    ultralight,
    zigbee2mqtt,
)
from techport_ingest.decoding.formats.chirpstack_v4 import ChirpStack
from techport_ingest.decoding.formats.csv_lines import CsvLines
from techport_ingest.decoding.formats.homie import Homie
from techport_ingest.decoding.formats.line_protocol import LineProtocol
from techport_ingest.decoding.formats.sparkplug_b import SparkplugB
from techport_ingest.decoding.formats.tasmota import Tasmota
from techport_ingest.decoding.formats.tts_v3 import TheThingsStack
from techport_ingest.message import Found, Ignored, Message, Observed

Decoder = Callable[[Message, str], Sequence[Found]]
"""(message, device named by the topic) -> what is in it, in order: values, events, and what is ignored by rule. Raises
BadMessage, for the whole message.

The values of an Observed are as the payload had them, or finite floats where the format itself says what they are.
Decoding the same message again gives the same: a batch that could not be stored is decoded anew.
"""

DECODERS: Mapping[str, Decoder] = {
    "native": native.decode,
    "senml": senml.decode,
    "senml-cbor": senml.decode_cbor,
    "cayenne-lpp": cayenne_lpp.decode,
    "zigbee2mqtt": zigbee2mqtt.decode,
    "shelly-gen2": shelly_gen2.decode,
    "sensor-community": sensor_community.decode,
    "ruuvi-gateway": ruuvi_gateway.decode,
    "sensorthings": sensorthings.decode,
    "ultralight": ultralight.decode,
}
"""Decoders that remember nothing."""

FACTORIES: Mapping[str, Callable[[], Decoder]] = {
    "tts-v3": TheThingsStack,
    "chirpstack-v4": ChirpStack,
    "tasmota": Tasmota,
    "sparkplug-b": SparkplugB,
    "line-protocol": LineProtocol,
    "homie": Homie,
    "csv": CsvLines,
}
"""Decoders with memory or settings. Each call makes one with its own memory, set to the defaults."""


def make_decoders() -> dict[str, Decoder]:
    """A decoder for every format, for one worker: not to be shared between threads."""
    return {**DECODERS, **{name: factory() for name, factory in FACTORIES.items()}}


def without_stale(message: Message, found: Sequence[Found]) -> Sequence[Found]:
    """What is left of a retained message, the old value that a broker repeats to a new subscriber.

    A value without a time of its own would be stored as if it had been measured now: ignored. With its time it falls on
    the row that is already there.
    """
    if not message.retained:
        return found
    return [
        Ignored(one.device, "retained", one.key) if isinstance(one, Observed) and one.time is None else one
        for one in found
    ]
