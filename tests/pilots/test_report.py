"""The report: what it says, that it stands alone, that it is the same for the same data."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import closing
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.model import Contact, Phase, Text
from techport_pilots.registry import lifecycle
from techport_pilots.registry.lifecycle import Change, restore
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import (
    Report,
    build_report,
    current_report,
    final_evaluations,
    keep_evaluations,
    kept_evaluations,
    year_of,
)
from techport_pilots.reports.html import page
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Reading, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.pilots import trial

NOW = trial.START + 90 * DAY


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, ReadingStore]]:
    registry = Registry.open(f"sqlite:///{tmp_path_factory.mktemp('report')}/registry.sqlite")
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    store = open_store("duckdb://")
    store.write(trial.readings())
    yield registry, store
    store.close()
    registry.close()


@pytest.fixture(scope="module")
def report(parts: tuple[Registry, ReadingStore]) -> Report:
    registry, store = parts
    pilot = registry.pilot("elgeseter")
    return build_report(store, registry, pilot, version=1, state="ended", now=NOW)


class _Outside(HTMLParser):
    """Collects what a page would fetch, and checks that its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", ["nb", "en"])
def test_it_stands_alone_and_is_well_formed(report: Report, language: str) -> None:
    text = page(report, language)
    parser = _Outside()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"\bnan\b", text, re.I)


@pytest.mark.dates
def test_it_answers_the_question(report: Report) -> None:
    dust = report.results[0].evaluation
    assert dust.interval is not None
    assert dust.interval.low < -4.2 < dust.interval.high  # what trial.py put in, the mean of 1 and 1.1 times four
    parser = _Outside()
    parser.feed(page(report, "nb"))
    said = " ".join(parser.text.split())
    for words in (
        "Gir gatefeiing mindre svevestøv?",
        "målet er nådd",
        "Uten tiltaket var",
        "95 %",
        "µg/m³",
        "Støvet <går ned>",
        "Strømbrudd",
        "Veiarbeid",
        "Trondheim kommune (2026): Renere gate",
        "Kirka",
        "CC-BY-4.0",
    ):
        assert words in said
    assert "Without the intervention" not in said
    parser = _Outside()
    parser.feed(page(report, "en"))
    said = " ".join(parser.text.split())
    for words in ("Does sweeping lower the dust?", "target met", "with 95 % confidence, provided", "Road works"):
        assert words in said
    assert "Uten tiltaket" not in said


def test_the_same_data_gives_the_same_bytes_apart_from_the_date(
    parts: tuple[Registry, ReadingStore], report: Report
) -> None:
    registry, _ = parts
    again = open_store("duckdb://")
    again.write(trial.readings(shuffled=True))
    pilot = registry.pilot("elgeseter")
    later = build_report(again, registry, pilot, version=1, state="ended", now=NOW + DAY)
    again.close()
    assert page(msgspec.structs.replace(later, made=report.made), "nb") == page(report, "nb")
    assert page(later, "nb") != page(report, "nb")


@pytest.mark.dates
def test_gaps_and_flags_are_told(report: Report) -> None:
    bridge = report.devices["bridge"]
    assert bridge.longest_gap == DAY + HOUR // 6
    assert bridge.share == pytest.approx(59 / 60, abs=0.001)
    assert report.whole.flagged == 2


Broken = Literal["no phases", "overlapping", "no readings", "no kpis", "no devices"]


@pytest.mark.parametrize("what", ["no phases", "overlapping", "no readings", "no kpis", "no devices"])
def test_a_pilot_that_lacks_something_still_has_a_report(parts: tuple[Registry, ReadingStore], what: Broken) -> None:
    registry, store = parts
    pilot = registry.pilot("elgeseter")
    phases = [Phase("a", "baseline", *_span(pilot.phases[0])), Phase("b", "intervention", *_span(pilot.phases[0]))]
    changed = {
        "no phases": {"phases": []},
        "overlapping": {"phases": phases},
        "no readings": {},
        "no kpis": {"kpis": []},
        "no devices": {"devices": [], "kpis": []},
    }[what]
    empty = open_store("duckdb://")
    chosen = empty if what == "no readings" else store
    report = build_report(
        chosen,
        registry,
        msgspec.structs.replace(pilot, **changed),
        version=1,
        state="draft",
        now=NOW,
    )
    empty.close()
    for language in ("nb", "en"):
        parser = _Outside()
        parser.feed(page(report, language))
        assert parser.open == []
    if what in ("no phases", "overlapping", "no readings"):
        assert {result.evaluation.verdict for result in report.results} == {"insufficient data"}


def test_evaluations_are_kept_for_others(parts: tuple[Registry, ReadingStore], report: Report) -> None:
    registry, _ = parts
    answers = [result.evaluation for result in report.results]
    keep_evaluations(registry.database, "elgeseter", answers, NOW)
    keep_evaluations(registry.database, "elgeseter", answers, NOW + 1)
    assert kept_evaluations(registry.database) == {"elgeseter": answers}


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended early"])
@pytest.mark.dates
def test_days_that_were_not_to_be_measured_are_not_missing(tmp_path: Path, report: Report, ended: bool) -> None:
    """A report in the middle of a phase judges what has passed; one after an early end, what there was until then."""
    whole = trial.definition()
    *others, last = whole.phases
    longer = msgspec.structs.replace(last, end=last.end + dt.timedelta(days=200))
    pilot = msgspec.structs.replace(whole, phases=[*others, longer])
    over = trial.START + trial.DAYS * DAY
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.import_pilot(pilot, trial.YAML, "test")
    if ended:
        steps = [("running", trial.START), ("ended", over)]
        taken = [Change(pilot.id, n, state, "kari", "", at) for n, (state, at) in enumerate(steps, 1)]  # type: ignore[arg-type]
        restore(registry.database, pilot.id, taken)
    with closing(open_store("duckdb://")) as store:
        store.write(trial.readings())
        then = over + 100 * DAY if ended else over
        found = build_report(store, registry, pilot, version=1, state="running", now=then)
    registry.close()
    dust = report.results[0].evaluation.verdict if ended else "running"
    assert found.results[0].evaluation.verdict == dust, "an early end widens, and still decides"
    first, second = (one.results[0].evaluation.intervention for one in (found, report))
    assert first is not None
    assert second is not None
    assert first.completeness == pytest.approx(second.completeness, abs=0.02)
    assert found.phases[last.name].share == pytest.approx(report.phases[last.name].share, abs=0.02)


def test_what_was_found_when_a_pilot_was_closed_stays(tmp_path: Path) -> None:
    registry, store = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite"), open_store("duckdb://")
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    pilot = registry.pilot("elgeseter")
    lifecycle.transition(registry.database, pilot, "running", "test")
    assert final_evaluations(registry.database, pilot) is None
    current_report(registry, store, pilot, NOW)
    store.write(trial.readings())
    running = current_report(registry, store, pilot, NOW)  # of the readings that have come since
    assert {one.evaluation.verdict for one in running.results} != {"insufficient data"}
    for step in ("ended", "closed"):
        lifecycle.transition(registry.database, pilot, step, "test")  # type: ignore[arg-type]
    assert final_evaluations(registry.database, pilot) is None, "kept before the pilot was closed"
    later = lifecycle.changes(registry.database, "elgeseter")[-1].at + 1
    closed = current_report(registry, store, pilot, later)
    assert final_evaluations(registry.database, pilot) == [one.evaluation for one in closed.results]
    store.erase(Selection(pilots=("elgeseter",)))
    erased = current_report(registry, store, pilot, later + 1)
    assert [one.evaluation for one in erased.results] == [one.evaluation for one in closed.results]
    assert erased.whole.readings == 0
    assert "<html" in page(erased, "nb")
    store.close()
    registry.close()


@pytest.mark.parametrize(
    ("quantity", "how", "value", "shown"),
    [
        ("wind_from_direction", "", 225.0, "225"),  # a vane that is stuck: every day's mean is the same but for its end
        ("pm10", "", 1e300, "1,00E300"),
        ("laeq", ", interval: P1D, slot: lden", 1e300, "1,00E300"),
        ("pm10", ", statistic: max, target: 30", -1e300, "−1,00E300"),
    ],
)
def test_readings_that_mean_nothing_still_have_a_report(
    tmp_path: Path, quantity: str, how: str, value: float, shown: str
) -> None:
    kpi = f"  - {{id: k, title: K, quantity: {quantity}{how}}}\n"
    device = f"  - {{id: kirka, group: street, interval: PT1H, streams: [{{quantity: {quantity}}}]}}\n"
    head, rest = trial.YAML.split("kpis:")
    text = f"{head}kpis:\n{kpi}devices:\n{device}"
    assert "devices:" in rest
    with closing(open_store("duckdb://")) as store:
        times = range(trial.START, trial.START + trial.DAYS * DAY, HOUR)
        store.write(Batch.of([Reading("elgeseter", "kirka", quantity, time, value, time) for time in times]))
        registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
        registry.import_pilot(parse_definition(text), text, "test")
        report = current_report(registry, store, registry.pilot("elgeseter"), NOW)
        registry.close()
    (result,) = report.results
    assert result.evaluation.verdict in ("insufficient data", "effect shown", "target met")
    assert shown in page(report, "nb")


def _span(phase: Phase) -> tuple[object, object]:
    return phase.start, phase.end


def test_the_template_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    monkeypatch.chdir(tmp_path)
    assert page(report, "en").startswith("<!doctype html>")


def test_what_was_expected_stands_beside_what_was_measured(report: Report) -> None:
    """Over the days of the intervention the mean of measured minus expected is the difference that the text says."""
    dust = report.results[0]
    during = [day for day in dust.days if day.intervention]
    differences = [day.value - day.expected for day in during if day.expected is not None]
    assert len(differences) == len(during) > 20
    assert sum(differences) / len(differences) == pytest.approx(dust.evaluation.effect)
    assert all(day.low < day.expected < day.high for day in dust.days if day.expected and day.low and day.high)
    drawn = page(report, "en")
    assert "expected-band" in drawn
    assert "difference: measured minus expected" in drawn
    assert "control-line" not in drawn.split("</style>")[1], "no control group, no line of one"


def test_how_an_evaluation_checked_itself_stands_beside_its_method(report: Report) -> None:
    said = page(report, "en")
    assert "How the evaluation checked itself:" in said
    checks = report.results[0].evaluation.checks
    assert any(check.outcome == "agrees" for check in checks)
    assert all(escape(check.text.en) in said for check in checks)


def test_the_control_group_is_named_and_drawn(tmp_path: Path) -> None:
    park = "  - {id: park, group: park, interval: PT10M, streams: [{quantity: pm10}]}\n  - {id: bridge,"
    text = trial.YAML.replace("  - {id: bridge,", park).replace(
        "groups: [street]}", "groups: [street], control: [park]}"
    )
    pilot = parse_definition(text)
    batch = trial.readings()
    kirka = batch.streams.index(Stream("elgeseter", "kirka", "pm10"))
    own = batch.stream == kirka
    time, beside = batch.time[own], batch.value[own] + 4 * (batch.time[own] >= trial.START + 30 * DAY)
    zeros = np.zeros(len(time))
    with closing(open_store("duckdb://")) as store:
        store.write(batch)
        columns = zeros.astype(np.int32), time, beside, time, zeros.astype(np.uint8)
        store.write(Batch([Stream("elgeseter", "park", "pm10")], *columns))
        registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
        registry.import_pilot(pilot, text, "test")
        found = current_report(registry, store, registry.pilot("elgeseter"), NOW)
        registry.close()
    dust = found.results[0]
    assert dust.evaluation.effect == pytest.approx(-4, abs=0.5)
    assert all(day.control is not None for day in dust.days)
    said = page(found, "nb")
    assert "kontrollgruppen park" in said
    assert 'class="control-line"' in said


def test_a_day_that_is_not_over_is_not_drawn(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    noon = trial.START + 50 * DAY + 13 * HOUR
    with closing(open_store("duckdb://")) as store:
        store.write(trial.readings())
        found = build_report(store, registry, trial.definition(), version=1, state="running", now=noon)
    registry.close()
    assert max(day.start for day in found.results[0].days) + DAY <= noon


def test_a_report_says_that_it_is_interim_while_the_pilot_runs(report: Report) -> None:
    texts = {
        state: page(msgspec.structs.replace(report, state=state), "en")
        for state in ("draft", "running", "ended", "closed")
    }
    assert {state: "Interim report" in text for state, text in texts.items()} == {
        "draft": True,
        "running": True,
        "ended": False,
        "closed": False,
    }
    assert "can change until it ends" in texts["running"]
    assert "Foreløpig rapport" in page(msgspec.structs.replace(report, state="running"), "nb")


def test_a_report_has_a_contact_a_logo_and_a_way_back_where_it_is_read_on_the_platform(report: Report) -> None:
    contact = Contact("Miljøenheten", "miljo@example.org")
    pilot = msgspec.structs.replace(report.pilot, contact=contact)
    text = page(msgspec.structs.replace(report, pilot=pilot), "nb", back="/pilots/elgeseter?lang=nb")
    head = text[text.index("<header>") : text.index("</header>")]
    assert '<a class="back" href="/pilots/elgeseter?lang=nb">← Tilbake til piloten</a>' in head
    assert "Kontakt: Miljøenheten, miljo@example.org" in head
    assert '<svg class="logo"' in head
    assert "Trondheim kommune</span>" in head
    assert 'class="back"' not in page(report, "nb").split("</style>")[1], "a file leads nowhere"


def test_each_sheet_names_pilot_time_and_author_and_no_text_leaves_the_style_sheet(report: Report) -> None:
    title = Text(nb='Gata "}</style><script>', en="Street")
    contact = Contact("A \\ b")
    pilot = msgspec.structs.replace(report.pilot, title=title, contact=contact)
    text = page(msgspec.structs.replace(report, pilot=pilot), "nb")
    sheet = text[text.index("<style>") : text.index("</style>")]
    foot = sheet[sheet.index("@bottom-left") :].split('content: "')[1].split('"; font')[0]
    assert foot.startswith("Gata \\22 \\7d \\3c \\2f style\\3e \\3c script\\3e  · ")
    assert "A \\5c  b, Trondheim kommune" in foot
    assert str(year_of(report)) in foot
    assert "<script>" not in text
