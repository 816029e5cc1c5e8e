"""Through which worker a message came, and since when what became of it can be seen.

A line for each message would be millions a day. There is one for each second in which a worker committed something: the
arrivals that it covers, when the last of them was visible, and marks of the devices. Lines are kept for `KEPT`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from techport_pilots.registry.database import Database, Transaction, name
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

KEPT = 2 * DAY
MOST_MARKS = 256  # devices that a line names; one with more may be about any device
_ADD = (
    "INSERT INTO commit_spans (worker, first, last, visible, marks) VALUES (:worker, :first, :last, :visible, :marks)"
)
_COVERING = """
SELECT worker, first, last, visible, marks FROM commit_spans
WHERE last >= :start AND first < :end ORDER BY visible
"""
_MS = 1000  # stores keep the time of arrival to the millisecond


class CommitSpan(msgspec.Struct, frozen=True):
    """What a worker committed in about a second: messages received from `first` to `last`, visible since `visible`."""

    worker: str
    first: Micros
    last: Micros
    visible: Micros
    devices: Collection[tuple[str, str]]  # (pilot, device)


class Arrival(msgspec.Struct, frozen=True):
    """Of a message received then: its worker, and since when at the latest it is visible. Empty and None: not known.

    There is more than one worker where several committed in that second and cannot be told apart.
    """

    received: Micros
    workers: Sequence[str]
    visible: Micros | None


class CommitLog:
    """The log. Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, lines: Sequence[CommitSpan]) -> None:
        """Keep these, and forget those that are too old."""
        if not lines:
            return
        rows = [
            {
                "worker": name(line.worker),
                "first": line.first,
                "last": line.last,
                "visible": line.visible,
                "marks": _marks(line.devices),
            }
            for line in lines
        ]
        too_old = max(line.visible for line in lines) - KEPT
        with self._database.writing() as transaction:
            transaction.execute(_ADD, rows)
            transaction.execute("DELETE FROM commit_spans WHERE visible < :too_old", {"too_old": too_old})

    def arrivals(self, pilot: str, device: str, received: Collection[Micros]) -> list[Arrival]:
        """What is known of messages of the device that were received at these times, oldest first."""
        if not received:
            return []
        mark, window = _mark(pilot, device), {"start": min(received), "end": max(received) + _MS}
        with self._database.reading() as transaction:
            rows = transaction.execute(_COVERING, window)
            lines = [line for line in rows if line.marks is None or mark in _read(line.marks)]
        arrivals = []
        for time in sorted(set(received)):
            covering = [line for line in lines if line.first // _MS * _MS <= time <= line.last]
            workers = list(dict.fromkeys(line.worker for line in covering))
            arrivals.append(Arrival(time, workers, covering[-1].visible if covering else None))
        return arrivals


def forget_devices(transaction: Transaction, devices: Collection[tuple[str, str]]) -> None:
    """Make lines that name one of the devices, as (pilot, device), lines about any device."""
    marks = {_mark(*device) for device in devices}
    lines = transaction.execute("SELECT id, marks FROM commit_spans WHERE marks IS NOT NULL").all()
    rows = [{"id": line.id} for line in lines if marks & _read(line.marks)]
    if rows:
        transaction.execute("UPDATE commit_spans SET marks = NULL WHERE id = :id", rows)


def _marks(devices: Collection[tuple[str, str]]) -> bytes | None:
    """Four bytes a device, ascending; None for more than MOST_MARKS."""
    if len(devices) > MOST_MARKS:
        return None
    return np.array(sorted({_mark(*device) for device in devices}), np.uint32).tobytes()


def _mark(pilot: str, device: str) -> int:
    return zlib.crc32(f"{name(pilot)}/{name(device)}".encode())


def _read(marks: bytes) -> frozenset[int]:
    return frozenset(np.frombuffer(marks, np.uint32).tolist())
