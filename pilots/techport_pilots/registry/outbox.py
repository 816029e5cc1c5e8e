"""E-mails and messages to webhooks that are to be sent. They are written to the registry in the transaction of what
they tell, and sent later.

Each is delivered at least once: a process takes a message for a while, sends it, and says so afterwards. One that was
killed in between leaves it to the next, which sends it again with the same Message-ID. A server that does not answer is
tried again, ever more seldom, for three days.
"""

from __future__ import annotations

import msgspec

from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Micros

TAKEN_FOR: Micros = 5 * MINUTE
GIVE_UP: Micros = 3 * DAY
_FIRST_WAIT: Micros = MINUTE
_LONGEST_WAIT: Micros = 3 * HOUR
_KEPT: Micros = 7 * DAY

_ADD = (
    "INSERT INTO outbox (purpose, recipient, subject, body, pilot, created, next_try)"
    " VALUES (:purpose, :recipient, :subject, :body, :pilot, :at, :at) RETURNING id"
)
_DUE = (
    "SELECT id, purpose, recipient, subject, body, created, tries FROM outbox WHERE next_try <= :at"
    " AND (taken_until IS NULL OR taken_until <= :at) AND (recipient LIKE '%://%' OR :emails = 1)"
    " ORDER BY next_try, id LIMIT 1"
)
_TAKE = "UPDATE outbox SET taken_until = :until WHERE id = :id AND (taken_until IS NULL OR taken_until <= :at)"
_SENT = (
    "UPDATE outbox SET sent = :at, next_try = NULL, taken_until = NULL, body = '', error = NULL, tries = tries + 1"
    " WHERE id = :id"
)
_FAILED = "UPDATE outbox SET next_try = :next, taken_until = NULL, tries = tries + 1, error = :error WHERE id = :id"
_GIVE_UP = (
    "UPDATE outbox SET next_try = NULL, taken_until = NULL, tries = tries + 1, error = :error, body = '' WHERE id = :id"
)


class Mail(msgspec.Struct, frozen=True):
    """An e-mail that waits, or a message to a webhook, whose recipient is a URL.

    `id` never changes, so that a recipient can tell a second delivery from another message.
    """

    id: int
    purpose: str
    recipient: str
    subject: str
    body: str
    created: Micros
    tries: int


class Waiting(msgspec.Struct, frozen=True):
    """How the outbox is: how many wait, since when the oldest, and how many were given up within a week."""

    waiting: int
    oldest: Micros | None
    given_up: int
    error: str | None


def add_mail(
    transaction: Transaction, purpose: str, recipient: str, subject: str, body: str, pilot: str | None = None
) -> int:
    """Write an e-mail down. It will be sent if the transaction succeeds. `pilot` is the one whose devices it may name:
    what waits or was sent about those goes when something of the pilot is erased."""
    row = {
        "purpose": purpose,
        "recipient": recipient,
        "subject": " ".join(clean_text(subject).split()),  # a line break would begin another header
        "body": clean_text(body),
        "pilot": pilot,
        "at": now(),
    }
    return int(transaction.execute(_ADD, row).scalar_one())


class Outbox:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, purpose: str, recipient: str, subject: str, body: str) -> int:
        """Write an e-mail down, in a transaction of its own."""
        with self._database.writing() as transaction:
            return add_mail(transaction, purpose, recipient, subject, body)

    def take(self, *, webhooks_only: bool = False) -> Mail | None:
        """The next message that is due, for this process to deliver; None: there is none."""
        at = now()
        with self._database.writing() as transaction:
            row = transaction.execute(_DUE, {"at": at, "emails": int(not webhooks_only)}).first()
            if row is None:
                transaction.execute(
                    # What waits for a mail server that nobody sets up goes too.
                    "DELETE FROM outbox WHERE (next_try IS NULL OR tries = 0) AND created < :old",
                    {"old": at - _KEPT - GIVE_UP},
                )
                return None
            taken = transaction.execute(_TAKE, {"until": at + TAKEN_FOR, "id": row.id, "at": at})
        return Mail(**row._mapping) if taken.rowcount == 1 else None

    def sent(self, mail: Mail) -> None:
        with self._database.writing() as transaction:
            transaction.execute(_SENT, {"at": now(), "id": mail.id})

    def failed(self, mail: Mail, error: str, *, for_good: bool = False) -> None:
        """Try it again later; not when the server refuses it `for_good`, or it has been tried for three days."""
        at = now()
        wait = min(_FIRST_WAIT << min(mail.tries, 20), _LONGEST_WAIT)
        give_up = for_good or at - mail.created > GIVE_UP
        row = {"id": mail.id, "error": clean_text(error)[:500], "next": at + wait}
        with self._database.writing() as transaction:
            transaction.execute(_GIVE_UP if give_up else _FAILED, row)

    def state(self) -> Waiting:
        with self._database.reading() as transaction:
            waiting = transaction.execute(
                "SELECT count(*) AS n, min(created) AS oldest FROM outbox WHERE next_try IS NOT NULL"
            ).one()
            failed = transaction.execute(
                "SELECT error FROM outbox WHERE sent IS NULL AND error IS NOT NULL ORDER BY id DESC"
            ).all()
            given_up = transaction.execute(
                "SELECT count(*) FROM outbox WHERE sent IS NULL AND next_try IS NULL"
            ).scalar_one()
        return Waiting(waiting.n, waiting.oldest, given_up, failed[0].error if failed else None)
