"""What a batch means for the ledger: the device-days it touches, and what became of each of its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_ingest.checking.budget import RULE, HourlyBudgets
from techport_ingest.checking.check import Columns, Passed, RejectedPart, shown, shown_payload
from techport_ingest.checking.properties import RULE as PROPERTY
from techport_ingest.message import Message
from techport_pilots.accounting.corrections import Place
from techport_pilots.accounting.ignored import NEVER_READINGS
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import (
    BatchAnnotations,
    BookedEvent,
    Correction,
    DeviceDay,
    IgnoredMessage,
    IgnoredValue,
    QuarantineEntry,
    Tally,
    day_of,
)
from techport_storage.microseconds import DAY
from techport_storage.model import Batch, BucketWidth, Query, Receipt, Selection, Stream
from techport_storage.store import ReadingStore

# -- Counting what a store holds of a device and day.


def count_rows(store: ReadingStore, device_days: Iterable[DeviceDay]) -> dict[DeviceDay, int]:
    """How many rows the store holds for each of these device-days, one query a pilot."""
    counts = dict.fromkeys(device_days, 0)
    for pilot, group in groupby(sorted(counts), key=lambda device_day: device_day.pilot):
        days = list(group)
        query = Query(
            select=Selection(pilots=(pilot,), devices=tuple(sorted({device_day.device for device_day in days}))),
            start=min(device_day.day for device_day in days) * DAY,
            end=(max(device_day.day for device_day in days) + 1) * DAY,
            every=BucketWidth(1, "d"),
            aggregates=("count",),
        )
        for batch in store.read(query):
            rows = zip(
                batch["device"].to_pylist(),
                batch["time"].cast("int64").to_pylist(),
                batch["count"].to_pylist(),
                strict=True,
            )
            for device, start, count in rows:
                device_day = DeviceDay(pilot, device, start // DAY)
                if device_day in counts:
                    counts[device_day] += count
    return counts


def values_at(store: ReadingStore, corrections: Iterable[Correction]) -> dict[Place, float]:
    """What the store holds where these corrections belong."""
    values: dict[Place, float] = {}
    for place in dict.fromkeys(correction[:4] for correction in corrections):
        pilot, device, quantity, time = place
        query = Query(select=Selection(streams=(Stream(pilot, device, quantity),)), start=time, end=time + 1)
        for batch in store.read(query):
            for value in batch["value"].to_pylist():
                values[place] = value
    return values


class BatchAccounting:
    """The ledger's view of one batch. Values count on the day of observation, rejected parts on the day of arrival."""

    def __init__(self, columns: Columns, budgets: HourlyBudgets | None = None) -> None:
        """With `budgets`, what goes into the registry is limited to what they leave."""
        self._budgets = budgets
        if budgets is not None:
            _bound(columns, budgets)
        self.batch: Batch = columns.batch()
        self.columns = columns
        self._touched, self._touched_by_row = _device_days(self.batch)
        self.rejected: list[RejectedPart] = []  # once it is closed, those of the store too
        self._expected: list[Correction] | None = None  # what the store said that it was going to replace

    @property
    def undescribed(self) -> list[Stream]:
        """Streams that no definition describes and that were not seen before."""
        return self.columns.undescribed

    @property
    def device_days(self) -> list[DeviceDay]:
        """Those whose rows in the store this batch may change."""
        return self._touched

    def close(self, receipt: Receipt) -> tuple[dict[DeviceDay, Tally], list[QuarantineEntry]]:
        """The tallies and the quarantine entries, once the store has said what it did with each row."""
        by_store = self._rejected_by_store(receipt)
        if self._budgets is not None:
            by_store = _within_budget(by_store, self.columns, self._budgets)
        self.rejected = rejected = [*self.columns.rejected, *by_store]
        tallies = self._tally_rows(receipt)
        for part in rejected:
            tally = tallies.setdefault(_arrival(part.message, part.pilot, part.device), Tally())
            tally.received += part.values
            tally.quarantined += part.values
        for passed in self.columns.ignored:
            tally = tallies.setdefault(_arrival(passed.message, passed.pilot, passed.device), Tally())
            tally.received += passed.values
            tally.ignored += passed.values
        self._count_messages_without_rows(rejected, tallies)
        return tallies, [_quarantine_entry(part) for part in rejected]

    def annotations(
        self, receipt: Receipt, replayed: Sequence[int] = (), reread: Sequence[int] = ()
    ) -> BatchAnnotations:
        """What the ledger keeps beside the sums."""
        ignored: Counter[tuple[DeviceDay, str]] = Counter()
        for passed in self.columns.ignored:
            ignored[_arrival(passed.message, passed.pilot, passed.device), passed.rule] += passed.values
        events = [
            BookedEvent(pilot, device, message.received if event.time is None else event.time, event.kind, event.text)
            for message, pilot, device, event in self.columns.events
        ]
        values, messages = self._ignored()
        return BatchAnnotations(
            ignored=ignored,
            events=events,
            corrections=self._corrections(receipt) if self._expected is None else [],
            replayed=replayed,
            ignored_values=values,
            ignored_messages=messages,
            properties=[
                IgnoredValue(
                    property_.pilot,
                    property_.device,
                    PROPERTY,
                    property_.key,
                    property_.value,
                    property_.message.received,
                )
                for property_ in self.columns.properties
                if self.columns.owner(property_.pilot, property_.device).device
            ],
            reread=reread,
        )

    def _ignored(self) -> tuple[list[IgnoredValue], list[IgnoredMessage]]:
        """What was ignored of registered devices, by key, and the messages that a definition could make readings of, as
        far as the budgets of the devices leave room for them. Of parts of unknown devices, the quarantine has all.
        """
        values: list[IgnoredValue] = []
        parts: dict[tuple[int, str, str], list[Passed]] = {}
        for passed in self.columns.ignored:
            revivable = passed.rule not in NEVER_READINGS
            unread = passed.unread and revivable and passed.message.payload != b""
            if not (passed.key or unread) or not self.columns.owner(passed.pilot, passed.device).device:
                continue
            value = shown_payload(passed.message.payload) if unread else shown(passed.value)
            line = (passed.pilot, passed.device, passed.rule, passed.key, value)
            values.append(IgnoredValue(*line, passed.message.received, passed.values))
            if unread or (revivable and passed.value is not None):
                parts.setdefault((id(passed.message), passed.pilot, passed.device), []).append(passed)
        messages = []
        for group in parts.values():
            message, pilot, device = group[0].message, group[0].pilot, group[0].device
            owner = self.columns.owner(pilot, device)
            if self._budgets is not None and (
                (
                    all(passed.unread for passed in group)
                    and not self._budgets.take_unread(owner, message.received, group[0].rule)
                )
                or self._budgets.take_entry(owner, message.received, len(message.payload), tell=False)
            ):
                continue
            tallies = [(passed.rule, passed.key, passed.values) for passed in group]
            messages.append(IgnoredMessage(pilot, device, message.topic, message.payload, message.received, tallies))
        return values, messages

    def expected_corrections(self, rows: NDArray[np.int64], before: NDArray[np.float64]) -> list[Correction]:
        """What is going to be replaced, as far as the budgets of the devices leave room for it: taken from them once,
        however often the batch is written.
        """
        if self._expected is None:
            self._expected = self._as_corrections(rows, before)
        return self._expected

    def _corrections(self, receipt: Receipt) -> list[Correction]:
        """What was replaced, of stores that did not say it before."""
        return self._as_corrections(receipt.correction_rows, receipt.replaced)

    def _as_corrections(self, rows: NDArray[np.int64], values_before: NDArray[np.float64]) -> list[Correction]:
        batch, corrections = self.batch, []
        for row, before in zip(rows.tolist(), values_before.tolist(), strict=True):
            pilot, device, quantity = batch.streams[batch.stream[row]]
            received = int(batch.received[row])
            owner = self.columns.owner(pilot, device)
            if self._budgets is None or not self._budgets.take_entry(owner, received, 0, tell=False):
                place = (pilot, device, quantity, int(batch.time[row]))
                corrections.append(Correction(*place, before, float(batch.value[row]), received))
        return corrections

    def _count_messages_without_rows(self, rejected: Sequence[RejectedPart], tallies: dict[DeviceDay, Tally]) -> None:
        """A message is counted once, at its first row; without one, at its first rejected or ignored part."""
        without = [(part.message, part.pilot, part.device) for part in rejected]
        without += [passed[:3] for passed in self.columns.ignored]
        if not without:
            return
        with_rows = np.flatnonzero(np.diff(self.columns.row_ends, prepend=0)).tolist()
        counted = {id(self.columns.messages[number]) for number in with_rows}
        for message, pilot, device in without:
            if id(message) not in counted:
                counted.add(id(message))
                tallies[_arrival(message, pilot, device)].messages += 1

    def _tally_rows(self, receipt: Receipt) -> dict[DeviceDay, Tally]:
        slots = len(self._touched)
        by_row = self._touched_by_row
        total = np.bincount(by_row, minlength=slots)
        duplicates = np.bincount(by_row[receipt.duplicate_rows], minlength=slots)
        corrections = np.bincount(by_row[receipt.correction_rows], minlength=slots)
        rejected = np.bincount(by_row[[row for row, _ in receipt.rejected]], minlength=slots)
        ends = np.array(self.columns.row_ends, np.int64)
        starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
        messages = np.bincount(by_row[starts[ends > starts]], minlength=slots)
        return {
            device_day: Tally(
                messages=int(messages[i]),
                received=int(total[i] - rejected[i]),  # the rejected ones are received as rejected parts
                stored=int(total[i] - duplicates[i] - corrections[i] - rejected[i]),
                duplicates=int(duplicates[i]),
                corrections=int(corrections[i]),
            )
            for i, device_day in enumerate(self._touched)
        }

    def _rejected_by_store(self, receipt: Receipt) -> list[RejectedPart]:
        """Rows that the store rejected. The check step rejects them first, so this is for stores with further rules."""
        rejected = []
        for row, reason in receipt.rejected:
            message = self.columns.messages[int(np.searchsorted(self.columns.row_ends, row, side="right"))]
            stream = self.batch.streams[self.batch.stream[row]]
            rejection = Rejection("store-refused", {"text": reason[:200]})
            rejected.append(RejectedPart(message, stream.pilot, stream.device, "", rejection, stream.quantity, 1))
        return rejected


def _bound(columns: Columns, budgets: HourlyBudgets) -> None:
    """Limit what a batch writes into the registry: quarantine entries, events, and names of unknown devices."""
    columns.rejected = _within_budget(columns.rejected, columns, budgets)
    columns.events = [
        happened
        for happened in columns.events
        if not budgets.take_entry(
            columns.owner(happened.pilot, happened.device),
            happened.message.received,
            len(happened.event.text),
            tell=False,
        )
    ]
    for number, passed in enumerate(columns.ignored):
        owner = columns.owner(passed.pilot, passed.device)
        if owner.device or not (passed.pilot or passed.device):
            continue
        if budgets.take_entry(owner, passed.message.received, 0, tell=False):
            columns.ignored[number] = passed._replace(pilot=owner.pilot, device="")


def _within_budget(parts: Sequence[RejectedPart], columns: Columns, budgets: HourlyBudgets) -> list[RejectedPart]:
    """The parts that go to quarantine; the others are counted as ignored."""
    bounded = []
    for part in parts:
        owner = columns.owner(part.pilot, part.device)
        exceeded = None
        if part.reason != RULE:  # which is kept once an hour anyway
            exceeded = budgets.take_entry(owner, part.message.received, len(part.message.payload))
        if exceeded is None:
            bounded.append(part)
        elif exceeded.first:
            bounded.append(msgspec.structs.replace(part, rejection=exceeded.rejection()))
        else:
            columns.ignored.append(Passed(part.message, owner.pilot, owner.device, RULE, part.values))
    return bounded


def _device_days(batch: Batch) -> tuple[list[DeviceDay], NDArray[np.int64]]:
    """The distinct device-days of a batch, and for each row the number of its own."""
    devices: dict[tuple[str, str], int] = {}
    device_of_stream = np.array(
        [devices.setdefault((stream.pilot, stream.device), len(devices)) for stream in batch.streams], np.int64
    )
    if not len(batch):
        return [], np.empty(0, np.int64)
    days = batch.time // DAY
    first, last = int(days.min()), int(days.max())
    codes = device_of_stream[batch.stream] * (last - first + 1) + (days - first)
    distinct, by_row = _distinct(codes, len(devices) * (last - first + 1))
    names = list(devices)
    touched = []
    for code in distinct.tolist():
        number, day = divmod(code, last - first + 1)
        pilot, device = names[number]
        touched.append(DeviceDay(pilot, device, first + day))
    return touched, by_row


def _distinct(codes: NDArray[np.int64], codes_possible: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct codes, ascending, and for each code its place among them. Codes are at least 0."""
    if codes_possible > 4 * len(codes) + 1_000:
        distinct, places = np.unique(codes, return_inverse=True)
        return distinct, places.astype(np.int64)
    occurs = np.bincount(codes, minlength=codes_possible) > 0  # a sixth of the time of sorting
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def _arrival(message: Message, pilot: str, device: str) -> DeviceDay:
    return DeviceDay(pilot, device, day_of(message.received))


def _quarantine_entry(part: RejectedPart) -> QuarantineEntry:
    message = part.message
    return QuarantineEntry(
        pilot=part.pilot,
        device=part.device,
        topic=message.topic,
        payload=message.payload,
        received=message.received,
        rejection=part.rejection,
        field=part.field,
        values=part.values,
        redelivered=message.redelivered,
        format=part.format,
    )
