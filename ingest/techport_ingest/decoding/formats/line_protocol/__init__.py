"""InfluxDB line protocol."""

from __future__ import annotations

from typing import Literal

import msgspec

from techport_ingest.decoding.formats.line_protocol.decoder import LineProtocol
from techport_pilots.formats import Format


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    precision: Literal["ns", "us", "ms", "s"] = "ns"  # of the time at the end of a line


FORMAT = Format(
    name="line-protocol",
    label="InfluxDB line protocol",
    payload="other",
    decoder=lambda settings: LineProtocol(settings.options.precision),
    own_topic="lines",
    keys_are_ours=True,
    example="box <QUANTITY>=21.5",
    options=Options,
)
