"""Values that a later message has replaced: what stood there before.

The ledger counts every correction; the values themselves are kept for the quarantine's retention time, a year at most,
and so many of a device as its budget leaves room for. What a worker is about to replace is written down before it does
(`expect`) and booked with its batch. When it was killed between the two, the store says how far it had come (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from techport_pilots.accounting.tally import Correction, DeviceDay, day_of
from techport_pilots.registry.database import Database, Transaction, conditions, name
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

KEPT: Micros = 366 * DAY
"""How long a replaced value is kept where the pilot says nothing shorter."""

Place = tuple[str, str, str, Micros]
"""Pilot, device, quantity and time of a value."""

_COLUMNS = "pilot, device, quantity, time, replaced, value, received"
_ADD = f"INSERT INTO corrections ({_COLUMNS}, worker) VALUES (:{_COLUMNS.replace(', ', ', :')}, :worker)"  # noqa: S608
_EXPECTED = f"SELECT {_COLUMNS}, id FROM corrections WHERE worker = :worker ORDER BY id"  # noqa: S608 - our names
_BOOKED = (
    "SELECT 1 FROM corrections WHERE pilot = :pilot AND device = :device AND quantity = :quantity AND time = :time"
    " AND value = :value AND worker IS NULL"
)
_BOOK = "UPDATE corrections SET worker = NULL WHERE id = :id"
_FORGET = "DELETE FROM corrections WHERE worker = :worker"
_EXPIRE = "DELETE FROM corrections WHERE received < :before"


def note(transaction: Transaction, corrections: Iterable[Correction], worker: str | None = None) -> None:
    """Keep what was replaced, in the transaction that records it; with `worker`, what it is about to replace."""
    rows = [
        {
            "pilot": name(correction.pilot),
            "device": name(correction.device),
            "quantity": name(correction.quantity),
            "time": correction.time,
            "replaced": correction.before,
            "value": correction.value,
            "received": correction.received,
            "worker": worker,
        }
        for correction in corrections
    ]
    if rows:
        transaction.execute(_ADD, rows)


def expect(transaction: Transaction, worker: str, corrections: Iterable[Correction]) -> None:
    """Write down what a worker is about to replace, instead of what it wrote down before."""
    transaction.execute(_FORGET, {"worker": worker})
    note(transaction, corrections, worker)


def expected(database: Database, worker: str) -> list[Correction]:
    """What a worker wrote down and never booked. May raise RegistryUnavailable."""
    with database.reading() as transaction:
        return [Correction(*row[:-1]) for row in transaction.execute(_EXPECTED, {"worker": worker})]


def book_expected(transaction: Transaction, worker: str) -> None:
    """What a worker expected is stored: in the transaction that records its batch."""
    transaction.execute("UPDATE corrections SET worker = NULL WHERE worker = :worker", {"worker": worker})


def settle(transaction: Transaction, worker: str, values: Mapping[Place, float]) -> dict[DeviceDay, int]:
    """Keep what a worker expected to replace and did, by the values that are stored now, and forget the rest.

    Parameters
    ----------
    transaction : Transaction
        In which they are recorded.
    worker : str
        Whose batch was cut short.
    values : mapping of Place to float
        What the store holds where values were to be replaced.

    Returns
    -------
    dict of DeviceDay to int
        How many values were replaced.
    """
    groups: dict[Place, list[Any]] = {}
    for row in transaction.execute(_EXPECTED, {"worker": worker}).all():
        groups.setdefault((row.pilot, row.device, row.quantity, row.time), []).append(row)
    replaced: dict[DeviceDay, int] = {}
    for place, rows in groups.items():
        last = rows[-1]
        where = dict(zip(("pilot", "device", "quantity", "time"), place, strict=True))
        was_stored = values.get(place) == last.value != rows[0].replaced  # equal to both: nobody can tell
        if was_stored and transaction.execute(_BOOKED, {**where, "value": last.value}).first() is None:
            day = DeviceDay(last.pilot, last.device, day_of(last.time))
            replaced[day] = replaced.get(day, 0) + len(rows)
            transaction.execute(_BOOK, [{"id": row.id} for row in rows])
    transaction.execute(_FORGET, {"worker": worker})
    return replaced


def corrections_of(
    database: Database, pilot: str, device: str, start: Micros, end: Micros, limit: int = 200
) -> list[Correction]:
    """Corrections of values that were observed in [start, end), in the order in which they came.

    May raise RegistryUnavailable.
    """
    query = (
        f"SELECT {_COLUMNS} FROM corrections WHERE pilot = :pilot AND device = :device AND worker IS NULL"  # noqa: S608
        " AND time >= :start AND time < :end ORDER BY id LIMIT :limit"
    )
    where = {"pilot": name(pilot), "device": name(device), "start": start, "end": end, "limit": limit}
    with database.reading() as transaction:
        return [Correction(*row) for row in transaction.execute(query, where)]


def expire(database: Database, before: Micros, pilot: str | None = None) -> int:
    """Forget values that were replaced by what arrived before this time. May raise RegistryUnavailable."""
    condition, parameters = conditions({"pilot = :pilot": pilot})
    query = _EXPIRE + condition.replace("WHERE", "AND", 1)
    with database.writing() as transaction:
        return int(transaction.execute(query, {**parameters, "before": before}).rowcount)
