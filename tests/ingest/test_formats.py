"""A format is one folder: a made-up one is written to a folder of its own, with its cases, and everything knows it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

import techport.cli
from techport_dashboards.pages.device_form import new_device_of
from techport_dashboards.services.message_formats import MessageFormat, labels
from techport_dashboards.web.forms import Form
from techport_ingest.decoding.lint import explain
from techport_pilots.access.credentials import Issued
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices.onboarding import topic_of
from techport_pilots.devices.snippets import BrokerAddress, snippets
from techport_pilots.errors import DefinitionError
from techport_pilots.formats import BrokenFormat, discover, formats, markdown_table, names
from techport_pilots.i18n import LANGUAGES, Language, catalogues
from techport_pilots.plugins import PLUGINS
from tests.ingest.test_decoder_cases import outcome

ROOT = Path(__file__).parents[2]

MADE_UP = '''
"""Lines of one number, as the balance of a laboratory sends them."""

import msgspec

from techport_ingest.message import Observed, RejectedMessage
from techport_pilots.formats import Format


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    quantity: str = "mass"


def decoder(settings):
    def decode(message, device):
        try:
            value = float(message.payload)
        except ValueError:
            raise RejectedMessage("not-a-weight", given=message.payload.decode()[:100]) from None
        return [Observed(device, None, settings.options.quantity, value)]

    return decode


FORMAT = Format(
    name="lab-balance",
    label="Laboratory balance",
    decoder=decoder,
    own_topic="weight",
    example="21.5",
    options=Options,
)
'''
CATALOGUE = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "format.lab-balance.device"
msgstr "{}"

msgid "rejection.not-a-weight.detail"
msgstr "{}"

msgid "rejection.not-a-weight.hint"
msgstr "{}"

msgid "rejection.not-a-weight.title"
msgstr "{}"

msgid "rejection.not-a-weight.remedy"
msgstr "{}"
"""
ENGLISH = (
    "the level of the topic after the laboratory",
    "{given:quoted} is not a weight.",
    "Send one number.",
    "Not a weight",
    "Check the settings of the balance.",
)
NORWEGIAN = (
    "nivået i emnet etter laboratoriet",
    "{given:quoted} er ikke en vekt.",
    "Send ett tall.",
    "Ikke en vekt",
    "Kontroller innstillingene på vekta.",
)
CASES = {
    "one_number": ("pilots/air/lamp-7/weight", "12.5", None, '[{"device": "lamp-7", "key": "mass", "value": 12.5}]'),
    "a_word": ("pilots/air/lamp-7/weight", "heavy", None, '{"reason": "not-a-weight"}'),
    "another_quantity": (
        "lab/b-1",
        "3",
        "topic: lab/+\nformat: lab-balance\noptions: {quantity: pm10}",
        '[{"device": "b-1", "key": "pm10", "value": 3.0}]',
    ),
}


def forget() -> None:
    discover()
    catalogues.codes.cache_clear()


@pytest.fixture
def made_up(tmp_path: Path) -> Iterator[Path]:
    """The folder of cases of a format that is on the path of plug-ins for as long as a test runs."""
    folder = tmp_path / "formats" / "lab_balance"
    (folder / "locale").mkdir(parents=True)
    (folder / "__init__.py").write_text(MADE_UP)
    (folder / "locale" / "en.po").write_text(CATALOGUE.format(*ENGLISH))
    (folder / "locale" / "nb.po").write_text(CATALOGUE.format(*NORWEGIAN))
    for name, (topic, message, source, expected) in CASES.items():
        case = tmp_path / "cases" / "lab-balance" / name
        case.mkdir(parents=True)
        (case / "topic").write_text(topic)
        (case / "message").write_text(message)
        (case / "expected.json").write_text(expected)
        if source is not None:
            (case / "source.yaml").write_text(source)
    package = importlib.import_module(PLUGINS)
    package.__path__.append(str(folder.parent))
    importlib.invalidate_caches()
    forget()
    yield tmp_path / "cases"
    package.__path__.remove(str(folder.parent))
    for module in [name for name in sys.modules if name.startswith(f"{PLUGINS}.lab_balance")]:
        del sys.modules[module]
    forget()


def definition(source: str) -> str:
    return f"id: air\ntitle: Air\nquestion: Is it clean?\ndevices: []\nsources:\n  - {source}\n"


def findings(source: str) -> list[tuple[str, str, str]]:
    with pytest.raises(DefinitionError) as refused:
        parse_definition(definition(source))
    return [(finding.field, str(finding.problem), str(finding.remedy)) for finding in refused.value.findings]


def test_its_cases_are_decoded_as_in_production(made_up: Path) -> None:
    for name, (_, _, _, expected) in CASES.items():
        assert outcome(made_up / "lab-balance" / name) == json.loads(expected), name
    explained = explain(b"12.5", "pilots/air/lamp-7/weight", 1_777_897_900_000_000, "lab-balance")
    assert [(reading.device, reading.quantity, reading.value) for reading in explained.readings] == [
        ("lamp-7", "mass", 12.5)
    ]


def test_definitions_may_name_it_and_its_options(made_up: Path) -> None:
    [source] = parse_definition(definition("{topic: lab/+, format: lab-balance, options: {quantity: pm10}}")).sources
    assert (source.format, source.options) == ("lab-balance", {"quantity": "pm10"})
    assert findings("{topic: lab/+, format: lab-balanse}") == [
        ("sources[0].format", 'there is no format "lab-balanse"', "Did you mean lab-balance?")
    ]
    [(field, problem, remedy)] = findings("{topic: lab/+, format: lab-balance, options: {quantty: pm10}}")
    assert (field, problem, remedy) == (
        "sources[0].options.quantty",
        "lab-balance has no option quantty",
        "Did you mean quantity?",
    )
    [(field, _, _)] = findings("{topic: lab/+, format: lab-balance, options: {quantity: 7}}")
    assert field == "sources[0].options"
    [(field, problem, _)] = findings("{topic: lab/+, format: lab-balance, precision: s}")
    assert (field, problem) == ("sources[0].precision", "lab-balance has no option precision")


def test_forms_requests_and_snippets_offer_it(made_up: Path) -> None:
    assert labels()["lab-balance"] == "Laboratory balance"
    assert new_device_of(Form({"id": ["b-1"], "format": ["lab-balance"]})).format == "lab-balance"
    request = TypeAdapter(MessageFormat)
    assert request.validate_python("lab-balance") == "lab-balance"
    assert "lab-balance" in request.json_schema()["enum"]
    topic = topic_of("air", "b-1", "lab-balance")
    assert topic == "pilots/air/b-1/weight"
    code = snippets(Issued("air/b-1", "secret", topic), BrokerAddress("broker.example", 1883), "lab-balance", "mass")
    assert "-t 'pilots/air/b-1/weight' -m '21.5'" in code[0].text


def test_its_rejections_are_told_in_every_language(made_up: Path) -> None:
    [rejected] = explain(b"heavy", "pilots/air/lamp-7/weight", 1_777_897_900_000_000, "lab-balance").rejected
    told = {
        code: [getattr(rejected.rejection, part)(Language(code)) for part in ("title", "detail", "hint", "remedy")]
        for code in LANGUAGES
    }
    assert told == {
        "en": ["Not a weight", '"heavy" is not a weight.', "Send one number.", "Check the settings of the balance."],
        "nb": ["Ikke en vekt", '"heavy" er ikke en vekt.', "Send ett tall.", "Kontroller innstillingene på vekta."],
    }


def test_documentation_and_command_line_list_it(made_up: Path) -> None:
    row = (
        "| `lab-balance` | Laboratory balance | `pilots/<pilot>/+/weight` | the level of the topic after the laboratory"
    )
    assert row in markdown_table()
    assert "lab-balance" in names()
    command = ["decode", "--format", "lab-balance", "--topic", "pilots/air/lamp-7/weight"]
    answer = CliRunner().invoke(techport.cli.app, command, input="12.5")
    assert (answer.exit_code, "12.5" in answer.output) == (0, True)
    wrong = CliRunner().invoke(techport.cli.app, ["decode", "--format", "lab-balanse"], input="12.5")
    assert (wrong.exit_code, "lab-balance" in wrong.output) == (2, True)
    assert Language("nb").message(formats()["lab-balance"].device_text) == "nivået i emnet etter laboratoriet"


def test_it_is_gone_when_its_folder_is() -> None:
    assert "lab-balance" not in {*names(), *formats(), *labels()}
    with pytest.raises(ValidationError, match="there are: native"):
        TypeAdapter(MessageFormat).validate_python("lab-balance")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("FORMAT = ", "FORMATS = "), "has no FORMAT"),
        (('name="lab-balance"', 'name="balance"'), "name and folder differ"),
        (('own_topic="weight"', 'own_topic=""'), "neither topic nor own_topic"),
    ],
)
def test_a_folder_that_is_not_a_format_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], problem: str
) -> None:
    (tmp_path / "lab_balance").mkdir()
    (tmp_path / "lab_balance" / "__init__.py").write_text(MADE_UP.replace(*change))
    package = importlib.import_module(PLUGINS)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    with pytest.raises(BrokenFormat, match=problem):
        discover()
    monkeypatch.undo()
    sys.modules.pop(f"{PLUGINS}.lab_balance", None)
    discover()


def test_the_documentation_lists_the_formats_there_are() -> None:
    page = (ROOT / "docs/devices.md").read_text()
    listed = re.search(r"<!-- formats: .*-->\n(.*)\n<!-- /formats -->", page, re.DOTALL)
    assert listed is not None
    assert listed[1] == markdown_table(), "docs/devices.md says how its table is written"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_format_says_where_its_device_is(language: str) -> None:
    texts = [Language(language).message(form.device_text) for form in formats().values()]
    assert all(texts)


def test_no_format_is_named_outside_its_folder() -> None:
    """Code that lists formats asks for them. `native`, the default, and names that downloads have too are left out."""
    listed = set(names()) - {"native", "csv", "json"}
    lines = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for folder in ("ingest", "pilots", "dashboards", "techport")
        for file in (ROOT / folder).rglob("*.py")
        if "formats/" not in str(file.relative_to(ROOT))
        for line in file.read_text().splitlines()
        if set(re.findall(r'"([a-z0-9-]+)"', line)) & listed
    ]
    assert lines == []
