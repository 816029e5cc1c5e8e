"""What was set aside, mended and taken again: each value lands once, and the sums agree at every moment."""

from __future__ import annotations

import msgspec
import pytest
from paho.mqtt.client import Client

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.quarantine import QuarantineFilter
from techport_pilots.accounting.tally import Tally
from techport_pilots.devices.onboarding import claim, unknown_devices
from techport_pilots.errors import DefinitionError, ReplayTaken
from techport_pilots.model import FieldMapping, PilotDefinition, SourceDefinition
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.model import Receipt
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, pilot

TOPIC = "pilots/air/lamp-1/readings"


def mended() -> PilotDefinition:
    comma = {"temp": FieldMapping(quantity="air_temperature", text=True)}
    source = SourceDefinition(topic="pilots/air/+/readings", format="native", fields=comma)
    return msgspec.structs.replace(pilot(), sources=[source])


def check_ledger(ingest: Ingest) -> Tally:
    total = ingest.total()
    assert audit(ingest.ledger, ingest.store).ok
    return total


def test_after_a_fix_of_the_mapping_the_old_messages_are_where_they_belong(
    port: int, device: Client, ingest: Ingest
) -> None:
    ingest.start(mqtt_source(port))
    for number in range(5):
        device.publish(TOPIC, f'{{"time": {NOON + number}, "temp": "2{number},5", "pm10": 1}}', qos=1)
    eventually(lambda: ingest.total().quarantined == 5, "the text is set aside")
    assert ingest.total().stored == 5

    ingest.registry.import_pilot(mended(), "", "test")
    asked = ingest.quarantine.request_replay(QuarantineFilter(pilot="air", reason="not-a-number"), "me")
    assert (asked.entries, asked.waiting, asked.done) == (5, 5, False)
    eventually(lambda: ingest.entries() == [], "the quarantine is empty")
    came = ingest.quarantine.outcome(asked.id)
    assert came is not None
    assert (came.who, came.done) == ("me", True)
    assert (came.stored, came.duplicates, came.rejected) == (5, 5, 0), "pm10 was stored the first time"
    rows = ingest.rows()
    assert [row[3] for row in rows if row[1] == "air_temperature"] == [20.5, 21.5, 22.5, 23.5, 24.5]
    assert len(rows) == 10
    total = check_ledger(ingest)
    assert (total.messages, total.stored, total.duplicates, total.quarantined) == (5, 10, 5, 0)


def test_two_replays_are_counted_each_for_itself(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    for number in range(4):
        device.publish(TOPIC, f'{{"time": {NOON + number}, "temp": "2{number},5"}}', qos=1)
    eventually(lambda: ingest.total().quarantined == 4, "the text is set aside")
    ids = [entry.id for entry in ingest.entries()]
    ingest.registry.import_pilot(mended(), "", "test")
    asked = [ingest.quarantine.request_replay(QuarantineFilter(ids=tuple(some))) for some in (ids[:1], ids[1:])]
    eventually(lambda: ingest.entries() == [], "the quarantine is empty")
    came = [ingest.quarantine.outcome(one.id) for one in asked]
    assert [one.stored for one in came if one is not None] == [1, 3]


def test_what_still_cannot_be_stored_comes_back_once(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    device.publish(TOPIC, f'{{"time": {NOON}, "pm10": "x", "time2": null}}', qos=1)
    eventually(lambda: len(ingest.entries()) == 1, "it is set aside")
    [before] = ingest.entries()
    asked = ingest.quarantine.request_replay(QuarantineFilter(ids=(before.id,)))
    eventually(lambda: [e.id for e in ingest.entries()] not in ([before.id], []), "it is set aside anew")
    [after] = ingest.entries()
    assert (after.reason, after.values, after.received) == (before.reason, before.values, before.received)
    assert after.replay_requested is None
    came = ingest.quarantine.outcome(asked.id)
    assert came is not None
    assert (came.done, came.stored, came.rejected) == (True, 0, 2)
    assert check_ledger(ingest).received == 2


def test_a_claimed_device_gets_its_earlier_messages_back(port: int, device: Client, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))
    for number in range(3):
        device.publish("pilots/air/Min boks/readings", f'{{"time": {NOON + number}, "pm10": {number}}}', qos=1)
    eventually(lambda: ingest.total().quarantined == 3, "nobody knows it")
    [unknown] = unknown_devices(ingest.registry.database, "air")
    assert (unknown.device, unknown.messages, unknown.payload) == ("Min boks", 3, b'{"time": 1777896002, "pm10": 2}')

    claimed = claim(ingest.registry, "air", "Min boks", "test")
    assert (claimed.device, claimed.entries) == ("Min-boks", 3)
    eventually(lambda: len(ingest.rows()) == 3, "they are stored")
    assert {row[0] for row in ingest.rows()} == {"Min-boks"}
    eventually(lambda: unknown_devices(ingest.registry.database, "air") == [], "nobody is unknown")
    eventually(lambda: ingest.total().stored == 3, "the ledger counts them")
    assert check_ledger(ingest).stored == 3

    device.publish("pilots/air/Min boks/readings", f'{{"time": {NOON + 9}, "pm10": 9}}', qos=1)
    eventually(lambda: len(ingest.rows()) == 4, "the next message is its own")


def test_a_name_can_be_claimed_for_a_device_that_is_there(ingest: Ingest) -> None:
    claimed = claim(ingest.registry, "air", "AA:BB:CC:DD:EE:FF", "test", device="lamp-2")
    assert claimed.device == "lamp-2"
    view = ingest.registry.snapshot().pilot("air")
    assert view is not None
    found = view.device("aabbccddeeff")
    assert found is not None
    assert found.id == "lamp-2"
    with pytest.raises(DefinitionError):
        claim(ingest.registry, "air", "aa:bb:cc:dd:ee:ff", "test", device="lamp-3")


def test_an_entry_that_two_workers_take_is_booked_by_one(ingest: Ingest) -> None:
    bad = Message(TOPIC, b'{"pm10": "1"}', NOON * 1_000_000, 1)
    reader = Reader()
    reader.use(ingest.registry.snapshot())
    tallies, aside = BatchAccounting(reader.read([bad], ingest.registry.snapshot())).close(Receipt(0))
    ingest.ledger.close_batch("w", tallies, aside)
    ingest.quarantine.request_replay(QuarantineFilter(pilot="air"))
    [entry] = ingest.quarantine.take_replays("one")
    assert ingest.quarantine.take_replays("two") == [], "it is the first one's for a while"
    assert ingest.quarantine.take_replays("one") == [entry], "who was killed meanwhile takes it up again"

    account = BatchAccounting(reader.read([bad], ingest.registry.snapshot()))
    tallies, aside = account.close(Receipt(0))
    ingest.quarantine.remove([entry.id])
    with pytest.raises(ReplayTaken):
        ingest.ledger.close_batch("two", tallies, aside, account.annotations(Receipt(0), [entry.id]))
    assert ingest.total().quarantined == 1


def test_entries_expire_as_their_pilot_says(port: int, ingest: Ingest) -> None:
    old, young = now() - 91 * DAY, now()
    reader = Reader()
    snapshot = ingest.registry.snapshot()
    reader.use(snapshot)
    messages = [Message(TOPIC, b"x%d" % number, received, number) for number, received in enumerate((old, young))]
    tallies, aside = BatchAccounting(reader.read(messages, snapshot)).close(Receipt(0))
    ingest.ledger.close_batch("w", tallies, aside)
    ingest.registry.import_pilot(msgspec.structs.replace(pilot(), quarantine="P90D"), "", "test")
    ingest.start(mqtt_source(port))
    eventually(lambda: [entry.payload for entry in ingest.entries()] == [b"x1"], "the old one is deleted")
    assert ingest.total().quarantined == 2
