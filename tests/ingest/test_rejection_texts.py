"""Every rejection has its sentences in every language, and no sentence is without a rejection."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from techport_pilots.accounting.rejection import Rejection, encoded
from techport_pilots.i18n import LANGUAGES, Language, Message
from techport_pilots.i18n.catalogues import code_folders
from tests.conftest import ROOT

INGEST = ROOT / "ingest" / "techport_ingest"
FOLDERS = ("rejection.", "json.", "json-type.", "remark.")  # the parts of the catalogues that this test is about
PARTS = ("title", "remedy", "detail", "hint")

SAME = {
    "json-type.null",
    "json.at",
    "json.other",
}
"""Texts that are the same in Norwegian: names, and parameters alone."""

GENERATED: dict[str, list[Any]] = {
    "": ["temp", "", "<b>å</b>\x00\u202e", 300 * "x", 21.5, True],
    "quoted": ["temp", "", '"<script>\x1b', 300 * "x"],
    "duration": [5_000_000, 7 * 86_400_000_000, 3_000_000 * 86_400_000_000],
    "message": [{"code": "json-type.array"}, [{"code": "json.no-colon"}, {"code": "json.at", "params": {"byte": 3}}]],
    "any": [["pm10"], ["pm10", "pm25"]],
    "all": [["pm10"], ["pm10", "pm25", "<i>"]],
}
"""Parameters by how a sentence shows them."""


def entries(language: str) -> dict[str, str]:
    """The texts of the catalogues of codes that are about messages."""
    texts: dict[str, str] = {}
    for folder in code_folders():
        with (folder / f"{language}.po").open("rb") as file:
            for entry in read_po(file, locale=language):
                code = str(entry.id[0] if isinstance(entry.id, tuple | list) else entry.id)
                if code.startswith(FOLDERS):
                    assert entry.string is not None
                    text = entry.string if isinstance(entry.string, str) else entry.string[-1]  # of several
                    assert code not in texts, f"{code} stands in two catalogues"
                    texts[code] = text
    return texts


TEXTS = {language: entries(language) for language in LANGUAGES}


def raised() -> Iterator[tuple[str, set[str], str]]:
    """(code, names of its parameters, where) of every rejection that the source of ingest makes."""
    for path in INGEST.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            first = node.args[1] if name in CODE_SECOND and len(node.args) > 1 else node.args[0]
            if name not in MAKERS and name not in CODE_SECOND:
                continue
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                assert (path.name, ast.unparse(first)) in FORWARDED, f"{path}:{node.lineno} names its code indirectly"
                continue
            yield first.value, _params(node) | CODE_SECOND.get(name, set()), f"{path.name}:{node.lineno}"


MAKERS = ("RejectedMessage", "Rejection")
CODE_SECOND: dict[str, set[str]] = {"json_object": {"kind"}}
"""Functions that are given the code of the rejection behind what they read, with the parameters that they add."""
RETIRED = ("rejection.codec-stopped.",)
"""Said by earlier versions, and kept in quarantines."""
FORWARDED = {("message.py", "code"), ("common.py", "code")}


def _params(node: ast.Call) -> set[str]:
    names = {keyword.arg for keyword in node.keywords if keyword.arg not in (None, "recorded")}
    for given in node.args[1:]:
        if isinstance(given, ast.Dict):
            names |= {str(key.value) for key in given.keys if isinstance(key, ast.Constant)}
    return {str(name) for name in names}


RAISED = list(raised())
CODES = sorted({code for code, _, _ in RAISED})


def places(text: str) -> set[tuple[str, str]]:
    """(parameter, how it is shown) of a sentence."""
    return {(name, form or "") for _, name, form, _ in string.Formatter().parse(text) if name is not None}


def test_every_rejection_has_its_sentences() -> None:
    assert len(CODES) > 110, "the walk no longer sees the rejections"
    wanted = {f"rejection.{code}.{part}" for code in CODES for part in ("detail", "hint")}
    wanted |= {f"rejection.{code.partition('.')[0]}.{part}" for code in CODES for part in ("title", "remedy")}
    for language in LANGUAGES:
        have = {code for code in TEXTS[language] if code.startswith("rejection.")}
        assert wanted - have == set(), f"without a sentence in {language}.po"
        have = {code for code in have if not code.startswith(RETIRED)}
        assert have - wanted == set(), f"sentences in {language}.po that nothing says"


def test_sentences_are_given_the_parameters_that_they_show() -> None:
    for code, params, where in RAISED:
        for part in ("detail", "hint"):
            for language in LANGUAGES:
                shown = {name for name, _ in places(TEXTS[language][f"rejection.{code}.{part}"])}
                assert shown <= params, f"{where}: {code}.{part} in {language}.po shows {shown - params}"


def test_languages_have_the_same_entries_with_the_same_places() -> None:
    english = TEXTS["en"]
    for language in LANGUAGES:
        assert set(TEXTS[language]) == set(english)
        different = {code for code in english if places(TEXTS[language][code]) != places(english[code])}
        assert different == set(), language


def test_norwegian_is_not_english() -> None:
    same = {code for code, text in TEXTS["nb"].items() if text == TEXTS["en"][code]}
    assert same - SAME == set(), "not translated"
    assert SAME - same == set(), "translated by now: take it off the list"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", sorted(TEXTS["en"]))
def test_every_text_is_made_of_any_parameters(code: str, language: str) -> None:
    """Also when a parameter holds what nobody has thought of."""
    shown = places(TEXTS[language][code])
    for number in range(max(len(values) for values in GENERATED.values())):
        params = {name: GENERATED[form][number % len(GENERATED[form])] for name, form in shown}
        text = Language(language).message(Message(code, params))
        assert text or code == "json.other", "which is its parameter"
        assert text.isprintable(), "control characters of devices are escaped"
        assert "{" not in text or "{{" in TEXTS[language][code]
        if code.startswith("rejection."):
            rejection = Rejection(code.removeprefix("rejection.").rpartition(".")[0], params)
            assert encoded(rejection.params)
            if code.endswith((".detail", ".hint")):
                assert text in (rejection.detail(Language(language)), rejection.hint(Language(language)))


def test_sentences_end_as_sentences() -> None:
    """They are put behind one another; where a parameter ends one, it is text of somebody else."""
    for language, texts in TEXTS.items():
        for code, text in texts.items():
            if code.startswith("rejection.") and not code.endswith(".title"):
                assert text.endswith((".", "}")), f"{code} in {language}.po"


def test_a_rejection_of_a_newer_version_is_shown_all_the_same() -> None:
    newer = Rejection("of-tomorrow.case", {"key": "temp"})
    assert newer.title(Language("nb")) == "of-tomorrow"
    assert newer.detail(Language("nb")) == 'of-tomorrow.case {"key":"temp"}.'
    assert newer.hint(Language("nb")) == ""
    other_parameters = Rejection("not-a-number.text", {"name": "temp"})
    assert other_parameters.detail(Language("nb")) == 'not-a-number.text {"name":"temp"}.'
    assert other_parameters.hint(Language("nb")).startswith("Bare tall")


def test_the_catalogues_stand_beside_what_uses_them() -> None:
    """Codes that one format alone gives are in its folder, and so are the reasons that no other has."""
    homes = {
        code: {path.parent for path in INGEST.rglob("*.py") if f'"{code}"' in path.read_text("utf-8")} for code in CODES
    }
    reasons: dict[str, set[Path]] = {}
    for code, folders in homes.items():
        reasons.setdefault(code.partition(".")[0], set()).update(folders)
    places = {code: folder.parent for folder in code_folders() for code in _codes_in(folder)}
    for key, folder in places.items():
        if key.startswith(RETIRED):
            continue
        code, _, part = key.removeprefix("rejection.").rpartition(".")
        users = homes[code] if part in ("detail", "hint") else reasons[code]
        belongs = next(iter(users)) if len(users) == 1 and "formats" in next(iter(users)).parts else CORE
        assert folder == belongs, f"{key} belongs into {belongs}"


CORE = ROOT / "pilots" / "techport_pilots"


def _codes_in(folder: Path) -> set[str]:
    with (folder / "en.po").open("rb") as file:
        return {str(entry.id) for entry in read_po(file) if str(entry.id).startswith("rejection.")}
