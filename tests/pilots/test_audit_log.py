"""The audit log: a chain that nobody changes unnoticed, on SQLite and on PostgreSQL, with several processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from techport_pilots.access import audit_log
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.audit_log import WINDOW, AuditQueue, Entry, Head, Kind
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import COMPANION, Database, Transaction
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, MINUTE, SECOND

NOON = 20_000 * DAY


def entry(kind: Kind = "changed", who: str = "u-1", at: int = NOON, pilot: str = "air", about: str = "") -> Entry:
    return Entry(kind=kind, who=who, at=at, action="edit", what="POST /x", pilot=pilot, about=about)


@pytest.fixture
def database(registry: Registry) -> Database:
    return registry.database


@pytest.fixture
def three(database: Database) -> Database:
    audit_log.write(database, [entry(about="device=lamp"), entry("saw-raw", who="u-2")])
    audit_log.write(database, [entry("erased", pilot="noise")])
    return database


def tamper(database: Database, statement: str, **parameters: object) -> None:
    with database.writing() as transaction:
        transaction.execute(statement, parameters)


def test_entries_are_read_newest_first_and_by_pilot(three: Database) -> None:
    assert [one.number for one in audit_log.entries(three)] == [3, 2, 1]
    assert [one.number for one in audit_log.entries(three, pilot="air", kind="saw-raw")] == [2]
    assert [one.number for one in audit_log.entries(three, before=3, limit=1)] == [2]
    assert [one.number for one in audit_log.export(three, "air")] == [1, 2]


def test_an_untouched_chain_is_whole(three: Database) -> None:
    verified = audit_log.verify(three)
    assert (verified.entries, verified.broken, verified.fault) == (3, None, None)
    assert verified.head == audit_log.head(three)
    assert audit_log.verify(three, verified.head).fault is None


@pytest.mark.parametrize(
    ("statement", "broken", "fault"),
    [
        ("UPDATE audit_log SET what = 'GET /y' WHERE number = 2", 2, "changed"),
        ("UPDATE audit_log SET at = at + 1 WHERE number = 1", 1, "changed"),
        ("UPDATE audit_log SET pilot = 'other' WHERE number = 3", 3, "changed"),
        ("UPDATE audit_log SET times = 9 WHERE number = 2", 2, "changed"),
        ("UPDATE audit_log SET who = 'u-9' WHERE number = 2", 2, "text-changed"),
        ("UPDATE audit_log SET who = 'u-9', who_salt = '' WHERE number = 2", 2, "text-changed"),
        ("UPDATE audit_log SET about = '' WHERE number = 1", 1, "text-changed"),
        ("UPDATE audit_log SET who_digest = about_digest WHERE number = 1", 1, "changed"),
        ("DELETE FROM audit_log WHERE number = 2", 2, "missing"),
        ("DELETE FROM audit_log WHERE number = 1", 1, "missing"),
        ("DELETE FROM audit_log WHERE number = 3", 3, "cut-off"),
        ("DELETE FROM audit_log", 1, "cut-off"),
    ],
)
def test_the_first_entry_that_was_touched_is_named(three: Database, statement: str, broken: int, fault: str) -> None:
    tamper(three, statement)
    verified = audit_log.verify(three)
    assert (verified.broken, verified.fault) == (broken, fault)


def test_a_log_that_was_written_anew_as_a_whole_differs_from_a_noted_head(three: Database) -> None:
    noted = audit_log.head(three)
    tamper(three, "DELETE FROM audit_log")
    tamper(three, "UPDATE audit_head SET number = 0, hash = ''")
    audit_log.write(three, [entry(), entry(), entry(), entry()])
    assert audit_log.verify(three).fault is None, "the chain alone cannot tell"
    assert audit_log.verify(three, noted).fault == "rewritten"
    tamper(three, "DELETE FROM audit_log WHERE number > 2")
    tamper(three, "UPDATE audit_head SET number = 2, hash = (SELECT hash FROM audit_log WHERE number = 2)")
    assert audit_log.verify(three, noted).fault == "cut-off"


def test_a_noted_head_is_read_as_it_is_printed() -> None:
    head = Head(12, "a" * 64)
    assert Head.parse(f" {head}\n") == head
    for text in ("", "12", "12:abc", f"x:{'a' * 64}"):
        with pytest.raises(ValueError, match="NUMBER:HASH"):
            Head.parse(text)


def test_people_and_what_it_was_about_are_erased_and_the_chain_stays_whole(database: Database) -> None:
    accounts = Accounts(database)
    accounts.create("boss@example.org", "", "test", administrator=True)
    user = accounts.create("kari@example.org", "Kari", "test").id
    audit_log.write(database, [entry(who=user), entry(who=f"{user} (token 3)"), entry(about=f"user={user}")])
    audit_log.write(database, [entry(who="other", about="device=a4c138")])
    accounts.delete(user)
    with database.writing() as transaction:
        audit_log.forget_pilot(transaction, "air")
    left = [msgspec.json.encode(one).decode() for one in audit_log.export(database)]
    assert len(left) == 4
    assert not any(user in line or "a4c138" in line for line in left)
    assert audit_log.verify(database).fault is None


def test_what_is_too_old_goes_and_the_chain_begins_anew_from_a_recorded_anchor(three: Database) -> None:
    audit_log.write(three, [entry(at=NOON + 10 * DAY), entry(at=NOON + 11 * DAY)])
    fourth = next(one for one in audit_log.export(three) if one.number == 4)
    assert audit_log.trim(three, NOON + DAY // 2) == 0, "not each hour for a few"
    assert audit_log.trim(three, NOON + 11 * DAY) == 4
    assert [one.kind for one in audit_log.entries(three)] == ["log-trimmed", "changed"]
    verified = audit_log.verify(three)
    assert (verified.entries, verified.fault) == (2, None)
    assert verified.anchor == Head(4, fourth.hash)
    assert audit_log.verify(three, Head(4, fourth.hash)).fault is None
    assert audit_log.verify(three, Head(4, "0" * 64)).fault == "rewritten"


def test_an_anchor_that_the_log_did_not_record_is_found(three: Database) -> None:
    second = next(one for one in audit_log.export(three) if one.number == 2)
    tamper(three, "DELETE FROM audit_log WHERE number <= 2")
    tamper(three, "UPDATE audit_head SET anchor_number = 2, anchor_hash = :hash", hash=second.hash)
    assert audit_log.verify(three).fault == "anchor"


def test_an_entry_is_written_with_its_change_or_not_at_all(database: Database) -> None:
    class Companion:
        done = False

        def met(self, _database: Database) -> None: ...

        def write(self, transaction: Transaction) -> bool:
            if not self.done:
                audit_log.append(transaction, [entry()])
            return not self.done

        def committed(self) -> None:
            self.done = True

    companion = Companion()
    token = COMPANION.set(companion)
    try:
        with pytest.raises(IntegrityError):
            tamper(database, "INSERT INTO assumed_open (pilot) SELECT NULL")
        assert audit_log.entries(database) == []
        for pilot in "bc":
            with database.writing() as transaction:
                transaction.execute("INSERT INTO assumed_open (pilot) VALUES (:pilot)", {"pilot": pilot})
    finally:
        COMPANION.reset(token)
    assert len(audit_log.entries(database)) == 1, "once, with the first change that held"


_WRITER = """
import sys
from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import Entry
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import bump, lock
registry = Registry.open(sys.argv[1])
for number in range(40):
    with registry.database.writing() as transaction:
        lock(transaction)
        bump(transaction)
        audit_log.append(transaction, [Entry(kind="changed", who=sys.argv[2], at=number)])
registry.close()
"""


def test_several_processes_write_one_chain(registry_url: str, registry: Registry) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, registry_url, f"writer-{number}"]) for number in range(3)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    verified = audit_log.verify(registry.database)
    assert (verified.entries, verified.fault) == (120, None)
    by_writer = [one.at for one in audit_log.export(registry.database) if one.who == "writer-1"]
    assert by_writer == list(range(40))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def at(time: int) -> None:
        monkeypatch.setattr(audit_log, "now", lambda: time)

    at(NOON)
    return at


def test_what_is_alike_is_counted(database: Database, clock: Callable[[int], None]) -> None:
    queue = AuditQueue(database)
    queue.add(entry("saw-raw"))
    queue.flush()
    assert [one.times for one in audit_log.entries(database)] == [1], "the first is written at once"
    for second in range(1, 6):
        queue.add(entry("saw-raw", at=NOON + second * SECOND))
    queue.add(entry("saw-raw", who="u-2", at=NOON + MINUTE))
    queue.flush()
    assert [(one.who, one.times) for one in audit_log.entries(database)] == [("u-2", 1), ("u-1", 1)]
    clock(NOON + WINDOW + SECOND)
    queue.flush()
    newest = audit_log.entries(database)[0]
    assert (newest.who, newest.times, newest.at, newest.until) == ("u-1", 5, NOON + SECOND, NOON + 5 * SECOND)
    queue.add(entry("saw-raw", at=NOON + WINDOW + MINUTE))
    queue.flush()
    assert len(audit_log.entries(database)) == 4, "later ones begin anew"
    assert audit_log.verify(database).fault is None


def test_a_queue_that_ends_writes_its_counts(database: Database, clock: Callable[[int], None]) -> None:
    queue = AuditQueue(database)
    queue.add(entry("saw-raw"))
    queue.add(entry("saw-raw", at=NOON + SECOND))
    queue.flush(all_of_it=True)
    assert [one.times for one in audit_log.entries(database)] == [1, 1]


def test_somebody_who_reads_everything_costs_bounded_memory(
    database: Database, clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MOST_WAITING", 5)
    queue = AuditQueue(database)
    for number in range(50):
        queue.add(entry("saw-raw", about=f"entry={number}"))
    queue.flush(all_of_it=True)
    logged = audit_log.entries(database)
    assert len(logged) == 7
    assert sum(one.times for one in logged) == 50


def test_entries_wait_while_the_registry_is_away(
    database: Database, clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = AuditQueue(database)
    queue.add(entry("saw-raw"))

    def away(*_: object) -> None:
        raise RegistryUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "write", away)
        with pytest.raises(RegistryUnavailable):
            queue.flush()
    queue.flush()
    assert len(audit_log.entries(database)) == 1
