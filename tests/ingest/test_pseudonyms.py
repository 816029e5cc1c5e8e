"""Identifiers that a definition names are nowhere in what is kept: readings, ignored parts, quarantine, any file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.pseudonyms import in_csv, in_json, pseudonym, rule_of
from techport_ingest.message import Message
from techport_pilots.accounting.ignored import ignored_keys
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.model import CsvColumns, PseudonymRule, SourceDefinition
from techport_pilots.registry.database import Database
from techport_pilots.registry.pseudonym_keys import forget_keys, key_of
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, HOUR
from tests.ingest.test_ignored_parts import Platform
from tests.pilots.conftest import postgres, registry, registry_url

__all__ = ["postgres", "registry", "registry_url"]

KEY = b"k" * 32
MAC = "A4:C1:38:0F:EE:01"
ANON = re.compile(r"anon-[0-9a-f]{16}")


@pytest.mark.parametrize(
    ("one", "other"), [(MAC, "a4c1380fee01"), (MAC, "a4-c1-38-0f-ee-01"), ("EK 12345", "ek12345"), ("ＥＫ1", "ek1")]
)
def test_spellings_of_an_identifier_have_one_pseudonym(one: str, other: str) -> None:
    assert ANON.fullmatch(pseudonym(one, KEY))
    assert pseudonym(one, KEY) == pseudonym(other, KEY)
    assert pseudonym(one, KEY) != pseudonym(one, b"another")


def test_a_pseudonym_stays_what_it_is() -> None:
    once = pseudonym(MAC, KEY)
    assert pseudonym(once, b"of another day") == once


def replaced(text: str, *fields: str) -> str | None:
    source = SourceDefinition(topic="ble/+", format="json", pseudonyms=PseudonymRule(fields=list(fields)))
    rule = rule_of("p", source)
    payload = in_json(text.encode(), rule.is_identifier, rule.keys_are_identifiers, lambda one: f"<{one}>")
    return None if payload is None else payload.decode()


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        (["mac"], '{"mac": "A:B", "t": 21.50}', '{"mac": "<A:B>", "t": 21.50}'),
        (["mac"], '{"n": 1e400, "x": [{"MAC":"A"}]}', '{"n": 1e400, "x": [{"MAC":"<A>"}]}'),
        (["mac"], '[{"mac" : 12}, {"mac":false}]', '[{"mac" : "<12>"}, {"mac":false}]'),
        (["mac"], '{"mac": ["A", "B"], "mac2": "C"}', '{"mac": ["<A>", "<B>"], "mac2": "C"}'),
        (["mac"], '{"mac": {"own": "A", "n": -1.5}}', '{"mac": {"<own>": "<A>", "<n>": "<-1.5>"}}'),
        (["rx.addr"], '{"addr": "A", "rx": {"addr": "B"}}', '{"addr": "A", "rx": {"addr": "<B>"}}'),
        (["probes.*"], '{"probes": {"A": {"rssi": 1}, "B": 2}}', '{"probes": {"<A>": {"rssi": 1}, "<B>": 2}}'),
        (["mac"], '{"m\\u0061c": "\\u00e5"}', '{"m\\u0061c": "<\\u00e5>"}'),
        (["mac"], '{"mac": null, "a": {"mac": ""}, "b": true}', '{"mac": null, "a": {"mac": ""}, "b": true}'),
        (["mac"], '{"mac": "A", "mac": "B"}', '{"mac": "<A>", "mac": "<B>"}'),
        (["mac"], '[1, "mac", {"k": "mac"}]', '[1, "mac", {"k": "mac"}]'),
        (["mac"], '{"a": "{\\"mac\\": 1}", "mac": "x"}', '{"a": "{\\"mac\\": 1}", "mac": "<x>"}'),
        (["mac"], "not json", None),
        (["mac"], '{"mac": "A"', None),
        (["mac"], "[" * 100_000, None),
    ],
)
def test_identifiers_are_replaced_and_the_rest_stays(fields: list[str], text: str, expected: str | None) -> None:
    assert replaced(text, *fields) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time;MAC;pm10\n2026;A:B;17,50\n", "time;MAC;pm10\n2026;<A:B>;17,50\n"),
        ("time,mac,n\r\n1,A,2.50\r\n2,,3\r\n", "time,mac,n\r\n1,<A>,2.50\r\n2,,3\r\n"),
        ("# door 3\nsep=;\nmac;n\nA;1", None),
        ("sep=;\n# door 3\nmac;n\nAB;17\n", "sep=;\n# door 3\nmac;n\n<AB>;17\n"),
        ("mac;temp\n;°C\nA;21.5\n", "mac;temp\n;°C\n<A>;21.5\n"),
        ('mac,note\n"A ""x""","one\ntwo"\n', 'mac,note\n"<A ""x"">","one\ntwo"\n'),
        ("mac;n\rA;1\r", "mac;n\r<A>;1\n"),
        ("mac;n;\nAB;17;\n\n", "mac;n;\n<AB>;17;\n\n"),
        ("mac;n\n", "mac;n\n"),
        ("\ufeffmac;n\nAB;17\n", "\ufeffmac;n\n<AB>;17\n"),
        ("mac;n\nA;1;2\n", None),  # a separator too many: the identifier may be in another cell
        ("mac;n\nA\n", None),
        ("adresse;n\nA;1\n", None),  # no such column
        ("A;1\nB;2\n", None),  # no heading
        ('mac;n\n"A;1\n', None),
        ("", None),
    ],
)
def test_identifiers_are_replaced_in_the_columns_of_a_table(text: str, expected: str | None) -> None:
    payload = in_csv(text.encode(), {"mac", "plate"}, CsvColumns(), lambda one: f"<{one}>")
    assert (None if payload is None else payload.decode()) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_keeps_its_encoding(encoding: str) -> None:
    text = "mac;vær\nÅ1;2\n"
    payload = in_csv(text.encode(encoding), {"mac"}, CsvColumns(encoding="latin-1"), lambda one: f"<{one}>")
    assert payload == text.replace("Å1", "<Å1>").encode(encoding)


def test_what_decode_shows_has_pseudonyms_too() -> None:
    source = {"topic": "ble/+", "format": "csv", "pseudonyms": {"fields": ["mac"]}, "device": {"level": 2}}
    pilot = {"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "d"}], "sources": [source]}
    text = f"mac;pm10;note\n{MAC};much;x\n;4;y\n".encode()
    shown = repr(explain(text, "ble/d", 20_000 * DAY, pilot=parse_definition(json.dumps(pilot))))
    assert "4.0" in shown
    assert MAC not in shown
    assert ANON.search(shown)


@pytest.mark.parametrize("format_name", ["sparkplug-b", "senml-cbor", "line-protocol"])
def test_fields_of_what_is_neither_json_nor_csv_are_refused(format_name: str) -> None:
    source = {"topic": "ble/+", "format": format_name, "pseudonyms": {"fields": ["mac"]}}
    pilot = {"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "d"}], "sources": [source]}
    with pytest.raises(DefinitionError, match=f"no field can be found in messages of the format {format_name}"):
        parse_definition(json.dumps(pilot))
    source["pseudonyms"] = {"levels": [2]}
    parse_definition(json.dumps(pilot))


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({}, "neither a field nor a level"),
        ({"fields": ["a..b"]}, "not a key"),
        ({"fields": ["*"]}, "not a key"),
        ({"levels": [1]}, "not a wildcard"),
        ({"levels": [0]}, "not a wildcard"),
        ({"levels": [9]}, "not a wildcard"),
        ({"levels": [-2]}, "not a wildcard"),
        ({"fields": ["mac"], "rotate": "soon"}, "rotate"),
        ({"field": ["mac"]}, "field"),
    ],
)
def test_a_rule_that_finds_nothing_is_told(rule: dict[str, object], wrong: str) -> None:
    source = {"topic": "ble/+", "format": "json", "pseudonyms": rule}
    pilot = {"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "d"}], "sources": [source]}
    with pytest.raises(DefinitionError, match=wrong):
        parse_definition(json.dumps(pilot))


def test_all_workers_have_one_key_which_goes_when_the_next_period_is_over(registry: Registry) -> None:
    database: Database = registry.database
    monday = 20_000 * DAY
    key = key_of(database, "p", DAY, monday + HOUR)
    assert key_of(database, "p", DAY, monday + 20 * HOUR) == key
    tuesday = key_of(database, "p", DAY, monday + DAY)
    assert len({key, tuesday, key_of(database, "other", DAY, monday), key_of(database, "p", HOUR, monday)}) == 4
    assert key_of(database, "p", DAY, monday) == key, "messages of yesterday may still come"
    key_of(database, "p", DAY, monday + 2 * DAY)
    assert key_of(database, "p", DAY, monday + DAY) == tuesday
    assert key_of(database, "p", DAY, monday) != key, "nobody has it any more"


def test_keys_go_also_where_no_message_comes_any_more(registry: Registry) -> None:
    database: Database = registry.database
    monday = 20_000 * DAY

    def secrets() -> list[tuple[str, int]]:
        with database.reading() as transaction:
            return [tuple(row) for row in transaction.execute("SELECT pilot, length FROM pseudonym_keys ORDER BY 1, 2")]

    key_of(database, "silent", DAY, monday)
    key_of(database, "rotates-faster-now", DAY, monday)
    key_of(database, "rotates-faster-now", HOUR, monday)
    forget_keys(database, monday + 2 * HOUR - 1)
    assert len(secrets()) == 3
    forget_keys(database, monday + 2 * HOUR)
    assert secrets() == [("rotates-faster-now", DAY), ("silent", DAY)]
    key_of(database, "busy", DAY, monday + 2 * DAY)
    assert secrets() == [("busy", DAY)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    platform.close()


def test_nothing_that_is_kept_holds_an_identifier(platform: Platform, tmp_path: Path) -> None:
    rule = {"fields": ["mac", "seen.*"], "levels": [2]}
    platform.define(pseudonyms=rule, device={"pointer": "/device"}, fields={"pm10": {"quantity": "pm10"}})
    database = platform.registry.database
    MessageTap(database).watch("p", "d", DAY)
    canary = "kanariplate"
    platform.send(
        {"device": "d", "mac": f"{canary}-1", "pm10": 4},  # a reading, and an ignored text
        {"device": "d", "mac": f"{canary}-2", "pm10": "much"},  # quarantined
        {"device": "d", "seen": {f"{canary}-3": -70}, "pm10": 5},
    )
    raw = [
        Message(f"doors/{canary}-4", b'{"device": "nobody", "pm10": 1}', platform.at, -1),
        Message("doors/d", f"mac={canary}-5".encode(), platform.at, -1),
    ]
    platform.pipeline._keep(raw)
    entries = Quarantine(database).entries(QuarantineFilter(pilot="p"), limit=50).items
    reasons = {entry.rejection.code for entry in entries}
    assert "not-pseudonymised" in reasons
    assert all(entry.payload == b"" for entry in entries if entry.rejection.code == "not-pseudonymised")
    assert any(ANON.search(entry.topic) for entry in entries)
    assert any(b"anon-" in entry.payload for entry in entries)
    assert ignored_keys(database, "p", "d", 10)
    platform.store.close()
    platform.registry.close()
    holding = [
        file.name for file in tmp_path.rglob("*") if file.is_file() and canary.encode() in file.read_bytes().lower()
    ]
    assert holding == []
