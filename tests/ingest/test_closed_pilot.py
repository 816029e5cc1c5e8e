"""What still arrives for a closed pilot is set aside, whether or not its device is known."""

from __future__ import annotations

import pytest

from techport_ingest.checking.check import Columns
from techport_ingest.decoding.decoder import make_decoder
from techport_ingest.message import Message
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition, Text
from techport_pilots.registry.view import IngestView

PILOT = PilotDefinition(
    "elgeseter", Text(en="A"), Text(en="B?"), [DeviceDefinition("kirka", streams=[StreamDefinition("pm10")])]
)


@pytest.mark.parametrize("device", ["kirka", "stranger"])
def test_late_messages_of_a_closed_pilot_are_set_aside(device: str) -> None:
    columns = Columns(IngestView.of(1, [PILOT], [], closed={"elgeseter"}))
    payload = b'{"pm10": 21.5, "pm25": 7}'
    message = Message(f"pilots/elgeseter/{device}/readings", payload, 1_790_000_000_000_000, 1)
    columns.add(message, "elgeseter", "native", make_decoder("native")(message, device))
    assert len(columns.batch()) == 0
    assert [(p.reason, p.values) for p in columns.rejected] == [("pilot-closed", 2)]
    assert not columns.names_unknown  # nobody need look for a newer registry
