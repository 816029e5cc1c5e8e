"""Planned before, compared after: what the start freezes, what needs a reason, and what a report says of changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.evaluation.roles import confidence_of, role_note, role_of
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry import lifecycle, recommendations, registration
from techport_pilots.reports.build import build_report
from techport_pilots.reports.html import page
from techport_pilots.reports.kpi_text import describe_kpi
from techport_pilots.reports.plan_text import with_plan
from techport_storage.microseconds import DAY
from tests.pilots import trial
from tests.pilots.trial import Parts

NOW = trial.START + 80 * DAY


@pytest.fixture
def parts(platform: Callable[[str], Parts]) -> Parts:
    return platform("laptop")


def changed(**fields: Any) -> PilotDefinition:
    """The pilot with another first KPI."""
    pilot = trial.definition()
    return msgspec.structs.replace(pilot, kpis=[msgspec.structs.replace(pilot.kpis[0], **fields), *pilot.kpis[1:]])


def imported_at(parts: Parts, *days: int) -> None:
    """Say that the versions came so many days after the first phase began."""
    with parts[0].database.writing() as transaction:
        for version, day in enumerate(days, start=1):
            row = {"version": version, "at": trial.START + day * DAY}
            transaction.execute("UPDATE pilot_versions SET at = :at WHERE version = :version", row)


def test_the_start_freezes_the_plan_once(parts: Parts) -> None:
    registry = parts[0]
    pilot = trial.definition()
    registry.import_pilot(pilot, "", "kari")
    assert registration.registration_of(registry.database, pilot.id) is None
    lifecycle.transition(registry.database, pilot, "running", "kari")
    frozen = registration.registration_of(registry.database, pilot.id)
    assert frozen is not None
    assert frozen.sha256 == hashlib.sha256(frozen.content.encode()).hexdigest()
    assert frozen.plan == registration.Plan.of(pilot)
    lifecycle.transition(registry.database, pilot, "ended", "kari")
    registry.import_pilot(changed(target=-3.0), "", "kari", "a typing error")
    lifecycle.transition(registry.database, registry.pilot(pilot.id), "running", "kari", "too early")
    assert registration.registration_of(registry.database, pilot.id) == frozen


def test_a_change_after_the_start_needs_a_reason(parts: Parts) -> None:
    registry = parts[0]
    registry.import_pilot(trial.definition(), "", "kari")
    registry.import_pilot(changed(target=-1.0), "", "kari")  # a draft without readings
    lifecycle.transition(registry.database, registry.pilot("elgeseter"), "running", "kari")
    with pytest.raises(WrongState, match="--why"):
        registry.import_pilot(changed(target=-0.5), "", "kari")
    registry.import_pilot(changed(target=-0.5), "", "kari", "the council asked for it")
    other = msgspec.structs.replace(changed(target=-0.5), description=Text(en="Longer"))
    registry.import_pilot(other, "", "kari")  # which no result depends on


def test_so_does_one_after_readings_of_the_intervention(parts: Parts) -> None:
    registry = parts[0]
    registry.import_pilot(trial.definition(), "", "kari")
    with registry.database.writing() as transaction:
        row = {"day": (trial.START + 40 * DAY) // DAY}
        transaction.execute(
            "INSERT INTO ledger"
            " (pilot, device, day, messages, received, stored, duplicates, quarantined, ignored, erased)"
            " VALUES ('elgeseter', 'kirka', :day, 1, 1, 1, 0, 0, 0, 0)",
            row,
        )
    with pytest.raises(WrongState, match="--why"):
        registry.import_pilot(changed(percentile=60.0), "", "kari")


def test_a_report_lists_what_was_changed_and_marks_the_verdict(parts: Parts) -> None:
    registry, store, _ = parts
    registry.import_pilot(changed(target=-10.0), "", "kari")
    lifecycle.transition(registry.database, registry.pilot("elgeseter"), "running", "kari")
    registry.import_pilot(changed(target=-3.0), "", "kari", "looked better")
    imported_at(parts, -5, 50)
    with registry.database.writing() as transaction:
        transaction.execute("UPDATE registrations SET at = :at", {"at": trial.START - 4 * DAY})
    store.write(trial.readings())
    pilot = registry.pilot("elgeseter")
    status = registration.status(registry.database, pilot)
    (change,) = status.changes
    assert (change.kpi, change.field, change.before, change.after) == ("dust", "target", "-10", "-3")
    assert (change.who, change.why) == ("kari", "looked better")
    assert status.days_late == 0
    report = build_report(store, registry, pilot, version=2, state="running", now=NOW)
    dust, dusty = report.results
    texts = [
        describe_kpi(pilot, one.kpi, with_plan(pilot, one.kpi, one.evaluation, status), Language("en")).whole
        for one in (dust, dusty)
    ]
    assert "Changed after the start: target “-10” → “-3” on" in texts[0]
    assert "Changed after the start" not in texts[1]
    said = page(report, "en")
    for words in ("Planned before, compared after", "SHA-256", "looked better", "<td>-10</td>", "<td>-3</td>"):
        assert words in said
    assert "Endret etter starten" in page(report, "nb")


def test_a_plan_that_is_younger_than_the_intervention_says_so(parts: Parts) -> None:
    registry, store, _ = parts
    registry.import_pilot(trial.definition(), "", "kari")
    imported_at(parts, 45)  # the intervention began on the 30th day
    store.write(trial.readings())
    pilot = registry.pilot("elgeseter")
    report = build_report(store, registry, pilot, version=1, state="draft", now=NOW)
    assert report.plan.days_late == 15
    said = page(report, "en")
    assert "15 days after the intervention began" in said
    assert said.count("chosen with the result in view") >= len(pilot.kpis)


# -- One KPI decides.


def several(*roles: str | None) -> PilotDefinition:
    pilot = trial.definition()
    kpis = [msgspec.structs.replace(pilot.kpis[0], id=f"k{n}", role=role) for n, role in enumerate(roles)]
    return msgspec.structs.replace(pilot, kpis=kpis)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ((None, None), ["primary", "exploratory"]),
        ((None, "primary", "secondary"), ["exploratory", "primary", "secondary"]),
        (("secondary", "secondary"), ["secondary", "secondary"]),
    ],
)
def test_the_first_decides_unless_another_one_does(roles: tuple[str | None, ...], expected: list[str]) -> None:
    pilot = several(*roles)
    assert [role_of(pilot, kpi) for kpi in pilot.kpis] == expected


def test_secondary_ones_are_corrected_together() -> None:
    pilot = several("primary", "secondary", "secondary", "exploratory")
    assert [confidence_of(pilot, kpi) for kpi in pilot.kpis] == pytest.approx([0.95, 0.975, 0.975, 0.95])
    notes = [role_note(pilot, kpi) for kpi in pilot.kpis]
    assert [note and note.code for note in notes] == [
        None,
        "evaluation.secondary",
        "evaluation.secondary",
        "evaluation.exploratory",
    ]


def test_two_primary_ones_are_refused() -> None:
    text = trial.YAML.replace("{id: dust,", "{id: dust, role: primary,").replace(
        "{id: dusty,", "{id: dusty, role: primary,"
    )
    with pytest.raises(DefinitionError, match="one KPI decides"):
        parse_definition(text)


def test_a_recommendation_is_the_teams_own(parts: Parts) -> None:
    registry, store, _ = parts
    registry.import_pilot(trial.definition(), "", "kari")
    store.write(trial.readings())
    pilot = registry.pilot("elgeseter")
    assert "Recommendation" not in page(build_report(store, registry, pilot, version=1, state="draft", now=NOW), "en")
    with pytest.raises(ValueError, match="author"):
        recommendations.recommend(registry.database, pilot.id, Text(en="Sweep"), " ")
    recommendations.recommend(registry.database, pilot.id, Text(en="Sweep <twice>"), "Kari")
    recommendations.recommend(registry.database, pilot.id, Text(en="Sweep <weekly>"), "Ola Nordmann")
    said = page(build_report(store, registry, pilot, version=1, state="draft", now=NOW), "en")
    assert "Sweep &lt;weekly&gt;" in said
    assert "Ola Nordmann" in said
    assert "twice" not in said


def test_packages_carry_every_version(parts: Parts, tmp_path: Path) -> None:
    import zipfile

    from techport_pilots.handover.closeout import Closure, close_pilot

    registry, store, ledger = parts
    registry.import_pilot(changed(target=-10.0), "", "kari")
    lifecycle.transition(registry.database, registry.pilot("elgeseter"), "running", "kari")
    registry.import_pilot(changed(target=-3.0), "", "kari", "looked better")
    store.write(trial.readings())
    lifecycle.transition(registry.database, registry.pilot("elgeseter"), "ended", "kari")
    package = close_pilot(registry, store, ledger, registry.pilot("elgeseter"), tmp_path, Closure("kari", wait=0))
    with zipfile.ZipFile(package.path) as archive:
        versions = json.loads(archive.read("versions.json"))
        plan = json.loads(archive.read("plan.json"))
    assert [one["definition"]["kpis"][0]["target"] for one in versions] == [-10.0, -3.0]
    assert plan["registration"]["version"] == 1
    assert [change["why"] for change in plan["changes"]] == ["looked better"]
