"""Erasing part of a pilot at any time: a device, a period, or both, as when somebody asks for it.

    count ─► (confirm) ─► receipt `part-begun` ─► store ─► ledger ─► files ─► tables ─► receipt `done` ─► free pages

A package or a frozen answer cannot be erased in part: those of the pilot go as a whole, and can be made again. The
definition stays as it is. If interrupted, the next call for the pilot finishes it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from techport_pilots.accounting.audit import count_rows
from techport_pilots.accounting.commit_log import forget_devices
from techport_pilots.accounting.ledger import Ledger, add_up_devices
from techport_pilots.accounting.tally import DeviceDay
from techport_pilots.handover.retention import UNNAMED, Files, no_files
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import entity_ids
from techport_pilots.registry.database import Transaction, conditions, name
from techport_pilots.registry.erasures import Day, Erasure
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros, Selection
from techport_storage.store import ReadingStore

_TIMES = {"quarantine": "received", "watched_messages": "received", "device_events": "time", "corrections": "time"}
_TIMES |= {"ignored_messages": "received", "ignored_values": "last", "device_properties": "at"}
"""Tables with a time of each row."""
_OF_DEVICES = ("seen_streams", "origins", "watches", "stream_units")
"""Tables that know a device, and no time: erased with the whole device."""
_BEGIN = "INSERT INTO erasures (pilot, state, content, at) VALUES (:pilot, 'part-begun', :content, :at)"
_BEGUN = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'part-begun' ORDER BY id"
_FINISH = "UPDATE erasures SET state = 'done', content = :content WHERE id = :id"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What to erase: of a device by its name as messages bear it, described or not; of a period [start, end)."""

    pilot: str
    device: str | None = None
    start: Micros | None = None
    end: Micros | None = None

    @property
    def whole_device(self) -> bool:
        return self.start is None and self.end is None


class _Begun(msgspec.Struct, frozen=True):
    part: Part
    receipt: Erasure


def count_part(registry: Registry, store: ReadingStore, ledger: Ledger, part: Part, files: Files = no_files) -> Erasure:
    """What `erase_part` would erase now, as a receipt that is not done.

    Raises ValueError for a part that names neither a device nor a time, StoreUnavailable, RegistryUnavailable.
    """
    if part.device is None and part.whole_device:
        raise ValueError("name a device, a start or an end: a whole pilot is erased by its retention")
    counts = count_rows(store, _selection(part), part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    days = [Day(day.device, day.day, rows, erased.get(day, 0)) for day, rows in sorted(counts.items())]
    with registry.database.reading() as transaction:
        entries = 0
        for table in _tables(part):
            where, parameters = _where(part, table)
            entries += transaction.execute(f"SELECT count(*) FROM {table}{where}", parameters).scalar_one()  # noqa: S608
        rows = transaction.execute("SELECT path FROM pilot_packages WHERE pilot = :pilot", {"pilot": part.pilot})
        packages = [path for (path,) in rows]
    return Erasure(
        pilot=part.pilot,
        partial=True,
        due=now(),
        begun=now(),
        rows=sum(counts.values()),
        entries=entries,
        packages=[path for path in packages if Path(path).is_file()],
        missing=[path for path in packages if not Path(path).is_file()],
        files=[str(path) for path in files(part.pilot)],
        days=days,
        device_days=len(days),
    )


def erase_part(
    registry: Registry, store: ReadingStore, ledger: Ledger, part: Part, files: Files = no_files
) -> list[Erasure]:
    """Erase it for good. Returns the receipts: of this part, after those of parts that were interrupted.

    Raises ValueError, StoreUnavailable, RegistryUnavailable, OSError for a file that cannot be removed.
    """
    definition = registry.pilot(part.pilot)
    receipts = _finish_begun(registry, store, ledger, definition)  # first: the next counts what these left
    receipt = count_part(registry, store, ledger, part, files)
    with registry.database.writing() as transaction:
        lock(transaction)
        content = msgspec.json.encode(_Begun(part, receipt)).decode()
        transaction.execute(_BEGIN, {"pilot": part.pilot, "content": content, "at": receipt.begun})
    receipts += _finish_begun(registry, store, ledger, definition)
    registry.database.rewrite(
        (*_TIMES, *_OF_DEVICES, "ledger", "ignored_parts", "passages", "pilot_packages", "erasures", "entity_ids")
    )
    return receipts


def _finish_begun(
    registry: Registry, store: ReadingStore, ledger: Ledger, definition: PilotDefinition
) -> list[Erasure]:
    with registry.database.reading() as transaction:
        rows = transaction.execute(_BEGUN, {"pilot": definition.id}).all()
    begun = [(int(number), msgspec.json.decode(content, type=_Begun)) for number, content in rows]
    return [_finish(registry, store, ledger, number, one, definition) for number, one in begun]


def _finish(
    registry: Registry, store: ReadingStore, ledger: Ledger, number: int, begun: _Begun, definition: PilotDefinition
) -> Erasure:
    part, receipt = begun.part, begun.receipt
    store.erase(_selection(part), part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    unbooked = {}
    for day in receipt.days:
        key = DeviceDay(part.pilot, day.device, day.day)
        unbooked[key] = day.rows - (erased.get(key, 0) - day.erased_before)
    ledger.book_erased({key: rows for key, rows in unbooked.items() if rows > 0})
    for file in (*receipt.packages, *receipt.files):
        Path(file).unlink(missing_ok=True)
    done = msgspec.structs.replace(receipt, done=now(), days=[])
    with registry.database.writing() as transaction:
        lock(transaction)
        _erase_rows(transaction, part, definition)
        transaction.execute(_FINISH, {"id": number, "content": msgspec.json.encode(done).decode()})
    return done


def _erase_rows(transaction: Transaction, part: Part, definition: PilotDefinition) -> None:
    for table in _tables(part):
        where, parameters = _where(part, table)
        transaction.execute(f"DELETE FROM {table}{where}", parameters)  # noqa: S608
    transaction.execute("DELETE FROM pilot_packages WHERE pilot = :pilot", {"pilot": part.pilot})
    if part.device is not None and part.whole_device:
        device = name(part.device)
        forget_devices(transaction, {(part.pilot, device)})
        entity_ids.erase_names(transaction, definition, device)
        if device not in {known.id for known in definition.devices} and device != UNNAMED:
            add_up_devices(transaction, part.pilot, [device], UNNAMED)


def _tables(part: Part) -> Sequence[str]:
    return (*_TIMES, *_OF_DEVICES) if part.whole_device else tuple(_TIMES)


def _where(part: Part, table: str) -> tuple[str, dict[str, object]]:
    limits: dict[str, object] = {
        "pilot = :pilot": part.pilot,
        "device = :device": None if part.device is None else name(part.device),
    }
    if table in _TIMES:
        limits |= {f"{_TIMES[table]} >= :start": part.start, f"{_TIMES[table]} < :end": part.end}
    return conditions(limits)


def _selection(part: Part) -> Selection:
    return Selection(pilots=(part.pilot,), devices=None if part.device is None else (part.device,))
