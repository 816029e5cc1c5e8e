"""Units that keys and headings state are kept, converted or asked about, and never replaced by others."""

from __future__ import annotations

from typing import Any

import pytest

from techport_ingest.checking.unit_names import stated_unit
from techport_ingest.decoding.lint import explain
from tests.ingest.explaining import NOW, read, reasons, stored, uplink

JSON = {"topic": "any/+", "format": "json"}
CSV = {"topic": "any/+", "format": "csv"}


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        *(("sump_mm", "mm"), ("sump (cm)", "cm"), ("sumpCm", "cm"), ("sumpMm.inlet", "mm"), ("tank.sump_mm", "mm")),
        *(("flow_l_h", "L/h"), ("flow_m3_h", "m3/h"), ("total_volume_m3", "m3"), ("line_pressure_bar", "bar")),
        *(("hum_dB", "dB"), ("Snow [m]", "m"), ("run_hours", "h"), ("ozone_ppb", "ppb"), ("pressureKPa", "kPa")),
        *(("phase_a", None), ("Phase (A)", None), ("pm25_ma", None), ("count_min", None), ("level_var", None)),
        *(("mm", None), ("level", None), ("Slot (1)", None), ("", None), ("()", None), ("bar", None)),
    ],
)
def test_a_unit_is_read_from_a_key_where_its_letters_mean_nothing_else(key: str, unit: str | None) -> None:
    assert stated_unit(key) == unit


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"sump_mm": 812, "sump2 (cm)": 40}, {"sump_mm": (812, "mm"), "sump2 (cm)": (40, "cm")}),
        ({"depth (cm)": 55}, {"depth": (0.55, "m")}),
        ({"Depth [mm]": 55}, {"depth": (0.055, "m")}),
        ({"Temp [°C]": 4.5}, {"air_temperature": (4.5, "Cel")}),
        ({"temp_c": 4.5}, {"air_temperature": (4.5, "Cel")}),
        ({"Temp (F)": 50}, {"air_temperature": (10, "Cel")}),
        ({"Current (A)": 3.5}, {"current": (3.5, "A")}),
        ({"battery (V)": 3.4}, {"battery_voltage": (3.4, "V")}),
        ({"rain_mm": 0.4}, {"precipitation": (0.4, "mm")}),
        ({"pressure_bar": 2.5}, {"pressure_bar": (2.5, "bar")}),  # in a pipe, not in the air
        ({"no2_ppb": 14}, {"no2_ppb": (14, "[ppb]")}),  # needs more than a factor to become ug/m3
        ({"NO2": 14}, {"raw.NO2": (14, None)}),
        ({"NO2 [µg/m³]": 14}, {"no2": (14, "ug/m3")}),
    ],
)
def test_the_key_says_the_unit(message: dict[str, Any], expected: dict[str, tuple[float, str | None]]) -> None:
    assert stored(uplink(message)) == expected
    assert stored(read(JSON, "any/x", message)) == expected


def test_a_native_device_may_say_the_unit_of_its_own_names_in_them() -> None:
    assert stored(explain(b'{"sump_mm": 812}', "pilots/p/x/readings", NOW, "native")) == {"sump_mm": (812, "mm")}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("water_level", (1.25, "m")),
        ({"quantity": "water_level", "unit": "cm"}, (12.5, "m")),  # the definition knows better
        ({"quantity": "water_level", "factor": 0.01}, (12.5, "m")),  # and whoever scales says what it is in
        ("people_count", (1250, "{person}")),
    ],
)
@pytest.mark.parametrize("key", ["sump_mm", "Sump (mm)"])
def test_a_mapped_field_keeps_the_unit_of_its_key(key: str, field: Any, expected: tuple[float, str]) -> None:
    quantity = field if isinstance(field, str) else field["quantity"]
    assert stored(read({**JSON, "fields": {key: field}}, "any/x", {key: 1250})) == {quantity: expected}
    rows = f"time;{key}\n2026-05-04T12:00:00Z;1250\n"
    assert stored(read({**CSV, "fields": {key: field}}, "any/x", rows)) == {quantity: expected}


@pytest.mark.parametrize("key", ["Vann [°F]", "Vann"])
def test_a_column_is_mapped_by_its_heading_with_its_unit_or_without(key: str) -> None:
    source = {**CSV, "fields": {key: "water_temperature"}}
    explanation = read(source, "any/x", "time;Vann [°F];Snø (m)\n2026-05-04T12:00:00Z;50;0,4\n")
    assert stored(explanation) == {"water_temperature": (10, "Cel"), "Snø (m)": (0.4, "m")}
    assert (explanation.unmatched, reasons(explanation)) == ([], [])


def test_keys_that_are_no_names_are_not_looked_at() -> None:
    for key in ("aB" * 50_000, "a " * 50_000, "a(" * 50_000, "a_" * 50_000 + "mm"):
        assert stated_unit(key) is None
