"""Through which worker a message came, and since when it is visible."""

from __future__ import annotations

from pathlib import Path

import pytest

from techport_pilots.accounting.commit_log import KEPT, MOST_MARKS, Arrival, CommitLog, CommitSpan
from techport_pilots.registry.database import Database
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import MINUTE

NOW = 1_800_000_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Registry.open(f"sqlite:///{tmp_path}/registry.sqlite").database


def line(worker: str, first: int, last: int, visible: int, *devices: str) -> CommitSpan:
    return CommitSpan(worker, NOW + first, NOW + last, NOW + visible, [("p", device) for device in devices])


def seen(database: Database, device: str, received: int) -> Arrival:
    (arrival,) = CommitLog(database).arrivals("p", device, [NOW + received])
    return arrival


def test_the_worker_that_had_the_device_is_named(database: Database) -> None:
    CommitLog(database).note([line("one", 0, 900_000, 950_000, "a", "b"), line("two", 100_000, 800_000, 990_000, "c")])
    assert seen(database, "a", 500_000) == Arrival(NOW + 500_000, ["one"], NOW + 950_000)
    assert seen(database, "c", 500_000) == Arrival(NOW + 500_000, ["two"], NOW + 990_000)
    assert seen(database, "c", 50_000) == Arrival(NOW + 50_000, [], None)
    assert seen(database, "stranger", 500_000) == Arrival(NOW + 500_000, [], None)


def test_times_of_arrival_are_kept_to_the_millisecond(database: Database) -> None:
    CommitLog(database).note([line("one", 1_700, 1_900, 5_000, "a")])
    assert seen(database, "a", 1_000).workers == ["one"]
    assert seen(database, "a", 2_000).workers == []
    assert seen(database, "a", 0).workers == []


def test_what_was_taken_again_is_visible_since_then(database: Database) -> None:
    CommitLog(database).note([line("one", 0, 900_000, 950_000, "a")])
    CommitLog(database).note([line("two", 500_000, 500_000, MINUTE, "a")])
    assert seen(database, "a", 500_000) == Arrival(NOW + 500_000, ["one", "two"], NOW + MINUTE)
    assert seen(database, "a", 400_000) == Arrival(NOW + 400_000, ["one"], NOW + 950_000)


def test_a_line_about_very_many_devices_may_be_about_any(database: Database) -> None:
    CommitLog(database).note([line("one", 0, 900_000, 950_000, *map(str, range(MOST_MARKS + 1)))])
    assert seen(database, "a", 500_000).workers == ["one"]


def test_lines_are_forgotten(database: Database) -> None:
    CommitLog(database).note([line("one", 0, 1, 2, "a")])
    CommitLog(database).note([line("one", KEPT, KEPT + 1, KEPT + 2, "a")])
    with database.reading() as transaction:
        assert transaction.execute("SELECT count(*) FROM commit_spans").scalar() == 2
    CommitLog(database).note([line("one", KEPT + 5, KEPT + 6, KEPT + 7, "a")])
    with database.reading() as transaction:
        assert transaction.execute("SELECT count(*) FROM commit_spans").scalar() == 2
    assert seen(database, "a", 0).workers == []


def test_nothing_to_ask_or_to_note(database: Database) -> None:
    CommitLog(database).note([])
    assert CommitLog(database).arrivals("p", "a", []) == []
