"""Every text of the pages is in every language, and every translation is of a text that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import get_args

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_keywords, parse_mapping_cfg
from babel.messages.pofile import read_po

from techport_dashboards.texts import FOLDER
from techport_dashboards.web.i18n import EVENT_KINDS, SCRIPT_MESSAGES, named_event_kinds
from techport_dashboards.web.templating import mark_commands
from techport_pilots.i18n import LANGUAGES, Language
from techport_pilots.model import EventKind
from tests.conftest import ROOT

Entry = str | tuple[str, ...]

SAME_IN_BOKMAAL = {
    "administrator",
    *("Parquet", "pilot", "Pilot", "Start", "Format", "Id", "Data", "median", "Median", "sum", "N", "S"),
    *("Signal", "signal", "null", "partner", "{statistic} per {width}", "{what} (byte {n})", "{n} KPI"),
}
"""Texts that are right as they are in Norwegian too."""


@cache
def texts() -> dict[Entry, str]:
    """Texts of templates, scripts and Python, collected as `make messages` does, with where each stands."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    keywords = DEFAULT_KEYWORDS | parse_keywords(re.findall(r"-k (\S+)", makefile))
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found: dict[Entry, str] = {}
    for path, line, text, _, _ in extract_from_dir(ROOT, methods, options, keywords=keywords, directory_filter=_ours):
        found.setdefault(text, f"{path}:{line}")
    return found


def _ours(folder: str) -> bool:
    return not folder.rsplit("/", 1)[-1].startswith((".", "_", "node_modules", "artefacts"))


@cache
def catalogue(language: str) -> Catalog:
    with (FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


def translations(language: str) -> Iterator[tuple[str, str]]:
    """Every English form with its translation."""
    for entry in catalogue(language):
        if entry.id:
            pairs = zip(entry.id, entry.string, strict=True) if entry.pluralizable else [(entry.id, entry.string)]
            yield from ((str(english), str(translated)) for english, translated in pairs)


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", text))


def in_catalogue(language: str) -> set[Entry]:
    """What a look-up finds: an entry with plural forms also answers for its singular."""
    entries = {entry.id for entry in catalogue(language) if entry.id and all(entry.string) and not entry.fuzzy}
    return entries | {entry[0] for entry in entries if isinstance(entry, tuple)}


def test_texts_are_collected_from_everywhere() -> None:
    suffixes = {where.partition(":")[0].rpartition(".")[2] for where in texts().values()}
    assert suffixes == {"html", "py", "js"}
    assert len(texts()) > 400


def test_every_text_has_a_translation() -> None:
    for language in set(LANGUAGES) - {"en"}:
        missing = {text: where for text, where in texts().items() if text not in in_catalogue(language)}
        assert not missing, f"run `make messages` and translate these in {language}.po"


def test_every_translation_is_of_a_text_that_is_there() -> None:
    for language in set(LANGUAGES) - {"en"}:
        unused = {entry.id for entry in catalogue(language) if entry.id} - set(texts())
        assert not unused, f"nobody asks for these in {language}.po"


def test_translations_have_the_places_of_their_texts() -> None:
    for language in set(LANGUAGES) - {"en"}:
        for english, translated in translations(language):
            assert placeholders(translated) == placeholders(english), english


def test_translations_differ_from_the_english() -> None:
    same = {english for english, translated in translations("nb") if english == translated}
    assert same == SAME_IN_BOKMAAL & {english for english, _ in translations("nb")}


def test_scripts_are_given_the_texts_that_they_ask_for() -> None:
    """A text of a script reaches it only with the page."""
    asked = {text for text, where in _of_scripts()}
    assert asked == set(SCRIPT_MESSAGES)


def _of_scripts() -> Iterator[tuple[Entry, str]]:
    folder = ROOT / "dashboards" / "techport_dashboards" / "web" / "static" / "js"
    methods, options = [("**.js", "javascript")], {"**.js": {"parse_template_string": "true"}}
    for path, _, text, _, _ in extract_from_dir(folder, methods, options, keywords={"t": None}):
        yield text, path


def test_every_kind_of_event_can_be_chosen_by_its_name() -> None:
    assert set(EVENT_KINDS) == set(get_args(EventKind))
    assert ("maintenance", "vedlikehold") in named_event_kinds(Language("nb", FOLDER))


def test_commands_in_a_sentence_are_code_and_nothing_in_it_is_markup() -> None:
    assert mark_commands("Run `techport operator-link` <now>") == "Run <code>techport operator-link</code> &lt;now&gt;"
    assert mark_commands("`<b>` \x1b") == "<code>&lt;b&gt;</code> \\x1b"
