"""Reading a CSV by its mapping: numbers to the bit, instants by the file's clock, and a clear word when it fails."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from techport_simulators.demo import mapping_path
from techport_simulators.mapping import Clock, Mapping, MappingError, TimeColumn, load_mapping, rows

PLAIN = """
pilot = "square"
columns = [
  { column = "pm", device = "a", quantity = "pm10" },
  { column = "cars", device = "b", quantity = "vehicle_count" },
]
[time]
column = "when"
"""


def mapping(folder: Path, text: str) -> Mapping:
    path = folder / "mapping.toml"
    path.write_text(text, "utf-8")
    return load_mapping(path)


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding)
    return path


def test_plain_file(tmp_path: Path) -> None:
    plan = mapping(tmp_path, PLAIN + 'offset = "+01:00"')
    file = table(tmp_path, "when,pm,cars\n2020-01-01 00:00:00,6.279397816735783,12\n2020-01-01 01:00:00,,7\n")
    first, second = rows(file, plan)
    assert [(r.device, r.values) for r in first.records] == [
        ("a", {"pm10": 6.279397816735783}),
        ("b", {"vehicle_count": 12}),
    ]
    assert first.records[0].time.astimezone(dt.UTC) == dt.datetime(2019, 12, 31, 23, tzinfo=dt.UTC)
    assert [r.device for r in second.records] == ["b"]
    assert second.missing == 1


def test_norwegian_export_with_mixed_rows(tmp_path: Path) -> None:
    plan = mapping(
        tmp_path,
        """
        pilot = "bro"
        encoding = "iso-8859-1"
        delimiter = ";"
        decimal = ","
        missing = ["-"]
        only = { Felt = "Totalt" }
        device_column = "Punkt"
        devices = { "1V2" = "brua" }
        ignore = ["Navn"]
        columns = [{ column = "Fart", quantity = "speed" }, { column = "Volum", quantity = "vehicle_count" }]
        [time]
        column = "Fra"
        """,
    )
    head = "Punkt;Navn;Fra;Felt;Fart;Volum\n"
    lines = (
        "1V2;Brattørbrua;2020-02-01T00:00+01:00;1;37,5;100\n"
        "1V2;Brattørbrua;2020-02-01T00:00+01:00;Totalt;38,25;420\n"
        "3V4;Sandgata;2020-02-01T00:00+01:00;Totalt;-;-1\n"
    )
    lane, total, other = rows(table(tmp_path, head + lines, "iso-8859-1"), plan)
    assert (lane.left_out, lane.records) == ("filtered", [])
    assert [(r.device, r.values) for r in total.records] == [("brua", {"speed": 38.25, "vehicle_count": 420})]
    assert total.records[0].time == dt.datetime(2020, 1, 31, 23, tzinfo=dt.UTC)
    assert [(r.device, r.values) for r in other.records] == [("3v4", {"vehicle_count": -1})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2020-01-01,nan,1", ["line 2", "'pm'", "'nan' is no number"]),
        ("2020-01-01,1e999,1", ["'1e999' is no number"]),
        ("2020-01-01,ten,1", ["'ten' is no number"]),
        ("soon,1,1", ["line 2", "'when'", "soon"]),
        ("2020-01-01,1", ["2 cells where the header has 3"]),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, line: str, words: list[str]) -> None:
    plan = mapping(tmp_path, PLAIN + 'offset = "+00:00"')
    with pytest.raises(MappingError) as error:
        list(rows(table(tmp_path, f"when,pm,cars\n{line}\n"), plan))
    assert all(word in str(error.value) for word in words)


def test_no_column_is_passed_over_in_silence(tmp_path: Path) -> None:
    plan = mapping(tmp_path, PLAIN)
    with pytest.raises(MappingError, match=r"columns \['noise'\] are neither mapped nor under ignore"):
        list(rows(table(tmp_path, "when,pm,cars,noise\n"), plan))
    with pytest.raises(MappingError, match=r"has no column \['cars'\]"):
        list(rows(table(tmp_path, "when,pm\n"), plan))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pilot = 1", "Expected `str`"),
        ("pilot = ", "mapping.toml"),
        (PLAIN + 'offset = "+01:00"\nzone = "Europe/Oslo"', "both offset and zone"),
        (PLAIN.replace('device = "a", ', ""), r"columns \['pm'\] have no device"),
        (PLAIN + "colour = 1", "unknown field `colour`"),
    ],
)
def test_a_bad_mapping_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(MappingError, match=words):
        mapping(tmp_path, text)


def test_clocks() -> None:
    fixed = Clock(TimeColumn("t", offset="+01:00"))
    assert fixed("2019-07-01 12:00:00") == dt.datetime(2019, 7, 1, 11, tzinfo=dt.UTC)
    wall = Clock(TimeColumn("t", zone="Europe/Oslo"))
    assert wall("2019-07-01 12:00:00") == dt.datetime(2019, 7, 1, 10, tzinfo=dt.UTC)
    carried = Clock(TimeColumn("t"))
    assert carried("2019-07-01T12:00+02:00") == dt.datetime(2019, 7, 1, 10, tzinfo=dt.UTC)
    norwegian = Clock(TimeColumn("t", format="%d.%m.%Y %H.%M", offset="+00:00"))
    assert norwegian("01.07.2019 12.30") == dt.datetime(2019, 7, 1, 12, 30, tzinfo=dt.UTC)
    with pytest.raises(ValueError, match="has no offset"):
        carried("2019-07-01T12:00")


def test_hours_that_never_were_and_hours_that_were_twice() -> None:
    skipped, twice = "2019-03-31 02:30:00", "2019-10-27 02:30:00"
    strict = Clock(TimeColumn("t", zone="Europe/Oslo"))
    with pytest.raises(ValueError, match="never was"):
        strict(skipped)
    with pytest.raises(ValueError, match="was twice"):
        strict(twice)
    assert Clock(TimeColumn("t", zone="Europe/Oslo", nonexistent="skip"))(skipped) is None
    earlier = Clock(TimeColumn("t", zone="Europe/Oslo", ambiguous="earlier"))(twice)
    later = Clock(TimeColumn("t", zone="Europe/Oslo", ambiguous="later"))(twice)
    assert earlier is not None
    assert later is not None
    assert earlier.astimezone(dt.UTC) == dt.datetime(2019, 10, 27, 0, 30, tzinfo=dt.UTC)
    assert later.astimezone(dt.UTC) == dt.datetime(2019, 10, 27, 1, 30, tzinfo=dt.UTC)


def test_real_road_exports_give_one_reading_an_hour(shared: Path) -> None:
    plan = load_mapping(mapping_path("vegvesen-hourly"))
    files = sorted((shared / "datasets" / "vegvesen-trondheim-hourly").glob("*V*_hour_*.csv"))
    assert len(files) == 31
    for file in files:
        records = [record for row in rows(file, plan) for record in row.records]
        assert len({record.time for record in records}) == len(records) <= 24, file.name
    elgeseter = next(file for file in files if file.name.startswith("44656V72812"))
    first = next(row.records[0] for row in rows(elgeseter, plan) if row.records)
    assert (first.device, first.values["vehicle_count"]) == ("traffic-elgeseter", 420)


@pytest.mark.parametrize(
    ("changed", "text", "problem"),
    [
        ("", b"", "line 1"),
        ("", b"when,pm,cars\n\xe6,1,2\n", "latin-1"),
        ("", b'when,pm,cars\n2020-01-01 00:00:00,"1,2\n', "line 2"),
        ("", b"when,pm,cars\n2020-01-01 00:00:00,1\n", "line 2: 2 cells"),
        ("", b"when,pm,cars\nyesterday,1,2\n", "line 2, column 'when'"),
        ("", b"when,pm,cars\n2020-01-01 00:00:00,many,2\n", "line 2, column 'pm'"),
        ("", b"when,pm,pm,cars\n", "two columns are called"),
        ("", b"when,cars\n", "has no column ['pm']"),
        ("encoding = 'utf-9'", b"", "no encoding 'utf-9'"),
        ("delimiter = ';;'", b"", "delimiter"),
        ("decimal = 5", b"", "mapping.toml"),
        ("decimal = '/'", b"", "decimal"),
        ("zone = 'Europe/Trondheim'", b"", "Europe/Trondheim"),
        ("offset = '1'", b"", "'1'"),
        ("columns = ['date']", b"", "one of column and columns"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, changed: str, text: bytes, problem: str) -> None:
    of_time = changed.startswith(("zone", "offset", "columns"))
    plan = f"{'' if of_time else changed}\n{PLAIN}" + (changed if of_time else "offset = '+00:00'")
    (tmp_path / "table.csv").write_bytes(text)
    with pytest.raises(MappingError) as told:
        list(rows(tmp_path / "table.csv", mapping(tmp_path, plan)))
    assert problem in str(told.value)
    assert "\n" not in str(told.value)


def test_date_and_time_of_day_in_two_columns(tmp_path: Path) -> None:
    text = PLAIN.replace('column = "when"', 'columns = ["dato", "klokke"]\nformat = "%d.%m.%Y %H:%M"')
    plan = mapping(tmp_path, 'delimiter = ";"\ndecimal = ","\nencoding = "latin-1"' + text + 'zone = "Europe/Oslo"')
    file = table(tmp_path, "dato;klokke;pm;cars\n04.05.2026; 14:30 ;17,5;3\n", "latin-1")
    [row] = rows(file, plan)
    assert [record.time.isoformat() for record in row.records] == ["2026-05-04T14:30:00+02:00"] * 2
    assert [record.values for record in row.records] == [{"pm10": 17.5}, {"vehicle_count": 3}]


def test_a_loggers_file_has_four_lines_of_heading(tmp_path: Path) -> None:
    text = PLAIN.replace('"when"', '"TIMESTAMP"').replace("pilot =", 'ignore = ["RECORD"]\nmissing = ["NAN"]\npilot =')
    plan = mapping(tmp_path, text + 'offset = "+01:00"')
    lines = [
        '"TOA5","mast","CR1000","1","CR1000.Std.32","CPU:a.CR1","1","Ten"',
        '"TIMESTAMP","RECORD","pm","cars"',
        '"TS","RN","ug/m3",""',
        '"","","Avg","Tot"',
        '"2026-05-04 12:00:00",1,8.25,2',
        '"2026-05-04 12:10:00",2,"NAN","NAN"',
    ]
    first, second = rows(table(tmp_path, "\n".join(lines)), plan)
    assert [record.values for record in first.records] == [{"pm10": 8.25}, {"vehicle_count": 2}]
    assert second.missing == 2
