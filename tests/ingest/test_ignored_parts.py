"""What is ignored is kept with key, value and message, listed, and reprocessed once the definition says more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from techport_ingest.checking import budget
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline
from techport_pilots.accounting import ignored
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.microseconds import HOUR
from techport_storage.model import Query
from techport_storage.store import ReadingStore, open_store


class Idle:
    """A source that gives nothing: batches are put into the pipeline by the tests."""

    connected = True

    def receive(self, timeout: float) -> list[Message]:
        return []

    def ack(self, messages: object) -> None: ...

    def subscribe(self, topics: object, described: object = ()) -> None: ...

    def close(self) -> None: ...


class Platform:
    def __init__(self, folder: Path) -> None:
        self.registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
        self.store: ReadingStore = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
        self.ledger = Ledger(self.registry.database)
        self.pipeline = Pipeline(Idle(), self.registry, self.ledger, self.store, Metrics(CollectorRegistry()))
        self.at = now() - 60_000_000

    def define(self, **source: object) -> None:
        entry = {"topic": "doors/+", "format": "json", **source}
        pilot = {"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "d"}], "sources": [entry]}
        self.registry.import_pilot(definition := parse_definition(json.dumps(pilot)), json.dumps(pilot), "test")
        assert isinstance(definition, PilotDefinition)

    def send(self, *documents: object) -> None:
        messages = []
        for document in documents:
            self.at += 1_000_000
            messages.append(Message("doors/d", json.dumps(document).encode(), self.at, -1))
        self.pipeline._keep(messages)

    def reprocess(self) -> None:
        self.pipeline._reprocess()

    def readings(self) -> list[tuple[str, float]]:
        rows = self.store.read(Query()).read_all().to_pylist()
        return sorted((row["quantity"], row["value"]) for row in rows)

    def close(self) -> None:
        self.store.close()
        self.registry.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    platform.define()
    yield platform
    platform.close()


def listed(platform: Platform) -> list[tuple[str, str, int, str | None]]:
    lines = ignored.ignored_keys(platform.registry.database, "p", "d")
    return [(line.rule, line.key, line.parts, line.value) for line in lines]


def test_ignored_parts_are_listed_by_key_with_their_last_value(platform: Platform) -> None:
    platform.send({"lid": "half", "co2": 500}, {"lid": "whole", "co2": 510}, {"fw": "1.4", "co2": None})
    assert listed(platform) == [
        ("text", "lid", 2, '"whole"'),
        ("null", "co2", 1, None),
        ("property", "fw", 1, '"1.4"'),
    ]
    assert audit(platform.ledger, platform.store).ok


def test_what_a_device_is_is_kept_as_its_properties(platform: Platform) -> None:
    platform.send({"fw": "1.4", "serial": "A-17", "co2": 500}, {"fw": "1.5", "co2": 501})
    properties = ignored.properties_of(platform.registry.database, "p", "d")
    assert [(each.key, each.value) for each in properties] == [("fw", "1.5"), ("serial", "A-17")]


def test_ignored_parts_become_readings_once_the_definition_says_what_they_mean(platform: Platform) -> None:
    platform.send({"lid": "open", "co2": 500}, {"lid": "closed", "co2": 510})
    assert platform.readings() == [("co2", 500.0), ("co2", 510.0)]
    platform.define(fields={"lid": "door_open"})
    replay = ignored.request_replay(platform.registry.database, "p", "d", "somebody")
    assert replay.entries == 2
    platform.reprocess()
    assert platform.readings() == [("co2", 500.0), ("co2", 510.0), ("door_open", 0.0), ("door_open", 1.0)]
    assert listed(platform) == []
    outcome = platform.ledger.quarantine.outcome(replay.id)
    assert outcome is not None
    assert (outcome.done, outcome.stored, outcome.duplicates) == (True, 2, 2)
    assert audit(platform.ledger, platform.store).ok


def test_what_is_still_ignored_is_kept_again(platform: Platform) -> None:
    platform.send({"lid": "half", "co2": 500})
    ignored.request_replay(platform.registry.database, "p")
    platform.reprocess()
    assert listed(platform) == [("text", "lid", 1, '"half"')]
    message = ignored.newest_message(platform.registry.database, "p", "d", "lid")
    assert message is not None
    assert json.loads(message.payload) == {"lid": "half", "co2": 500}
    assert audit(platform.ledger, platform.store).ok


UNREAD = {"format": "chirpstack-v4", "topic": "application/+/device/+/event/+", "device": {"id": "d"}}


def send_unread(platform: Platform, *topics: str) -> None:
    """Events of a network server that its format does not read."""
    messages = []
    for topic in topics:
        platform.at += 1_000_000
        payload = json.dumps({"co2": len(messages) + 500, "deviceInfo": {"devEui": "a1b2c3d4e5f60718"}}).encode()
        messages.append(Message(f"application/1/device/a1b2c3d4e5f60718/event/{topic}", payload, platform.at, -1))
    platform.pipeline._keep(messages)


def test_a_whole_message_is_kept_and_becomes_readings_once_its_source_reads_it(platform: Platform) -> None:
    platform.define(**UNREAD)
    send_unread(platform, "ack")
    [(rule, key, parts, value)] = listed(platform)
    assert (rule, key, parts) == ("not-uplink", "", 1)
    assert value is not None
    assert json.loads(value)["co2"] == 500
    platform.define(**{**UNREAD, "format": "json"})
    replay = ignored.request_replay(platform.registry.database, "p", "d")
    platform.reprocess()
    assert ("co2", 500.0) in platform.readings()
    assert "not-uplink" not in [line[0] for line in listed(platform)]
    outcome = platform.ledger.quarantine.outcome(replay.id)
    assert outcome is not None
    assert outcome.done
    assert audit(platform.ledger, platform.store).ok


def test_a_message_of_another_kind_than_the_family_reads_is_kept_and_read_by_a_source_of_ones_own(
    platform: Platform,
) -> None:
    source = {"topic": "home/d/+", "device": {"id": "d"}}
    platform.define(**source, format="openmqttgateway")
    message = Message("home/d/SYStoMQTT", b'{"uptime": 900, "rssi": -55}', platform.at, -1)
    platform.pipeline._keep([message])
    assert listed(platform) == [("other-message", "", 1, '{"uptime": 900, "rssi": -55}')]
    platform.define(**source, format="json")
    ignored.request_replay(platform.registry.database, "p", "d")
    platform.reprocess()
    assert ("rssi", -55.0) in platform.readings()
    assert listed(platform) == []
    assert audit(platform.ledger, platform.store).ok


def test_whole_messages_that_are_still_not_read_are_kept_again(platform: Platform) -> None:
    platform.define(**UNREAD)
    send_unread(platform, "ack", "txack")
    for _ in range(2):
        assert ignored.request_replay(platform.registry.database, "p", "d").entries == 2
        platform.reprocess()
        assert [line[:3] for line in listed(platform)] == [("not-uplink", "", 2)]
    assert audit(platform.ledger, platform.store).ok


def test_of_whole_messages_that_come_without_end_some_are_kept_and_all_are_counted(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.at = (platform.at // HOUR - 1) * HOUR  # all within one hour
    monkeypatch.setattr(budget, "HOURLY_UNREAD", 4)
    platform.define(**UNREAD)
    for _ in range(3):
        send_unread(platform, "ack", "txack", "ack")
    assert [line[:3] for line in listed(platform)] == [("not-uplink", "", 9)]
    assert ignored.request_replay(platform.registry.database, "p").entries == 4
    monkeypatch.setattr(ignored, "MOST_UNREAD", 3)
    ignored.trim(platform.registry.database)
    assert ignored.request_replay(platform.registry.database, "p").entries == 3
    assert audit(platform.ledger, platform.store).ok


def test_messages_with_ignored_parts_are_not_trimmed_as_whole_ones(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.send({"lid": '","",'}, {"lid": "b", '","",': "odd"}, {"],[": "c"})
    monkeypatch.setattr(ignored, "MOST_UNREAD", 0)
    ignored.trim(platform.registry.database)
    assert ignored.request_replay(platform.registry.database, "p").entries == 3


def test_what_no_definition_reads_is_counted_only(platform: Platform) -> None:
    platform.define(**{**UNREAD, "device": {"level": 4}})
    topics = {
        "pilots/p/d/status": b"online",  # of techport itself
        "application/1/device/unheard-of/event/ack": b'{"deviceInfo": {"devEui": "ffffffffffffffff"}}',
        "application/1/device/d/event/join": b'{"deviceInfo": {"devEui": "d"}}',  # an event
    }
    platform.pipeline._keep([Message(topic, payload, platform.at, -1) for topic, payload in topics.items()])
    assert ignored.ignored_keys(platform.registry.database, "p") == []
    assert ignored.request_replay(platform.registry.database, "p").entries == 0
    assert audit(platform.ledger, platform.store).ok


def test_how_a_whole_message_began_goes_when_the_message_goes(platform: Platform) -> None:
    platform.define(**UNREAD)
    send_unread(platform, "ack")
    assert ignored.expire(platform.registry.database, now(), "p") == 1
    assert listed(platform) == [("not-uplink", "", 1, None)]


def test_a_key_is_mapped_in_the_source_of_the_message_that_has_it(platform: Platform) -> None:
    platform.send({"lid": "half", "co2": 500}, {"hatch": "half"})
    for key in ("lid", "hatch"):
        message = ignored.newest_message(platform.registry.database, "p", "d", key)
        assert message is not None
        assert key in json.loads(message.payload)


def test_messages_are_kept_for_the_retention_time_and_so_many_of_a_device(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.send(*({"lid": f"stage {n}"} for n in range(5)))
    monkeypatch.setattr(ignored, "MOST_MESSAGES", 3)
    ignored.trim(platform.registry.database)
    assert ignored.request_replay(platform.registry.database, "p").entries == 3
    assert ignored.expire(platform.registry.database, now(), "p") == 3
    assert [line[2] for line in listed(platform)] == [5]


def test_a_flood_of_keys_is_counted_and_not_listed_without_end(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ignored, "MOST_KEYS", 3)
    for n in range(6):
        platform.send({f"word{n}": "odd"})
    platform.send({"word0": "odd"})
    assert sorted(line[1:3] for line in listed(platform)) == [("word0", 2), ("word1", 1), ("word2", 1)]


def test_units_that_messages_state_stay_with_the_stream_and_others_are_converted(platform: Platform) -> None:
    platform.send({"stage": {"value": 812, "unit": "mm"}})
    platform.send({"stage": {"value": 0.9, "unit": "m"}}, {"stage": {"value": 3, "unit": "kg"}}, {"stage": 700})
    assert platform.readings() == [("stage", 700.0), ("stage", 812.0), ("stage", 900.0)]
    (info,) = platform.registry.streams("p", "d")
    assert (info.unit, info.unit_label) == ("mm", "mm")
    assert [entry.reason for entry in platform.ledger.quarantine.entries().items] == ["wrong-unit"]
