"""A device is found by its aliases as its messages write them, and as decoders give them."""

from __future__ import annotations

import unicodedata

import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.registry.view import IngestView

DEFINITION = """
id: house
title: House
question: Is it warm?
devices:
  - {{id: kitchen, aliases: ["{alias}"]}}
"""


@pytest.mark.parametrize(
    ("alias", "sent"),
    [
        ("Kjøkken/Værstasjon", "kjøkken-værstasjon"),
        ("Kjøkken/Værstasjon", "Kjøkken/Værstasjon"),
        ("Målestasjon på taket", "målestasjon-på-taket"),
        ("Målestasjon på taket", unicodedata.normalize("NFD", "MÅLESTASJON på taket")),
        ("A8:17:58:FF:FE:04:A1:B2", "a81758fffe04a1b2"),
        ("node:7", "node-7"),
        ("Stue (2. etasje)", "stue-2.-etasje"),
        ("Stue (2. etasje)", "Stue (2. etasje)"),
    ],
)
def test_an_alias_is_written_as_the_device_writes_it(alias: str, sent: str) -> None:
    pilot = IngestView.of(1, [parse_definition(DEFINITION.format(alias=alias))], []).pilot("house")
    assert pilot is not None
    device = pilot.device(sent)
    assert device is not None
    assert device.id == "kitchen"


def test_other_names_are_other_devices() -> None:
    pilot = IngestView.of(1, [parse_definition(DEFINITION.format(alias="box-1-2"))], []).pilot("house")
    assert pilot is not None
    assert pilot.device("box-12") is None


def test_two_devices_cannot_have_names_that_decoders_give_alike() -> None:
    text = DEFINITION.format(alias="hall/north") + '  - {id: hall, aliases: ["Hall North"]}\n'
    with pytest.raises(DefinitionError, match=r"aliases\[0\]"):
        parse_definition(text)
