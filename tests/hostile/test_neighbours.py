"""A definition that names another pilot's topics and devices: refused, and it learns nothing from that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.definition.neighbours import everybody
from techport_pilots.errors import DefinitionError
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.topics import overlap, topic_matches
from tests.registries import registry_in

OWNER = """
id: homes
title: H
question: Q?
sources: [{topic: "zigbee2mqtt/#", format: zigbee2mqtt}]
devices: [{id: kitchen, aliases: ["AC:23:3F"], streams: [{quantity: air_temperature}]}]
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry.open(registry_in(tmp_path))
    registry.import_pilot(parse_definition(OWNER), OWNER, "owner")
    yield registry
    registry.close()


def thief(topic: str = "zigbee2mqtt/#", name: str = "kitchen", more: str = "") -> str:
    text = OWNER.replace("id: homes", "id: thief").replace("id: kitchen", f"id: {name}").replace("zigbee2mqtt/#", topic)
    return text.replace("format: zigbee2mqtt", f"format: zigbee2mqtt{more}").replace('aliases: ["AC:23:3F"], ', "")


@pytest.mark.parametrize(
    "text",
    [
        thief(),
        thief("+/kitchen"),
        thief("zigbee2mqtt/kitchen"),
        thief("zigbee2mqtt/+"),
        thief(name="Kitchen"),
        thief(name="ac233f"),
        thief(name="mine", more=", device: {id: mine}"),
    ],
)
def test_another_pilots_device_is_not_taken(registry: Registry, text: str) -> None:
    definition = parse_definition(text)
    with pytest.raises(DefinitionError, match="another pilot") as caught:
        registry.import_pilot(definition, text, "thief")
    assert "homes" not in str(caught.value)
    with pytest.raises(DefinitionError, match="homes"):
        registry.import_pilot(definition, text, "operator", may_see=everybody)
    assert [pilot.id for pilot in registry.pilots()] == ["homes"]


@pytest.mark.parametrize("text", [thief(name="garage"), thief("shellies/#"), thief("pilots/thief/#")])
def test_shared_topics_with_names_of_its_own_are_fine(registry: Registry, text: str) -> None:
    registry.import_pilot(parse_definition(text), text, "neighbour")
    assert len(registry.pilots()) == 2


def test_a_device_is_free_once_its_pilot_is_closed(registry: Registry) -> None:
    for step in ("running", "ended", "closed"):
        lifecycle.transition(registry.database, registry.pilot("homes"), step, "owner")
    registry.import_pilot(parse_definition(thief()), thief(), "next")
    changed = thief().replace("title: H", "title: Other")
    assert registry.import_pilot(parse_definition(changed), changed, "next") == 2


@pytest.mark.parametrize(
    ("one", "other", "topic"),
    [
        ("a/+", "+/b", "a/b"),
        ("a/#", "a", "a"),
        ("a/#", "a/b/c", "a/b/c"),
        ("#", "x/y", "x/y"),
        ("a/b", "a/c", None),
        ("a/+", "a", None),
        ("a/+/c", "a/b/#", "a/b/c"),
        ("a/b", "a/b/c", None),
    ],
)
def test_filters_overlap(one: str, other: str, topic: str | None) -> None:
    assert overlap(one, other) == overlap(other, one) == (topic is not None)
    assert topic is None or (topic_matches(one, topic) and topic_matches(other, topic))
