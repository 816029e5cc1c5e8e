"""Devices come in by one path, and what a message was refused for is mended in the definition."""

from __future__ import annotations

import msgspec
import pytest

from techport_pilots.access.credentials import Credentials, Issued, verify
from techport_pilots.accounting.ledger import Ledger, QuarantineEntry
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine, QuarantineRecord
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices import remap
from techport_pilots.devices.onboarding import NewDevice, provision_device, topic_of, unknown_devices
from techport_pilots.devices.snippets import BrokerAddress, snippets
from techport_pilots.errors import DefinitionError, UnknownPilot
from techport_pilots.formats import formats
from techport_pilots.model import FieldMapping
from techport_pilots.registry.registry import Registry
from techport_pilots.topics import topic_matches

AIR = """
id: air
title: {en: Air}
question: {en: "Is it clean?"}
devices: [{id: lamp-1, aliases: ["AA:01"], streams: [{quantity: pm10}]}]
"""


@pytest.fixture
def air(registry: Registry) -> Registry:
    registry.import_pilot(parse_definition(AIR), AIR, "test")
    return registry


def test_a_new_device_is_described_watched_and_gets_a_credential(air: Registry) -> None:
    box = NewDevice(id="box-1", title="Boksen", kind="ESP32", quantities=["pm25"], interval="PT5M")
    came = provision_device(air, "air", box, "me")
    assert (came.device, came.version, came.quantity) == ("box-1", 2, "pm25")
    assert came.credential.topic == "pilots/air/box-1/readings"
    [kept] = Credentials(air.database).all("air")
    assert verify(came.credential.password, kept.password)
    assert ("air", "box-1") in MessageTap(air.database).current()
    described = air.pilot("air").devices[1]
    assert described.title is not None
    assert (described.title.nb, described.kind, described.interval) == ("Boksen", "ESP32", "PT5M")
    assert [stream.quantity for stream in described.streams] == ["pm25"]
    assert (air.history("air")[0].who, air.history("air")[0].why) == ("me", "added box-1")


def test_a_device_that_is_known_gets_a_credential_under_its_id(air: Registry) -> None:
    came = provision_device(air, "air", NewDevice(id="aa01"), "me")
    assert (came.device, came.version, came.quantity) == ("lamp-1", None, "pm10")
    assert len(air.history("air")) == 1


@pytest.mark.parametrize(
    ("new_device", "named"),
    [
        (NewDevice(id="has space"), "id"),
        (NewDevice(id=""), "id"),
        (NewDevice(id="x", quantities=["pm_ten"]), "pm_ten"),
        (NewDevice(id="x", interval="often"), "interval"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(air: Registry, new_device: NewDevice, named: str) -> None:
    with pytest.raises(DefinitionError, match=named):
        provision_device(air, "air", new_device, "me")
    assert len(air.history("air")) == 1
    assert Credentials(air.database).all() == []
    with pytest.raises(UnknownPilot):
        provision_device(air, "nobody", NewDevice(id="x"), "me")


@pytest.mark.parametrize("format_name", list(formats()))
def test_a_format_comes_with_the_source_that_reads_it(air: Registry, format_name: str) -> None:
    came = provision_device(air, "air", NewDevice(id="box-1", format=format_name), "me")
    sources = air.pilot("air").sources
    assert [source.format for source in sources] == ([] if format_name == "native" else [format_name])
    if formats()[format_name].own_topic and sources:
        assert topic_matches(sources[0].topic, came.credential.topic)
    again = provision_device(air, "air", NewDevice(id="box-2", format=format_name), "me")
    assert again.credential.topic == topic_of("air", "box-2", format_name)
    assert air.pilot("air").sources == sources


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("format_name", list(formats()))
def test_snippets_hold_no_blanks(format_name: str, tls: bool) -> None:
    issued = Issued("air/box-1", "secret", topic_of("air", "box-1", format_name))
    for one in snippets(issued, BrokerAddress("broker.example", 1883, tls), format_name, "pm25"):
        for blank in (
            "<HOST>",
            "<TOPIC>",
            "<BASE>",
            "<EXAMPLE>",
            "<QUOTED>",
            "<QUANTITY>",
            "<PASSWORD>",
            "<TLS>",
            "</TLS>",
            "<PLAIN>",
        ):
            assert blank not in one.text


def refused(ledger: Ledger, registry: Registry, topic: str, field: str) -> QuarantineRecord:
    aside = QuarantineEntry(
        pilot="air",
        device="lamp-1",
        topic=topic,
        payload=b"{}",
        received=1,
        rejection=Rejection("not-a-number"),
        field=field,
    )
    ledger.close_batch("w", {}, [aside])
    return Quarantine(registry.database).entries().items[0]


def test_a_field_is_given_a_meaning_and_another_and_none(air: Registry, ledger: Ledger) -> None:
    entry = refused(ledger, air, "pilots/air/lamp-1/readings", "temp")
    meaning = FieldMapping(quantity="air_temperature", text=True)
    version = remap.update_definition(air, "air", lambda d: remap.map_field(d, entry, "temp", meaning), "me", "a comma")
    assert (version, air.history("air")[0].why) == (2, "a comma")
    [source] = air.pilot("air").sources
    assert (source.topic, source.fields) == ("pilots/air/+/readings", {"temp": meaning})

    # Refused again: the entry now says what the field is called behind the mapping.
    again = msgspec.structs.replace(entry, field="air_temperature")
    other = FieldMapping(quantity="air_temperature", unit="K")
    remap.update_definition(air, "air", lambda d: remap.map_field(d, again, "air_temperature", other), "me", "")
    assert air.pilot("air").sources[0].fields == {"temp": other}

    remap.update_definition(air, "air", lambda d: remap.ignore_field(d, again, "air_temperature"), "me", "")
    [source] = air.pilot("air").sources
    assert (source.fields, source.ignore) == ({}, ["temp"])
    remap.update_definition(air, "air", lambda d: remap.map_field(d, entry, "temp", meaning), "me", "")
    assert air.pilot("air").sources[0].ignore == []


def test_what_cannot_be_mended_there_says_so(air: Registry, ledger: Ledger) -> None:
    foreign = refused(ledger, air, "tele/box/SENSOR", "temp")
    meaning = FieldMapping(quantity="air_temperature")
    assert not remap.can_remap(air.pilot("air"), foreign)
    with pytest.raises(DefinitionError, match="tele/box/SENSOR"):
        remap.update_definition(air, "air", lambda d: remap.map_field(d, foreign, "temp", meaning), "me", "")
    native = msgspec.structs.replace(foreign, topic="pilots/air/lamp-1/readings")
    wrong = FieldMapping(quantity="air_temperatur")
    with pytest.raises(DefinitionError, match="air_temperature"):
        remap.update_definition(air, "air", lambda d: remap.map_field(d, native, "temp", wrong), "me", "")


def test_a_range_is_widened_for_one_stream(air: Registry) -> None:
    remap.update_definition(
        air, "air", lambda d: remap.with_range(d, "lamp-1", "pm10", 0, 5000), "me", "beside a quarry"
    )
    remap.update_definition(air, "air", lambda d: remap.with_range(d, "lamp-1", "air_temperature", -60, 60), "me", "")
    ranges = {info.stream.quantity: info.range for info in air.streams("air")}
    assert ranges == {"pm10": (0, 5000), "air_temperature": (-60, 60)}
    with pytest.raises(DefinitionError, match="no device"):
        remap.update_definition(air, "air", lambda d: remap.with_range(d, "nobody", "pm10", 0, 1), "me", "")


@pytest.mark.parametrize(
    ("wanted", "topic", "taken"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b/c", False),
        ("+/+", "a/", True),
    ],
)
def test_topic_filters(wanted: str, topic: str, taken: bool) -> None:
    assert topic_matches(wanted, topic) is taken


def test_an_unknown_device_is_listed_with_what_its_message_says_of_it(air: Registry, ledger: Ledger) -> None:
    info = b'{"devEui": "0102030405060708", "deviceName": "Bridge 7", "deviceProfileName": "EM300"}'
    aside = QuarantineEntry(
        pilot="air",
        device="0102030405060708",
        topic="application/1/device/0102030405060708/event/up",
        payload=b'{"deviceInfo": ' + info + b"}",
        received=1,
        rejection=Rejection("unknown-device", {"pilot": "air", "device": "0102030405060708"}),
        format="chirpstack-v4",
    )
    ledger.close_batch("w", {}, [aside])
    [listed] = unknown_devices(air.database, "air")
    assert (listed.device, listed.title, listed.kind) == ("0102030405060708", "Bridge 7", "EM300")


def test_messages_that_no_pilot_gets_are_found(air: Registry, ledger: Ledger) -> None:
    for number, pilot in enumerate(("typo", "typo", "", "air")):
        aside = QuarantineEntry(
            pilot=pilot,
            device="box",
            topic=f"pilots/{pilot}/box/readings",
            payload=b"%d" % number,
            received=number,
            rejection=Rejection("unknown-pilot", {"pilot": pilot}),
        )
        ledger.close_batch("w", {}, [aside])
    found = Quarantine(air.database).without_pilot()
    assert [(group.pilot, group.entries, group.newest.payload) for group in found] == [("", 1, b"2"), ("typo", 2, b"1")]


@pytest.mark.parametrize(
    ("code", "field", "cure"),
    [
        ("not-a-number.text", "temp", "mapping"),
        ("conflict.names", "temp", "mapping"),
        ("conflict.records", "pm10", "none"),
        ("clock-future", "pm10", "none"),
        ("truncated.json", None, "none"),
        ("unknown-device", "pm10", "definition"),
        ("other-device", None, "definition"),
        ("not-json.malformed", None, "definition"),
    ],
)
def test_each_reason_says_what_cures_it(code: str, field: str | None, cure: str) -> None:
    assert remap.cure(Rejection(code), field) == cure
