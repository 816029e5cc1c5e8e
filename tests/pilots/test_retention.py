"""Forgetting on time: what is due goes everywhere, once, with a receipt; what is not due stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import DeviceDay
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import QuarantineEntry, Tally, day_of
from techport_pilots.handover import retention
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.registry import erasures, lifecycle
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.errors import StoreUnavailable
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Reading, Selection
from techport_storage.store import ReadingStore
from tests.pilots import trial
from tests.pilots.trial import Parts

YEARS = 3 * 366 * DAY
NOW = now() // 1_000_000 * 1_000_000


@pytest.fixture(params=[pytest.param("laptop", marks=pytest.mark.dates), "servers"])
def parts(request: pytest.FixtureRequest, platform: Callable[[str], Parts]) -> Parts:
    """Two pilots with the same definition but for their ids, some readings each, and a message in quarantine."""
    registry, store, ledger = platform(request.param)
    for name in ("elgeseter", "other"):
        registry.import_pilot(msgspec.structs.replace(trial.definition(), id=name), trial.YAML, "test")
        readings = [Reading(name, "kirka", "pm10", trial.START + i * HOUR, 1.0 * i, 0) for i in range(50)]
        tallies: dict[DeviceDay, Tally] = {}
        for one in readings:
            tallies.setdefault(DeviceDay(name, "kirka", day_of(one.time)), Tally()).add(Tally(received=1, stored=1))
        aside = QuarantineEntry(
            pilot=name, device="kirka", topic="t", payload=b"x", received=trial.START, rejection=Rejection("not-json")
        )
        tallies.setdefault(aside.device_day, Tally()).add(Tally(received=1, quarantined=1))
        ledger.open_batch("test", tallies)
        store.write(Batch.of(readings))
        ledger.close_batch("test", tallies, [aside])
    return registry, store, ledger


def end(registry: Registry, pilot: str = "elgeseter") -> None:
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, registry.pilot(pilot), step, "test")  # type: ignore[arg-type]


def left(parts: Parts, pilot: str) -> tuple[int, int]:
    registry, store, _ = parts
    return (
        store.latest(Selection(pilots=(pilot,))).num_rows,
        len(Quarantine(registry.database).entries(QuarantineFilter(pilot=pilot)).items),
    )


def test_what_is_due_goes_everywhere_and_the_rest_stays(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    end(registry)
    package = close_pilot(
        registry, store, ledger, registry.pilot("elgeseter"), tmp_path / "out", Closure("test", wait=0)
    )
    halves = [tmp_path / "out" / f"{name}-2026-01-01.zip.0badcafe.part" for name in ("elgeseter", "elgeseter-2")]
    for half in halves:  # of runs that were killed
        half.touch()
    others = halves[1]
    (due,) = erasures.plan(registry)
    assert due.at == package.erase_at
    assert retention.run(registry, store, ledger, due.at - 1) == []
    (receipt,) = retention.run(registry, store, ledger, due.at)
    assert (receipt.pilot, receipt.rows, receipt.entries) == ("elgeseter", 50, 1)
    assert receipt.packages == [package.path]
    assert receipt.missing == []
    assert not Path(package.path).exists()
    assert list((tmp_path / "out").iterdir()) == [others]
    assert left(parts, "elgeseter") == (0, 0)
    assert left(parts, "other") == (1, 1)
    assert audit(ledger, store).ok
    assert erasures.receipts(registry.database) == [receipt]
    assert retention.run(registry, store, ledger, due.at + 1) == []
    assert registry.state("elgeseter") == "closed"


def test_a_package_that_was_moved_is_named(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    end(registry)
    package = close_pilot(
        registry, store, ledger, registry.pilot("elgeseter"), tmp_path / "out", Closure("test", wait=0)
    )
    moved = Path(package.path).rename(tmp_path / "archive.zip")
    (receipt,) = retention.run(registry, store, ledger, NOW + YEARS)
    assert (receipt.packages, receipt.missing) == ([], [package.path])
    assert moved.exists(), "what it does not know, it leaves alone"
    assert retention.run(registry, store, ledger, NOW + YEARS) == []


def test_a_pilot_that_has_not_ended_is_never_due(parts: Parts) -> None:
    registry, store, ledger = parts
    assert erasures.plan(registry) == []
    assert retention.run(registry, store, ledger, NOW + 10 * YEARS) == []
    assert left(parts, "elgeseter") == (1, 1)


class _Failing:
    """A store that is gone after it has erased, as when the process is killed there."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def erase(self, select: Selection, start: int | None = None, end: int | None = None) -> int:
        self._store.erase(select, start, end)
        raise StoreUnavailable("killed here")


def test_stopped_in_the_middle_the_books_still_count_each_row_once(parts: Parts) -> None:
    registry, store, ledger = parts
    end(registry)
    with pytest.raises(StoreUnavailable):
        retention.run(registry, _Failing(store), ledger, NOW + YEARS)  # type: ignore[arg-type]
    assert not audit(ledger, store).ok
    (receipt,) = retention.run(registry, store, ledger, NOW + YEARS)
    assert receipt.rows == 50
    assert audit(ledger, store).ok
    assert sum(tally.erased for tally in ledger.tallies(pilot="elgeseter").values()) == 50
    assert left(parts, "elgeseter") == (0, 0)


@pytest.mark.parametrize(
    ("ended", "retention_", "due"),
    [
        ("2024-02-29T12:00", "P1Y", "2025-02-28T12:00"),
        ("2024-02-29T12:00", "P4Y", "2028-02-29T12:00"),
        ("2026-10-31T00:00", "P1M", "2026-11-30T00:00"),
        ("2026-12-31T00:00", "P2M", "2027-02-28T00:00"),
        ("2026-01-01T00:00", "P1W", "2026-01-08T00:00"),
        ("2026-01-01T00:00", None, None),
    ],
)
def test_dates_follow_the_calendar(ended: str, retention_: str | None, due: str | None) -> None:
    def at(text: str) -> int:
        return int(dt.datetime.fromisoformat(text + "+00:00").timestamp()) * 1_000_000

    pilot = msgspec.structs.replace(trial.definition(), retention=retention_)
    assert erasures.due_after(pilot, at(ended)) == (None if due is None else at(due))
