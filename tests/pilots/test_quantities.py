"""The vocabulary, units and durations."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_pilots.model import QuantityDefinition, Text
from techport_pilots.quantities import Quantity, builtin, lookup
from techport_pilots.time import Duration, interval_micros, parse_duration
from techport_pilots.units import is_unit, suggest_unit

ALL = list(builtin())


def test_there_is_a_word_for_what_a_city_measures() -> None:
    groups = Counter(quantity.group for quantity in ALL)

    assert len(ALL) >= 40
    subjects = ["air", "energy", "indoor", "mobility", "noise", "people", "waste", "water", "weather"]
    assert sorted(groups) == sorted([*subjects, "device"])
    assert min(groups.values()) >= 3


@pytest.mark.parametrize("quantity", ALL, ids=[quantity.name for quantity in ALL])
def test_an_entry_is_complete_and_makes_sense(quantity: Quantity) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", quantity.name)
    assert quantity.title.nb
    assert quantity.title.en
    assert is_unit(quantity.unit)
    assert not re.search(r"[\[\]{}]", quantity.unit_label), "people should not have to read UCUM"
    assert quantity.range is not None
    assert quantity.range[0] < quantity.range[1]
    assert 0 <= quantity.decimals <= (5 if quantity.name in ("latitude", "longitude") else 3)
    assert (quantity.kind == "direction") == (quantity.chart == "rose")
    assert quantity.kind != "count" or quantity.chart == "bar"
    assert (quantity.kind == "state") == (quantity.range == (0, 1) and quantity.chart == "steps")
    assert (quantity.kind == "energy-level") == (quantity.group == "noise")
    assert quantity.cf_name is None or re.fullmatch(r"[a-z][a-z0-9_]+", quantity.cf_name)


def test_titles_and_codes_are_not_given_twice() -> None:
    for values in (
        [quantity.title.nb for quantity in ALL],
        [quantity.title.en for quantity in ALL],
        [quantity.eea_code for quantity in ALL if quantity.eea_code],
        [quantity.cf_name for quantity in ALL if quantity.cf_name],
    ):
        assert [value for value, count in Counter(values).items() if count > 1] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("so2", 1), ("pm10", 5), ("o3", 7), ("no2", 8), ("nox", 9), ("co", 10), ("no", 38), ("pm25", 6001)],
)
def test_pollutants_carry_the_codes_of_the_environment_agency(name: str, code: int) -> None:
    quantity = lookup(name)
    assert quantity is not None
    assert quantity.eea_code == code


def test_a_channel_is_left_aside() -> None:
    assert lookup("air_temperature.inlet") is lookup("air_temperature")
    assert lookup("air_temperature.inlet.upper") is lookup("air_temperature")
    assert lookup("inlet.air_temperature") is None
    assert lookup("") is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("temperature", "air_temperature"),
        ("PM2.5", "pm25"),
        ("pm2_5", "pm25"),
        ("humidty", "relative_humidity"),
        ("precipitaton", "precipitation"),
        ("Wind-Speed", "wind_speed"),
    ],
)
def test_a_word_that_is_near_finds_its_quantity(word: str, meant: str) -> None:
    assert meant in builtin().near(word)


def test_a_pilots_own_quantities_stand_beside_the_vocabulary() -> None:
    words = builtin().extended(
        [
            QuantityDefinition("studs", Text("Pigger", "Studs"), "ug/m3"),
            QuantityDefinition("pm10", Text("Noe annet", "Something else"), "kg"),
        ]
    )
    studs, pm10 = words.lookup("studs.left"), words.lookup("pm10")

    assert studs is not None
    assert pm10 is not None
    assert (studs.unit_label, studs.group) == ("µg/m³", "own")
    assert pm10.unit == "ug/m3"
    assert "studs" not in builtin()
    assert len(words) == len(builtin()) + 1


@pytest.mark.parametrize(
    "code",
    [
        *("1", "%", "m", "ug/m3", "mg/L", "Cel", "[ppm]", "dB[SPL]", "hPa", "lx", "W/m2", "kW.h", "{vehicle}"),
        *("{grains}/m3", "m3/s", "L/min", "/m3", "uS/cm", "[pH]", "m.s-2", "10*6", "dB{mW}", "kV.A{reactive}"),
    ],
)
def test_a_ucum_unit_is_one(code: str) -> None:
    assert is_unit(code)


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("µg/m³", "ug/m3"),
        ("°C", "Cel"),
        ("ppm", "[ppm]"),
        ("dB(A)", "dB[SPL]"),
        ("kWh", "kW.h"),
        ("m/s²", "m/s2"),
        ("dBm", "dB{mW}"),
        ("prosent", "%"),
        ("", "1"),
        ("cars", "{cars}"),
        ("m//s", "{m//s}"),
        ("a{b", None),
        ("x" * 100, None),
    ],
)
def test_what_is_no_ucum_unit_is_told_what_it_may_have_meant(code: str, instead: str | None) -> None:
    assert not is_unit(code)
    assert suggest_unit(code) == instead


@given(st.text(max_size=80))
def test_whatever_is_written_as_a_unit_what_we_suggest_is_one(code: str) -> None:
    instead = suggest_unit(code)
    assert instead is None or is_unit(instead)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT10M", 600),
        ("PT0.5S", 0.5),
        ("PT1,25S", 1.25),
        ("P1D", 86_400),
        ("P2W", 1_209_600),
        ("P1DT12H30M5S", 131_405),
        ("PT36H", 129_600),
        ("PT0.000001S", 0.000001),
    ],
)
def test_a_duration_is_read_to_the_microsecond(text: str, seconds: float) -> None:
    assert interval_micros(text) == round(seconds * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "10M",
        "PT10",
        "PT10X",
        "P1H",
        "pt1h",
        "PT-5M",
        "PT0S",
        "P1M",
        "P1Y",
        "PT1M1H",
        "P1000000W",
        "PT１H",
    ],
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|calendar|no length|longer"):
        interval_micros(text)


def test_a_retention_may_be_in_years_and_months() -> None:
    assert parse_duration("P2Y6M10D", calendar="allowed") == Duration(30, 864_000_000_000)


def test_a_detection_limit_has_a_source_and_noise_around_zero_is_possible() -> None:
    limited = [quantity for quantity in builtin() if quantity.lod is not None]
    assert {"pm10", "pm25", "no2", "o3"} <= {quantity.name for quantity in limited}
    for quantity in limited:
        assert quantity.lod_source
        assert quantity.lod is not None
        assert quantity.range is not None
        assert quantity.range[0] == pytest.approx(-3 * quantity.lod), quantity.name


def test_a_mass_concentration_does_not_end_at_zero() -> None:
    cut = [q.name for q in builtin() if q.unit in ("ug/m3", "mg/m3") and q.range is not None and q.range[0] >= 0]
    assert cut == []
