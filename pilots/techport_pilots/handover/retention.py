"""Forgetting on time: what a pilot's retention says is due is erased from the store, the quarantine and the packages.

    receipt `begun`, with what there is ─► store ─► ledger ─► files ─► tables ─► receipt `done` ─► free pages

Files are the pilot's packages and what else the caller knows of that holds its readings, such as frozen answers.

If interrupted, the next run continues from the receipt, so that the ledger counts every erased row once. The
definition, the steps of the pilot's life and the receipt are kept: it stays known that data existed and was erased.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from techport_pilots.accounting.audit import count_rows
from techport_pilots.accounting.commit_log import forget_devices
from techport_pilots.accounting.ledger import Ledger, add_up_devices
from techport_pilots.accounting.tally import DeviceDay
from techport_pilots.handover.package import PART, Progress, no_progress
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import events, lifecycle
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_pilots.time import parse_duration
from techport_storage.clock import now
from techport_storage.model import Micros, Selection
from techport_storage.store import ReadingStore

_PACKAGES = "SELECT path FROM pilot_packages WHERE pilot = :pilot ORDER BY at"
_RECEIPTS = "SELECT content FROM erasures WHERE state = 'done' ORDER BY id"
_BEGUN = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'begun'"
_BEGIN = "INSERT INTO erasures (pilot, state, content, at) VALUES (:pilot, 'begun', :content, :at) RETURNING id"
_FINISH = "UPDATE erasures SET state = 'done', content = :content WHERE id = :id"
_MESSAGES = ("quarantine", "watched_messages")  # as they came from devices, payload and all
_STRIP = "UPDATE erasures SET content = :content WHERE id = :id"

ERASED = (
    "quarantine",
    "watched_messages",
    "watches",
    "seen_streams",
    "origins",
    "device_events",
    "credentials",
    "pilot_packages",
)
"""Tables whose rows of the pilot go."""

REWRITTEN = {
    "ledger": "sums of devices that the definition does not name are added up under one name",
    "ignored_parts": "as the ledger",
    "pilot_events": "where devices said they were goes; what people wrote down stays",
    "passages": "marks of the pilot's devices become 'any device'",
    "erasures": "device names leave the receipt when it is done",
}
"""Tables of which parts stay, and which."""

KEPT = {
    "registry_version": "one number",
    "pilot_versions": "the definition, as its authors wrote it: it stays known what the pilot was",
    "pilot_states": "steps of the pilot's life, by people",
    "pilot_evaluations": "results over all devices, as the report publishes them",
    "intents": "device-days of a batch that is being written; gone when the batch, or the worker's next start, ends it",
    "workers": "names of processes",
    "worker_sessions": "names of processes",
    "session_losses": "names of processes, and times",
    "replays": "who asked for it, and counts",
    "assumed_open": "the pilot's id",
    "flag_requests": "the pilot's id, times and counts",
    "chores": "names of processes",
    "signing_keys": "keys of the platform",
}
"""Tables in which there is nothing of what a pilot's devices sent, and what they hold."""

UNNAMED = "(erased)"
"""The device under which sums of erased devices stand that no definition names."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


Files = Callable[[str], Sequence[Path]]
"""The files on this machine that hold readings of a pilot, beside its packages."""


def no_files(_pilot: str) -> Sequence[Path]:
    return ()


class Day(msgspec.Struct, frozen=True):
    """Rows of a device and day to erase, and what the ledger said had been erased before."""

    device: str
    day: int
    rows: int
    erased_before: int


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt. `rows` of the store, `entries` of the quarantine and of watched messages, `packages` and other `files`
    that were removed. `missing` packages were not where they had been written: moved, or on another machine."""

    pilot: str
    due: Micros
    begun: Micros
    done: Micros | None = None
    rows: int = 0
    entries: int = 0
    packages: list[str] = []
    files: list[str] = []
    missing: list[str] = []
    days: list[Day] = []  # until it is done: names of devices may be personal data
    device_days: int = 0

    @property
    def empty(self) -> bool:
        return not (self.rows or self.entries or self.packages or self.files or self.missing)


class Due(msgspec.Struct, frozen=True):
    """A pilot with a date of erasure."""

    pilot: str
    state: lifecycle.State
    at: Micros


def due_after(pilot: PilotDefinition, end: Micros) -> Micros | None:
    """The date of erasure of a pilot that ended then; None when it says no retention."""
    if pilot.retention is None:
        return None
    months, micros = parse_duration(pilot.retention, calendar="allowed")
    ended = _EPOCH + dt.timedelta(microseconds=end)
    month = ended.month - 1 + months
    year, month = ended.year + month // 12, month % 12 + 1
    last = calendar.monthrange(year, month)[1]  # a year after the 29th of February is the 28th
    later = ended.replace(year=year, month=month, day=min(ended.day, last)) + dt.timedelta(microseconds=micros)
    return (later - _EPOCH) // dt.timedelta(microseconds=1)


def due_at(registry: Registry, pilot: PilotDefinition) -> Micros | None:
    """When the data is to be erased, counted from when the pilot ended; None while it has not, or without retention."""
    if registry.state(pilot.id) not in ("ended", "closed"):
        return None
    ended = max(change.at for change in lifecycle.changes(registry.database, pilot.id) if change.state == "ended")
    return due_after(pilot, ended)


def plan(registry: Registry) -> list[Due]:
    """Every pilot that has a date of erasure, the nearest first."""
    found = [(pilot, due_at(registry, pilot)) for pilot in registry.pilots()]
    dates = [Due(pilot.id, registry.state(pilot.id), at) for pilot, at in found if at is not None]
    return sorted(dates, key=lambda due: due.at)


def run(
    registry: Registry,
    store: ReadingStore,
    books: Ledger,
    at: Micros | None = None,
    *,
    files: Files = no_files,
    progress: Progress = no_progress,
) -> list[Erasure]:
    """Erase what is due; returns a receipt for each pilot of which there was anything. Raises StoreUnavailable,
    RegistryUnavailable, OSError for a file that cannot be removed; the next run goes on.
    """
    at = now() if at is None else at
    receipts = []
    _forget_names(registry.database)
    due = [one for one in plan(registry) if one.at <= at]
    for number, one in enumerate(due):
        progress(one.pilot, number, len(due))
        if (receipt := _erase(registry, store, books, one, files)) is not None:
            receipts.append(receipt)
    if receipts:
        registry.database.rewrite((*ERASED, *REWRITTEN))
    return receipts


def receipts(database: Database) -> list[Erasure]:
    """What was erased, oldest first."""
    with database.reading() as transaction:
        return [msgspec.json.decode(content, type=Erasure) for (content,) in transaction.execute(_RECEIPTS)]


def _erase(registry: Registry, store: ReadingStore, books: Ledger, due: Due, files: Files) -> Erasure | None:
    database = registry.database
    number, receipt = _begin(database, store, books, due, files)
    if not number:
        return None
    store.erase(Selection(pilots=(due.pilot,)))
    erased = {day: tally.erased for day, tally in books.tallies(pilot=due.pilot).items()}
    unbooked = {}
    for day in receipt.days:
        key = DeviceDay(due.pilot, day.device, day.day)
        unbooked[key] = day.rows - (erased.get(key, 0) - day.erased_before)
    books.book_erased({key: rows for key, rows in unbooked.items() if rows > 0})
    for file in (*receipt.packages, *receipt.files):
        Path(file).unlink(missing_ok=True)
    for package in (*receipt.packages, *receipt.missing):
        for half in Path(package).parent.glob(f"{due.pilot}-????-??-??.zip.*{PART}"):  # of a run that was killed
            half.unlink(missing_ok=True)
    done = msgspec.structs.replace(receipt, done=now(), device_days=len(receipt.days), days=[])
    described = {device.id for device in registry.pilot(due.pilot).devices}
    with database.writing() as transaction:
        lock(transaction)
        _erase_rows(transaction, due.pilot, described)
        transaction.execute(_FINISH, {"id": number, "content": msgspec.json.encode(done).decode()})
    return done


def _begin(database: Database, store: ReadingStore, books: Ledger, due: Due, files: Files) -> tuple[int, Erasure]:
    """The receipt that a run before this one began, or a new one, durable before anything is erased."""
    with database.reading() as transaction:
        of_pilot = {"pilot": due.pilot}
        if (row := transaction.execute(_BEGUN, of_pilot).first()) is not None:
            return int(row.id), msgspec.json.decode(row.content, type=Erasure)
        packages = [path for (path,) in transaction.execute(_PACKAGES, of_pilot)]
        counts = {
            table: transaction.execute(f"SELECT count(*) FROM {table} WHERE pilot = :pilot", of_pilot).scalar_one()  # noqa: S608
            for table in ERASED
        }
        entries = sum(counts[messages] for messages in _MESSAGES)
    counted = count_rows(store, Selection(pilots=(due.pilot,)))
    erased = {day: tally.erased for day, tally in books.tallies(pilot=due.pilot).items()}
    days = [Day(day.device, day.day, rows, erased.get(day, 0)) for day, rows in sorted(counted.items())]
    receipt = Erasure(
        pilot=due.pilot,
        due=due.at,
        begun=now(),
        rows=sum(counted.values()),
        entries=entries,
        packages=[path for path in packages if Path(path).is_file()],
        missing=[path for path in packages if not Path(path).is_file()],
        files=[str(path) for path in files(due.pilot)],
        days=days,
    )
    if receipt.empty and not any(counts.values()):
        return 0, receipt
    with database.writing() as transaction:
        lock(transaction)
        content = msgspec.json.encode(receipt).decode()
        row = transaction.execute(_BEGIN, {**of_pilot, "content": content, "at": receipt.begun}).one()
    return int(row.id), receipt


def _erase_rows(transaction: Transaction, pilot: str, described: Collection[str]) -> None:
    """What ERASED and REWRITTEN say, but for the receipt."""
    of_pilot = {"pilot": pilot}
    devices = {
        device
        for table in ("ledger", "ignored_parts", "seen_streams", "quarantine", "device_events")
        for (device,) in transaction.execute(f"SELECT DISTINCT device FROM {table} WHERE pilot = :pilot", of_pilot)  # noqa: S608
    }
    for table in ERASED:
        transaction.execute(f"DELETE FROM {table} WHERE pilot = :pilot", of_pilot)  # noqa: S608
    forget_devices(transaction, {(pilot, device) for device in devices})
    add_up_devices(transaction, pilot, sorted(devices - set(described) - {UNNAMED}), UNNAMED)
    events.erase_said_by_devices(transaction, pilot)


def _forget_names(database: Database) -> None:
    """Take device names out of receipts that an earlier version wrote."""
    with database.reading() as transaction:
        rows = transaction.execute("SELECT id, content FROM erasures WHERE state = 'done'").all()
    stripped = []
    for number, content in rows:
        receipt = msgspec.json.decode(content, type=Erasure)
        if receipt.days:
            receipt = msgspec.structs.replace(receipt, device_days=len(receipt.days), days=[])
            stripped.append({"id": number, "content": msgspec.json.encode(receipt).decode()})
    if stripped:
        with database.writing() as transaction:
            transaction.execute(_STRIP, stripped)
        database.rewrite(("erasures",))
