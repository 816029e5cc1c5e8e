"""What kinds of device are called."""

from __future__ import annotations

from pathlib import Path

import pytest

import techport_simulators
from techport_pilots.definition.kinds import kind_named
from techport_pilots.definition.load import read_definition

DEMO = Path(techport_simulators.__file__).with_name("pilots")


@pytest.mark.parametrize(
    ("kind", "nb"),
    [
        ("air-quality station", "luftmålestasjon"),
        ("vehicle counter 04300V72813", "kjøretøyteller 04300V72813"),
        ("counter of bats", "counter of bats"),
        ("Elsys ERS CO2", "Elsys ERS CO2"),
        (None, ""),
    ],
)
def test_a_kind_in_norwegian(kind: str | None, nb: str) -> None:
    named = kind_named(kind)
    assert (named.nb, named.en) == (nb, kind or "")


def test_the_demo_district_is_named_whole() -> None:
    kinds = {device.kind for file in DEMO.glob("*.yaml") for device in read_definition(file).devices if device.kind}
    assert kinds
    assert {kind for kind in kinds if kind_named(kind).nb == kind} == set()
