"""Where is my message? What is known about one device around one instant, in one answer."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import pyarrow as pa

from techport_pilots.accounting.commit_log import Arrival, CommitLog
from techport_pilots.accounting.corrections import corrections_of
from techport_pilots.accounting.ledger import Ledger, events_of, ignored_by_rule
from techport_pilots.accounting.message_tap import MessageTap, TappedMessage
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter, QuarantineRecord
from techport_pilots.accounting.tally import BookedEvent, Correction, Tally, day_of
from techport_pilots.registry.registry import Registry
from techport_storage.model import Micros, Query, Selection

_MOST = 200


class StoredValue(msgspec.Struct, frozen=True):
    """A row of the store."""

    quantity: str
    time: Micros
    value: float
    received: Micros
    quality: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a device between `start` and `end`."""

    pilot: str
    device: str
    known: bool  # whether the pilot's definition has the device
    start: Micros
    end: Micros
    stored: Sequence[StoredValue]  # observed in that time
    corrections: Sequence[Correction]  # of values observed in that time: what stood there before
    quarantined: Sequence[QuarantineRecord]  # received in that time
    arrivals: Sequence[Arrival]  # of all these: through which worker, and visible since when
    messages: Sequence[
        TappedMessage
    ]  # received or observed then, payload and outcome; only of a device that was watched
    events: Sequence[BookedEvent]
    day: Tally  # the sums of that day (UTC)
    ignored: Mapping[str, int]  # parts of messages of that day that are no reading, by rule
    last_before: Micros | None  # arrival of the newest reading stored, where nothing is found
    cut: bool  # there is more than is listed: ask for a shorter time

    @property
    def found(self) -> bool:
        return bool(self.stored or self.quarantined or self.messages or self.events)


class _Store(Protocol):
    def read(self, query: Query) -> pa.RecordBatchReader: ...

    def latest(self, select: Selection) -> pa.Table: ...


def trace(
    registry: Registry, ledger: Ledger, store: _Store, pilot: str, device: str, time: Micros, window: Micros
) -> Trace:
    """What became of the messages of a device from `window` before `time` to `window` after it.

    Raises UnknownPilot, RegistryUnavailable, StoreUnavailable.
    """
    view = registry.snapshot().pilot(registry.pilot(pilot).id)
    described = None if view is None else view.device(device)
    device = device if described is None else described.id
    start, end, day = time - window, time + window + 1, day_of(time)
    select = Selection(pilots=(pilot,), devices=(device,))
    with contextlib.closing(store.read(Query(select=select, start=start, end=end, limit=_MOST))) as reader:
        rows = _rows(reader.read_all())
    entries = Quarantine(registry.database).entries(
        QuarantineFilter(pilot=pilot, device=device, start=start, end=end), limit=_MOST
    )
    received = {row.received for row in rows} | {entry.received for entry in entries.items}
    watched = [m for m in MessageTap(registry.database).messages(pilot, device) if _is_of(m, start, end)]
    total = Tally()
    for tally in ledger.tallies(pilot, device, day, day + 1).values():
        total.add(tally)
    ignored = ignored_by_rule(registry.database, pilot, device)
    answer = Trace(
        pilot=pilot,
        device=device,
        known=described is not None,
        start=start,
        end=end,
        stored=rows,
        corrections=corrections_of(registry.database, pilot, device, start, end, _MOST),
        quarantined=entries.items,
        arrivals=CommitLog(registry.database).arrivals(pilot, device, received),
        messages=watched,
        events=[event for event in events_of(registry.database, pilot, device) if start <= event.time < end],
        day=total,
        ignored={rule: parts for (device_day, rule), parts in ignored.items() if device_day.day == day},
        last_before=None,
        cut=len(rows) == _MOST or entries.next is not None,
    )
    return answer if answer.found else msgspec.structs.replace(answer, last_before=_last_arrival(store, select))


def _is_of(message: TappedMessage, start: Micros, end: Micros) -> bool:
    """Whether the message was received then, or holds a value that was observed then."""
    return start <= message.received < end or any(start <= value.time < end for value in message.outcome.values)


def _rows(table: pa.Table) -> list[StoredValue]:
    columns = [table[name] for name in ("quantity", "time", "value", "received", "quality")]
    plain = [column.cast("int64") if pa.types.is_timestamp(column.type) else column for column in columns]
    return [StoredValue(*row) for row in zip(*(column.to_pylist() for column in plain), strict=True)]


def _last_arrival(store: _Store, select: Selection) -> Micros | None:
    return max((row.received for row in _rows(store.latest(select))), default=None)
