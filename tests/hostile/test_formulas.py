"""Names and titles that a spreadsheet would run: text in every CSV, and numbers stay numbers."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from techport_dashboards.query import formats
from techport_pilots.definition.load import parse_definition
from techport_pilots.handover import package_metadata
from techport_storage.csv_cells import FORMULA, NUMBER, harmless, harmless_column

SIGNS = "=+-@＝＋－＠"
INVISIBLE = "\t\r\n \x00\xa0\u200b\ufeff\u3000"
TEXTS = st.text(st.sampled_from(SIGNS + INVISIBLE + ";,|'\"5.eEx"), max_size=12)
COPIES = Path(formats.__file__).parents[1] / "web/static/js/copies.js"


def runs(cell: str) -> bool:
    """Whether a spreadsheet takes the cell for a formula: by its first visible sign, unless it is a number."""
    visible = cell.lstrip(INVISIBLE)
    return visible[:1] in tuple(SIGNS) and not re.fullmatch(NUMBER, cell)


@given(TEXTS)
def test_no_cell_is_a_formula_whatever_the_separator(text: str) -> None:
    safe = harmless(text)
    whole = re.fullmatch(NUMBER, text) is not None and not text.endswith("\n")
    assert whole or not any(runs(cell) for cell in [safe, *re.split(r"[;,|\t\r\n]", safe)])
    assert not safe.startswith(("\t", "\r", "\n"))
    assert safe.replace("'", "") == text.replace("'", ""), "nothing but apostrophes is added"
    assert harmless(safe) == safe
    assert harmless_column(pa.array([text])).to_pylist() == [safe]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_as_they_are(number: float) -> None:
    for text in (repr(number), f"{number:+.3f}", repr(number).replace(".", ",")):
        assert harmless(text) == text
        assert harmless_column(pa.array([text])).to_pylist() == [text]


@given(TEXTS.filter(lambda text: text.strip() != ""))
def test_answers_and_packages_hold_none(name: str) -> None:
    batch = pa.RecordBatch.from_pydict({"device": pa.array([name]), "value": pa.array([-1.5])})
    written = {
        ",": b"".join(formats.csv(iter([batch]), ["device", name])),
        ";": b"".join(formats.csv_nb(iter([batch]), ["device", name], "UTC")),
    }
    for separator, content in written.items():
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        head, *rows = csv.reader(text, delimiter=separator)
        assert not any(runs(cell) for cell in head)
        assert [row[0] for row in rows] == [harmless(name)]
        assert rows[0][1] in ("-1.5", "-1,5")


def test_devices_and_events_hold_none() -> None:
    pilot = parse_definition("""
id: p
title: P
question: Q?
devices: [{id: box, title: "=HYPERLINK(1)", kind: "＠x", streams: []}]
events: [{time: 2026-01-01, kind: other, text: "+cmd|' /C calc'!A0"}]
""")
    for text in (package_metadata.devices_csv(pilot), package_metadata.events_csv(pilot)):
        for row in csv.reader(io.StringIO(text)):
            assert not any(runs(cell) for cell in row)
    assert "'=HYPERLINK(1)" in package_metadata.devices_csv(pilot)


@given(TEXTS)
def test_the_page_has_the_same_rule(text: str) -> None:
    match = re.search(r"const FORMULA = /(.*)/g;", COPIES.read_text("utf-8"))
    assert match is not None
    assert re.sub(match[1], r"\1\2'\3", text) == re.sub(FORMULA, r"\1\2'\3", text)
