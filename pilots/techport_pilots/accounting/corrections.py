"""Values that a later message has replaced: what stood there before.

The ledger counts every correction; the values themselves are kept for the quarantine's retention time, a year at most,
and so many of a device as its budget leaves room for.
"""

from __future__ import annotations

from collections.abc import Iterable

from techport_pilots.accounting.tally import Correction
from techport_pilots.registry.database import Database, Transaction, conditions, name
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

KEPT: Micros = 366 * DAY
"""How long a replaced value is kept where the pilot says nothing shorter."""

_COLUMNS = "pilot, device, quantity, time, replaced, value, received"
_ADD = f"INSERT INTO corrections ({_COLUMNS}) VALUES (:{_COLUMNS.replace(', ', ', :')})"  # noqa: S608 - our names
_EXPIRE = "DELETE FROM corrections WHERE received < :before"


def note(transaction: Transaction, corrections: Iterable[Correction]) -> None:
    """Keep what was replaced, in the transaction that records it."""
    rows = [
        {
            "pilot": name(correction.pilot),
            "device": name(correction.device),
            "quantity": name(correction.quantity),
            "time": correction.time,
            "replaced": correction.before,
            "value": correction.value,
            "received": correction.received,
        }
        for correction in corrections
    ]
    if rows:
        transaction.execute(_ADD, rows)


def corrections_of(
    database: Database, pilot: str, device: str, start: Micros, end: Micros, limit: int = 200
) -> list[Correction]:
    """Corrections of values that were observed in [start, end), in the order in which they came.

    May raise RegistryUnavailable.
    """
    query = (
        f"SELECT {_COLUMNS} FROM corrections WHERE pilot = :pilot AND device = :device"  # noqa: S608
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
