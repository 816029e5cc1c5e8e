"""Definition files from somebody else: bounded before they are built, and with nothing in them that a page mistakes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from techport_pilots.definition.load import parse_definition, read_definition
from techport_pilots.errors import DefinitionError
from tests.pilots import trial

LAUGHS = "a: &a [x]\n" + "\n".join(
    f"{name}: &{name} [" + f"*{before}, " * 9 + "]" for before, name in itertools.pairwise("abcdefghi")
)
HEAD = "id: p\ntitle: P\nquestion: Q?\n"


def codes(text: str) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text)
    return [finding.problem.code for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x" * 500_001, "too-long"),
        ("å" * 300_000, "too-long"),
        (HEAD + "devices: [" + "{}, " * 110_000 + "]", "too-large"),
        (HEAD + "devices: " + "[" * 100_000, "too-large"),
        (HEAD + "devices: " + "[" * 60 + "]" * 60, "too-large"),
        ("\n".join("  " * depth + "a:" for depth in range(600)), "too-large"),
        (HEAD + "a: &a x\ndevices: [" + "*a, " * 2_000 + "]", "too-large"),
        (LAUGHS, "too-large"),
        ("a: &a {b: *a}", "yaml."),
        ("? " * 5_000, "yaml."),
        ("a: [" * 3_000 + "\n}" + "#" * 100_000, "too-large"),
    ],
    ids=lambda value: str(value)[-12:],
)
def test_what_would_grow_is_refused(text: str, code: str) -> None:
    (found,) = codes(text)
    assert code in found


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pilot.yaml"
    path.write_text("x" * 600_000)
    with pytest.raises(DefinitionError, match="longer than"):
        read_definition(path)


def test_a_pilot_of_a_thousand_devices_is_read() -> None:
    device = "  - {id: box-NUMBER, position: {lat: 63.42, lon: 10.39}, group: street, streams: [{quantity: pm10}]}\n"
    text = HEAD + "devices:\n" + "".join(device.replace("NUMBER", str(number)) for number in range(1_000))
    assert len(parse_definition(text).devices) == 1_000


def test_a_file_full_of_mistakes_says_the_first_of_them() -> None:
    devices = ", ".join(f"{{id: box-{number}}}" for number in range(3_000))
    kpis = ", ".join(f"{{id: k{n}, title: T, quantity: pm10, devices: [nobody-{n}]}}" for n in range(3_000))
    assert len(codes(f"{HEAD}devices: [{devices}]\nkpis: [{kpis}]")) <= 200


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "//example.org",
        "www.example.org",
        "https://",
        "https://user:secret@example.org",
        "https://example.org/'onload=x",
        "http://[::1",
        "https://example.org/\\u202e",
        "vbscript:x",
        "file:///etc/passwd",
    ],
)
def test_organisations_have_addresses_of_the_web(url: str) -> None:
    text = trial.YAML.replace("https://www.trondheim.kommune.no", url)
    assert codes(text) == ["definition.bad-url.problem"]


def test_the_link_of_a_sign_fits_into_a_code() -> None:
    """A longer one is no QR code, and the page of the sign would be an error for everybody."""
    sign = f"{trial.YAML}\nsign: {{text: Her måles luft, link: 'https://example.org/LINK'}}\n"
    assert parse_definition(sign.replace("LINK", "a" * 250)).sign
    for too_long in ("a" * 1_900, "ø" * 200):
        assert codes(sign.replace("LINK", too_long)) == ["definition.long-link.problem"]


@pytest.mark.parametrize("name", ["../x", "a/b", "<b>", "a b", "", "x" * 64, "'", "a\\nb", "=1", "ø"])
def test_ids_of_kpis_are_parts_of_addresses(name: str) -> None:
    assert "definition.bad-kpi-id.problem" in codes(trial.YAML.replace("id: dusty", f'id: "{name}"'))


@pytest.mark.parametrize("name", ["<b>", "", "=1", "x" * 81, "a\\nb", "a/b"])
def test_names_hold_nothing_that_a_page_mistakes(name: str) -> None:
    for old in ("name: before", "group: street"):
        assert "definition.bad-name.problem" in codes(trial.YAML.replace(old, f'{old.partition(":")[0]}: "{name}"', 1))
