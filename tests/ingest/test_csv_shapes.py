"""CSV as loggers and Norwegian spreadsheets write it."""

from __future__ import annotations

import pytest

from tests.ingest.explaining import read, reasons, stored

CSV = {"topic": "c/+", "format": "csv"}
NOON = 1_777_888_800  # 2026-05-04T10:00:00Z, noon in Oslo
PILOT = {"timezone": "Europe/Oslo"}


@pytest.mark.parametrize(
    "rows",
    [
        "Dato;Kl;pm10\n04.05.2026;12:00;8,5\n",
        "Kl;Dato;pm10\n12:00;04.05.2026;8,5\n",
        "Date,Time,pm10\n2026-05-04,12:00:00,8.5\n",
        "Date,Time,pm10\n2026-05-04,2026-05-04T12:00:00,8.5\n",
        "t;pm10\n1777888800;8,5\n",
        "ts,pm10\n1777888800000,8.5\n",
        "\ufeffDato;Kl;pm10\n;;µg/m³\n04.05.2026;12.00;8,5\n",
        "sep=;\ntid;pm10\n04.05.2026 12:00;8,5\n",
        "tid;pm10\n46146,5;8,5\n",  # a spreadsheet's day number, as cells without a date format are saved
        "time,pm10\n46146.4999999999,8.5\n",
        "Dato;Kl;pm10\n46146;0,5;8,5\n",
        "Dato;Kl;pm10\n46146;12:00;8,5\n",
    ],
)
def test_the_time_of_a_line(rows: str) -> None:
    explanation = read(CSV, "c/x", rows, **PILOT)
    assert reasons(explanation) == []
    assert [(r.quantity, r.value, (r.time or 0) // 1_000_000) for r in explanation.readings] == [("pm10", 8.5, NOON)]


def test_day_numbers_are_local_and_only_where_the_source_says_nothing_else() -> None:
    """The summer's clock is an hour ahead of the winter's; the hour that spring leaves out is no time."""
    rows = "tid;pm10\n46023,5;1\n46146,5;2\n46110,1041666667;3\n"
    explanation = read(CSV, "c/x", rows, **PILOT)
    assert [(reading.time or 0) // 1_000_000 % 86_400 // 3_600 for reading in explanation.readings] == [11, 10]
    assert reasons(explanation) == ["local-time.skipped"]
    [reading] = read({**CSV, "time": {"key": "tid", "unit": "s"}}, "c/x", "tid;pm10\n1777888800;1\n", **PILOT).readings
    assert reading.time == NOON * 1_000_000
    assert reasons(read({**CSV, "time": {"key": "tid", "unit": "s"}}, "c/x", "tid;pm10\n46146;1\n", **PILOT)) != []


def test_a_line_of_units_below_the_heading() -> None:
    rows = "Dato;Kl;Vann;Nivå;Strøm\n;;°F;mm;mA\n04.05.2026;12:00;50;1,5;20\n"
    assert stored(read(CSV, "c/x", rows, **PILOT)) == {
        "Vann [°F]": (50, "[degF]"),
        "Nivå [mm]": (1.5, "mm"),
        "Strøm [mA]": (20, "mA"),
    }
    source = {
        **CSV,
        "fields": {"Vann": "water_temperature", "Nivå": "water_level"},
        "columns": {"values": ["Vann", "Nivå"]},
    }
    assert stored(read(source, "c/x", rows, **PILOT)) == {
        "water_temperature": (10, "Cel"),
        "water_level": (0.0015, "m"),
    }


def test_long_tables_in_norwegian() -> None:
    rows = "Tid;Komponent;Verdi;Enhet\n04.05.2026 12:00;PM10;8,5;µg/m³\n04.05.2026 12:00;Nedbør;1,2;mm\n"
    assert stored(read(CSV, "c/x", rows, **PILOT)) == {"pm10": (8.5, "ug/m3"), "precipitation": (1.2, "mm")}


def test_groups_of_thousands_with_points() -> None:
    rows = "tid;teller\n04.05.2026 12:00;1.234.567,5\n"
    assert stored(read(CSV, "c/x", rows, **PILOT)) == {"teller": (1_234_567.5, None)}


def test_a_file_without_a_heading_is_told() -> None:
    explanation = read(CSV, "c/x", "2026-05-04T12:00:00Z,8.5,40\n2026-05-04T12:10:00Z,8.6,41\n")
    assert (stored(explanation), reasons(explanation)) == ({}, ["no-heading"])


def test_a_damaged_line_behind_a_units_line_is_named_as_in_the_file() -> None:
    (rejected,) = read(CSV, "c/x", "tid;co2\n;ppm\n04.05.2026 12:00;431\nnå;432\n", **PILOT).rejected
    assert rejected.rejection.params["where"] == {"code": "where.line", "params": {"number": 4}}
