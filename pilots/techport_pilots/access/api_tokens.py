"""API tokens: what programs prove themselves with. A token can do at most what its person can, and less by its scope.

The text is `tp_<prefix>_<secret>`: it is shown once, and recognised by its prefix afterwards. Every method may raise
RegistryUnavailable.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from typing import cast

import msgspec

from techport_pilots.access.accounts import NAME_LENGTH, AccountError, find_user, organisations_of, user_rights
from techport_pilots.access.policy import ACTIONS, Action
from techport_pilots.access.sessions import TOUCH, Identity, hashed_token
from techport_pilots.i18n import Message
from techport_pilots.registry.database import Database, clean_text
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

PATTERN = re.compile(r"tp_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")
LASTS: Micros = 90 * DAY
LONGEST: Micros = 366 * DAY
MOST = 50
"""Tokens that one person may have at a time."""
_KEPT: Micros = 90 * DAY

_ADD = (
    "INSERT INTO api_tokens (prefix, token_hash, user_id, name, pilots, actions, created, expires)"
    " VALUES (:prefix, :hash, :user, :name, :pilots, :actions, :at, :expires) RETURNING id"
)
_SELECT = "SELECT id, prefix, user_id, name, pilots, actions, created, expires, last_used, revoked FROM api_tokens"


class ApiToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as its person sees it."""

    id: int
    prefix: str
    user_id: str
    name: str
    pilots: list[str] | None
    """None: all that the person has rights in, also later."""
    actions: list[Action]
    created: Micros
    expires: Micros
    last_used: Micros | None
    revoked: Micros | None


class ApiTokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, user: str, name: str, pilots: Sequence[str] | None, actions: Collection[str], lasts: Micros = LASTS
    ) -> tuple[ApiToken, str]:
        """A new token and its text, the only time that it is known. Raises AccountError for an empty scope, an action
        that there is not, a lifetime beyond a year, or too many tokens.
        """
        unknown = sorted(set(actions) - set(ACTIONS))
        if unknown or not actions or (pilots is not None and not pilots):
            params = {"unknown": ", ".join(unknown)[:80], "actions": ", ".join(ACTIONS)}
            raise AccountError(Message("account.bad-scope", params))
        if not 0 < lasts <= LONGEST:
            raise AccountError(Message("account.bad-lifetime", {"days": LONGEST // DAY}))
        prefix = f"tp_{secrets.token_hex(4)}"
        text, at = f"{prefix}_{secrets.token_urlsafe(32)}", now()
        token = ApiToken(
            id=0,
            prefix=prefix,
            user_id=user,
            name=" ".join(clean_text(name).split())[:NAME_LENGTH] or prefix,
            pilots=None if pilots is None else sorted(set(pilots)),
            actions=[action for action in ACTIONS if action in actions],
            created=at,
            expires=at + lasts,
            last_used=None,
            revoked=None,
        )
        row = {
            "prefix": prefix,
            "hash": hashed_token(text),
            "user": user,
            "name": token.name,
            "pilots": None if token.pilots is None else msgspec.json.encode(token.pilots).decode(),
            "actions": msgspec.json.encode(token.actions).decode(),
            "at": at,
            "expires": token.expires,
        }
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM api_tokens WHERE expires < :old", {"old": at - _KEPT})
            valid = {"user": user, "at": at}
            count = transaction.execute(
                "SELECT count(*) FROM api_tokens WHERE user_id = :user AND expires > :at AND revoked IS NULL", valid
            ).scalar_one()
            if count >= MOST:
                raise AccountError(Message("account.too-many-tokens", {"most": MOST}))
            number = transaction.execute(_ADD, row).scalar_one()
        return msgspec.structs.replace(token, id=number), text

    def find(self, text: str) -> Identity | None:
        """Who the token speaks for; None for one that has expired, was revoked or never was."""
        at = now()
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_SELECT} WHERE token_hash = :hash", {"hash": hashed_token(text)}).first()
            token = None if row is None else _token(row._mapping)
            if token is None or token.revoked is not None or token.expires <= at:
                return None
            user = find_user(transaction, token.user_id)
            if user is None or user.disabled:
                return None
            rights = user_rights(transaction, user.id, administrator=user.administrator)
            organisations = organisations_of(transaction, user.id)
        if token.last_used is None or token.last_used <= at - TOUCH:
            with self._database.writing() as transaction:
                used = {"at": at, "id": token.id}
                transaction.execute("UPDATE api_tokens SET last_used = :at WHERE id = :id", used)
        limited = rights.limited_to(token.pilots, token.actions)
        reads_shares = token.pilots is None and "see" in token.actions
        return Identity(
            user=user,
            rights=limited,
            expires=token.expires,
            token=token.id,
            token_name=token.name,
            organisations=frozenset(organisations if reads_shares else ()),
        )

    def of(self, user: str) -> list[ApiToken]:
        """The person's tokens, the newest first; also those that have expired or were revoked lately."""
        with self._database.reading() as transaction:
            rows = transaction.execute(f"{_SELECT} WHERE user_id = :user ORDER BY id DESC", {"user": user})
            return [_token(row._mapping) for row in rows]

    def revoke(self, user: str, token: int) -> bool:
        """Whether the person had this token, still good."""
        with self._database.writing() as transaction:
            return (
                transaction.execute(
                    "UPDATE api_tokens SET revoked = :at WHERE id = :token AND user_id = :user AND revoked IS NULL",
                    {"at": now(), "token": token, "user": user},
                ).rowcount
                > 0
            )


def _token(row: object) -> ApiToken:
    fields = dict(cast("dict[str, object]", row))
    pilots, actions = cast("str | None", fields.pop("pilots")), cast(str, fields.pop("actions"))
    return ApiToken(
        **fields,  # type: ignore[arg-type]
        pilots=None if pilots is None else msgspec.json.decode(pilots, type=list[str]),
        actions=msgspec.json.decode(actions, type=list[Action]),
    )
