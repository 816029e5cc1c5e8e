"""What the demo writes before its first start: months of readings that the audit accepts, and a finished pilot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from techport import demo_history
from techport.demo_history import DemoHistory
from techport.platform import Stores, stores
from techport.settings import Settings, load_settings
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.handover.closeout import packages_of
from techport_pilots.registry import lifecycle, registration
from techport_pilots.reports.build import final_evaluations
from techport_simulators.demo import MISREAD, UNKNOWN_BOX, demo_in, finished_in
from techport_storage import clock
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import DAY
from techport_storage.model import Selection

SMALL = ("nidelva-water", "smart-bins")  # of the demo's pilots those with few readings
FINISHED = "quiet-asphalt"


def history(settings: Settings) -> DemoHistory:
    folder, today = settings.data / "demo", now_datetime(ZoneInfo("Europe/Oslo")).date()
    files = [file for file in demo_in(folder, today) if file.stem in (*SMALL, "school-air")]
    return DemoHistory(settings, files, finished_in(folder, today), seed=1)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Stores]]:
    """A data folder with the past of three pilots and the finished one, whose first start was cut short."""
    settings = load_settings({"data": tmp_path_factory.mktemp("demo") / "data"})
    settings.data.mkdir()
    cut_short = history(settings)
    patch = pytest.MonkeyPatch()
    kept = []

    def cut(parts: Stores, group: object) -> None:
        kept.append(group)
        if len(kept) == 2:
            raise KeyboardInterrupt
        whole(parts, group)  # type: ignore[arg-type]

    whole = demo_history._keep
    patch.setattr(demo_history, "_keep", cut)
    with stores(settings) as parts, pytest.raises(KeyboardInterrupt):
        cut_short.write(parts)
    patch.undo()
    with stores(settings) as parts:
        history(settings).write(parts)
        yield settings, parts


def test_a_start_that_ends_before_its_first_reading_goes_on_with_the_next(tmp_path: Path) -> None:
    settings = load_settings({"data": tmp_path})
    history(settings)
    note = tmp_path / "demo" / "history.json"
    first = json.loads(note.read_text("utf-8"))
    (tmp_path / "readings.duckdb").touch()
    history(settings)
    assert json.loads(note.read_text("utf-8")) == first == {"end": first["end"], "written": False}


@pytest.mark.slow
def test_every_sum_agrees_though_the_first_start_was_cut_short(told: tuple[Settings, Stores]) -> None:
    _, parts = told
    report = audit(parts.ledger, parts.readings)
    assert report.ok
    assert not report.open
    assert report.total.duplicates > 0  # what had been written before
    assert report.total.stored == report.counted > 200_000
    assert len({row.device_day.day for row in report.rows}) > 110


@pytest.mark.slow
def test_pilots_were_planned_before_they_began(told: tuple[Settings, Stores]) -> None:
    _, parts = told
    for pilot in parts.registry.pilots():
        plan = registration.status(parts.registry.database, pilot)
        assert plan.registration is not None
        assert plan.days_late == 0
        assert plan.changes == []
        assert plan.written < plan.registration.at < (plan.intervention or 0) < now()


def test_one_pilot_is_finished_with_verdict_and_package(told: tuple[Settings, Stores]) -> None:
    settings, parts = told
    pilot = parts.registry.pilot(FINISHED)
    steps = lifecycle.changes(parts.registry.database, FINISHED)
    assert [step.state for step in steps] == ["running", "ended", "closed"]
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert steps[-1].at < now() - 7 * DAY
    [evaluation] = final_evaluations(parts.registry.database, pilot) or []
    assert evaluation.verdict == "target met"
    [package] = packages_of(parts.registry.database, FINISHED)
    assert Path(package.path).parent == (settings.data / "packages").resolve()
    assert Path(package.path).is_file()
    assert parts.registry.state("nidelva-water") == "running"


def test_there_is_something_to_find(told: tuple[Settings, Stores]) -> None:
    _, parts = told
    quarantine = Quarantine(parts.registry.database)
    groups = {
        (pilot, group.device): group
        for pilot in ("school-air", "nidelva-water")
        for group in quarantine.groups(QuarantineFilter(pilot=pilot))
    }
    assert groups[UNKNOWN_BOX].reason == "unknown-device"
    assert groups[MISREAD].field == "turbidity"
    assert groups[MISREAD].entries == 24
    silent = parts.readings.latest(Selection(pilots=("school-air",), devices=("lade-skole",)))
    assert max(silent["received"].cast("int64").to_pylist()) < now() - 2 * DAY


def test_a_second_start_writes_nothing(told: tuple[Settings, Stores]) -> None:
    settings, parts = told
    before = parts.ledger.tallies()
    history(settings).write(parts)
    assert parts.ledger.tallies() == before
    assert json.loads((settings.data / "demo" / "history.json").read_text("utf-8"))["written"]


def test_the_clock_is_as_of_another_time_in_a_block_only() -> None:
    with clock.as_of(5):
        assert clock.now() == 5
        assert clock.now_datetime().year == 1970
    assert clock.now() > 1e15
