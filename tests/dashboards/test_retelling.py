"""What ingest says in English is told in the reader's language: by real refusals, so that the two cannot drift."""

from __future__ import annotations

import re

import pytest

from techport_dashboards.web.i18n import FOLDER
from techport_dashboards.web.retelling import PARTS, SENTENCES, retell
from techport_ingest.decoding.lint import explain
from techport_pilots.definition.load import parse_definition
from techport_pilots.i18n import Language
from techport_storage.clock import now
from tests.dashboards.test_pages import texts_of

NB, EN = Language("nb", FOLDER), Language("en", FOLDER)

BAD = {
    "text": b'{"temp": "21,5"}',
    "words": b'{"temp": "warm"}',
    "text that is no value": b'{"temp": "nan"}',
    "null": b'{"temp": null}',
    "boolean": b'{"temp": true}',
    "object": b'{"temp": {"a": {}}, "b": []}',
    "array": b'{"temp": [1, 2]}',
    "too large": b'{"pm10": 1e999}',
    "huge integer": b'{"pm10": 1' + 400 * b"0" + b"}",
    "NaN": b'{"pm10": NaN}',
    "bad name": b'{" pm10": 1}',
    "twice": b'{"pm10": 1, "pm10": 2}',
    "future": b'{"time": "2099-05-04T12:30:00Z", "pm10": 1}',
    "past": b'{"time": "1971-05-04T12:30:00Z", "pm10": 1}',
    "local time": b'{"time": "2026-05-04T12:30:00", "pm10": 1}',
    "no time": b'{"time": "yesterday", "pm10": 1}',
    "time of another type": b'{"time": [], "pm10": 1}',
    "not an object": b"[1]",
    "empty": b"",
    "no values": b"{}",
    "Latin-1": "{\"navn\": \"bl\u00e5\"}".encode("latin-1"),
    "cut off": b'{"pm10": 1',
    "not JSON": b"pm10=1",
    "trailing": b'{"pm10": 1} x',
    "deep": b'{"a":' * 3000,
    "byte order mark": b'\xef\xbb\xbf{"pm10": 1}',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_the_native_format_refuses_is_told_in_norwegian(name: str) -> None:
    found = explain(BAD[name], "pilots/street/box/readings", now(), "native")
    assert found.refused
    for one in found.refused:
        for said in (one.detail, one.hint):
            assert retell(said, EN) == said
            told = retell(said, NB)
            assert told is not None, said
            assert told != said


def test_strangers_are_told_in_norwegian() -> None:
    pilot = parse_definition(
        'id: street\ntitle: {nb: Gata, en: Street}\nquestion: {nb: "?", en: "?"}\ndevices: []\n', file="street.yaml"
    )
    found = explain(b'{"pm10": 1}', "pilots/street/box/readings", now(), pilot=pilot)
    (one,) = found.refused
    assert retell(one.detail, NB) == "Piloten street har ingen enhet 'box'"
    assert str(retell(one.hint, NB)).startswith("Se etter tredje nivå i emnet")


def test_values_stay_and_their_units_are_told() -> None:
    assert retell('"21,5" is text: send 21.5 without quotes', NB) == '"21,5" er tekst: send 21.5 uten anførselstegn'
    assert retell("the time is 3 hours ahead of the arrival", NB) == "Tidspunktet er 3 timer etter ankomsten"
    assert retell("{key} is text", NB) == "{key} er tekst", "a key may look like a place"
    assert retell("nobody ever said this", NB) is None


def test_every_sentence_has_its_words_with_the_same_places() -> None:
    for form in (*SENTENCES, *PARTS):
        assert form in texts_of("nb")
        assert places(NB.gettext(form)) == places(form)


def places(text: str) -> set[str]:
    return set(re.findall(r"(?<!\{)\{([a-z]+)\}", text))
