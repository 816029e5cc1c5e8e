"""What an evaluation says: codes with parameters, sentences in both languages, and evaluations stored before codes."""

from __future__ import annotations

import re

import msgspec
import pytest
from babel.messages.pofile import read_po

from techport_pilots.evaluation import Evaluation, Reason, agree
from techport_pilots.evaluation.interval import NoInterval
from techport_pilots.evaluation.messages import adjusted_for, caveats, message, method
from techport_pilots.i18n import LANGUAGES, Language, Message
from techport_pilots.model import Exposure, Kpi, Text
from techport_pilots.quantities import vocabulary_of
from tests.conftest import ROOT
from tests.pilots import trial

LOCALE = ROOT / "pilots/techport_pilots/locale"
PARAMS = {
    "phases": {"nb": "før", "en": "before"},
    "why": {"code": "evaluation.no-interval.constant", "params": {}},
    "side": {"code": "evaluation.side.baseline", "params": {}},
    "subject": {"code": "evaluation.subject.change", "params": {}},
    "what": [{"code": "evaluation.subject.change", "params": {}}],
    "parts": [{"code": "evaluation.method.regression", "params": {}}],
    "first": "a",
    "second": "b",
    "quantity": "pm10",
    "decides": "2026-04-27",
    "begins": "2026-03-30",
    "day": "2026-04-15",
}


def entries(language):
    with (LOCALE / f"{language}.po").open("rb") as file:
        found = {entry.id: entry.string for entry in read_po(file, locale=language) if entry.id}
    codes = {key if isinstance(key, str) else key[0]: value for key, value in found.items()}
    return {code: text for code, text in codes.items() if code.startswith("evaluation.")}


def given(code):
    texts = entries("en")[code]
    names = re.findall(r"{(\w+)", texts if isinstance(texts, str) else " ".join(texts))
    return {name: PARAMS.get(name, 3) for name in names}


@pytest.mark.parametrize("code", entries("en"))
def test_every_code_has_a_sentence_in_every_language(code):
    said = {language: Language(language).message(Message(code, given(code))) for language in LANGUAGES}
    assert all("{" not in text and text for text in said.values())
    assert said["nb"] != said["en"]


def test_every_code_of_the_source_has_an_entry_and_every_entry_is_used():
    folders = (ROOT / "pilots/techport_pilots" / name for name in ("evaluation", "reports"))
    source = "".join(path.read_text("utf-8") for folder in folders for path in folder.glob("*.py"))
    used = {f"evaluation.{code}" for code in re.findall(r'message\(\s*"([\w.-]+)"', source)}
    used |= {f"evaluation.no-interval.{code}" for code in re.findall(r'NoInterval\("([\w-]+)"', source)}
    made = {"evaluation.side.", "evaluation.subject.", "evaluation.method.event-study.", "evaluation.power.too-few."}
    # the last part of these is computed
    assert used <= entries("en").keys() == entries("nb").keys()
    assert {code for code in entries("en").keys() - used if not code.startswith(tuple(made))} == set()


def test_counts_have_plural_forms():
    assert "1 day before" in str(message("method.event-study.days-after", n=1))
    assert "3 days before" in str(message("method.event-study.days-after", n=3))


def test_why_there_is_no_interval_is_a_code_within_a_sentence():
    problem = NoInterval("too-few-days", required=14, side=message("side.baseline"))
    assert str(problem) == "fewer than 14 days of the baseline have everything that the comparison needs"
    reason = Reason.of(problem.reason)
    assert reason.code == "evaluation.no-interval"
    assert reason.nb.startswith("Usikkerheten kan ikke beregnes: færre enn 14 døgn av førperioden")


def test_caveats_and_method_follow_the_design():
    phases = Kpi(id="k", title=Text(en="K"), quantity="pm10")
    event_study = msgspec.structs.replace(phases, after=Exposure(event="other", lag=0, level_before=True))
    assert [one.code for one in caveats(phases, 1)] == ["evaluation.caveat.one-device", "evaluation.caveat.no-control"]
    assert [one.code for one in caveats(event_study, 2)] == ["evaluation.caveat.not-randomised"]
    assert "that day" in str(method(event_study))
    assert "level before" in str(method(event_study))
    assert "covariates" not in str(method(phases))


def test_columns_are_named_once_in_the_readers_language():
    columns = ["tue", "wed", "2025-10", "level before", "wind_speed (east)", "wind_speed, day before"]
    vocabulary = vocabulary_of(trial.definition())
    assert adjusted_for(columns, vocabulary, Language("en"))[:3] == [
        "day of the week",
        "month",
        "level before the event",
    ]
    assert len(adjusted_for(columns, vocabulary, Language("nb"))) == 4


OLD = b"""{"kpi": "dust", "unit": "ug/m3", "verdict": "target met", "reasons": [{"nb": "Hele", "en": "Whole"}],
"effect": -4.0, "bootstrap": {"low": -5.0, "high": -3.0}, "method": {"nb": "Metode", "en": "Method"},
"left_out": [{"what": "box", "reason": {"nb": "Brann", "en": "Fire"}}]}"""


def test_an_evaluation_stored_before_codes_is_still_read():
    old = msgspec.json.decode(OLD, type=Evaluation)
    assert [reason.text(Language("nb")) for reason in old.reasons] == ["Hele"]
    assert old.method.text(Language("en")) == "Method"
    assert old.left_out[0].reason.text(Language("en")) == "Fire"
    new = msgspec.structs.replace(
        old, reasons=[Reason.of(message("verdict.met", subject=message("subject.change"), target=1.0))]
    )
    assert agree(old, new), "wording is no disagreement"
    assert not agree(old, msgspec.structs.replace(new, reasons=[]))
    assert not agree(new, msgspec.structs.replace(new, reasons=[Reason.of(message("no-days"))]))


def test_stored_evaluations_carry_code_parameters_and_both_languages():
    reason = Reason.of(message("no-data", phases=Text(nb="før", en="before")))
    stored = msgspec.json.decode(msgspec.json.encode(reason))
    assert stored["code"] == "evaluation.no-data"
    assert stored["params"] == {"phases": {"nb": "før", "en": "before"}}
    assert (stored["nb"], stored["en"]) == ("Ingen brukbare målinger i «før».", "No usable readings in “before”.")
    unknown = msgspec.structs.replace(reason, code="evaluation.of-the-future")
    assert unknown.text(Language("en")) == reason.en
