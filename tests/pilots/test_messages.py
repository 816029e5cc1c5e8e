"""Every code of the domain layer has its sentence in every language, and no sentence is without a code that is used.

Codes of rejections are tested in tests/ingest/test_rejection_texts.py, which knows where they are made.
"""

from __future__ import annotations

import ast
import itertools
import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Message as Entry
from babel.messages.pofile import read_po

from techport_pilots.alerts.conditions import RULES
from techport_pilots.i18n import LANGUAGES, Language, Message
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from tests.conftest import ROOT

SOURCE = ROOT / "pilots" / "techport_pilots"
TESTED_ELSEWHERE = ("rejection.", "json.", "json-type.", "remark.")

SAME = {
    *("dcat.theme.TRAN", "definition.finding", "definition.finding-in", "definition.findings"),
    *("definition.value.other", "definition.value.text", "evaluation.method", "kpi.as-stored"),
    "alert.mail.began",
}
"""Texts that are the same in Norwegian: parameters alone, and one word."""

MADE = (
    *("definition.add.", "definition.write.", "definition.target-not-", "definition.value."),
    *("evaluation.no-interval.", "evaluation.side.", "evaluation.subject.", "evaluation.method.event-study."),
    "evaluation.power.too-few.",
    *("lifecycle.state.", "lifecycle.only-next.", "lifecycle.needs."),
    *("kpi.expected.", "kpi.measured.", "kpi.condition.", "kpi.raw.", "kpi.verdict.", "kpi.check."),
    *("device-kind.", "limit.", "dcat.theme."),
    *(f"alert.{rule}" for rule in RULES),
    "alert.weekly.",  # said by the part that looks
    "alert.all.title",
    *("ignored.", "where."),
    *("definition.missing.in-form", "definition.area-line.", "definition.not-utm."),  # said by the pages' editor
)
"""Starts of codes whose last part is computed."""

GENERATED: dict[str, list[object]] = {
    "": ["temp", "", "<b>å</b>\x00\u202e", 300 * "x", 21.5, 1, 7],
    "quoted": ["temp", "", '"<script>\x1b', 300 * "x"],
    "percent": [0.0, 0.834],
    "duration": [5_000_000, 7 * 86_400_000_000],
    "datetime": [0, 1_777_897_900_000_000],
    "date": ["2026-05-04", "2028-02-29"],
    "message": [{"code": "json-type.array"}, [{"code": "json-type.null"}, {"code": "json-type.number"}]],
    "each": [[{"code": "json-type.array"}], [{"code": "json-type.null"}, {"code": "json-type.number"}]],
    "any": [["pm10"], ["pm10", "pm25"]],
    "all": [["pm10"], ["pm10", "pm25", "<i>"]],
    "text": [{"nb": "før", "en": "before"}, "written"],
}
"""Parameters by how a sentence shows them."""


def entries(language: str) -> dict[str, tuple[str, ...]]:
    """The forms of every sentence, by code."""
    with (SOURCE / "locale" / f"{language}.po").open("rb") as file:
        found = [entry for entry in read_po(file, locale=language) if entry.id]
    return {_code(entry): _forms(entry) for entry in found if not _code(entry).startswith(TESTED_ELSEWHERE)}


def _code(entry: Entry) -> str:
    return str(entry.id if isinstance(entry.id, str) else entry.id[0])


def _forms(entry: Entry) -> tuple[str, ...]:
    return (entry.string,) if isinstance(entry.string, str) else tuple(entry.string)


TEXTS = {language: entries(language) for language in LANGUAGES}


def places(texts: tuple[str, ...]) -> set[tuple[str, str]]:
    """(parameter, how it is shown) of a sentence."""
    parts = itertools.chain.from_iterable(string.Formatter().parse(text) for text in texts)
    return {(name, form or "") for _, name, form, _ in parts if name is not None}


def used() -> Iterator[tuple[str, set[str] | None, str]]:
    """(code, names of its parameters where they stand there, where) of every message that the domain layer makes."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield from _of_call(node, f"{path.name}:{node.lineno}")


def _of_call(node: ast.Call, where: str) -> Iterator[tuple[str, set[str] | None, str]]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    given = [keyword.arg for keyword in node.keywords]
    params = None if None in given else {str(arg) for arg in given} - {"remedy", "near"}
    match name:
        case "misfit":
            for code in _constants(node.args[1:2]):
                yield f"definition.{code}.problem", params, where
                if "remedy" not in given or not _always_given(node):
                    yield f"definition.{code}.remedy", params, where
        case "did_you_mean":
            for code in _constants(node.args[2:3]):
                yield f"definition.{code}", set(), where
        case "InvalidDuration":
            for code in _constants(node.args[:1]):
                yield f"duration.{code}", {"given"}, where
        case "message":
            for code in _constants(node.args[:1]):
                yield f"evaluation.{code}", params, where
        case "Message":
            keys = _keys(node.args[1]) if len(node.args) > 1 else set()
            for code in _constants(node.args[:1]):
                yield code, keys, where


def _keys(params: ast.expr) -> set[str] | None:
    """The names in a mapping of parameters; None where it is made elsewhere."""
    if not isinstance(params, ast.Dict) or None in params.keys:
        return None
    return {str(key.value) for key in params.keys if isinstance(key, ast.Constant)}


def _constants(nodes: list[ast.expr]) -> Iterator[str]:
    """The texts that an argument may be."""
    for node in nodes:
        if isinstance(node, ast.IfExp):
            yield from _constants([node.body, node.orelse])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _always_given(node: ast.Call) -> bool:
    """Whether the remedy of a misfit is never the usual one."""
    remedy = next(keyword.value for keyword in node.keywords if keyword.arg == "remedy")
    return not any(isinstance(part, ast.Constant) and part.value is None for part in ast.walk(remedy))


USED = list(used())


def test_every_code_has_a_sentence_and_every_sentence_a_code() -> None:
    codes = {code for code, _, _ in USED if not code.startswith(TESTED_ELSEWHERE)}
    assert len(codes) > 150, "the walk no longer sees the messages"
    for language in LANGUAGES:
        assert codes - set(TEXTS[language]) == set(), f"without a sentence in {language}.po"
        unused = {code for code in set(TEXTS[language]) - codes if not code.startswith(MADE)}
        unused -= {code for code in unused if code.endswith(".remedy") and _remedy_is_used(code)}
        assert unused == set(), f"sentences in {language}.po that nothing says"


def _remedy_is_used(code: str) -> bool:
    """A remedy that is chosen by a variable: `remedy=remedy`, which may be None."""
    return code.removesuffix(".remedy") + ".problem" in {used for used, _, _ in USED}


def test_sentences_are_given_the_parameters_that_they_show() -> None:
    for code, params, where in USED:
        if params is not None and code in TEXTS["en"]:
            shown = {name for name, _ in places(TEXTS["en"][code])}
            assert shown <= params, f"{where}: {code} shows {shown - params}"


def test_languages_have_the_same_sentences_with_the_same_places() -> None:
    for language in LANGUAGES:
        assert set(TEXTS[language]) == set(TEXTS["en"])
        different = {code for code, texts in TEXTS["en"].items() if places(TEXTS[language][code]) != places(texts)}
        assert different == set(), language


def test_norwegian_is_not_english() -> None:
    same = {code for code, texts in TEXTS["nb"].items() if texts == TEXTS["en"][code]}
    assert same - SAME == set(), "not translated"
    assert SAME - same == set(), "translated by now: take it off the list"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", sorted(TEXTS["en"]))
def test_every_sentence_is_made_of_any_parameters(code: str, language: str) -> None:
    texts = TEXTS[language][code]
    shown = places(texts)
    for number in range(max(len(values) for values in GENERATED.values())):
        params = {name: GENERATED[form][number % len(GENERATED[form])] for name, form in shown}
        if len(texts) > 1:
            params["n"] = number
        text = Language(language).message(Message(code, params))
        assert text or code == "definition.value.other", "which is its parameter"
        assert text.isprintable() or "\n" in text or "\u00a0" in text, "control characters of people are escaped"
        assert "{" not in text or any("{{" in form for form in texts)


@pytest.mark.parametrize(("size", "text"), [(1, "after 1 byte,"), (2, "after 2 bytes,"), (0, "after 0 bytes,")])
def test_a_count_chooses_the_plural_form(size: int, text: str) -> None:
    assert text in str(Message("rejection.truncated.json.detail", {"size": size}))


CATALOGUES = [path for part in ("pilots", "ingest", "dashboards") for path in sorted((ROOT / part).rglob("*.po"))]


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_catalogue_has_each_text_once(catalogue: Path) -> None:
    """Babel reads the first of several without a word."""
    keys = re.findall(r'^msgid "(.+)"$', catalogue.read_text("utf-8"), re.MULTILINE)
    assert {key for key, times in Counter(keys).items() if times > 1} == set()


def test_a_number_within_a_sentence_is_not_broken_over_lines() -> None:
    norwegian = Language("nb")
    text = norwegian.message(
        Message("kpi.expected.phases.plain", {"expected": norwegian.number(3437, 0), "measured": "1"})
    )
    assert "3\u00a0437" in text


@pytest.mark.parametrize(
    ("length", "en", "nb"),
    [
        (5 * MINUTE, "5 min", "5 min"),
        (90 * MINUTE, "90 min", "90 min"),
        (2 * HOUR, "2 h", "2 t"),
        (10 * SECOND, "10 s", "10 s"),
        (DAY, "1 day", "1 døgn"),
        (7 * DAY, "1 week", "1 uke"),
    ],
)
def test_the_width_of_a_bucket_is_written_as_a_unit(length: int, en: str, nb: str) -> None:
    assert (Language("en").width(length), Language("nb").width(length)) == (en, nb)
