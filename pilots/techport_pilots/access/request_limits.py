"""How much clients have asked of all web processes together: counted in the registry, in portions.

What is kept of a client is until when its share is used up, as if its requests had come one behind the other, evenly.
The processes add to that, so it does not matter which of them was asked. Clients are known by a hash, for a minute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from techport_pilots.registry.database import Database
from techport_storage.clock import now
from techport_storage.model import Micros

_ADD = (
    "INSERT INTO request_limits (subject, until) VALUES (:subject, :at + :spent) ON CONFLICT (subject) DO UPDATE SET"
    " until = CASE WHEN request_limits.until > :at THEN request_limits.until ELSE :at END + :spent RETURNING until"
)


class RequestLimits:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, requests: Mapping[str, int], every: Micros) -> dict[str, float]:
        """Count requests that were answered here.

        Parameters
        ----------
        requests : Mapping[str, int]
            Of each client how many.
        every : Micros
            How often one is a client's due, µs.

        Returns
        -------
        dict of str to float
            Of each of the clients how many requests all processes have answered it beyond its due.

        Raises
        ------
        RegistryUnavailable
        """
        at = now()
        beyond = {}
        subjects = {_subject(client): client for client in requests}
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM request_limits WHERE until <= :at", {"at": at})
            for subject in sorted(subjects):  # in one order, so that two processes do not wait for each other
                spent = requests[subjects[subject]] * every
                until = transaction.execute(_ADD, {"subject": subject, "at": at, "spent": spent}).scalar_one()
                beyond[subjects[subject]] = (until - at) / every
        return beyond


def _subject(client: str) -> str:
    return hashlib.sha256(client.encode("utf-8", "replace")).hexdigest()
