"""Personal data at close-out: no open licence, a record that goes along, and a date of erasure in every state."""

from __future__ import annotations

import datetime as dt
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.definition.privacy import is_open_licence, licence_of
from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.handover import retention
from techport_pilots.handover.checklist import checklist
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.handover.portfolio import portfolio
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import erasures, lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.time import micros_of
from techport_storage.clock import as_of, now
from techport_storage.microseconds import DAY
from techport_storage.model import Batch, Reading, Selection
from tests.pilots import trial
from tests.pilots.trial import Parts

RECORD = """personal_data: true
data_class: personal
legal_basis: 6 (1) e, public task
personal_data_classes: [number plates that are replaced at once]
controller: Trondheim kommune, Byutvikling
dpia: 2026/4711
dpia_date: 2026-01-15
"""
YAML = trial.YAML.replace("data_class: open\nlicence: CC-BY-4.0\n", RECORD).replace("retention: P2Y", "retention: P30D")
FACTS = (
    "To decide how often to sweep",
    "6 (1) e, public task",
    "Trondheim kommune, Byutvikling",
    "2026/4711",
    "number plates",
)


@pytest.fixture
def parts(platform: Callable[[str], Parts]) -> Parts:
    return platform("laptop")


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "CC0-1.0", "NLOD-2.0", "cc by 4.0", "Creative Commons BY"])
def test_an_open_licence_and_personal_data_exclude_each_other(licence: str) -> None:
    assert is_open_licence(licence)
    with pytest.raises(DefinitionError, match="about people"):
        parse_definition(YAML + f"licence: {licence}\n")
    before = msgspec.structs.replace(parse_definition(YAML), licence=licence)  # of an earlier version
    assert licence_of(before) == ""
    assert licence_of(msgspec.structs.replace(before, personal_data=False)) == licence


def test_another_agreement_may_be_named() -> None:
    pilot = parse_definition(YAML + "licence: Avtale 24/17 med NTNU\n")
    assert licence_of(pilot) == "Avtale 24/17 med NTNU"


def test_the_record_is_written_and_read_back() -> None:
    pilot = parse_definition(YAML)
    assert pilot.dpia_date == dt.date(2026, 1, 15)
    assert parse_definition(to_yaml(pilot)) == pilot
    with pytest.raises(DefinitionError, match="2026-03-01"):
        parse_definition(YAML.replace("2026-01-15", "januar"))


@pytest.mark.parametrize("hour", [12, 23.5])  # UTC: in the second it is the next day in the pilot's zone
def test_the_package_says_why_the_data_is_there_and_until_when(parts: Parts, tmp_path: Path, hour: float) -> None:
    registry, store, ledger = parts
    pilot = parse_definition(YAML)
    registry.import_pilot(pilot, YAML, "test")
    store.write(trial.readings())
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, pilot, step, "kari")  # type: ignore[arg-type]
    with as_of(now() // DAY * DAY + int(hour / 24 * DAY)):
        package = close_pilot(registry, store, ledger, pilot, tmp_path, Closure("kari", wait=0))
    assert package.erase_at is not None
    erased_by = dt.datetime.fromtimestamp(package.erase_at / 1e6, ZoneInfo(pilot.timezone)).date()
    with zipfile.ZipFile(package.path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if "readings" not in name}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o600}
    assert Path(package.path).stat().st_mode & 0o077 == 0
    for name in ("README.md", "report-en.html", "ro-crate-metadata.json", "dcat.ttl", "datapackage.json"):
        assert [fact for fact in FACTS if fact not in texts[name]] == [], name
        assert "CC-BY" not in texts[name], name
    assert "CC-BY" not in texts["LICENCE.txt"]
    assert "about people" in texts["LICENCE.txt"]
    described = json.loads(texts["datapackage.json"])
    assert "licenses" not in described
    assert described["techport:personal_data"]["erase_by"] == erased_by.isoformat()
    assert described["techport:personal_data"]["dpia_date"] == "2026-01-15"
    assert f"{erased_by.day} {erased_by:%b %Y}" in texts["README.md"].replace("Sept", "Sep")
    assert "Behandlingsgrunnlag" in texts["report-nb.html"]


def test_open_data_keeps_its_licence_and_needs_no_record(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    store.write(trial.readings())
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, trial.definition(), step, "kari")  # type: ignore[arg-type]
    package = close_pilot(registry, store, ledger, trial.definition(), tmp_path, Closure("kari", wait=0))
    with zipfile.ZipFile(package.path) as archive:
        readme = archive.read("README.md").decode()
    assert "CC-BY-4.0" in readme
    assert "Personal data" not in readme


def test_the_checklist_asks_for_what_is_missing(parts: Parts) -> None:
    registry, store, _ = parts
    pilot = msgspec.structs.replace(parse_definition(YAML), dpia_date=None, licence="CC-BY-4.0")
    registry.import_pilot(pilot, "", "test")
    said = [str(item.message) for item in checklist(registry, store, pilot, now())]
    assert any("dpia_date" in text for text in said)
    assert any("CC-BY-4.0" in text and "without it" in text for text in said)
    assert not any("The licence is" in text for text in said)


# -- The date of erasure.


def _imported(registry: Registry, **changes: object) -> PilotDefinition:
    pilot = msgspec.structs.replace(parse_definition(YAML), **changes)
    registry.import_pilot(pilot, "", "test")
    return registry.pilot(pilot.id)


def _shifted(days: int) -> PilotDefinition:
    """The pilot with its phases so many days from now, the last of which ends then."""
    pilot = parse_definition(YAML)
    over = dt.datetime.fromtimestamp(now() / 1e6, dt.UTC).replace(microsecond=0) + dt.timedelta(days=days)
    length = dt.timedelta(days=30)
    before, after = pilot.phases
    phases = [
        msgspec.structs.replace(before, start=over - 2 * length, end=over - length),
        msgspec.structs.replace(after, start=over - length, end=over),
    ]
    return msgspec.structs.replace(pilot, phases=phases)


def test_there_is_a_date_in_every_state(parts: Parts) -> None:
    registry = parts[0]
    pilot = _imported(registry, phases=_shifted(10).phases)
    over = micros_of(pilot.phases[-1].end, pilot.timezone)
    assert erasures.due_at(registry, pilot) == over + 30 * DAY
    lifecycle.transition(registry.database, pilot, "running", "test")
    assert erasures.due_at(registry, pilot) == over + 30 * DAY
    lifecycle.transition(registry.database, pilot, "ended", "test")
    ended = lifecycle.changes(registry.database, pilot.id)[-1].at
    assert erasures.due_at(registry, pilot) == ended + 30 * DAY, "it ended early, so it goes early"


def test_a_pilot_that_came_after_its_phases_is_not_erased_at_once(parts: Parts) -> None:
    registry = parts[0]
    pilot = _imported(registry)  # of the spring
    came = registry.history(pilot.id)[-1].at
    assert erasures.due_at(registry, pilot) == came + 30 * DAY
    lifecycle.transition(registry.database, pilot, "running", "test")
    started = lifecycle.changes(registry.database, pilot.id)[0].at
    assert erasures.due_at(registry, pilot) == started + 30 * DAY


def test_without_personal_data_the_period_begins_with_the_end(parts: Parts) -> None:
    registry = parts[0]
    registry.import_pilot(trial.definition(), "", "test")
    lifecycle.transition(registry.database, trial.definition(), "running", "test")
    assert erasures.due_at(registry, trial.definition()) is None


def test_what_is_due_is_erased_without_anybody_remembering(parts: Parts, tmp_path: Path) -> None:
    """The pilot still runs, long after its last phase; the round of a platform that stays erases it."""
    registry, store, ledger = parts
    pilot = _imported(registry, phases=_shifted(-100).phases)
    with registry.database.writing() as transaction:  # it came before that
        transaction.execute("UPDATE pilot_versions SET at = :at", {"at": now() - 300 * DAY})
        row = {"pilot": pilot.id, "at": now() - 200 * DAY}
        transaction.execute(
            "INSERT INTO pilot_states (pilot, number, state, who, why, at)"
            " VALUES (:pilot, 1, 'running', 'test', '', :at)",
            row,
        )
        transaction.execute(
            "INSERT INTO ledger"
            " (pilot, device, day, messages, received, stored, duplicates, quarantined, ignored, erased)"
            " VALUES (:pilot, 'kirka', 20000, 1, 1, 1, 0, 0, 0, 0)",
            row,
        )
        transaction.execute("UPDATE registry_version SET version = version + 1")
    store.write(Batch.of([Reading(pilot.id, "kirka", "pm10", 20_000 * DAY, 1.0, 0)]))
    assert [due.pilot for due in erasures.overdue(registry, now())] == [pilot.id]
    (standing,) = portfolio(registry, now())
    assert standing.erasure_overdue
    rounds = retention.RetentionPass(registry, store, ledger, tmp_path / "receipts")
    (receipt,) = rounds.round()
    assert (receipt.pilot, receipt.rows) == (pilot.id, 1)
    assert store.latest(Selection(pilots=(pilot.id,))).num_rows == 0
    assert erasures.overdue(registry, now()) == []
    (file,) = (tmp_path / "receipts").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert json.loads(file.read_text())["rows"] == 1
    assert rounds.round() == []


def test_a_running_pilot_keeps_its_record(parts: Parts) -> None:
    registry = parts[0]
    pilot = _imported(registry)
    lifecycle.transition(registry.database, pilot, "running", "test")
    with pytest.raises(WrongState, match="retention"):
        registry.import_pilot(msgspec.structs.replace(pilot, retention=None), "", "test")
    assert registry.pilot(pilot.id).retention == "P30D"
