"""Devices come in by one path, and what a message was refused for is mended in the definition."""

from __future__ import annotations

import msgspec
import pytest

from techport_pilots.access.credentials import Credentials, Issued, verify
from techport_pilots.accounting.ledger import Books, SetAside
from techport_pilots.accounting.quarantine import Entry
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices import remap
from techport_pilots.devices.onboarding import OWN_TOPICS, USUAL_TOPICS, Newcomer, topic_of, welcome
from techport_pilots.devices.snippets import snippets
from techport_pilots.errors import DefinitionError, UnknownPilot
from techport_pilots.model import FieldMapping, MessageFormat
from techport_pilots.registry.registry import Registry

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


def test_a_newcomer_is_described_watched_and_gets_a_credential(air: Registry) -> None:
    box = Newcomer(id="box-1", title="Boksen", kind="ESP32", quantities=["pm25"], interval="PT5M")
    came = welcome(air, "air", box, "me")
    assert (came.device, came.version, came.quantity) == ("box-1", 2, "pm25")
    assert came.credential.topic == "pilots/air/box-1/readings"
    [kept] = Credentials(air.engine).all("air")
    assert verify(came.credential.password, kept.password)
    assert ("air", "box-1") in air.watching.current()
    described = air.pilot("air").devices[1]
    assert described.title is not None
    assert (described.title.nb, described.kind, described.interval) == ("Boksen", "ESP32", "PT5M")
    assert [stream.quantity for stream in described.streams] == ["pm25"]
    assert (air.history("air")[0].who, air.history("air")[0].why) == ("me", "added box-1")


def test_a_device_that_is_known_gets_a_credential_under_its_id(air: Registry) -> None:
    came = welcome(air, "air", Newcomer(id="aa01"), "me")
    assert (came.device, came.version, came.quantity) == ("lamp-1", None, "pm10")
    assert len(air.history("air")) == 1


@pytest.mark.parametrize(
    ("newcomer", "named"),
    [
        (Newcomer(id="has space"), "id"),
        (Newcomer(id=""), "id"),
        (Newcomer(id="x", quantities=["pm_ten"]), "pm_ten"),
        (Newcomer(id="x", interval="often"), "interval"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(air: Registry, newcomer: Newcomer, named: str) -> None:
    with pytest.raises(DefinitionError, match=named):
        welcome(air, "air", newcomer, "me")
    assert len(air.history("air")) == 1
    assert Credentials(air.engine).all() == []
    with pytest.raises(UnknownPilot):
        welcome(air, "nobody", Newcomer(id="x"), "me")


@pytest.mark.parametrize("format", [*OWN_TOPICS, *USUAL_TOPICS])
def test_a_format_comes_with_the_source_that_reads_it(air: Registry, format: MessageFormat) -> None:
    came = welcome(air, "air", Newcomer(id="box-1", format=format), "me")
    sources = air.pilot("air").sources
    assert [source.format for source in sources] == ([] if format == "native" else [format])
    if format in OWN_TOPICS and sources:
        assert remap.matches(sources[0].topic, came.credential.topic)
    again = welcome(air, "air", Newcomer(id="box-2", format=format), "me")
    assert again.credential.topic == topic_of("air", "box-2", format)
    assert air.pilot("air").sources == sources


def test_every_format_has_its_way_in() -> None:
    formats = set(MessageFormat.__args__)  # type: ignore[attr-defined]
    assert set(OWN_TOPICS) | set(USUAL_TOPICS) == formats, "OWN_TOPICS or USUAL_TOPICS says where a format comes in"


@pytest.mark.parametrize("format", [*OWN_TOPICS, *USUAL_TOPICS])
def test_snippets_hold_no_blanks(format: MessageFormat) -> None:
    issued = Issued("air/box-1", "secret", topic_of("air", "box-1", format))
    for one in snippets(issued, "broker.example", 1883, format, "pm25"):
        for blank in ("<HOST>", "<TOPIC>", "<BASE>", "<EXAMPLE>", "<QUOTED>", "<QUANTITY>", "<PASSWORD>"):
            assert blank not in one.text


def refused(books: Books, registry: Registry, topic: str, field: str) -> Entry:
    aside = SetAside(
        pilot="air", device="lamp-1", topic=topic, payload=b"{}", received=1, reason="not-a-number", field=field,
        detail="", hint="",
    )  # fmt: skip
    books.close_batch("w", {}, [aside])
    return registry.quarantine.entries().items[0]


def test_a_field_is_given_a_meaning_and_another_and_none(air: Registry, books: Books) -> None:
    entry = refused(books, air, "pilots/air/lamp-1/readings", "temp")
    meaning = FieldMapping(quantity="air_temperature", text=True)
    version = remap.mend(air, "air", lambda d: remap.with_field(d, entry, "temp", meaning), "me", "a comma")
    assert (version, air.history("air")[0].why) == (2, "a comma")
    [source] = air.pilot("air").sources
    assert (source.topic, source.fields) == ("pilots/air/+/readings", {"temp": meaning})

    # Refused again: the entry now says what the field is called behind the mapping.
    again = msgspec.structs.replace(entry, field="air_temperature")
    other = FieldMapping(quantity="air_temperature", unit="K")
    remap.mend(air, "air", lambda d: remap.with_field(d, again, "air_temperature", other), "me", "")
    assert air.pilot("air").sources[0].fields == {"temp": other}

    remap.mend(air, "air", lambda d: remap.without_field(d, again, "air_temperature"), "me", "")
    [source] = air.pilot("air").sources
    assert (source.fields, source.ignore) == ({}, ["temp"])
    remap.mend(air, "air", lambda d: remap.with_field(d, entry, "temp", meaning), "me", "")
    assert air.pilot("air").sources[0].ignore == []


def test_what_cannot_be_mended_there_says_so(air: Registry, books: Books) -> None:
    foreign = refused(books, air, "tele/box/SENSOR", "temp")
    meaning = FieldMapping(quantity="air_temperature")
    assert not remap.mendable(air.pilot("air"), foreign)
    with pytest.raises(DefinitionError, match="tele/box/SENSOR"):
        remap.mend(air, "air", lambda d: remap.with_field(d, foreign, "temp", meaning), "me", "")
    native = msgspec.structs.replace(foreign, topic="pilots/air/lamp-1/readings")
    wrong = FieldMapping(quantity="air_temperatur")
    with pytest.raises(DefinitionError, match="air_temperature"):
        remap.mend(air, "air", lambda d: remap.with_field(d, native, "temp", wrong), "me", "")


def test_a_range_is_widened_for_one_stream(air: Registry) -> None:
    remap.mend(air, "air", lambda d: remap.with_range(d, "lamp-1", "pm10", 0, 5000), "me", "beside a quarry")
    remap.mend(air, "air", lambda d: remap.with_range(d, "lamp-1", "air_temperature", -60, 60), "me", "")
    ranges = {info.stream.quantity: info.range for info in air.streams("air")}
    assert ranges == {"pm10": (0, 5000), "air_temperature": (-60, 60)}
    with pytest.raises(DefinitionError, match="no device"):
        remap.mend(air, "air", lambda d: remap.with_range(d, "nobody", "pm10", 0, 1), "me", "")


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
    assert remap.matches(wanted, topic) is taken
