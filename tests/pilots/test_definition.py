"""Pilot definitions: what is right is read, what is wrong is said with its line and its remedy, all at once."""

from __future__ import annotations

import datetime as dt
import random
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_pilots.definition.load import parse_definition, read_definition, to_yaml
from techport_pilots.errors import DefinitionError, Finding
from techport_pilots.model import DeviceDefinition, Text
from tests.conftest import ROOT

GOOD = """\
id: elgeseter
title: {nb: Renere gate, en: A cleaner street}
question:
  nb: Gir feiing mindre svevestøv?
timezone: Europe/Oslo
organisations:
  - {name: Trondheim kommune, role: owner}
contact: {name: Kari, email: kari@example.org}
area: [[10.39, 63.41], [10.40, 63.41], [10.40, 63.42]]
retention: P2Y
phases:
  - name: before
    kind: baseline
    start: 2026-01-12
    end: 2026-03-29T03:00:00
  - {name: after, kind: intervention, start: 2026-03-29T03:00:00, end: 2026-06-01T00:00:00Z}
quantities:
  - name: studs
    title: Piggdekk
    unit: "%"
    range: [0, 100]
kpis:
  - id: dust
    title: Svevestøv
    quantity: pm10
    devices: [kirka]
events:
  - {time: 2026-03-29T04:00:00, kind: moved, text: Flyttet, device: kirka}
devices:
  - id: kirka
    title: Kirka
    position: {lat: 63.4243, lon: 10.3955, height: 2.5}
    interval: PT1H
    streams:
      - quantity: pm10
        range: [0, 500]
      - quantity: air_temperature.inlet
        interval: PT10M
      - {quantity: studs}
  - id: bru
"""


WRONG: dict[str, dict[str, str]] = {
    case["wrong"]: case
    for case in yaml.safe_load(Path(__file__).with_name("wrong_definitions.yaml").read_text("utf-8"))
}


def findings(text: str) -> list[Finding]:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text, file="pilot")
    return caught.value.findings


def edited(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} is in the example {GOOD.count(old)} times"
    return GOOD.replace(old, new)


def test_a_good_definition_is_read() -> None:
    pilot = parse_definition(GOOD)

    assert pilot.question == Text(nb="Gir feiing mindre svevestøv?")
    assert pilot.devices[0].streams[0].range == (0, 500)
    assert pilot.area[2] == (10.40, 63.42)
    assert pilot.quantities[0].title.get("en") == "Piggdekk"
    assert pilot.devices[1].streams == []


def test_times_without_an_offset_are_local_also_across_the_change_of_the_clocks() -> None:
    before, after = parse_definition(GOOD).phases

    assert before.start.isoformat() == "2026-01-12T00:00:00+01:00"
    assert before.end == dt.datetime(2026, 3, 29, 1, tzinfo=dt.timezone.utc)  # noqa: UP017 - as short as can be
    assert after.start.isoformat() == "2026-03-29T03:00:00+02:00"
    assert after.end.utcoffset() == dt.timedelta()


def test_what_is_exported_is_read_back_as_it_was() -> None:
    pilot = parse_definition(GOOD)
    text = to_yaml(pilot)

    assert parse_definition(text) == pilot
    assert "personal_data" not in text, "what is default is left out"
    assert "&id" not in text


def test_no_is_a_word_and_not_a_truth_value() -> None:
    """YAML 1.1 reads no, on and 12:30 as something else; a definition does not."""
    pilot = parse_definition(edited("title: Kirka", "title: no").replace("kind: baseline", "kind: baseline  # on"))
    assert pilot.devices[0].title == Text("no", "no")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_with_its_line_field_and_remedy(wrong: str) -> None:
    case = WRONG[wrong]
    text = edited(case["instead of"], case["is"])

    found = findings(text)

    [finding] = [f for f in found if f.field == case["field"]]
    assert text.splitlines()[finding.line - 1].strip() == case["line"]
    assert case["remedy"] in str(finding.remedy)
    assert str(finding.problem)
    assert finding.file == "pilot"


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    text = GOOD
    for wrong in (
        "an unknown key",
        "lat and lon swapped",
        "a range upside down",
        "an unknown time zone",
        "a KPI of an unknown device",
    ):
        text = text.replace(WRONG[wrong]["instead of"], WRONG[wrong]["is"])

    found = findings(text)

    assert [f.field for f in found] == [
        "timezone",
        "kpis[0].devices[0]",
        "devices[0].position.lat",
        "devices[0].intervall",
        "devices[0].streams[0].range",
    ]
    error = DefinitionError(found)
    assert str(error).startswith("5 things to fix in the pilot definition:\n  pilot:5: timezone: ")
    assert "intervall" in str(error)


def test_personal_data_needs_all_three() -> None:
    found = findings(edited("timezone: Europe/Oslo", "personal_data: true\ndata_class: open\nlicence: CC0-1.0"))
    assert {f.field for f in found} == {"purpose", "legal_basis", "dpia", "data_class"}
    assert {f.line for f in found} == {5}


BOMBS = {
    "aliases that multiply": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias of itself": "a: &a [*a]",
    "depth in brackets": "[" * 20_000,
    "depth in mappings": "".join(f"{' ' * n}a:\n" for n in range(300)),
    "a text of megabytes": "a: " + "x" * 3_000_000,
    "a list as key": "? [a, b]\n: 1",
    "two documents": "a: 1\n---\nb: 2",
    "an unknown alias": "a: *nobody",
    "nothing": "",
    "a number": "17",
    "a control character": "a: \x01",
    "a character that is none": 'a: "\\UFFFFFFFF"',
    "a number of many digits": "id: " + "9" * 5000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_file_is_more_than_a_finding(bomb: str) -> None:
    assert findings(BOMBS[bomb])


def test_a_file_that_is_not_utf_8_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_bytes(b"id: x\ntitle: gr\xf8nn\n")
    with pytest.raises(DefinitionError) as caught:
        read_definition(file)
    assert [(f.file, f.line) for f in caught.value.findings] == [("pilot.yaml", 2)]


def test_a_toml_file_is_told_how_to_become_yaml(tmp_path: Path) -> None:
    file = tmp_path / "pilot.toml"
    file.write_text('id = "elgeseter"\n', "utf-8")
    with pytest.raises(DefinitionError, match=r"pilot\.toml:1: .*YAML.* CHANGELOG\.md"):
        read_definition(file)


def test_the_command_that_rewrites_toml_works(tmp_path: Path) -> None:
    """As CHANGELOG.md says it, of everything that a definition may hold."""
    (tmp_path / "pilot.toml").write_text(
        """\
        id = "elgeseter"
        title = { nb = "Renere gate" }
        question = { nb = "Gir feiing mindre svevestøv?" }

        [[phases]]
        name = "before"
        kind = "baseline"
        start = 2026-01-12
        end = 2026-03-29T03:00:00

        [[devices]]
        id = "kirka"
        position = { lat = 63.4243, lon = 10.3955 }
        [[devices.streams]]
        quantity = "pm10"
        """,
        "utf-8",
    )
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    [command] = re.findall(r"^ +(python -c .* > pilot\.yaml)$", changelog, re.MULTILINE)
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True, cwd=tmp_path)

    pilot = read_definition(tmp_path / "pilot.yaml")

    assert pilot.devices[0].streams[0].quantity == "pm10"
    assert pilot.question.nb == "Gir feiing mindre svevestøv?"
    assert pilot.phases[0].end.isoformat() == "2026-03-29T03:00:00+02:00"


def test_a_byte_order_mark_is_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "pilot.yml"
    file.write_text("\ufeff" + GOOD, "utf-8")
    assert read_definition(file) == parse_definition(GOOD)


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_file_that_was_damaged_is_read_or_refused_and_nothing_else(chance: random.Random) -> None:
    """Lines lost, swapped and repeated, characters changed: a pilot or a DefinitionError, whose findings have lines."""
    text = _damaged(GOOD, chance)
    found: list[Finding] = []
    try:
        pilot = parse_definition(text)
    except DefinitionError as error:
        found = error.findings
    else:
        assert parse_definition(to_yaml(pilot)) == pilot
    assert all(1 <= f.line <= text.count("\n") + 1 for f in found)
    assert all(str(f.problem) and str(f.remedy) for f in found)


NAMES_LIKE_VALUES = (
    "7894e80000055201",
    "7076E50000012345",
    "0012345678",
    "1e5",
    "12.50",
    "null",
    "true",
    "no",
    "Yes",
    "017",
)


@pytest.mark.parametrize("name", NAMES_LIKE_VALUES)
def test_ids_and_aliases_are_text_however_they_look(name: str) -> None:
    written = f"""
id: eui
title: Ids
question: Are they kept?
devices:
  - {{id: {name}}}
  - id: other
    aliases: [{name}x, {name}0]
events:
  - {{time: 2026-05-04T12:00:00Z, kind: installed, text: x, device: '{name}'}}
"""
    pilot = parse_definition(written)
    assert [device.id for device in pilot.devices] == [name, "other"]
    assert pilot.devices[1].aliases == [f"{name}x", f"{name}0"]
    assert parse_definition(to_yaml(pilot)) == pilot


@settings(deadline=None)
@given(st.from_regex(r"[0-9eE.+-][0-9eE.]{0,18}", fullmatch=True))
def test_every_alias_of_digits_survives_being_written(alias: str) -> None:
    device = DeviceDefinition(id="box", aliases=[alias])
    pilot = msgspec.structs.replace(parse_definition(GOOD), devices=[device], kpis=[], events=[], exclusions=[])
    assert parse_definition(to_yaml(pilot)).devices == [device]


ODD_VALUES = (
    *("", "null", "true", "[]", "{}", "'", "*a", "&a", "?", "-", "|", "1e400", "-.inf", ".nan", "0x10", "017", "12:30"),
    *("2026-13-01", "9" * 400),
)


def _damaged(text: str, chance: random.Random) -> str:
    lines = text.splitlines()
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, chance.choice(lines))
            case 2:
                lines[at] = " " * chance.randint(0, 6) + lines[at].lstrip()
            case 3:
                head, sign, _ = lines[at].partition(chance.choice(":=,"))
                values = [
                    "",
                    "null",
                    "1e400",
                    "-.inf",
                    ".nan",
                    "[]",
                    "{}",
                    "true",
                    "2026-13-01",
                    "'",
                    "*a",
                    "&a",
                    "\t",
                    "9" * 400,
                ]
                lines[at] = f"{head}{sign} {chance.choice(values)}"
            case _:
                place = chance.randrange(len(lines[at]) + 1)
                lines[at] = (
                    lines[at][:place] + chance.choice("{}[]:=#&*!|>'\"%@`\\\x00\ud800ø,- ") + lines[at][place + 1 :]
                )
        if not lines:
            return ""
    return "\n".join(lines)
