"""Do the sums agree? The ledger against itself, and the ledger against what the store really holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

import msgspec
import pyarrow as pa

from techport_pilots.accounting.tally import DeviceDay, Tally, day_of
from techport_pilots.accounting.worker_sessions import SessionLoss
from techport_storage.model import BucketWidth, Micros, Query, Selection

State = Literal["ok", "unbalanced", "store-differs", "open"]

_ATTEMPTS = 3  # what ingest records while we count is looked at again, so often


class AuditRow(msgspec.Struct, frozen=True):
    """A device-day as the ledger has it and as the store has it.

    `unbalanced`: what was received did not all become something. `store-differs`: the store holds another number of
    rows than were stored and not erased. `open`: a batch is being written to it, or one was when its worker was killed
    and has not come back; no verdict yet.
    """

    device_day: DeviceDay
    tally: Tally
    counted: int  # rows in the store
    state: State

    @property
    def ok(self) -> bool:
        return self.state == "ok"


class AuditReport(msgspec.Struct, frozen=True):
    """Every device-day that the ledger or the store knows, ordered by pilot, device and day; and lost sessions.

    What a broker acknowledged and never handed over is in no sum: hence `session_losses`, accepted ones too.
    """

    rows: list[AuditRow]
    session_losses: list[SessionLoss] = []

    @property
    def ok(self) -> bool:
        """Whether every sum is right and no session of a worker was lost without an operator having accepted it.

        Days that are open have no verdict and do not count against it.
        """
        return not self.off and not self.lost

    @property
    def lost(self) -> list[SessionLoss]:
        """Moments since which messages may be missing, and that nobody has accepted."""
        return [loss for loss in self.session_losses if loss.accepted_by is None]

    @property
    def off(self) -> list[AuditRow]:
        """The device-days whose sums are wrong."""
        return [row for row in self.rows if row.state in ("unbalanced", "store-differs")]

    @property
    def open(self) -> list[AuditRow]:
        """The device-days that are being written to."""
        return [row for row in self.rows if row.state == "open"]

    @property
    def total(self) -> Tally:
        total = Tally()
        for row in self.rows:
            total.add(row.tally)
        return total

    @property
    def counted(self) -> int:
        """Rows in the store."""
        return sum(row.counted for row in self.rows)


class _Ledger(Protocol):
    """What the audit asks of the ledger."""

    def tallies(self, pilot: str | None = None) -> dict[DeviceDay, Tally]: ...

    def open_intents(self) -> Mapping[DeviceDay, Collection[str]]: ...

    def session_losses(self) -> list[SessionLoss]: ...


class _Counted(Protocol):
    """What the audit asks of the store."""

    def read(self, query: Query) -> pa.RecordBatchReader: ...


def audit(ledger: _Ledger, store: _Counted, pilot: str | None = None) -> AuditReport:
    """Compare ledger and store for one pilot or all. Ingest may go on meanwhile.

    Raises RegistryUnavailable or StoreUnavailable.
    """
    rows: dict[DeviceDay, AuditRow] = {}
    for _ in range(_ATTEMPTS):
        rows = _look(ledger, store, pilot)
        if all(row.state != "open" for row in rows.values()):
            break
    return AuditReport([rows[device_day] for device_day in sorted(rows)], ledger.session_losses())


def count_rows(
    store: _Counted, select: Selection, start: Micros | None = None, end: Micros | None = None
) -> dict[DeviceDay, int]:
    """How many rows the store holds of each device and day (UTC), of the period [start, end) where one is given."""
    counts: dict[DeviceDay, int] = {}
    with store.read(
        Query(select=select, start=start, end=end, every=BucketWidth(1, "d"), aggregates=("count",))
    ) as reader:
        for batch in reader:
            days = pa.Table.from_batches([batch]).group_by(["pilot", "device", "time"]).aggregate([("count", "sum")])
            columns = (days[name] for name in ("pilot", "device", "time", "count_sum"))
            for pilot, device, time, count in zip(*(_plain(column) for column in columns), strict=True):
                device_day = DeviceDay(pilot, device, day_of(time))
                counts[device_day] = counts.get(device_day, 0) + count
    return counts


def _look(ledger: _Ledger, store: _Counted, pilot: str | None) -> dict[DeviceDay, AuditRow]:
    """One comparison. What was written to while we looked is `open`, whether or not the numbers happen to fit."""
    before, busy = ledger.tallies(pilot=pilot), set(ledger.open_intents())
    counts = count_rows(store, Selection(pilots=None if pilot is None else (pilot,)))
    after = ledger.tallies(pilot=pilot)
    busy |= set(ledger.open_intents()) | {day for day, tally in after.items() if before.get(day) != tally}
    nothing = Tally()
    return {
        day: AuditRow(day, tally, counts.get(day, 0), _verdict(tally, counts.get(day, 0), day in busy))
        for day in sorted(after.keys() | counts.keys())
        for tally in (after.get(day, nothing),)
    }


def _verdict(tally: Tally, counted: int, busy: bool) -> State:
    if not tally.balanced:
        return "unbalanced"  # each booking is one transaction: this is wrong at any moment
    if busy:
        return "open"
    return "ok" if counted == tally.stored - tally.erased else "store-differs"


def _plain(column: pa.ChunkedArray) -> list[Any]:
    plain: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return plain
