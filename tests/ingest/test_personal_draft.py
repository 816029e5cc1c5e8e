"""A draft with personal data counts what comes and keeps none of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.after.message_tap import tapped_messages
from techport_ingest.checking.budget import DeviceLimits, HourlyBudgets
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.accounting.ledger import ignored_by_rule
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry import lifecycle
from techport_pilots.registry.lifecycle import NOT_COLLECTED
from techport_pilots.registry.view import IngestView
from techport_storage.model import Receipt
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, pilot, publisher, reading

PERSONAL = msgspec.structs.replace(
    pilot("doors"),
    personal_data=True,
    data_class="personal",
    purpose=Text(nb="Telle", en="To count"),
    legal_basis="6(1)(e)",
    dpia="2026/12",
    retention="P30D",
)
MESSAGES = {
    "a reading": ("pilots/doors/lamp-1/readings", b'{"time": %d, "pm10": 3.5, "pm25": 2}' % NOON, "lamp-1", 2),
    "a device that nobody described": ("pilots/doors/ac:23:3f/readings", b'{"pm10": 3.5}', "", 1),
    "a message that cannot be read": ("pilots/doors/lamp-1/readings", b"Kari Nordmann", "lamp-1", 1),
    "an empty one": ("pilots/doors/lamp-1/readings", b"{}", "lamp-1", 1),
    "a status": ("pilots/doors/kari/status", b"online", "", 1),
}


def _accounting(definition: PilotDefinition, drafts: tuple[str, ...], topic: str, payload: bytes) -> BatchAccounting:
    view = IngestView.of(1, [definition], [], not_collecting=drafts)
    reader = Reader()
    reader.use(view)
    return BatchAccounting(reader.read([Message(topic, payload, NOON * 1_000_000, 1)], view))


@pytest.mark.parametrize(("topic", "payload", "device", "values"), MESSAGES.values(), ids=MESSAGES)
def test_nothing_of_a_message_is_kept_but_its_count(topic: str, payload: bytes, device: str, values: int) -> None:
    accounting = _accounting(PERSONAL, ("doors",), topic, payload)
    tallies, quarantined = accounting.close(Receipt(0))
    assert (len(accounting.batch), quarantined, accounting.undescribed) == (0, [], [])
    [(device_day, tally)] = tallies.items()
    assert (device_day.pilot, device_day.device) == ("doors", device)
    assert (tally.messages, tally.received, tally.ignored, tally.balanced) == (1, values, values, True)
    assert {rule for _, rule in accounting.annotations(Receipt(0)).ignored} == {NOT_COLLECTED}
    watched = {("doors", "lamp-1"), ("doors", "ac:23:3f"), ("doors", "")}
    assert tapped_messages(accounting, Receipt(0), watched, "ingest", 0) == []


def test_the_same_messages_are_kept_once_the_pilot_runs() -> None:
    topic, payload, *_ = MESSAGES["a reading"]
    assert len(_accounting(PERSONAL, (), topic, payload).batch) == 2


def test_nor_is_the_first_message_beyond_a_budget() -> None:
    topic, payload, *_ = MESSAGES["a reading"]
    view = IngestView.of(1, [PERSONAL], [], not_collecting=("doors",))
    reader, budgets = Reader(), HourlyBudgets(DeviceLimits(hourly_values=1))
    reader.use(view)
    accounting = BatchAccounting(reader.read([Message(topic, payload, NOON * 1_000_000, 1)], view, budgets), budgets)
    assert accounting.close(Receipt(0))[1] == []


def test_which_pilots_do_not_collect() -> None:
    assert not lifecycle.collects(PERSONAL, "draft")
    assert lifecycle.collects(PERSONAL, "running")
    assert lifecycle.collects(pilot(), "draft"), "without personal data devices are tested in a draft"


def test_starting_the_pilot_begins_the_collection(port: int, tmp_path: Path) -> None:
    """Through a real broker, registry and store."""
    ingest = Ingest(tmp_path)
    try:
        ingest.registry.import_pilot(PERSONAL, "", "test")
        MessageTap(ingest.registry.database).watch("doors", "lamp-1")
        ingest.start(mqtt_source(port))
        device = publisher(port)
        device.publish("pilots/doors/lamp-1/readings", reading(1), qos=1)
        eventually(lambda: ingest.total().ignored == 1, "it is counted")
        assert ingest.rows() == []
        assert [rule for _, rule in ignored_by_rule(ingest.registry.database, "doors")] == [NOT_COLLECTED]
        assert MessageTap(ingest.registry.database).messages("doors", "lamp-1") == []
        lifecycle.transition(ingest.registry.database, PERSONAL, "running", "test")
        sent = itertools.count(2)

        def stored() -> bool:
            """Ingest looks at the registry once a second."""
            device.publish("pilots/doors/lamp-1/readings", reading(next(sent)), qos=1).wait_for_publish(20)
            return ingest.total().stored > 0

        eventually(stored, "a reading is stored")
        device.disconnect()
        device.loop_stop()
    finally:
        ingest.close()
