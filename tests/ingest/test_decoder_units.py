"""Units of payloads to units of the vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_ingest.checking.units import ALIASES, NotConvertible, Units, UnknownUnit
from techport_pilots.quantities import builtin


@pytest.fixture(scope="module")
def units() -> Units:
    return Units()


@pytest.mark.parametrize(
    ("text", "ucum"),
    [
        ("°C", "Cel"),
        ("ppm", "[ppm]"),
        ("µg/m³", "ug/m3"),
        ("μg/m³", "ug/m3"),
        ("dB(A)", "dB[SPL]"),
        ("dBm", "dB{mW}"),
        ("°F", "[degF]"),
        ("m⋅s⁻¹", "m.s-1"),
        ("%RH", "%"),
        ("kWh", "kW.h"),
        (" hPa ", "hPa"),
        ("lx", "lx"),
        ("W/m²", "W/m2"),
        ("µS/cm", "uS/cm"),
        ("Cel", "Cel"),
        ("ug/m3", "ug/m3"),
        ("", "1"),
        ("furlongs", None),
        ("x" * 500, None),
        ("//", None),
        ("{", None),
    ],
)
def test_normalise(units: Units, text: str, ucum: str | None) -> None:
    assert units.normalise(text) == ucum


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (68.0, "°F", "Cel", 20.0),
        (-40.0, "°F", "Cel", -40.0),
        (293.15, "K", "Cel", 20.0),
        (2990, "mV", "V", 2.99),
        (100_044.0, "Pa", "hPa", 1000.44),
        (99.5, "kPa", "hPa", 995.0),
        (750.0, "mmHg", "hPa", 999.9179),
        (1425, "W", "kW", 1.425),
        (36, "km/h", "m/s", 10.0),
        (10, "mph", "m/s", 4.4704),
        (10, "kn", "m/s", 5.1444),
        (5, "Wh", "kW.h", 0.005),
        (3_600_000.0, "J", "kW.h", 1.0),
        (1, "ppm", "[ppb]", 1000.0),
        (125, "dS/m", "uS/cm", 125_000.0),
        (500, "L", "m3", 0.5),
        (-60, "dBm", "dB{mW}", -60.0),
        (-60, "dB", "dB{mW}", -60.0),
        (-90, "dBW", "dB{mW}", -60.0),
        (55.5, "dB(A)", "dB[SPL]", 55.5),
        (12, "", "{vehicle}", 12.0),
        (1.5, "var", "kV.A{reactive}", 0.0015),
        (0.5, "1", "%", 50.0),
        (7.5, "pH", "[pH]", 7.5),
    ],
)
def test_convert(units: Units, value: float, source: str, target: str, expected: float) -> None:
    assert units.convert(value, source, target) == pytest.approx(expected, rel=1e-5)


def test_conversions_by_whole_numbers_are_exact(units: Units) -> None:
    assert units.convert(68.0, "°F", "Cel") == 20.0
    assert [units.convert(float(n), "mV", "V") for n in range(5000)] == [n / 1000 for n in range(5000)]


@pytest.mark.parametrize(("source", "target"), [("ppm", "ug/m3"), ("dBm", "dB[SPL]"), ("V", "A"), ("m/s", "Cel")])
def test_what_does_not_measure_the_same_is_refused(units: Units, source: str, target: str) -> None:
    with pytest.raises(NotConvertible):
        units.convert(1.0, source, target)


def test_unknown_units_are_refused(units: Units) -> None:
    with pytest.raises(UnknownUnit):
        units.convert(1.0, "furlongs", "m")


def test_every_alias_is_a_unit_that_converts_to_itself(units: Units) -> None:
    for text, ucum in ALIASES.items():
        assert units.normalise(text) == ucum
        assert units.convert(1.5, text, ucum) == 1.5
        assert units.normalise(ucum) == ucum


def test_every_unit_of_the_vocabulary_is_known(units: Units) -> None:
    assert [quantity.unit for quantity in builtin() if units.normalise(quantity.unit) is None] == []


@given(text=st.text(max_size=12), target=st.sampled_from(["Cel", "ug/m3", "dB[SPL]", "1"]))
def test_any_text_is_a_unit_or_is_none(units: Units, text: str, target: str) -> None:
    try:
        answer: object = units.convert(1.0, text, target)
    except (UnknownUnit, NotConvertible) as refused:
        answer = refused
    assert isinstance(answer, (float, UnknownUnit, NotConvertible))
