"""Families that are read by a table: three lines of YAML bring them in, with their states and their missing values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from techport_ingest.decoding.formats.json import FAMILIES
from techport_ingest.decoding.formats.json.families import load_families
from techport_ingest.decoding.formats.lorawan_json import FAMILIES as SERVERS
from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.formats import BrokenFormat, formats, names
from techport_pilots.i18n import LANGUAGES, Language
from techport_pilots.model import PilotDefinition, SourceDefinition, Text
from techport_pilots.plugins import table_files
from tests.ingest.test_decoder_cases import CASES, read_message, source_of

TABLES = [form.name for form in (*FAMILIES, *SERVERS)]
MOST_LINES = 3


def findings(family: str) -> list[dict[str, object]]:
    """What the cases of a family expect."""
    cases = [case for case in CASES if case.parts[-2] == family]
    return [finding for case in cases for finding in json.loads((case / "expected.json").read_bytes())]


@pytest.mark.parametrize("family", TABLES)
def test_three_lines_bring_a_family_in(family: str) -> None:
    source = SourceDefinition(topic=formats()[family].topic, format=family)
    pilot = PilotDefinition(id="x", title=Text(), question=Text(), devices=[], sources=[source])
    lines = to_yaml(pilot).splitlines()
    written = lines[lines.index("sources:") :]
    assert len([line for line in written if line.startswith((" ", "sources"))]) <= MOST_LINES
    for case in CASES:
        if case.parts[-2] == family:  # no case needs more than that, but for another topic
            assert set(source_of(case, read_message(case).topic) or {}) == {"topic", "format"}


@pytest.mark.parametrize("family", TABLES)
def test_cases_have_two_devices_a_text_and_a_missing_value(family: str) -> None:
    found = findings(family)
    assert len({finding["device"] for finding in found if "value" in finding}) >= 2
    assert any(finding.get("ignored") in ("null", "missing") for finding in found)
    values = [finding["value"] for finding in found if "value" in finding]
    states = [value for value in values if value in (0.0, 1.0) or isinstance(value, str)]
    assert states or any(finding.get("ignored") in ("text", "not-a-reading") for finding in found)


@pytest.mark.parametrize("family", TABLES)
def test_where_the_device_is_named_is_said_in_every_language(family: str) -> None:
    for language in LANGUAGES:
        assert "format." not in Language(language).message(formats()[family].device_text)


@pytest.mark.parametrize("family", TABLES)
def test_a_table_names_the_documentation_that_it_was_written_from(family: str) -> None:
    [table] = [file for file in table_files() if file.stem == family]
    assert table.read_text("utf-8").startswith("# ")


def test_tables_are_formats_like_others() -> None:
    assert set(TABLES) <= set(names())
    text = "id: x\ntitle: X\nquestion: Y\nsources: [{topic: 'owntracks/+/+', format: owntracks}]\ndevices: []\n"
    assert parse_definition(text).sources[0].format == "owntracks"


def test_a_table_that_is_wrong_is_told(tmp_path: Path) -> None:
    table = {"label": "Odd", "topic": "odd/+", "shapes": [{"devise": {"level": 2}}]}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(table))
    with pytest.raises(BrokenFormat, match="devise"):
        load_families(tmp_path)
