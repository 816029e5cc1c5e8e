"""The account of every message: what came in, by device and day, and what became of it.

Always, for every device-day: received = stored + duplicates + corrections + quarantined + ignored, and the store holds
stored - erased rows. The order of a batch's steps keeps that true through a crash at any moment:

    open_batch ──► store.write ──► close_batch ──► source.ack
     intent         rows            ledger, quarantine, intent gone: one transaction

Killed before close_batch, the intent names the device-days whose rows nobody has booked: interrupted(), count them in
the store, reconcile(). Killed after it, the messages come back and are booked as another arrival: duplicates.

One process books under a worker's name: the last that called begin(). An earlier one that is still there is told so by
WorkerReplaced. It may have written rows all the same, so it says with leave() where the other has to count.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from techport_pilots.accounting import corrections, ignored, replays
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.accounting.rejection import Rejection, encoded
from techport_pilots.accounting.tally import (
    COUNTS,
    BatchAnnotations,
    BookedEvent,
    Correction,
    DeviceDay,
    QuarantineEntry,
    Tally,
    day_of,
)
from techport_pilots.accounting.worker_sessions import SessionLoss, WorkerSessions
from techport_pilots.errors import RegistryUnavailable, ReplayTaken, WorkerReplaced
from techport_pilots.registry.database import Database, Transaction, clean_text, conditions, name

# -- Entries of the quarantine come in and leave in the transaction that records them, so that the sums agree.

_COLUMNS = (
    "pilot, device, day, topic, payload, received, format, reason, field, code, params, detail, hint,"
    " value_count, digest"
)
_INSERT = f"INSERT INTO quarantine ({_COLUMNS}) VALUES (:{_COLUMNS.replace(', ', ', :')})"  # noqa: S608 - our names
_TAKE_OUT = "DELETE FROM quarantine WHERE id = :id RETURNING pilot, device, day, value_count, replay_requested"
_KNOWN = "SELECT id FROM quarantine WHERE digest = :digest LIMIT 1"


def withdraw(transaction: Transaction, replayed: Sequence[int], ledger: dict[DeviceDay, Tally]) -> None:
    """Take entries out whose messages arrive once more, also out of the sums, and note in their request what came of
    them. Raises ReplayTaken when one is gone.
    """
    numbers = set()
    outcomes = [msgspec.structs.replace(tally) for tally in ledger.values()]
    for entry in replayed:
        row = transaction.execute(_TAKE_OUT, {"id": entry}).first()
        if row is None:
            raise ReplayTaken(f"entry {entry} of the quarantine was dealt with meanwhile")
        numbers.add(row.replay_requested)
        tally = ledger.setdefault(DeviceDay(row.pilot, row.device, row.day), Tally())
        tally.received -= row.value_count
        tally.quarantined -= row.value_count
    for number in numbers - {None}:  # one: a worker takes entries of one request at a time
        replays.note(transaction, number, outcomes)


def admit(transaction: Transaction, quarantined: Sequence[QuarantineEntry], ledger: dict[DeviceDay, Tally]) -> None:
    """Insert what is new; a redelivered entry that is there moves in `ledger` from quarantined to duplicates."""
    rows = []
    in_batch: set[bytes] = set()
    for entry in quarantined:
        print_of = digest(entry)
        if entry.redelivered and (print_of in in_batch or transaction.execute(_KNOWN, {"digest": print_of}).first()):
            tally = ledger.setdefault(DeviceDay(**key(entry.device_day)), Tally())
            tally.quarantined -= entry.values
            tally.duplicates += entry.values
            continue
        in_batch.add(print_of)
        rows.append(_entry_row(entry, print_of))
    if rows:
        transaction.execute(_INSERT, rows)


def key(device_day: DeviceDay) -> dict[str, Any]:
    """A device-day as the columns that hold it, under the names as the database keeps them."""
    return {"pilot": name(device_day.pilot), "device": name(device_day.device), "day": device_day.day}


def digest(entry: QuarantineEntry) -> bytes:
    """16 bytes that are the same for the same topic, payload, reason and field."""
    parts = (clean_text(entry.topic), entry.payload, entry.reason, None if entry.field is None else name(entry.field))
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


def _rejection_columns(rejection: Rejection) -> dict[str, str | None]:
    text = rejection.recorded
    if text is not None:
        return {"code": None, "params": None, "detail": clean_text(text.detail), "hint": clean_text(text.hint)}
    return {"code": rejection.code, "params": encoded(rejection.params), "detail": "", "hint": ""}


def _entry_row(entry: QuarantineEntry, digest: bytes) -> dict[str, Any]:
    return {
        **key(entry.device_day),
        "topic": clean_text(entry.topic),
        "payload": entry.payload,
        "received": entry.received,
        "format": entry.format,
        "reason": entry.reason,
        "field": None if entry.field is None else name(entry.field),
        **_rejection_columns(entry.rejection),
        "value_count": entry.values,
        "digest": digest,
    }


# -- What the ledger keeps beside the sums: parts that were ignored, by rule, and what happened at devices.

_ADD_IGNORED = (
    "INSERT INTO ignored_parts (pilot, device, day, rule, parts) VALUES (:pilot, :device, :day, :rule, :parts)"
    " ON CONFLICT (pilot, device, day, rule) DO UPDATE SET parts = ignored_parts.parts + excluded.parts"
)
_ADD_EVENT = (
    "INSERT INTO device_events (pilot, device, time, kind, text) VALUES (:pilot, :device, :time, :kind, :text)"
    " ON CONFLICT DO NOTHING"
)
_LONGEST_TEXT = 500


def note_annotations(transaction: Transaction, annotations: BatchAnnotations) -> None:
    """Write the annotations of a batch, in the transaction that records it."""
    parts: dict[tuple[str, str, int, str], int] = {}
    for (device_day, rule), count in annotations.ignored.items():
        row = (name(device_day.pilot), name(device_day.device), device_day.day, name(rule))
        parts[row] = parts.get(row, 0) + count
    if parts:
        rows = [
            dict(zip(("pilot", "device", "day", "rule"), row, strict=True)) | {"parts": n} for row, n in parts.items()
        ]
        transaction.execute(_ADD_IGNORED, sorted(rows, key=lambda row: [str(part) for part in row.values()]))
    if annotations.events:
        transaction.execute(_ADD_EVENT, [_event_row(event) for event in sorted(annotations.events)])


def ignored_by_rule(database: Database, pilot: str, device: str | None = None) -> Mapping[tuple[DeviceDay, str], int]:
    """How many parts of messages were ignored, by device-day and rule. May raise RegistryUnavailable."""
    condition, parameters = conditions({"pilot = :pilot": pilot, "device = :device": device})
    query = f"SELECT pilot, device, day, rule, parts FROM ignored_parts{condition}"  # noqa: S608
    with database.reading() as transaction:
        rows = transaction.execute(query, parameters)
        return {(DeviceDay(pilot, device, day), rule): parts for pilot, device, day, rule, parts in rows}


def events_of(database: Database, pilot: str, device: str | None = None, limit: int = 100) -> list[BookedEvent]:
    """What happened at the pilot's devices, newest first. May raise RegistryUnavailable."""
    condition, parameters = conditions({"pilot = :pilot": pilot, "device = :device": device})
    query = f"SELECT pilot, device, time, kind, text FROM device_events{condition} ORDER BY time DESC LIMIT :limit"  # noqa: S608
    with database.reading() as transaction:
        rows = transaction.execute(query, {**parameters, "limit": limit})
        return [BookedEvent(*row) for row in rows]


def _event_row(event: BookedEvent) -> dict[str, object]:
    return {
        "pilot": name(event.pilot),
        "device": name(event.device),
        "time": event.time,
        "kind": name(event.kind),
        "text": clean_text(event.text)[:_LONGEST_TEXT],
    }


__all__ = ["COUNTS", "BatchAnnotations", "DeviceDay", "Ledger", "QuarantineEntry", "Tally", "day_of"]

_OPEN = (
    "INSERT INTO intents (worker, pilot, device, day, state, ledger_then)"
    " VALUES (:worker, :pilot, :device, :day, 'open', 0) ON CONFLICT DO NOTHING"
)
_CLOSE = "DELETE FROM intents WHERE worker = :worker AND state = 'open'"
_BOOK = (
    f"INSERT INTO ledger (pilot, device, day, {', '.join(COUNTS)})"  # noqa: S608 - the names are ours
    f" VALUES (:pilot, :device, :day, {', '.join(':' + count for count in COUNTS)})"
    f" ON CONFLICT (pilot, device, day) DO UPDATE SET {', '.join(f'{c} = ledger.{c} + excluded.{c}' for c in COUNTS)}"
)
_TALLIES = f"SELECT pilot, device, day, {', '.join(COUNTS)} FROM ledger"  # noqa: S608
_BEGIN = (
    "INSERT INTO workers (worker, last_closed, process) VALUES (:worker, '', :process)"
    " ON CONFLICT (worker) DO UPDATE SET process = excluded.process"
)
_WORKER = "SELECT last_closed, process FROM workers WHERE worker = :worker"
_LEAVE = (
    "INSERT INTO intents (worker, pilot, device, day, state, ledger_then)"
    " VALUES (:worker, :pilot, :device, :day, 'interrupted', -1)"
    " ON CONFLICT (worker, pilot, device, day, state) DO UPDATE SET ledger_then = excluded.ledger_then"
)
_LEFT = "SELECT 1 FROM intents WHERE worker = :worker AND state = 'interrupted' LIMIT 1"
_RECONCILING = 0x7EC4_9049  # as the lock of migrations: a number that nobody else takes
_REMEMBER_CLOSED = (
    "INSERT INTO workers (worker, last_closed) VALUES (:worker, :token)"
    " ON CONFLICT (worker) DO UPDATE SET last_closed = excluded.last_closed"
)

_LEDGER_SUM = " + ".join(f"COALESCE(ledger.{count}, 0)" for count in COUNTS)
_ON_DEVICE_DAY = "ledger.pilot = intents.pilot AND ledger.device = intents.device AND ledger.day = intents.day"
_MARK_INTERRUPTED = (
    (
        "INSERT INTO intents (worker, pilot, device, day, state, ledger_then)"
        " SELECT worker, pilot, device, day, 'interrupted', 0 FROM intents WHERE worker = :worker AND state = 'open'"
        " ON CONFLICT DO NOTHING"
    ),
    _CLOSE,
    (
        f"UPDATE intents SET ledger_then = COALESCE((SELECT {_LEDGER_SUM} FROM ledger WHERE {_ON_DEVICE_DAY}), 0)"  # noqa: S608
        " WHERE worker = :worker AND state = 'interrupted'"
    ),
)
_INTERRUPTED = (
    "SELECT pilot, device, day FROM intents WHERE worker = :worker AND state = 'interrupted'"
    " ORDER BY pilot, device, day"
)
_SETTLEABLE = (
    f"SELECT intents.pilot, intents.device, intents.day, COALESCE(ledger.stored, 0), COALESCE(ledger.erased, 0)"  # noqa: S608
    f" FROM intents LEFT JOIN ledger ON {_ON_DEVICE_DAY}"
    f" WHERE intents.worker = :worker AND intents.state = 'interrupted' AND intents.ledger_then = {_LEDGER_SUM}"
    " AND NOT EXISTS (SELECT 1 FROM intents AS busy WHERE busy.state = 'open' AND busy.pilot = intents.pilot"
    " AND busy.device = intents.device AND busy.day = intents.day)"
)
_SETTLE = (
    "DELETE FROM intents WHERE worker = :worker AND state = 'interrupted'"
    " AND pilot = :pilot AND device = :device AND day = :day"
)


UNKNOWN = "(unknown)"
"""Pilot and device under which old sums stand of pilots that there are not."""

_STRAY = "day < :before AND stored = 0 AND pilot <> :pilot AND pilot NOT IN (SELECT pilot FROM pilot_versions)"
_IS_DAY = "pilot = :pilot AND device = :device AND day = :day"
_ADD_PARTS = (
    "INSERT INTO ignored_parts (pilot, device, day, rule, parts)"  # noqa: S608
    f" SELECT :into, :into, day, rule, parts FROM ignored_parts WHERE {_IS_DAY}"
    " ON CONFLICT (pilot, device, day, rule) DO UPDATE SET parts = ignored_parts.parts + excluded.parts"
)


class Ledger:
    """Writes and reads the account, in the registry's database. Each worker calls it from one thread.

    Every method may raise RegistryUnavailable. The same batch opened, closed or reconciled again is then booked once.
    After begin() every one about the worker raises WorkerReplaced once another process has begun under its name.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._processes: dict[str, str] = {}  # as which this one has begun, by worker
        # For each worker, the token and the content of a close that may have happened: its answer did not come.
        self._unanswered: dict[str, tuple[str, bytes]] = {}

    @property
    def quarantine(self) -> Quarantine:
        """What was quarantined, to read."""
        return Quarantine(self._database)

    def begin(self, worker: str) -> None:
        """From now on this process books under the worker's name, and no other that did before."""
        process = self._processes.setdefault(worker, uuid.uuid4().hex)
        with self._database.writing() as transaction:
            transaction.execute(_BEGIN, {"worker": worker, "process": process})

    def leave(self, worker: str, device_days: Iterable[DeviceDay]) -> None:
        """Let the process that books under the worker's name count these: this one has written there, and was replaced
        before it could book it.
        """
        rows = [{"worker": worker, **key(device_day)} for device_day in sorted(set(device_days))]
        if rows:
            with self._database.writing() as transaction:
                transaction.execute(_LEAVE, rows)

    def has_interrupted(self, worker: str) -> bool:
        """Whether there is something to reconcile that is known already; `interrupted` looks for more."""
        with self._database.reading() as transaction:
            self._check_worker(transaction, worker)
            return transaction.execute(_LEFT, {"worker": worker}).first() is not None

    def open_batch(self, worker: str, device_days: Iterable[DeviceDay]) -> None:
        """Say durably which device-days the store is about to be written for. Before the write, or it is worth nothing.

        When the write itself fails, what it left behind is unknown: go on with interrupted() and reconcile().
        """
        rows = [{"worker": worker, **key(device_day)} for device_day in sorted(set(device_days))]
        if rows:
            with self._database.writing() as transaction:
                self._lock_worker(transaction, worker)
                transaction.execute(_OPEN, rows)

    def close_batch(
        self,
        worker: str,
        tallies: Mapping[DeviceDay, Tally],
        quarantined: Sequence[QuarantineEntry] = (),
        annotations: BatchAnnotations | None = None,
    ) -> None:
        """Book the batch, put what was rejected into quarantine and clear the intent: all of it or nothing, durably.

        A redelivered entry that is in quarantine already is booked as a duplicate instead. Entries that the batch took
        again leave the quarantine and the sums of their day; raises ReplayTaken when another worker was first.
        """
        annotations = annotations or BatchAnnotations()
        token = self._token(worker, tallies, quarantined)
        try:
            with self._database.writing() as transaction:
                if self._lock_worker(transaction, worker) != token:
                    booked = _merged(tallies)
                    withdraw(transaction, annotations.replayed, booked)
                    ignored.withdraw(transaction, annotations.reread, booked)
                    admit(transaction, quarantined, booked)
                    _book(transaction, booked)
                    note_annotations(transaction, annotations)
                    corrections.book_expected(transaction, worker)
                    corrections.note(transaction, annotations.corrections)
                    ignored.note(transaction, annotations.ignored_values, annotations.ignored_messages)
                    ignored.note_properties(transaction, annotations.properties)
                    transaction.execute(_CLOSE, {"worker": worker})
                    transaction.execute(_REMEMBER_CLOSED, {"worker": worker, "token": token})
        except RegistryUnavailable:  # the commit may have happened, and only its answer been lost
            self._unanswered[worker] = (token, _content(tallies, quarantined))
            raise
        self._unanswered.pop(worker, None)

    def interrupted(self, worker: str) -> list[DeviceDay]:
        """Device-days that a batch of this worker was opened for and never closed.

        Ask between batches, and first of all at start. Count their rows in the store after this call, then reconcile().
        """
        with self._database.writing() as transaction:
            self._lock_worker(transaction, worker)
            for step in _MARK_INTERRUPTED:
                transaction.execute(step, {"worker": worker})
            return [DeviceDay(*row) for row in transaction.execute(_INTERRUPTED, {"worker": worker})]

    def expect_corrections(self, worker: str, expected: Sequence[Correction]) -> None:
        """Say durably which values the worker's open batch is about to replace. Before the write."""
        with self._database.writing() as transaction:
            self._lock_worker(transaction, worker)
            corrections.expect(transaction, worker, expected)

    def expected_corrections(self, worker: str) -> list[Correction]:
        """Values that a batch of this worker was about to replace that was never closed."""
        return corrections.expected(self._database, worker)

    def reconcile(
        self,
        worker: str,
        counts: Mapping[DeviceDay, int],
        values: Mapping[corrections.Place, float] | None = None,
    ) -> list[DeviceDay]:
        """Book the rows that an interrupted batch left in the store; `counts` is what the store holds now, `values`
        what stands where the batch was to replace values.

        Those rows were received and stored once; when their messages come back, that is another arrival, a duplicate.
        Returns the device-days that are still open: not counted, or another worker wrote to them meanwhile. Call
        interrupted() again for these, later. A store with fewer rows than the ledger says is left to the audit.
        """
        with self._database.writing() as transaction:
            # Two workers that were killed at one device-day would otherwise both book what they find there.
            transaction.take_turns(_RECONCILING)
            self._lock_worker(transaction, worker)
            for pilot, device, day, stored, erased in transaction.execute(_SETTLEABLE, {"worker": worker}).all():
                device_day = DeviceDay(pilot, device, day)
                if device_day not in counts:
                    continue
                unbooked = counts[device_day] + erased - stored
                if unbooked > 0:
                    _book(transaction, {device_day: Tally(received=unbooked, stored=unbooked)})
                transaction.execute(_SETTLE, {"worker": worker, **key(device_day)})
            if values is not None:
                replaced = corrections.settle(transaction, worker, values)
                _book(transaction, {day: Tally(received=n, corrections=n) for day, n in replaced.items()})
            return [DeviceDay(*row) for row in transaction.execute(_INTERRUPTED, {"worker": worker})]

    def add_up_without_pilot(self, before: int) -> int:
        """Add up the sums of pilots that there are not, such as ones mistyped, of days before that one; how many
        device-days there were. Names that nobody owns would otherwise stay for ever.

        Of what has rows in the store the sums stay as they are: streams that came along with a package.
        """
        with self._database.writing() as transaction:
            transaction.take_turns(_RECONCILING)  # or two workers would each add them up
            rows = transaction.execute(f"{_TALLIES} WHERE {_STRAY}", {"before": before, "pilot": UNKNOWN}).all()
            added: dict[DeviceDay, Tally] = {}
            for _, _, day, *sums in rows:
                added.setdefault(DeviceDay(UNKNOWN, UNKNOWN, day), Tally()).add(Tally(*sums))
            _book(transaction, added)
            for pilot, device, day, *_ in rows:
                key = {"pilot": pilot, "device": device, "day": day, "into": UNKNOWN}
                transaction.execute(_ADD_PARTS, key)
                for table in ("ledger", "ignored_parts"):
                    transaction.execute(f"DELETE FROM {table} WHERE {_IS_DAY}", key)  # noqa: S608
        return len(rows)

    def book_erased(self, counts: Mapping[DeviceDay, int]) -> None:
        """Book rows that were erased from the store on purpose.

        When the answer is lost, look at the tallies before repeating it: this adds.
        """
        with self._database.writing() as transaction:
            _book(transaction, _merged({device_day: Tally(erased=count) for device_day, count in counts.items()}))

    def tallies(
        self,
        pilot: str | None = None,
        device: str | None = None,
        start_day: int | None = None,
        end_day: int | None = None,
    ) -> dict[DeviceDay, Tally]:
        """The account, ordered by pilot, device, day; days are half-open [start_day, end_day)."""
        condition, parameters = conditions(
            {"pilot = :pilot": pilot, "device = :device": device, "day >= :start": start_day, "day < :end": end_day}
        )
        query = f"{_TALLIES}{condition} ORDER BY pilot, device, day"
        with self._database.reading() as transaction:
            return {DeviceDay(*row[:3]): Tally(*row[3:]) for row in transaction.execute(query, parameters)}

    @property
    def empty(self) -> bool:
        """Whether nothing was ever booked. May raise RegistryUnavailable."""
        with self._database.reading() as transaction:
            return transaction.execute("SELECT 1 FROM ledger LIMIT 1").first() is None

    def session_losses(self) -> list[SessionLoss]:
        """Moments since which messages may be missing that are in no sum. Raises RegistryUnavailable."""
        return WorkerSessions(self._database).losses()

    def open_intents(self) -> dict[DeviceDay, list[str]]:
        """Device-days that a batch is open for now, or was when its worker died, and the workers it belongs to."""
        workers: dict[DeviceDay, list[str]] = {}
        with self._database.reading() as transaction:
            for pilot, device, day, worker in transaction.execute(
                "SELECT DISTINCT pilot, device, day, worker FROM intents ORDER BY pilot, device, day, worker"
            ):
                workers.setdefault(DeviceDay(pilot, device, day), []).append(worker)
        return workers

    def _lock_worker(self, transaction: Transaction, worker: str) -> str | None:
        """Let no other process begin under this name before the transaction ends; the token of its last closing.

        Raises WorkerReplaced when one has begun since this one did.
        """
        return self._check_worker(transaction, worker, " FOR UPDATE" if transaction.on_postgresql else "")

    def _check_worker(self, transaction: Transaction, worker: str, lock: str = "") -> str | None:
        row = transaction.execute(_WORKER + lock, {"worker": worker}).first()
        process = self._processes.get(worker)
        if process is not None and (row is None or row.process != process):
            raise WorkerReplaced(f"another process has begun as the worker {worker!r}")
        return None if row is None else row.last_closed

    def _token(self, worker: str, tallies: Mapping[DeviceDay, Tally], quarantined: Sequence[QuarantineEntry]) -> str:
        """A name for this closing: the same again when it repeats one whose answer was lost on the way."""
        token, content = self._unanswered.get(worker, ("", b""))
        return token if token and content == _content(tallies, quarantined) else uuid.uuid4().hex


def add_up_devices(transaction: Transaction, pilot: str, devices: Sequence[str], into: str) -> None:
    """Add the sums of these devices to those of the device `into`, day by day, and remove theirs."""
    for device in devices:
        of_device = {"pilot": pilot, "device": device, "into": into}
        rows = transaction.execute(f"{_TALLIES} WHERE pilot = :pilot AND device = :device", of_device).all()
        _book(transaction, {DeviceDay(pilot, into, row[2]): Tally(*row[3:]) for row in rows})
        transaction.execute(
            "INSERT INTO ignored_parts (pilot, device, day, rule, parts)"
            " SELECT pilot, :into, day, rule, parts FROM ignored_parts WHERE pilot = :pilot AND device = :device"
            " ON CONFLICT (pilot, device, day, rule) DO UPDATE SET parts = ignored_parts.parts + excluded.parts",
            of_device,
        )
        for table in ("ledger", "ignored_parts"):
            transaction.execute(f"DELETE FROM {table} WHERE pilot = :pilot AND device = :device", of_device)  # noqa: S608


def _merged(tallies: Mapping[DeviceDay, Tally]) -> dict[DeviceDay, Tally]:
    """A copy under the names as the database keeps them."""
    merged: dict[DeviceDay, Tally] = {}
    for device_day, tally in tallies.items():
        merged.setdefault(DeviceDay(**key(device_day)), Tally()).add(tally)
    return merged


def _book(transaction: Transaction, tallies: Mapping[DeviceDay, Tally]) -> None:
    # In one order for everybody: two workers that record the same devices would otherwise wait for each other for ever.
    rows = [{**device_day._asdict(), **msgspec.structs.asdict(tallies[device_day])} for device_day in sorted(tallies)]
    if rows:
        transaction.execute(_BOOK, rows)


def _content(tallies: Mapping[DeviceDay, Tally], quarantined: Sequence[QuarantineEntry]) -> bytes:
    """Equal for batches that say the same."""
    counts = clean_text(repr([(device_day, tallies[device_day]) for device_day in sorted(tallies)])).encode()
    return hashlib.blake2b(counts + b"".join(digest(entry) for entry in quarantined), digest_size=16).digest()
