"""The audit log: who signed in, saw raw data, changed, exported, shared and erased. Entries are only ever added.

Each entry holds the SHA-256 of the one before and of its own content, so that `verify` finds the first one that was
changed, removed or put in between. Who it was and what it was about can be erased later: the hash is over a salted
digest of each, and the salt goes with the text (docs/decisions).

    transaction of a change ─► ... ─► append: lock the head, add entries, move the head ─► commit

The head is locked last, so that a writer who waits for it holds nothing that the one before it still needs.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import msgspec

from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import Database, Transaction, conditions, name
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Micros

Kind = Literal[
    "signed-in",
    "sign-in-failed",
    "signed-out",
    "saw-raw",
    "read-share",
    "changed",
    "exported",
    "shared",
    "erased",
    "refused",
    "log-trimmed",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

PLATFORM = "platform"
"""Who does what is due by itself."""
WINDOW: Micros = 10 * MINUTE
"""The same again within it is counted, and written as one entry with the number of times."""
LONG_WINDOW: Micros = HOUR
"""The same for what somebody could do often without any right: it must not fill the log."""
MOST_WAITING = 10_000
"""Entries that may wait in memory for being written."""

_PAGE = 5_000
_HEAD = "SELECT number, hash, anchor_number, anchor_hash FROM audit_head WHERE id = 1"
_MOVE = "UPDATE audit_head SET number = :number, hash = :hash WHERE id = 1"
_ANCHOR = "UPDATE audit_head SET anchor_number = :number, anchor_hash = :hash WHERE id = 1"
_COLUMNS = (
    "number, at, until, kind, action, what, pilot, times, who, who_salt, who_digest, about, about_salt, about_digest,"
    " hash"
)
_ADD = (
    f"INSERT INTO audit_log ({_COLUMNS})"  # noqa: S608
    " VALUES (:number, :at, :until, :kind, :action, :what, :pilot, :times, :who,"
    " :who_salt, :who_digest, :about, :about_salt, :about_digest, :hash)"
)
_NEXT = f"SELECT {_COLUMNS} FROM audit_log WHERE number > :after ORDER BY number LIMIT :most"  # noqa: S608
_OLDEST = "SELECT at FROM audit_log ORDER BY number LIMIT 1"
_FIRST_TO_STAY = "SELECT min(number) FROM audit_log WHERE at >= :before"
_FORGET_WHO = "UPDATE audit_log SET who = '', who_salt = '' WHERE who = :who OR who LIKE :tokens"
_FORGET_ABOUT = "UPDATE audit_log SET about = '', about_salt = ''"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did. `who` is the id of an account, `operator`, `command line` or `platform`, never a name."""

    kind: Kind
    who: str
    at: Micros
    action: str = ""
    """As the route or the command declares it."""
    what: str = ""
    """The route or the command."""
    pilot: str = ""
    about: str = ""
    """Which device, entry, role: `device=kran`."""
    times: int = 1
    until: Micros | None = None
    """Of an entry for several times, the last."""


class Logged(msgspec.Struct, frozen=True):
    """An entry as it stands in the log. An empty `who` or `about` that has a digest was erased."""

    number: int
    at: Micros
    until: Micros
    kind: Kind
    action: str
    what: str
    pilot: str
    times: int
    who: str
    who_salt: str
    who_digest: str
    about: str
    about_salt: str
    about_digest: str
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The last entry of a chain. Noted elsewhere, it proves later that nothing before it was rewritten."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what `str` wrote. Raises ValueError for another text."""
        number, colon, digest = text.strip().partition(":")
        if not colon or not number.isdecimal() or len(digest) != 64:
            raise ValueError(f"{text!r} is not NUMBER:HASH, as `techport audit verify` prints it")
        return cls(int(number), digest.lower())


Fault = Literal["changed", "missing", "text-changed", "cut-off", "anchor", "rewritten"]


class Verified(msgspec.Struct, frozen=True):
    """The outcome of `verify`: how many entries were looked at, and the first that is wrong."""

    entries: int
    anchor: Head
    head: Head
    broken: int | None = None
    """Number of the first entry that is not as it was written, or that is not there."""
    fault: Fault | None = None


def append(transaction: Transaction, entries: Sequence[Entry]) -> None:
    """Add entries to the chain, in this transaction, of which they should be the last statements."""
    if not entries:
        return
    head = _locked_head(transaction)
    number, before, rows = head.number, head.hash, []
    for entry in entries:
        number += 1
        row = _row(number, before, entry)
        before = str(row["hash"])
        rows.append(row)
    transaction.execute(_ADD, rows)
    transaction.execute(_MOVE, {"number": number, "hash": before})


def write(database: Database, entries: Sequence[Entry]) -> None:
    """Add entries in a transaction of their own. Raises RegistryUnavailable."""
    if entries:
        with database.writing() as transaction:
            append(transaction, entries)


def forget_person(transaction: Transaction, user: str) -> None:
    """Erase who it was from the entries of an account, and what others did to it."""
    tokens = f"{user} (%"  # (token 7)
    transaction.execute(_FORGET_WHO, {"who": user, "tokens": tokens})
    transaction.execute(f"{_FORGET_ABOUT} WHERE about LIKE :about", {"about": f"%{user}%"})


def forget_pilot(transaction: Transaction, pilot: str) -> None:
    """Erase what the entries of a pilot were about: names of devices can tell whose they are."""
    transaction.execute(f"{_FORGET_ABOUT} WHERE pilot = :pilot", {"pilot": pilot})


def forget_about(transaction: Transaction, pilot: str, concerns: Callable[[str], bool]) -> None:
    """Erase what the entries of a pilot were about where it concerns what is erased."""
    rows = transaction.execute(
        "SELECT number, about FROM audit_log WHERE pilot = :pilot AND about <> ''", {"pilot": pilot}
    )
    numbers = [{"number": row.number} for row in rows if concerns(row.about)]
    if numbers:
        transaction.execute(f"{_FORGET_ABOUT} WHERE number = :number", numbers)


def entries(
    database: Database,
    *,
    pilot: str | None = None,
    kind: Kind | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Logged]:
    """Entries, the newest first; of one pilot, of one kind, and before a number where these are given."""
    where, limits = conditions({"pilot = :pilot": pilot, "kind = :kind": kind, "number < :before": before})
    with database.reading() as transaction:
        query = f"SELECT {_COLUMNS} FROM audit_log{where} ORDER BY number DESC LIMIT :limit"  # noqa: S608
        rows = transaction.execute(query, {**limits, "limit": limit})
        return [Logged(*row) for row in rows]


def export(database: Database, pilot: str | None = None) -> Iterator[Logged]:
    """All entries, the oldest first; of one pilot where it is given."""
    after = 0
    while page := _page(database, after):
        yield from (logged for logged in page if pilot is None or logged.pilot == pilot)
        after = page[-1].number


def head(database: Database) -> Head:
    """The last entry."""
    with database.reading() as transaction:
        row = transaction.execute(_HEAD).one()
    return Head(row.number, row.hash)


def verify(database: Database, noted: Head | None = None) -> Verified:
    """Go through the chain from its anchor to its head, and stop at the first entry that is wrong.

    With `noted`, a head that was noted earlier, the chain also has to contain that very entry. May be called while
    others write: entries that come meanwhile are looked at, too. Raises RegistryUnavailable.
    """
    with database.reading() as transaction:
        row = transaction.execute(_HEAD).one()
    anchor, at_start = Head(row.anchor_number, row.anchor_hash), Head(row.number, row.hash)
    number, before, looked_at = anchor.number, anchor.hash, 0
    recorded_anchor: str | None = None
    noted_seen = noted is None or noted.number <= anchor.number
    head_seen = at_start == anchor
    oldest: int | None = None

    def broken(entry: int, fault: Fault) -> Verified:
        with database.reading() as transaction:
            moved = transaction.execute(_HEAD).one().anchor_number != anchor.number
        if moved:  # entries were removed as too old meanwhile
            return verify(database, noted)
        return Verified(looked_at, anchor, Head(number, before), entry, fault)

    if noted is not None and noted.number == anchor.number and noted != anchor:
        return broken(anchor.number, "rewritten")
    while page := _page(database, number):
        for logged in page:
            oldest = logged.number if oldest is None else oldest
            if logged.number != number + 1:
                return broken(number + 1, "missing")
            if logged.hash != _hash(before, logged):
                return broken(logged.number, "changed")
            for text, salt, digest in (
                (logged.who, logged.who_salt, logged.who_digest),
                (logged.about, logged.about_salt, logged.about_digest),
            ):
                if (salt and _digest(salt, text) != digest) or (text and not salt):
                    return broken(logged.number, "text-changed")
            if noted is not None and logged.number == noted.number:
                if logged.hash != noted.hash:
                    return broken(logged.number, "rewritten")
                noted_seen = True
            if logged.number == at_start.number:
                if logged.hash != at_start.hash:
                    return broken(logged.number, "changed")
                head_seen = True
            if logged.kind == "log-trimmed":
                recorded_anchor = logged.about
            number, before = logged.number, logged.hash
            looked_at += 1
    if not head_seen or not noted_seen:
        return broken(number + 1, "cut-off")
    if anchor.number and recorded_anchor != str(anchor):
        return broken(number if oldest is None else oldest, "anchor")
    return Verified(looked_at, anchor, Head(number, before))


def trim(database: Database, before: Micros) -> int:
    """Remove entries that are older, once a day's worth is. The chain begins anew from the last one that is removed;
    an entry records it. Returns how many were removed. Raises RegistryUnavailable."""
    with database.reading() as transaction:
        oldest = transaction.execute(_OLDEST).scalar()
    if oldest is None or oldest >= before - DAY:
        return 0
    with database.writing() as transaction:
        head_now = _locked_head(transaction)
        first_to_stay = transaction.execute(_FIRST_TO_STAY, {"before": before}).scalar()
        last_to_go = head_now.number if first_to_stay is None else int(first_to_stay) - 1
        row = transaction.execute("SELECT hash FROM audit_log WHERE number = :number", {"number": last_to_go}).first()
        if row is None:
            return 0
        anchor = Head(last_to_go, row.hash)
        removed = transaction.execute("DELETE FROM audit_log WHERE number <= :number", {"number": last_to_go}).rowcount
        transaction.execute(_ANCHOR, {"number": anchor.number, "hash": anchor.hash})
        append(transaction, [Entry(kind="log-trimmed", who=PLATFORM, at=now(), about=str(anchor))])
    return removed


def _window(kind: Kind) -> Micros:
    return LONG_WINDOW if kind in ("refused", "read-share") else WINDOW


class AuditQueue:
    """Entries that are written a moment later, many at once: reading must not wait for a disk.

    The first of several alike is written with the next `flush`, those that follow within WINDOW (LONG_WINDOW) as one
    entry with their number. What was refused is alike where it was the same action, whatever the address. Entries are
    lost if the process is killed before the next `flush`. Safe for several threads.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._waiting: list[Entry] = []
        self._alike: dict[tuple[str, ...], Entry] = {}
        """By what entries have in common: the first one, then those that follow, with `times` from 0."""

    @property
    def database(self) -> Database:
        return self._database

    def add(self, entry: Entry) -> None:
        with self._lock:
            if len(self._alike) >= MOST_WAITING:  # somebody goes through everything: count it, not each
                entry = msgspec.structs.replace(entry, about="")
            subject = entry.action if entry.kind == "refused" else entry.what
            key = (entry.kind, entry.who, subject, entry.pilot, entry.about)
            repeats = self._alike.get(key)
            if repeats is None:
                self._waiting.append(entry)
                self._alike[key] = msgspec.structs.replace(entry, times=0, until=entry.at)
            else:
                first = repeats if repeats.times else entry
                self._alike[key] = msgspec.structs.replace(first, times=repeats.times + 1, until=entry.at, at=first.at)

    def flush(self, *, all_of_it: bool = False) -> None:
        """Write what waits, and the numbers of what was alike, once they are as old as their window; or all of it.
        Raises RegistryUnavailable: then they wait on."""
        with self._flushing:
            moment = now()
            with self._lock:
                due, self._waiting = self._waiting, []
                over = [
                    key
                    for key, repeated in self._alike.items()
                    if all_of_it or repeated.at <= moment - _window(repeated.kind)
                ]
                counted = [repeated for repeated in map(self._alike.pop, over) if repeated.times]
            try:
                write(self._database, [*due, *counted])
            except RegistryUnavailable:
                with self._lock:
                    self._waiting = [*due, *counted, *self._waiting][-MOST_WAITING:]
                raise


def _locked_head(transaction: Transaction) -> Head:
    """The last entry, whose successor nobody else can write until this transaction ends."""
    row = transaction.execute(f"{_HEAD} FOR UPDATE" if transaction.on_postgresql else _HEAD).one()
    return Head(row.number, row.hash)


def _row(number: int, before: str, entry: Entry) -> dict[str, object]:
    who, about = name(entry.who), name(entry.about)
    who_salt, about_salt = secrets.token_hex(16), secrets.token_hex(16)
    logged = Logged(
        number=number,
        at=entry.at,
        until=entry.at if entry.until is None else entry.until,
        kind=entry.kind,
        action=entry.action,
        what=name(entry.what),
        pilot=name(entry.pilot),
        times=entry.times,
        who=who,
        who_salt=who_salt,
        who_digest=_digest(who_salt, who),
        about=about,
        about_salt=about_salt,
        about_digest=_digest(about_salt, about),
        hash="",
    )
    row: dict[str, Any] = msgspec.structs.asdict(logged)
    return {**row, "hash": _hash(before, logged)}


def _digest(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()


def _hash(before: str, logged: Logged) -> str:
    """Over the hash before, and everything of the entry but the texts that can be erased."""
    content = msgspec.json.encode(
        [
            before,
            logged.number,
            logged.at,
            logged.until,
            logged.kind,
            logged.action,
            logged.what,
            logged.pilot,
            logged.times,
            logged.who_digest,
            logged.about_digest,
        ]
    )
    return hashlib.sha256(content).hexdigest()


def _page(database: Database, after: int) -> list[Logged]:
    with database.reading() as transaction:
        return [Logged(*row) for row in transaction.execute(_NEXT, {"after": after, "most": _PAGE})]
