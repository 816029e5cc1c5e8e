"""The ledger: every value that came in became something, through every crash. On SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from techport_pilots.accounting.corrections import corrections_of
from techport_pilots.accounting.ledger import BatchAnnotations, DeviceDay, Ledger, QuarantineEntry, Tally
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import Correction
from techport_pilots.errors import RegistryUnavailable, WorkerReplaced
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, SECOND
from tests.ingest.running import eventually
from tests.servers.postgres import Postgres

T = TypeVar("T")

MONDAY = DeviceDay("p", "d", 20_000)
TUESDAY = DeviceDay("p", "d", 20_001)


RECORDED = Rejection("not-json", recorded=RecordedText("ends at byte 1", "Send a whole JSON object"))


def bad(payload: bytes = b"{", **changes: Any) -> QuarantineEntry:
    entry = QuarantineEntry(
        pilot="p",
        device="d",
        topic="pilots/p/d/readings",
        payload=payload,
        received=20_000 * DAY + 1,
        rejection=RECORDED,
    )
    return msgspec.structs.replace(entry, **changes)


def book(
    ledger: Ledger, tallies: dict[DeviceDay, Tally], quarantined: list[QuarantineEntry] | None = None, by: str = "w"
) -> None:
    ledger.open_batch(by, tallies)
    ledger.close_batch(by, tallies, quarantined or [])


def noted(ledger: Ledger) -> list[Correction]:
    """The corrections of Monday that are shown."""
    start = MONDAY.day * DAY
    return corrections_of(ledger._database, MONDAY.pilot, MONDAY.device, start, start + DAY)


def test_batches_add_up_by_device_and_day(ledger: Ledger) -> None:
    book(ledger, {MONDAY: Tally(messages=2, received=10, stored=7, duplicates=2, ignored=1)})
    book(ledger, {MONDAY: Tally(messages=1, received=5, stored=5), TUESDAY: Tally(messages=1, received=1, stored=1)})

    assert ledger.tallies() == {
        MONDAY: Tally(messages=3, received=15, stored=12, duplicates=2, ignored=1),
        TUESDAY: Tally(messages=1, received=1, stored=1),
    }
    assert all(tally.balanced for tally in ledger.tallies().values())
    assert ledger.interrupted("w") == []


def test_tallies_are_found_by_pilot_device_and_days(ledger: Ledger) -> None:
    days = [DeviceDay(p, d, day) for p in ("a", "b") for d in ("x", "y") for day in (1, 2, 3)]
    book(ledger, {day: Tally(messages=1) for day in days})

    assert list(ledger.tallies()) == days
    assert list(ledger.tallies(pilot="a", device="y")) == days[3:6]
    assert list(ledger.tallies(device="x", start_day=2, end_day=3)) == [days[1], days[7]]
    assert ledger.tallies(start_day=0, end_day=1) == {}
    assert ledger.tallies(pilot="nobody") == {}


def test_a_batch_that_was_killed_after_the_write_is_booked_from_the_store(ledger: Ledger) -> None:
    book(ledger, {MONDAY: Tally(messages=1, received=3, stored=3)})
    ledger.open_batch("w", [MONDAY, TUESDAY])  # the store took 4 more rows for Monday, then the worker was killed

    assert ledger.interrupted("w") == [MONDAY, TUESDAY]
    assert ledger.reconcile("w", {MONDAY: 7, TUESDAY: 0}) == []
    book(ledger, {MONDAY: Tally(messages=2, received=4, duplicates=4)})  # the messages come again

    assert ledger.tallies() == {MONDAY: Tally(messages=3, received=11, stored=7, duplicates=4)}
    assert ledger.tallies()[MONDAY].balanced
    assert ledger.interrupted("w") == []


def test_reconciling_twice_books_once(ledger: Ledger) -> None:
    ledger.open_batch("w", [MONDAY])
    ledger.interrupted("w")
    ledger.reconcile("w", {MONDAY: 5})
    ledger.reconcile("w", {MONDAY: 5})

    assert ledger.tallies() == {MONDAY: Tally(received=5, stored=5)}


def test_a_worker_that_is_replaced_books_nothing_more(ledger: Ledger) -> None:
    """The second process counts what the first left in the store, before and after it was replaced."""
    second = Ledger(ledger._database)
    ledger.begin("w")
    ledger.open_batch("w", [MONDAY])  # three rows are written
    second.begin("w")
    assert second.interrupted("w") == [MONDAY]
    assert second.reconcile("w", {MONDAY: 3}) == []
    for step in (
        lambda: ledger.close_batch("w", {MONDAY: Tally(messages=1, received=3, stored=3)}),
        lambda: ledger.open_batch("w", [MONDAY]),
        lambda: ledger.interrupted("w"),
        lambda: ledger.has_interrupted("w"),
        lambda: ledger.reconcile("w", {MONDAY: 3}),
        lambda: ledger.expect_corrections("w", [expected(1, 2)]),
    ):
        with pytest.raises(WorkerReplaced, match="'w'"):
            step()
    assert second.tallies() == {MONDAY: Tally(received=3, stored=3)}
    assert not second.has_interrupted("w")

    second.open_batch("w", [TUESDAY])
    ledger.leave("w", [MONDAY])  # two rows more
    assert second.has_interrupted("w")
    assert second.interrupted("w") == [MONDAY, TUESDAY]
    assert second.reconcile("w", {MONDAY: 5, TUESDAY: 0}) == []
    assert second.tallies() == {MONDAY: Tally(received=5, stored=5)}


def test_what_is_left_to_another_while_it_counts_is_counted_once_more(ledger: Ledger) -> None:
    second = Ledger(ledger._database)
    ledger.begin("w")
    ledger.open_batch("w", [MONDAY])
    second.begin("w")
    second.interrupted("w")  # and counts nothing
    ledger.leave("w", [MONDAY])  # a row came behind the count
    assert second.reconcile("w", {MONDAY: 0}) == [MONDAY]
    second.interrupted("w")
    assert second.reconcile("w", {MONDAY: 1}) == []
    assert second.tallies() == {MONDAY: Tally(received=1, stored=1)}


def test_a_process_that_begins_again_goes_on(ledger: Ledger) -> None:
    ledger.begin("w")
    ledger.begin("w")
    book(ledger, {MONDAY: Tally(messages=1, received=1, stored=1)})
    book(Ledger(ledger._database), {MONDAY: Tally(messages=1, received=1, stored=1)}, by="x")  # never began
    assert ledger.tallies() == {MONDAY: Tally(messages=2, received=2, stored=2)}


def at_once(postgres: Postgres, url: str, table: str, calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of calls that all have read what there is before one of them can write to the table."""
    with ThreadPoolExecutor(len(calls)) as threads, psycopg.connect(url) as blocking:
        blocking.execute(f"LOCK TABLE {table} IN SHARE MODE")
        under_way = [threads.submit(call) for call in calls]
        eventually(lambda: postgres.waiting() == len(calls), "all of them wait for a lock")
        blocking.commit()
        return [future.result() for future in under_way]


def test_workers_that_were_killed_at_one_device_day_book_its_rows_once(postgres: Postgres) -> None:
    url = postgres.database()
    ledgers = {worker: Ledger(Registry.open(url).database) for worker in ("a", "b")}
    for worker, ledger in ledgers.items():
        ledger.begin(worker)
        ledger.open_batch(worker, [MONDAY])
    for worker, ledger in ledgers.items():
        ledger.interrupted(worker)
    calls = [partial(ledger.reconcile, worker, {MONDAY: 7}) for worker, ledger in ledgers.items()]
    assert sorted(at_once(postgres, url, "ledger", calls)) == [[], [MONDAY]]
    for worker, ledger in ledgers.items():
        ledger.interrupted(worker)
        assert ledger.reconcile(worker, {MONDAY: 7}) == []
    assert ledger.tallies() == {MONDAY: Tally(received=7, stored=7)}


def test_workers_that_add_up_sums_at_once_add_them_once(postgres: Postgres) -> None:
    url = postgres.database()
    ledgers = [Ledger(Registry.open(url).database) for _ in range(2)]
    book(ledgers[0], {MONDAY: Tally(messages=1, received=2, quarantined=2)}, [bad(values=2)])
    calls = [partial(ledger.add_up_without_pilot, MONDAY.day + 1) for ledger in ledgers]
    assert sorted(at_once(postgres, url, "ledger", calls)) == [0, 1]
    assert ledgers[0].tallies() == {DeviceDay("(unknown)", "(unknown)", MONDAY.day): Tally(1, 2, quarantined=2)}


def test_workers_that_look_for_replays_at_once_take_each_once(postgres: Postgres) -> None:
    url = postgres.database()
    ledgers = [Ledger(Registry.open(url).database) for _ in range(2)]
    book(ledgers[0], {MONDAY: Tally(messages=1, received=1, quarantined=1)}, [bad()])
    ledgers[0].quarantine.request_replay(QuarantineFilter())
    calls = [partial(ledger.quarantine.take_replays, worker) for ledger, worker in zip(ledgers, "ab", strict=True)]
    assert sorted(map(len, at_once(postgres, url, "quarantine", calls))) == [0, 1]


def expected(before: float, value: float, second: int = 0) -> Correction:
    return Correction(MONDAY.pilot, MONDAY.device, "pm10", MONDAY.day * DAY + second * SECOND, before, value, 9)


def test_a_correction_of_a_batch_that_was_killed_after_the_write_is_booked_as_one(ledger: Ledger) -> None:
    """The first two came to the same value; the third was not stored; of the fourth nobody can tell."""
    book(ledger, {MONDAY: Tally(messages=3, received=3, stored=3)})
    ledger.open_batch("w", [MONDAY])
    waiting = [expected(1, 2), expected(2, 3), expected(4, 5, second=1), expected(6, 6, second=2)]
    ledger.expect_corrections("w", waiting)
    assert noted(ledger) == []  # not yet
    assert ledger.interrupted("w") == [MONDAY]
    assert ledger.expected_corrections("w") == waiting
    stored = {waiting[0][:4]: 3.0, waiting[2][:4]: 4.0, waiting[3][:4]: 6.0}
    assert ledger.reconcile("w", {MONDAY: 3}, stored) == []
    assert noted(ledger) == waiting[:2]
    assert ledger.expected_corrections("w") == []
    tally = ledger.tallies()[MONDAY]
    assert (tally.corrections, tally.received, tally.stored, tally.balanced) == (2, 5, 3, True)
    ledger.interrupted("w")
    ledger.reconcile("w", {MONDAY: 3}, stored)
    assert ledger.tallies()[MONDAY] == tally


def test_a_correction_that_another_worker_booked_meanwhile_is_booked_once(ledger: Ledger) -> None:
    ledger.open_batch("w", [MONDAY])
    ledger.expect_corrections("w", [expected(1, 2)])
    ledger.open_batch("other", [MONDAY])
    annotations = BatchAnnotations(corrections=[expected(1, 2)])
    ledger.close_batch("other", {MONDAY: Tally(received=1, corrections=1)}, annotations=annotations)
    ledger.interrupted("w")
    ledger.reconcile("w", {MONDAY: 0}, {expected(1, 2)[:4]: 2.0})
    assert noted(ledger) == [expected(1, 2)]
    assert ledger.tallies()[MONDAY].corrections == 1


def test_corrections_of_a_batch_that_is_closed_are_there_once(ledger: Ledger) -> None:
    ledger.open_batch("w", [MONDAY])
    ledger.expect_corrections("w", [expected(1, 2)])
    ledger.close_batch("w", {MONDAY: Tally(received=1, corrections=1)})
    assert noted(ledger) == [expected(1, 2)]
    assert ledger.expected_corrections("w") == []


def test_erased_rows_are_no_loss(ledger: Ledger) -> None:
    book(ledger, {MONDAY: Tally(messages=1, received=10, stored=10)})
    ledger.book_erased({MONDAY: 4})
    ledger.open_batch("w", [MONDAY])
    ledger.interrupted("w")
    ledger.reconcile("w", {MONDAY: 8})  # 10 - 4, and 2 of the batch that was killed

    assert ledger.tallies() == {MONDAY: Tally(messages=1, received=12, stored=12, erased=4)}


def test_rows_that_the_store_has_lost_are_not_covered_up(ledger: Ledger) -> None:
    book(ledger, {MONDAY: Tally(messages=1, received=10, stored=10)})
    ledger.open_batch("w", [MONDAY])
    ledger.interrupted("w")
    ledger.reconcile("w", {MONDAY: 9})

    assert ledger.tallies()[MONDAY].stored == 10


def test_a_day_that_was_not_counted_stays_open(ledger: Ledger) -> None:
    ledger.open_batch("w", [MONDAY, TUESDAY])
    ledger.interrupted("w")

    assert ledger.reconcile("w", {MONDAY: 1}) == [TUESDAY]
    assert ledger.open_intents() == {TUESDAY: ["w"]}


def test_the_intent_of_an_earlier_crash_outlives_the_next_batch(ledger: Ledger) -> None:
    ledger.open_batch("w", [MONDAY])
    ledger.interrupted("w")
    book(ledger, {MONDAY: Tally(messages=1, received=2, stored=2)})

    assert ledger.interrupted("w") == [MONDAY]
    assert ledger.reconcile("w", {MONDAY: 5}) == []
    assert ledger.tallies()[MONDAY].stored == 5


def test_what_another_worker_writes_meanwhile_is_not_booked_twice(ledger: Ledger) -> None:
    """A worker was killed with 3 rows of Monday in the store; another goes on with the same device."""
    ledger.open_batch("a", [MONDAY])

    assert ledger.interrupted("a") == [MONDAY]
    ledger.open_batch("b", [MONDAY])
    assert ledger.reconcile("a", {MONDAY: 3 + 2}) == [MONDAY]  # b's 2 rows are in the store and not yet in the ledger
    ledger.close_batch("b", {MONDAY: Tally(messages=1, received=2, stored=2)})
    assert ledger.reconcile("a", {MONDAY: 3}) == [MONDAY]  # counted before b wrote, reconciled after b booked

    assert ledger.interrupted("a") == [MONDAY]
    assert ledger.reconcile("a", {MONDAY: 5}) == []
    assert ledger.tallies() == {MONDAY: Tally(messages=1, received=5, stored=5)}


def test_two_workers_that_were_killed_over_the_same_day_book_its_rows_once(ledger: Ledger) -> None:
    ledger.open_batch("a", [MONDAY])
    ledger.open_batch("b", [MONDAY])
    for worker in ("a", "b"):
        ledger.interrupted(worker)
    assert ledger.reconcile("a", {MONDAY: 6}) == []
    ledger.interrupted("b")
    assert ledger.reconcile("b", {MONDAY: 6}) == []

    assert ledger.tallies() == {MONDAY: Tally(received=6, stored=6)}


@pytest.mark.parametrize("rejection", [RECORDED, Rejection("not-a-number.text", {"key": "temp", "given": "5 °C"})])
def test_what_is_rejected_is_in_quarantine_as_it_came(ledger: Ledger, registry: Registry, rejection: Rejection) -> None:
    entry = bad(b"\x00\xff{", field="temp", format="ttn", values=3, rejection=rejection)
    book(ledger, {entry.device_day: Tally(messages=1, received=3, quarantined=3)}, [entry])

    [found] = Quarantine(registry.database).entries().items
    fields = [field for field in QuarantineEntry.__struct_fields__ if field not in ("redelivered", "day")]
    kept = {field: getattr(found, field) for field in fields}
    assert kept == {field: getattr(entry, field) for field in kept}
    assert found.day == 20_000


def test_a_redelivered_message_is_in_quarantine_once_and_booked_as_a_duplicate(
    ledger: Ledger, registry: Registry
) -> None:
    for entry in (bad(), bad(redelivered=True)):
        book(ledger, {MONDAY: Tally(messages=1, received=1, quarantined=1)}, [entry])

    assert ledger.tallies() == {MONDAY: Tally(messages=2, received=2, quarantined=1, duplicates=1)}
    assert len(Quarantine(registry.database).entries().items) == 1


def test_a_redelivery_in_the_same_batch_is_seen_too(ledger: Ledger, registry: Registry) -> None:
    book(ledger, {MONDAY: Tally(messages=2, received=2, quarantined=2)}, [bad(), bad(redelivered=True)])

    assert ledger.tallies() == {MONDAY: Tally(messages=2, received=2, quarantined=1, duplicates=1)}
    assert len(Quarantine(registry.database).entries().items) == 1


@pytest.mark.parametrize(
    "other", [bad(), bad(b"[", redelivered=True), bad(topic="x", redelivered=True), bad(field="t", redelivered=True)]
)
def test_what_is_new_or_merely_alike_is_kept(ledger: Ledger, registry: Registry, other: QuarantineEntry) -> None:
    """A device that repeats the same mistake is no redelivery; nor is another payload, topic or field."""
    for entry in (bad(), other):
        book(ledger, {MONDAY: Tally(messages=1, received=1, quarantined=1)}, [entry])

    assert ledger.tallies()[MONDAY].quarantined == 2
    assert len(Quarantine(registry.database).entries().items) == 2


def test_names_that_a_database_cannot_keep_are_kept_as_near_as_can_be(ledger: Ledger, registry: Registry) -> None:
    name = "\udcff\0" + "x" * 70_000
    entry = bad(pilot=name, device=name, topic=name, field=name, rejection=Rejection("bad-name", {"key": name}))
    book(ledger, {entry.device_day: Tally(messages=1, received=1, quarantined=1)}, [entry])

    [device_day] = ledger.tallies()
    assert device_day.device.startswith("\\udcff␀xxx")
    assert len(device_day.device) == 200
    [found] = Quarantine(registry.database).entries(QuarantineFilter(device=device_day.device)).items
    assert found.topic == "\\udcff␀" + "x" * 70_000


def test_a_booking_whose_answer_is_lost_is_not_booked_again(postgres: Postgres) -> None:
    """The database goes down right after the commit. The worker, which cannot know, tries until it is told yes."""
    registry = Registry.open(postgres.database())
    ledger = Ledger(registry.database)
    tallies = {MONDAY: Tally(messages=2, received=2, stored=1, quarantined=1)}
    ledger.open_batch("w", tallies)
    running = [postgres]

    @event.listens_for(registry.database._engine, "commit")
    def lose_the_answer(connection: Any) -> None:
        if running:
            connection.connection.dbapi_connection.commit()
            running.pop().stop()
            connection.connection.dbapi_connection.close()

    try:
        for _ in range(2):
            with pytest.raises(RegistryUnavailable):
                ledger.close_batch("w", tallies, [bad()])
    finally:
        postgres.start()
    ledger.close_batch("w", tallies, [bad()])
    assert ledger.tallies() == tallies

    ledger.close_batch("w", tallies, [bad()])  # the next batch, which happens to look the same
    assert ledger.tallies() == {MONDAY: Tally(messages=4, received=4, stored=2, quarantined=2)}
    registry.close()


STEPS = ("open", "write", "close", "settle")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.booleans()), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 4), min_size=20, max_size=20),
    crashes=st.lists(st.sampled_from([None, *STEPS]), max_size=8),
)
@pytest.mark.heavy
def test_the_sums_agree_whatever_is_killed_and_when(
    registry: Registry,
    messages: list[tuple[int, int, bool]],
    sizes: list[int],
    crashes: list[str | None],
) -> None:
    """A worker that is killed after any step, and comes back; the broker gives again what was not settled."""
    pilot = f"p{next(_pilots)}"
    queue = [
        (DeviceDay(pilot, f"d{device}", 20_000 + day), good, number)
        for number, (device, day, good) in enumerate(messages)
    ]
    store: set[tuple[DeviceDay, int]] = set()
    delivered: set[int] = set()
    ledger = Ledger(registry.database)
    crash, size = itertools.chain(crashes, itertools.repeat(None)), itertools.cycle(sizes)
    while queue:
        ledger = Ledger(registry.database)
        if interrupted := ledger.interrupted(pilot):
            counts = Counter(day for day, _ in store)
            assert ledger.reconcile(pilot, {day: counts[day] for day in interrupted}) == []
        killed = False
        while queue and not killed:
            killed = _batch(ledger, pilot, queue, next(size), store, delivered, next(crash))

    rows, kept = (
        Counter(day for day, _ in store),
        Quarantine(registry.database).entries(QuarantineFilter(pilot=pilot)).items,
    )
    tallies = ledger.tallies(pilot=pilot)
    assert all(tally.balanced for tally in tallies.values())
    assert {day: tally.stored for day, tally in tallies.items() if tally.stored} == rows
    assert len(store) == sum(good for *_, good in messages)
    assert sorted(entry.payload for entry in kept) == sorted(
        b"%d" % n for n, (*_, good) in enumerate(messages) if not good
    )
    assert sum(tally.quarantined for tally in tallies.values()) == len(kept)


_pilots = itertools.count()


def _batch(
    ledger: Ledger,
    worker: str,
    queue: list[tuple[DeviceDay, bool, int]],
    size: int,
    store: set[tuple[DeviceDay, int]],
    delivered: set[int],
    crash: str | None,
) -> bool:
    """One batch as the pipeline does it, up to the step after which the worker is killed; returns whether it was."""
    batch, again = queue[:size], set(delivered)
    delivered.update(number for *_, number in batch)
    tallies: dict[DeviceDay, Tally] = {}
    ledger.open_batch(worker, {day for day, good, _ in batch if good})
    if crash == "open":
        return True
    for day, good, number in batch:
        outcome = "quarantined" if not good else "duplicates" if (day, number) in store else "stored"
        tallies.setdefault(day, Tally()).add(Tally(messages=1, received=1, **{outcome: 1}))
        if good:
            store.add((day, number))
    if crash == "write":
        return True
    aside = [
        bad(b"%d" % number, pilot=day.pilot, device=day.device, day=day.day, topic=worker, redelivered=number in again)
        for day, good, number in batch
        if not good
    ]
    ledger.close_batch(worker, tallies, aside)
    if crash == "close":
        return True
    del queue[:size]
    return crash == "settle"
