"""Numbers of entities: small, the same for ever, never given twice, and carried by packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.database import Database
from techport_pilots.registry.entity_ids import (
    MOST_IMPORTED,
    EntityKey,
    NumberedEntity,
    entity_ids,
    erase_names,
    keep_numbers,
    numbered_entities,
)
from tests.registries import registry_in

THING = EntityKey("Things", "school-air", "kirka")
OTHER = EntityKey("Things", "school-air", "sensor-of-ola")
STREAM = EntityKey("Datastreams", "school-air", "kirka", "pm10")
ODD = EntityKey("Datastreams", "school-air", "a\0b", "pm10")
SHARED = EntityKey("ObservedProperties", name="pm10")
PILOT = """
id: school-air
title: {en: Air}
question: {en: "Is it good?"}
timezone: Europe/Oslo
devices:
  - id: kirka
    streams: [{quantity: pm10}]
"""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(registry_in(tmp_path))


def test_numbers_are_small_and_stay(database: Database) -> None:
    first = entity_ids(database, [STREAM, THING])
    assert sorted(first.values()) == [1, 2]
    later = entity_ids(database, [SHARED, THING, ODD, STREAM])
    assert {key: later[key] for key in first} == first
    assert len(set(later.values())) == 4

    assert entity_ids(database, [THING, ODD]) == {THING: later[THING], ODD: later[ODD]}


def test_a_number_is_not_given_again_after_an_erasure(database: Database) -> None:
    before = entity_ids(database, [THING, STREAM, OTHER])
    with database.writing() as transaction:
        erase_names(transaction, parse_definition(PILOT))
        names = repr(transaction.execute("SELECT * FROM entity_ids").all())
    assert "ola" not in names
    after = entity_ids(database, [THING, STREAM, OTHER])
    assert {key: after[key] for key in (THING, STREAM)} == {key: before[key] for key in (THING, STREAM)}
    assert after[OTHER] > max(before.values())


def test_a_package_keeps_numbers_that_are_free(database: Database) -> None:
    entity_ids(database, [SHARED])  # takes number 1
    carried = [
        NumberedEntity(1, "Things", "kirka"),
        NumberedEntity(7, "Datastreams", "kirka", "pm10"),
        NumberedEntity(MOST_IMPORTED, "Things", "other"),
        NumberedEntity(-3, "Things", "another"),
    ]
    assert keep_numbers(database, "school-air", carried) == 1
    numbers = entity_ids(database, [THING, STREAM, SHARED])
    assert (numbers[SHARED], numbers[STREAM], numbers[THING]) == (1, 7, 8)
    assert numbered_entities(database, "school-air") == [
        NumberedEntity(7, "Datastreams", "kirka", "pm10"),
        NumberedEntity(8, "Things", "kirka"),
    ]
