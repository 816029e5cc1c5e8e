"""Files of readings made into messages: encodings, headings of loggers, sizes, and the line where a file is wrong."""

from __future__ import annotations

import pytest

from techport_pilots.devices.csv_files import MOST_DEVICES, MOST_VALUES, NotCsv, parts, table_of, text_of

TOA5 = """"TOA5","mast","CR1000","1","CR1000.Std.32","CPU:a.CR1","1","Ten"
"TIMESTAMP","RECORD","AirTC_Avg","RH"
"TS","RN","Deg C","%"
"","","Avg","Smp"
"2026-05-04 12:00:00",1,8.25,77
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_of_spreadsheets(encoding: str) -> None:
    assert text_of("målested;støv\n".encode(encoding)) == "målested;støv\n"


def test_a_loggers_heading_becomes_one_line_with_units() -> None:
    assert table_of(TOA5).text.splitlines()[0] == "TIMESTAMP,RECORD,AirTC_Avg [Deg C],RH [%]"
    [part] = parts(TOA5)
    assert (part.lines, part.first) == (1, 5)


@pytest.mark.parametrize(
    ("text", "heading", "first"),
    [
        ("Dato;Kl;Temp;Nivå\n;;°C;mm\n04.05.2026;12:00;8,5;12\n", "Dato;Kl;Temp [°C];Nivå [mm]", 3),
        ("time,wind\n[UTC],[m/s]\n2026-05-04T12:00Z,3\n", "time,wind [m/s]", 3),
        ("time;state\n2026-05-04T12:00Z;C\n", "time;state", 2),  # a line of values
        ("time;unit\n;m\n", "time;unit [m]", None),
        ("sep=;\ntime;co2\n2026-05-04T12:00Z;431\n", "time;co2", 3),
        ("# logger 7\n# battery low\ntime,co2\n2026-05-04T12:00Z,431\n", "time,co2", 4),
        ("# logger 7\n# time,co2\n2026-05-04T12:00Z,431\n", "time,co2", 3),
        ("#,time,co2\n1,2026-05-04T12:00Z,431\n", ",time,co2", 2),
    ],
)
def test_what_stands_around_a_heading(text: str, heading: str, first: int | None) -> None:
    assert table_of(text).text.splitlines()[0] == heading
    assert [part.first for part in parts(text)] == ([] if first is None else [first])


def test_the_norwegian_word_for_device_is_a_unit_beside_values() -> None:
    assert [part.device for part in parts("tid;enhet;pm10\na;tak;3\n")] == ["tak"]
    assert [part.device for part in parts("tid;komponent;verdi;enhet\na;pm10;3;µg/m³\n")] == [""]


def test_a_large_file_is_split_and_each_part_has_the_heading() -> None:
    lines = "".join(f"2026-05-04T12:00:00Z,{number}\n" for number in range(3 * MOST_VALUES))
    made = list(parts("time,pm10\n" + lines))
    assert sum(part.lines for part in made) == 3 * MOST_VALUES
    assert all(part.payload.startswith(b"time,pm10\n") for part in made)
    assert max(part.lines for part in made) * 2 <= MOST_VALUES + 2


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "heading", 1),
        ("only\n1\n", "heading", 1),
        ("time,pm10\na,1\nb\n", "columns", 3),
        ('time,pm10\na,1\nb,"2\n', "quotes", 3),
        (TOA5 + '"2026-05-04 12:10:00",2\n', "columns", 6),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, code: str, line: int) -> None:
    with pytest.raises(NotCsv) as told:
        list(parts(text))
    assert (told.value.code, told.value.line) == (code, line)


@pytest.mark.parametrize(
    ("raw", "code", "line"),
    [
        (b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le") + b"\x00", "encoding", 3),
        (b"\xff\xfe\x00\xd8", "encoding", 1),
        (b"time," + b"x" * 200_000 + b"\na,1\n", "quotes", 1),
        (b"time;" + b";".join(b"c%d" % i for i in range(6_000)) + b"\n" + b"1;" * 6_000 + b"1\n", "long-heading", 1),
        (b"device;pm10\n" + b"".join(b"a%d;1\n" % i for i in range(MOST_DEVICES + 1)), "devices", MOST_DEVICES + 2),
    ],
    ids=["half a letter", "half a pair", "a long cell", "a long heading", "many devices"],
)
def test_a_file_that_would_grow_is_refused(raw: bytes, code: str, line: int) -> None:
    """Each message has the heading: a file of 4 MB would otherwise be gigabytes of messages."""
    with pytest.raises(NotCsv) as told:
        list(parts(text_of(raw), MOST_DEVICES))
    assert (told.value.code, told.value.line) == (code, line)


def test_a_file_on_disk_may_name_any_number_of_devices() -> None:
    text = "device;pm10\n" + "".join(f"a{i};1\n" for i in range(MOST_DEVICES + 1))
    assert len(list(parts(text))) == MOST_DEVICES + 1
