"""Several writers of one bucket that announce what they write: a real influxd, a registry in SQLite."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from techport_pilots.accounting.announced_writes import AnnouncedWrites, forget
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import Database
from techport_storage.announcements import NO_PLACES, Announcement, Heard, Places
from techport_storage.errors import StoreBusy
from techport_storage.influxdb.store import InfluxStore
from techport_storage.model import Batch, Query, Reading, Receipt, Stream
from techport_storage.other_writers import OtherWriters
from techport_storage.store import open_store
from tests.registries import registry_in
from tests.servers.influxd import Influxd, influxd

__all__ = ["influxd"]

NOON = 1_777_896_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
STREAM = Stream("luft", "st1", "pm10")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(registry_in(tmp_path))
    yield database
    database.close()


class Writers(NamedTuple):
    """Processes that write the same bucket, as stores of this one."""

    open: Callable[[], InfluxStore]
    database: Database


@pytest.fixture
def writers(influxd: Influxd, database: Database) -> Iterator[Writers]:
    url = influxd.url(influxd.new_bucket(), writers="several")
    opened: list[InfluxStore] = []

    def another() -> InfluxStore:
        store = open_store(url, AnnouncedWrites(database))
        assert isinstance(store, InfluxStore)
        opened.append(store)
        return store

    yield Writers(another, database)
    for store in opened:
        store.close()


def rows(*seconds: int, value: float = 1.0, stream: Stream = STREAM) -> Batch:
    return Batch.of([Reading(*stream, NOON + second * SECOND, value, NOON) for second in seconds])


def outcome(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.written, receipt.duplicates, receipt.corrections


def count(store: InfluxStore) -> int:
    return store.read(Query()).read_all().num_rows


def test_each_knows_what_the_others_wrote(writers: Writers) -> None:
    one, two = writers.open(), writers.open()
    assert outcome(one.write(rows(0, 2, 4))) == (3, 0, 0)
    assert outcome(two.write(rows(1, 3, 5))) == (3, 0, 0)
    assert outcome(one.write(rows(3, 4, 6))) == (1, 2, 0)
    assert outcome(two.write(rows(6, value=2.0))) == (0, 0, 1)
    assert outcome(one.write(rows(6, value=2.0))) == (0, 1, 0)
    assert count(one) == 7


def test_rows_that_nobody_wrote_are_not_looked_up(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that drain one backlog: their rows lie between each other's."""
    one, two = writers.open(), writers.open()
    for turn in range(3):
        one.write(rows(*range(turn * 20, turn * 20 + 20, 2)))
        two.write(rows(*range(turn * 20 + 1, turn * 20 + 20, 2)))

    def asked(*_: object) -> object:
        raise AssertionError("the server was asked about rows that nobody wrote")

    for store in (one, two):
        monkeypatch.setattr(store._connection, "influxql", asked)
    assert outcome(one.write(rows(*range(60, 80, 2)))) == (10, 0, 0)
    assert outcome(two.write(rows(*range(61, 80, 2)))) == (10, 0, 0)
    with pytest.raises(AssertionError, match="nobody wrote"):
        two.write(rows(62))


@pytest.mark.parametrize("who_sends_first", ["one", "two"])
def test_of_two_at_the_same_rows_the_first_to_announce_gives_no_receipt(
    writers: Writers, monkeypatch: pytest.MonkeyPatch, who_sends_first: str
) -> None:
    """Whichever of them reaches the server first: one of the two counts the rows, and only one."""
    one, two = writers.open(), writers.open()
    one.write(rows(0))
    two.write(rows(1))
    send, receipts = one._send, []

    def sent_late(batch: Batch, places: np.ndarray) -> list[tuple[int, str]]:
        monkeypatch.undo()
        if who_sends_first == "two":
            receipts.append(two.write(rows(2, 3)))
            return send(batch, places)
        refused = send(batch, places)
        receipts.append(two.write(rows(2, 3)))
        return refused

    monkeypatch.setattr(one, "_send", sent_late)
    with pytest.raises(StoreBusy):
        one.write(rows(2, 3, 4))
    assert outcome(receipts[0]) == ((2, 0, 0) if who_sends_first == "two" else (0, 2, 0))
    assert outcome(one.write(rows(2, 3, 4))) == (0, 3, 0), "what it has written it finds, as after a crash"
    assert count(two) == 5


def test_rows_of_streams_of_their_own_disturb_nobody(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that sends each quantity in a message of its own, all with one time."""
    one, two = writers.open(), writers.open()
    other = Stream("luft", "st1", "temperature")
    send = one._send

    def sent_late(batch: Batch, places: np.ndarray) -> list[tuple[int, str]]:
        two.write(rows(2, 3, stream=other))
        return send(batch, places)

    monkeypatch.setattr(one, "_send", sent_late)
    assert outcome(one.write(rows(2, 3))) == (2, 0, 0)


def test_who_starts_later_asks_the_store_and_then_listens(writers: Writers) -> None:
    one = writers.open()
    one.write(rows(0, 1))
    two = writers.open()
    assert outcome(two.write(rows(1, 2))) == (1, 1, 0)
    assert outcome(one.write(rows(2, 3))) == (1, 1, 0)
    assert outcome(two.write(rows(3))) == (0, 1, 0)


def test_who_has_missed_announcements_asks_the_store_anew(
    writers: Writers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = writers.open(), writers.open()
    one.write(rows(0))
    two.write(rows(1))
    monkeypatch.setattr(one._duplicates._others._announcements, "_kept", 5)  # type: ignore[union-attr]
    for second in range(2, 40):
        one.write(rows(second))
    with database.reading() as transaction:
        assert transaction.execute("SELECT count(*) FROM announced_writes").scalar_one() == 5
    assert outcome(two.write(rows(*range(42)))) == (2, 40, 0)
    assert outcome(one.write(rows(41, 42))) == (1, 1, 0)


def test_a_writer_that_was_stopped_for_long_gives_no_receipt(
    writers: Writers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its announcement is gone, and a process that began meanwhile has never heard of it."""
    one = writers.open()
    one.write(rows(0))
    send = one._send
    late = writers.open()

    def sent_late(batch: Batch, places: np.ndarray) -> list[tuple[int, str]]:
        monkeypatch.undo()
        with database.writing() as transaction:
            forget(transaction)  # as erasing does; what is old is dropped the same way
        assert outcome(late.write(rows(0, 2))) == (1, 1, 0)
        return send(batch, places)

    monkeypatch.setattr(one, "_send", sent_late)
    with pytest.raises(StoreBusy):
        one.write(rows(1))
    assert outcome(late.write(rows(1))) == (0, 1, 0), "it was announced once more"
    assert outcome(one.write(rows(1))) == (0, 1, 0)


def test_without_a_registry_nothing_is_written(writers: Writers, monkeypatch: pytest.MonkeyPatch) -> None:
    one = writers.open()
    one.write(rows(0))

    def away() -> object:
        raise RegistryUnavailable("away")

    monkeypatch.setattr(writers.database, "writing", away)
    with pytest.raises(RegistryUnavailable):
        one.write(rows(1))
    monkeypatch.undo()
    assert count(one) == 1
    monkeypatch.setattr(writers.database, "reading", away)
    with pytest.raises(StoreBusy):  # no RegistryUnavailable: the rows are there, and have to be counted
        one.write(rows(1))
    assert count(one) == 2


def test_many_writers_in_any_order_count_each_row_once(writers: Writers) -> None:
    """Random batches with rows again and again, some of them for the first time: the receipts add up to the rows."""
    dice = random.Random(19)
    stores = [writers.open() for _ in range(3)]
    sums: Counter[str] = Counter()
    sent = 0
    for turn in range(60):
        if turn % 20 == 19:
            stores[dice.randrange(3)] = writers.open()  # killed, and started again
        streams = [Stream("luft", f"st{dice.randrange(4)}", quantity) for quantity in ("pm10", "pm25")]
        seconds = [turn * 3 + dice.randrange(-9, 9) for _ in range(6)]
        readings = [
            Reading(*stream, NOON + second * SECOND, float(second), NOON) for stream in streams for second in seconds
        ]
        receipt = dice.choice(stores).write(Batch.of(readings))
        sums.update(written=receipt.written, duplicates=receipt.duplicates, corrections=receipt.corrections)
        sent += len(readings)
    assert sums["written"] == count(stores[0])
    assert sums["written"] + sums["duplicates"] == sent
    assert sums["duplicates"] > 50
    assert not sums["corrections"]


# -- Announcements without a server.


class Log:
    """Announcements in memory."""

    def __init__(self) -> None:
        self.made: list[Announcement] = []

    def announce(self, places: bytes, _rows: int, after: int | None) -> Heard:
        others = [made for made in self.made if after is None or made.number > after]
        self.made.append(Announcement(len(self.made) + 1, places))
        return Heard(len(self.made), after is not None, others)

    def since(self, number: int, _places: bytes, _rows: int) -> list[Announcement]:
        return [made for made in self.made if made.number > number]


def announce(writer: OtherWriters, readings: dict[Stream, list[int]]) -> list[bool]:
    streams = list(readings)
    stream = np.repeat(np.arange(len(streams)), [len(times) for times in readings.values()])
    time = np.array([time for times in readings.values() for time in times], np.int64)
    return writer.announce(streams, stream, time).tolist()


@pytest.mark.fast
def test_rows_keep_their_order_whatever_the_streams_hashes() -> None:
    log = Log()
    one, two = OtherWriters(log), OtherWriters(log)
    streams = [Stream("luft", f"st{i}", "pm10") for i in range(20)]
    announce(one, {stream: [NOON + i, NOON + i + 100] for i, stream in enumerate(streams)})
    mask = announce(two, {stream: [NOON + i, NOON + i + 50, NOON + i + 100] for i, stream in enumerate(streams)})
    assert mask == [True, False, True] * 20
    assert not one.undisturbed()
    assert two.undisturbed()


@pytest.mark.fast
def test_times_of_days_and_before_1970_are_told_apart() -> None:
    """A key has room for the time of 19 hours; what is days apart within one stream may share it with nothing."""
    log = Log()
    one, two = OtherWriters(log), OtherWriters(log)
    times = sorted([-NOON, -1, 0, 1, *(NOON + day * DAY for day in range(9))])
    announce(one, {STREAM: times})
    assert all(announce(two, {STREAM: times}))
    assert not any(announce(OtherWriters(Log()), {STREAM: times}))
    assert announce(two, {STREAM: [time + 1 for time in times if time + 1 not in times]}).count(True) == 0


@pytest.mark.fast
def test_of_old_announcements_the_range_of_each_stream_is_remembered() -> None:
    log = Log()
    one, two = OtherWriters(log), OtherWriters(log, generation=10)
    announce(two, {STREAM: [NOON - 1]})
    for turn in range(20):
        announce(one, {STREAM: [NOON + turn * 10 + i for i in range(0, 10, 2)]})
        announce(two, {STREAM: [NOON - 2]})
    assert announce(two, {STREAM: [NOON, NOON + 1, NOON + 190, NOON + 191, NOON + 300]}) == [
        *(True, True),  # old: one of them is looked up in vain
        *(True, False, False),
    ]
    other = Stream("luft", "st2", "pm10")
    assert announce(two, {other: [NOON]}) == [False]


@pytest.mark.fast
def test_places_are_read_as_they_were_written() -> None:
    places, _ = Places.of(np.array([7, 2**63], np.uint64), np.array([0, 0, 1]), np.array([-5, 3, NOON]))
    again = Places.decode(places.encode())
    assert again.times.tolist() == [-5, 3, NOON]
    assert again.ranges() == [(7, -5, 3), (2**63, NOON, NOON)]
    assert not len(Places.decode(NO_PLACES.encode()))
