"""Keys of pseudonyms: one for each pilot and period, random, and gone when the period after it is over, whether or not
messages still come.

Whoever has the key of a period can try identifiers against that period's pseudonyms. When it is gone nobody can, and
nobody can tell whether two pseudonyms of different periods are the same person's.
"""

from __future__ import annotations

import secrets

from techport_pilots.registry.database import Database

_FIND = "SELECT secret FROM pseudonym_keys WHERE pilot = :pilot AND length = :length AND period = :period"
_ADD = (
    "INSERT INTO pseudonym_keys (pilot, length, period, secret) VALUES (:pilot, :length, :period, :secret)"
    " ON CONFLICT DO NOTHING"
)
_OVER = "(period + 2) * length <= :time"
_FORGET = f"DELETE FROM pseudonym_keys WHERE {_OVER}"  # noqa: S608
_ANY_OVER = f"SELECT 1 FROM pseudonym_keys WHERE {_OVER} LIMIT 1"  # noqa: S608


def key_of(database: Database, pilot: str, length: int, time: int) -> bytes:
    """The key of the period that a time is in, the same for all workers.

    Parameters
    ----------
    database : Database
        The registry's.
    pilot : str
        Pilots have keys of their own, so that nobody can put their pseudonyms together.
    length : int
        Of a period, µs; periods are counted from 1970 (UTC).
    time : int
        When the message came, µs since 1970.

    Raises
    ------
    RegistryUnavailable
    """
    of_period = {"pilot": pilot, "length": length, "period": time // length}
    with database.reading() as transaction:
        row = transaction.execute(_FIND, of_period).first()
    if row is None:
        with database.writing() as transaction:  # another worker may be at it: the first key stays
            transaction.execute(_ADD, {**of_period, "secret": secrets.token_bytes(32)})
            transaction.execute(_FORGET, {"time": time})
            row = transaction.execute(_FIND, of_period).one()
    return bytes(row.secret)


def forget_keys(database: Database, time: int) -> None:
    """Delete the keys whose time is over at this time (µs since 1970), of all pilots. Raises RegistryUnavailable."""
    with database.reading() as transaction:
        if transaction.execute(_ANY_OVER, {"time": time}).first() is None:
            return
    with database.writing() as transaction:
        transaction.execute(_FORGET, {"time": time})
    database.rewrite(("pseudonym_keys",))
