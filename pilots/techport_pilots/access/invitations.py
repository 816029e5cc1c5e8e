"""Invitations: a link, good once and for some days, that gives whoever opens it a role. And links to a new password.

The link holds a random token, the registry its hash. Every method may raise RegistryUnavailable.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from techport_pilots.access import passwords
from techport_pilots.access.accounts import (
    AccountError,
    User,
    add_member,
    checked_email,
    checked_name,
    checked_role,
    create_user,
    find_user,
    grant_role,
    granted_role,
)
from techport_pilots.access.policy import OF_ROLE
from techport_pilots.access.sessions import hashed_token
from techport_pilots.i18n import Message
from techport_pilots.registry.database import Database, Transaction
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

InvitedTo = Literal["viewer", "researcher", "editor", "owner", "member", "administrator"]

LASTS: Micros = 7 * DAY
LONGEST: Micros = 60 * DAY
RESET_LASTS: Micros = HOUR
_KEPT: Micros = 90 * DAY

_SELECT = "SELECT id, pilot, role, organisation, email, created, expires, who, used, used_by, revoked FROM invitations"
_ADD = (
    "INSERT INTO invitations (token_hash, pilot, role, organisation, email, created, expires, who)"
    " VALUES (:hash, :pilot, :role, :organisation, :email, :at, :expires, :who) RETURNING id"
)
_USE = (
    "UPDATE invitations SET used = :at, used_by = :user"
    " WHERE token_hash = :hash AND used IS NULL AND revoked IS NULL AND expires > :at"
)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """To a role in a pilot, to be a member of an organisation, or to administer the platform."""

    id: int
    pilot: str | None
    role: InvitedTo
    organisation: str | None
    email: str
    """Whose it is; empty: of whoever has the link."""
    created: Micros
    expires: Micros
    who: str
    used: Micros | None
    used_by: str | None
    revoked: Micros | None

    def good(self, at: Micros) -> bool:
        return self.used is None and self.revoked is None and self.expires > at


class Invitations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        who: str,
        role: InvitedTo,
        *,
        pilot: str | None = None,
        organisation: str | None = None,
        email: str = "",
        lasts: Micros = LASTS,
    ) -> tuple[Invitation, str]:
        """A new invitation and the token of its link, the only time that it is known. Raises AccountError for a role
        that does not go with what it is to, and for an address that is not one."""
        if pilot is not None:
            checked_role(role)
        elif (organisation is not None) != (role == "member") or role not in ("member", "administrator"):
            raise AccountError(Message("account.bad-invitation"))
        if not 0 < lasts <= LONGEST:
            raise AccountError(Message("account.bad-lifetime", {"days": LONGEST // DAY}))
        token, at = secrets.token_urlsafe(32), now()
        row = {
            "hash": hashed_token(token),
            "pilot": pilot,
            "role": role,
            "organisation": organisation,
            "email": checked_email(email) if email else "",
            "at": at,
            "expires": at + lasts,
            "who": who,
        }
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM invitations WHERE expires < :old", {"old": at - _KEPT})
            number = transaction.execute(_ADD, row).scalar_one()
            created = transaction.execute(f"{_SELECT} WHERE id = :id", {"id": number}).one()
        return Invitation(**created._mapping), token

    def find(self, token: str) -> Invitation | None:
        """The invitation of this token while it is good."""
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_SELECT} WHERE token_hash = :hash", {"hash": hashed_token(token)}).first()
        invitation = None if row is None else Invitation(**row._mapping)
        return invitation if invitation is not None and invitation.good(now()) else None

    def of(self, pilot: str | None) -> list[Invitation]:
        """Those to a pilot that are good, the newest first; None: those to the platform and to organisations."""
        condition = "pilot IS NULL" if pilot is None else "pilot = :pilot"
        with self._database.reading() as transaction:
            rows = transaction.execute(
                _SELECT + f" WHERE {condition} AND used IS NULL AND revoked IS NULL AND expires > :at ORDER BY id DESC",
                {"at": now(), **({} if pilot is None else {"pilot": pilot})},
            )
            return [Invitation(**row._mapping) for row in rows]

    def revoke(self, invitation: int, pilot: str | None) -> bool:
        """Whether there was one of that pilot to revoke."""
        condition = "pilot IS NULL" if pilot is None else "pilot = :pilot"
        with self._database.writing() as transaction:
            return (
                transaction.execute(
                    f"UPDATE invitations SET revoked = :at WHERE id = :id AND {condition} AND used IS NULL"  # noqa: S608
                    " AND revoked IS NULL",
                    {"at": now(), "id": invitation, **({} if pilot is None else {"pilot": pilot})},
                ).rowcount
                > 0
            )

    def accept(self, token: str, user: str) -> Invitation:
        """Give a person who has an account what the invitation is to. Raises AccountError when it is not good, or for
        somebody else's address."""
        with self._database.writing() as transaction:
            account = find_user(transaction, user)
            if account is None:
                raise AccountError(Message("account.unknown-user"))
            return accept_invitation(transaction, token, account)

    def accept_as_new(self, token: str, email: str, name: str, password: str) -> User:
        """Make an account with this password and accept. Raises AccountError, WeakPassword; nothing is used up then."""
        invitation = self.find(token)
        if invitation is None:
            raise _not_good()
        email = checked_email(invitation.email or email)
        name = checked_name(name, email)
        hashed = passwords.hashed(passwords.checked(password, email))
        with self._database.writing() as transaction:
            user = create_user(transaction, email, name, invitation.who, password_hash=hashed)
            accept_invitation(transaction, token, user)
        return user


class PasswordResets:
    """One-time links to a new password, made by the operator or asked for by e-mail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, user: str) -> str:
        """The token of a new link, instead of the one before."""
        token, at = secrets.token_urlsafe(32), now()
        row = {"hash": hashed_token(token), "user": user, "at": at, "expires": at + RESET_LASTS}
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM password_resets WHERE user_id = :user OR expires <= :at", row)
            transaction.execute(
                "INSERT INTO password_resets (token_hash, user_id, expires) VALUES (:hash, :user, :expires)", row
            )
        return token

    def find(self, token: str) -> User | None:
        """Whose link it is, while it is good."""
        with self._database.reading() as transaction:
            row = transaction.execute(
                "SELECT user_id FROM password_resets WHERE token_hash = :hash AND expires > :at",
                {"hash": hashed_token(token), "at": now()},
            ).first()
            user = None if row is None else find_user(transaction, row.user_id)
        return user if user is not None and not user.disabled else None

    def use(self, token: str, password: str) -> User:
        """Set the new password and end the person's sessions. Raises AccountError, WeakPassword."""
        user = self.find(token)
        if user is None:
            raise AccountError(Message("account.reset-not-good"))
        hashed = passwords.hashed(passwords.checked(password, user.email))
        with self._database.writing() as transaction:
            of_user = {"user": user.id, "hash": hashed_token(token)}
            used = transaction.execute(
                "DELETE FROM password_resets WHERE token_hash = :hash AND user_id = :user", of_user
            )
            if used.rowcount != 1:
                raise AccountError(Message("account.reset-not-good"))
            transaction.execute(
                "UPDATE users SET password = :password WHERE id = :user", {"password": hashed, "user": user.id}
            )
            transaction.execute("DELETE FROM sessions WHERE user_id = :user", of_user)
        return user


def accept_invitation(transaction: Transaction, token: str, user: User) -> Invitation:
    """Use an invitation up for this person, who keeps a role that allows more. Of several who try at once, one gets
    it. Raises AccountError."""
    digest = hashed_token(token)
    row = transaction.execute(f"{_SELECT} WHERE token_hash = :hash", {"hash": digest}).first()
    if row is None:
        raise _not_good()
    invitation = Invitation(**row._mapping)
    if invitation.email and invitation.email != user.email:
        raise AccountError(Message("account.invitation-of-another", {"email": invitation.email}))
    if transaction.execute(_USE, {"at": now(), "user": user.email, "hash": digest}).rowcount != 1:
        raise _not_good()
    if invitation.pilot is not None:
        role, before = checked_role(invitation.role), granted_role(transaction, invitation.pilot, user.id)
        if before is None or OF_ROLE[before] < OF_ROLE[role]:
            grant_role(transaction, invitation.pilot, "user", user.id, role, invitation.who)
    elif invitation.organisation is not None:
        add_member(transaction, invitation.organisation, user.id)
    else:
        transaction.execute("UPDATE users SET administrator = 1 WHERE id = :user", {"user": user.id})
    return invitation


def _not_good() -> AccountError:
    return AccountError(Message("account.invitation-not-good"))
