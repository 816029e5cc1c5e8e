"""Sessions of people in browsers: a cookie holds a random token, the registry its hash and whose it is.

A session ends at its absolute limit, when it was not used for as long as the idle limit, when it is revoked, and when
the account is disabled or deleted. Every method may raise RegistryUnavailable.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from techport_pilots.access.accounts import User, find_user, organisations_of, user_rights
from techport_pilots.access.policy import Rights
from techport_pilots.registry.database import Database, name
from techport_storage.clock import now
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Micros

LASTS: Micros = 30 * DAY
IDLE: Micros = 3 * DAY
TOUCH: Micros = MINUTE
"""How often it is written down that a session or a token is used."""

_OF = (
    "SELECT id, user_id, created, expires, last_used, address, agent FROM sessions"
    " WHERE user_id = :user AND expires > :at AND last_used > :idle ORDER BY last_used DESC, id DESC"
)
_END = "DELETE FROM sessions WHERE id = :session AND user_id = :user RETURNING provider_token"
_END_ALL = "DELETE FROM sessions WHERE user_id = :user AND id <> :but"
_OF_PROVIDER = (
    "SELECT id, user_id, provider_token FROM sessions WHERE provider_token IS NOT NULL AND created <= :before"
)
_ADD = (
    "INSERT INTO sessions (token_hash, user_id, created, expires, last_used, address, agent, provider_token)"
    " VALUES (:hash, :user, :at, :expires, :at, :address, :agent, :provider_token) RETURNING id"
)
_FIND = (
    "SELECT sessions.id, sessions.user_id, sessions.expires, sessions.last_used, users.administrator, users.disabled"
    " FROM sessions JOIN users ON users.id = sessions.user_id WHERE token_hash = :hash"
)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who shows a credential, and what they may do with it."""

    user: User
    rights: Rights
    expires: Micros
    session: int | None = None
    token: int | None = None
    token_name: str = ""
    organisations: frozenset[str] = frozenset()
    """Of which they are a member; of a token for chosen pilots none, since their shares are of other pilots."""


class Session(msgspec.Struct, frozen=True):
    """A browser that is signed in."""

    id: int
    user_id: str
    created: Micros
    expires: Micros
    last_used: Micros
    address: str
    agent: str


class Sessions:
    def __init__(self, database: Database, *, lasts: Micros = LASTS, idle: Micros = IDLE) -> None:
        self._database = database
        self._lasts = lasts
        self._idle = idle

    @property
    def lasts(self) -> Micros:
        return self._lasts

    def start(self, user: str, address: str, agent: str, provider_token: str | None = None) -> str:
        """A new session of the person; the token for the cookie. Removes sessions that have ended."""
        token, at = secrets.token_urlsafe(32), now()
        row = {
            "hash": hashed_token(token),
            "user": user,
            "at": at,
            "expires": at + self._lasts,
            "address": name(address),
            "agent": name(agent),
            "provider_token": provider_token,
        }
        with self._database.writing() as transaction:
            transaction.execute(
                "DELETE FROM sessions WHERE expires <= :at OR last_used <= :idle", {"at": at, "idle": at - self._idle}
            )
            transaction.execute(_ADD, row)
            transaction.execute("UPDATE users SET signed_in = :at WHERE id = :user", {"at": at, "user": user})
        return token

    def find(self, token: str) -> Identity | None:
        """Whose session it is; None for one that has ended or never was. Notes once a minute that it is used."""
        at, digest = now(), hashed_token(token)
        with self._database.reading() as transaction:
            row = transaction.execute(_FIND, {"hash": digest}).first()
            if row is None or row.disabled or row.expires <= at or row.last_used <= at - self._idle:
                return None
            user = find_user(transaction, row.user_id)
            rights = user_rights(transaction, row.user_id, administrator=bool(row.administrator))
            organisations = frozenset(organisations_of(transaction, row.user_id))
        assert user is not None
        if row.last_used <= at - TOUCH:
            with self._database.writing() as transaction:
                transaction.execute("UPDATE sessions SET last_used = :at WHERE id = :id", {"at": at, "id": row.id})
        return Identity(
            user=user,
            rights=rights,
            expires=min(row.expires, at + self._idle),
            session=row.id,
            organisations=organisations,
        )

    def of(self, user: str) -> list[Session]:
        """The person's sessions, the latest used first."""
        at = now()
        with self._database.reading() as transaction:
            rows = transaction.execute(_OF, {"user": user, "at": at, "idle": at - self._idle})
            return [Session(**row._mapping) for row in rows]

    def end(self, user: str, session: int) -> str | None:
        """End one session of the person; the identity provider's token of it, to sign out there too."""
        with self._database.writing() as transaction:
            row = transaction.execute(_END, {"user": user, "session": session}).first()
        return None if row is None else row.provider_token

    def end_all(self, user: str, *, but: int | None = None) -> None:
        """End the person's sessions in all browsers, but for one."""
        with self._database.writing() as transaction:
            transaction.execute(_END_ALL, {"user": user, "but": -1 if but is None else but})

    def end_of_provider(self, concerns: Callable[[str], bool], before: Micros) -> set[str]:
        """End the sessions that began at the identity provider, by then, and whose ID token is one that this concerns;
        whose they were."""
        ended: dict[int, str] = {}
        with self._database.reading() as transaction:
            for row in transaction.execute(_OF_PROVIDER, {"before": before}):
                if concerns(row.provider_token):
                    ended[row.id] = row.user_id
        if ended:
            with self._database.writing() as transaction:
                transaction.execute("DELETE FROM sessions WHERE id IN :ids", {"ids": tuple(ended)})
        return set(ended.values())


def hashed_token(token: str) -> str:
    """What the registry keeps of a random token. Nobody guesses 256 bits, so a fast hash does."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
