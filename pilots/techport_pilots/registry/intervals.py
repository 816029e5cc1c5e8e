"""Intervals between readings that were learned from messages, of streams of which no definition says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from techport_pilots.registry.database import Transaction, name
from techport_storage.clock import now
from techport_storage.model import Micros, Stream

CHANGED = 1.5
"""An interval that has changed by less than this factor is the same."""

_ALL = "SELECT pilot, device, quantity, interval_us FROM learned_intervals"
_NOTE = (
    "INSERT INTO learned_intervals (pilot, device, quantity, interval_us, at)"
    " VALUES (:pilot, :device, :quantity, :interval_us, :now)"
    " ON CONFLICT (pilot, device, quantity) DO UPDATE SET interval_us = excluded.interval_us, at = excluded.at"
)


class LearnedInterval(NamedTuple):
    """How often a stream comes, as its messages show."""

    pilot: str
    device: str
    quantity: str
    interval: Micros


def learned(transaction: Transaction) -> dict[Stream, Micros]:
    """What is known."""
    return {Stream(*row[:3]): row[3] for row in transaction.execute(_ALL)}


def note(transaction: Transaction, intervals: Iterable[LearnedInterval]) -> bool:
    """Write what is new or clearly other; whether anything was."""
    learned_before = learned(transaction)
    rows = []
    for interval in intervals:
        stream = Stream(*map(name, interval[:3]))
        before = learned_before.get(stream)
        if before is None or not before / CHANGED <= interval.interval <= before * CHANGED:
            rows.append({**stream._asdict(), "interval_us": interval.interval, "now": now()})
    if rows:
        transaction.execute(_NOTE, rows)
    return bool(rows)
