"""What the pilot's team recommends after reading the result: its own words, with author and time. None is invented."""

from __future__ import annotations

import msgspec

from techport_pilots.model import Text
from techport_pilots.registry.database import Database, clean_text
from techport_pilots.registry.versioning import bump, lock
from techport_storage.clock import now
from techport_storage.model import Micros

LONGEST = 4_000  # characters in each language

_ADD = (
    "INSERT INTO recommendations (pilot, number, nb, en, author, at)"
    " SELECT :pilot, coalesce(max(number), 0) + 1, :nb, :en, :author, :at FROM recommendations WHERE pilot = :pilot"
)
_ALL = "SELECT nb, en, author, at FROM recommendations WHERE pilot = :pilot ORDER BY number DESC"


class Recommendation(msgspec.Struct, frozen=True):
    """Of a pilot's team."""

    text: Text
    author: str
    at: Micros


def recommend(database: Database, pilot: str, text: Text, author: str) -> None:
    """Write it down; what was there before stays readable. Raises ValueError for an empty text or no author."""
    if not (text.nb.strip() or text.en.strip()) or not author.strip():
        raise ValueError("a recommendation has a text and an author")
    row = {"nb": clean_text(text.nb.strip())[:LONGEST], "en": clean_text(text.en.strip())[:LONGEST]}
    with database.writing() as transaction:
        lock(transaction)
        transaction.execute(_ADD, {"pilot": pilot, **row, "author": clean_text(author.strip())[:200], "at": now()})
        bump(transaction)


def all_of(database: Database, pilot: str) -> list[Recommendation]:
    """Newest first."""
    with database.reading() as transaction:
        rows = transaction.execute(_ALL, {"pilot": pilot}).all()
    return [Recommendation(Text(nb=nb, en=en), author, at) for nb, en, author, at in rows]


def current(database: Database, pilot: str) -> Recommendation | None:
    """The newest; None where there is none."""
    return next(iter(all_of(database, pilot)), None)
