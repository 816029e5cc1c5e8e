"""Limits of attempts to sign in: so many failures of an account and of an address in a quarter of an hour.

They stand in the registry, so that neither a restart nor another process gives new attempts. Every method may raise
RegistryUnavailable.
"""

from __future__ import annotations

import hashlib

from techport_pilots.registry.database import Database
from techport_storage.clock import now
from techport_storage.microseconds import MINUTE, SECOND
from techport_storage.model import Micros

WINDOW: Micros = 15 * MINUTE
OF_ACCOUNT = 10
OF_ADDRESS = 50
"""More than of an account: an organisation's people share one."""

_FAIL = (
    "INSERT INTO sign_in_failures (subject, count, until) VALUES (:subject, 1, :until) ON CONFLICT (subject) DO UPDATE"
    " SET count = CASE WHEN sign_in_failures.until <= :at THEN 1 ELSE sign_in_failures.count + 1 END,"
    " until = CASE WHEN sign_in_failures.until <= :at THEN :until ELSE sign_in_failures.until END"
)


class Attempts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def wait_seconds(self, email: str, address: str) -> int:
        """How long to wait before the next attempt; 0: none."""
        at = now()
        limits = {_subject("account", email): OF_ACCOUNT, _subject("address", address): OF_ADDRESS}
        with self._database.reading() as transaction:
            rows = transaction.execute(
                "SELECT subject, count AS failures, until FROM sign_in_failures"
                " WHERE subject IN :subjects AND until > :at",
                {"subjects": tuple(limits), "at": at},
            ).all()
        waits = [row.until - at for row in rows if row.failures >= limits[row.subject]]
        return -(-max(waits, default=0) // SECOND)

    def failed(self, email: str, address: str) -> None:
        """Count a failure of both."""
        at = now()
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM sign_in_failures WHERE until <= :at", {"at": at})
            for subject in (_subject("account", email), _subject("address", address)):
                transaction.execute(_FAIL, {"subject": subject, "until": at + WINDOW, "at": at})

    def succeeded(self, email: str) -> None:
        """Forget the account's failures; those of the address stay, or one account of theirs would free attackers."""
        with self._database.writing() as transaction:
            transaction.execute(
                "DELETE FROM sign_in_failures WHERE subject = :subject", {"subject": _subject("account", email)}
            )


def _subject(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind} {name.strip().lower()}".encode("utf-8", "replace")).hexdigest()
