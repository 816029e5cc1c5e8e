"""People and organisations: who has an account, and which roles in pilots they have.

Every method may raise RegistryUnavailable. `who` is who makes the change, as it is recorded.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from techport_pilots.access import audit_log, passwords
from techport_pilots.access.policy import ROLES, Rights, Role, rights_of
from techport_pilots.errors import PilotsError
from techport_pilots.i18n import Message
from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros

HolderKind = Literal["user", "organisation"]
Source = Literal["granted", "groups"]
"""Where a role comes from: somebody gave it, or the groups at the identity provider did, at the last sign-in."""

EMAIL_LENGTH = 254
NAME_LENGTH = 100

_EMAIL = re.compile(r"[^\s@,;<>\"\x00-\x1f\x7f]{1,64}@[^\s@,;<>\"\x00-\x1f\x7f]{1,189}")
_ORGANISATION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_USER = "SELECT id, email, name, password, administrator, disabled, created, created_by, signed_in FROM users"
_ADD_USER = (
    "INSERT INTO users (id, email, name, password, administrator, created, created_by)"
    " VALUES (:id, :email, :name, :password, :administrator, :created, :created_by) ON CONFLICT (email) DO NOTHING"
)
_OF_USER = (
    "SELECT pilot, role FROM roles WHERE (holder_kind = 'user' AND holder = :user) OR (holder_kind = 'organisation'"
    " AND holder IN (SELECT organisation FROM organisation_members WHERE user_id = :user))"
)
_HOLDERS = (
    "SELECT pilot, holder_kind, holder, source, role, who, at FROM roles"
    " WHERE pilot = :pilot ORDER BY holder_kind DESC, holder, source"
)
_GRANT = (
    "INSERT INTO roles (pilot, holder_kind, holder, source, role, who, at)"
    " VALUES (:pilot, :holder_kind, :holder, :source, :role, :who, :at)"
    " ON CONFLICT (pilot, holder_kind, holder, source) DO UPDATE"
    " SET role = excluded.role, who = excluded.who, at = excluded.at"
)
_TAKE = (
    "DELETE FROM roles WHERE pilot = :pilot AND holder_kind = :holder_kind AND holder = :holder AND source = :source"
)
_MEMBER = (
    "INSERT INTO organisation_members (organisation, user_id, source) VALUES (:organisation, :user, :source)"
    " ON CONFLICT DO NOTHING"
)
_NO_MEMBER = (
    "DELETE FROM organisation_members WHERE organisation = :organisation AND user_id = :user AND source = :source"
)
_MEMBERS = (
    "SELECT users.* FROM users WHERE id IN"
    " (SELECT user_id FROM organisation_members WHERE organisation = :organisation) ORDER BY email"
)
_UNINVITE = (
    "UPDATE invitations SET revoked = :at WHERE organisation = :organisation AND used IS NULL AND revoked IS NULL"
)
_OF_A_USER = ("user_identities", "organisation_members", "password_resets", "sessions", "api_tokens", "favourites")
"""Tables whose rows go with the account."""


class AccountError(PilotsError, ValueError):
    """A change of accounts that is not possible. `message` says why and what to do."""

    def __init__(self, message: Message) -> None:
        self.message = message
        super().__init__(str(message))


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person with an account."""

    id: str
    email: str
    name: str
    administrator: bool
    disabled: bool
    created: Micros
    created_by: str
    signed_in: Micros | None
    has_password: bool


class Organisation(msgspec.Struct, frozen=True):
    id: str
    name: str


class Member(msgspec.Struct, frozen=True):
    """Who has a role in a pilot: a person or an organisation."""

    pilot: str
    holder_kind: HolderKind
    holder: str
    source: Source
    role: Role
    who: str
    at: Micros
    email: str = ""
    """Of a person."""
    name: str = ""


class Accounts:
    """The people and organisations in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- people

    def any(self) -> bool:
        """Whether anybody has an account."""
        with self._database.reading() as transaction:
            return transaction.execute("SELECT 1 FROM users LIMIT 1").first() is not None

    def create(
        self, email: str, name: str, who: str, *, password: str | None = None, administrator: bool = False
    ) -> User:
        """A new person. Raises AccountError for an address that has an account, is not one, or a weak password."""
        email, name = checked_email(email), checked_name(name, email)
        hashed = None if password is None else passwords.hashed(passwords.checked(password, email))
        with self._database.writing() as transaction:
            return create_user(transaction, email, name, who, password_hash=hashed, administrator=administrator)

    def create_first(self, email: str, name: str, who: str, password: str) -> User:
        """The first administrator. Raises AccountError when there is one already, or as `create`."""
        email, name = checked_email(email), checked_name(name, email)
        hashed = passwords.hashed(passwords.checked(password, email))
        with self._database.writing() as transaction:
            lock(transaction)
            if transaction.execute("SELECT 1 FROM users WHERE administrator = 1 LIMIT 1").first() is not None:
                raise AccountError(Message("account.not-first"))
            return create_user(transaction, email, name, who, password_hash=hashed, administrator=True)

    def all(self) -> list[User]:
        """Everybody, by address."""
        with self._database.reading() as transaction:
            return [user_of(row._mapping) for row in transaction.execute(f"{_USER} ORDER BY email")]

    def find(self, user: str) -> User | None:
        with self._database.reading() as transaction:
            return find_user(transaction, user)

    def by_email(self, email: str) -> User | None:
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_USER} WHERE email = :email", {"email": _key(email)}).first()
        return None if row is None else user_of(row._mapping)

    def authenticate(self, email: str, password: str) -> User | None:
        """The person with this address and password; as slow for an address without an account as for another."""
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_USER} WHERE email = :email", {"email": _key(email)}).first()
        hashed = None if row is None or row.disabled else row.password
        if not passwords.verify(password, hashed) or row is None:
            return None
        if passwords.outdated(row.password):
            self._store_password(row.id, passwords.hashed(password))
        return user_of(row._mapping)

    def set_password(self, user: str, password: str) -> None:
        """Replace the password; links to a new one are no longer good. Sessions are the caller's to end: one may stay.
        Raises AccountError, WeakPassword."""
        person = self.find(user)
        if person is None:
            raise AccountError(Message("account.unknown-user"))
        self._store_password(user, passwords.hashed(passwords.checked(password, person.email)))
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM password_resets WHERE user_id = :user", {"user": user})

    def _store_password(self, user: str, hashed: str) -> None:
        with self._database.writing() as transaction:
            transaction.execute("UPDATE users SET password = :hash WHERE id = :user", {"hash": hashed, "user": user})

    def set_administrator(self, user: str, administrator: bool) -> None:
        """Raises AccountError when nobody would be left."""
        with self._database.writing() as transaction:
            lock(transaction)
            transaction.execute(
                "UPDATE users SET administrator = :value WHERE id = :user", {"value": int(administrator), "user": user}
            )
            _somebody_is_left(transaction)

    def set_disabled(self, user: str, disabled: bool) -> None:
        """Let the person sign in no more, or again. Their sessions end. Raises AccountError when it is the last one."""
        with self._database.writing() as transaction:
            lock(transaction)
            values = {"value": int(disabled), "user": user}
            transaction.execute("UPDATE users SET disabled = :value WHERE id = :user", values)
            if disabled:
                transaction.execute("DELETE FROM sessions WHERE user_id = :user", values)
            _somebody_is_left(transaction)

    def delete(self, user: str) -> None:
        """Delete the account with roles, sessions and tokens. What the person wrote down keeps their address. Raises
        AccountError when it is the last administrator."""
        with self._database.writing() as transaction:
            lock(transaction)
            of_user = {"user": user}
            for table in _OF_A_USER:
                transaction.execute(f"DELETE FROM {table} WHERE user_id = :user", of_user)  # noqa: S608
            transaction.execute("DELETE FROM roles WHERE holder_kind = 'user' AND holder = :user", of_user)
            transaction.execute("DELETE FROM users WHERE id = :user", of_user)
            _somebody_is_left(transaction)
            audit_log.forget_person(transaction, user)

    # -- identity providers

    def by_identity(self, issuer: str, subject: str) -> User | None:
        with self._database.reading() as transaction:
            row = transaction.execute(
                "SELECT user_id FROM user_identities WHERE issuer = :issuer AND subject = :subject",
                {"issuer": issuer, "subject": subject},
            ).first()
            return None if row is None else find_user(transaction, row.user_id)

    def link_identity(self, user: str, issuer: str, subject: str) -> None:
        """Let the person sign in through an identity provider, which says that the address is theirs.

        Nobody has said so before: whoever has an open invitation chooses an address. So the password, sessions and
        tokens that the account had end, or somebody who had taken the address would share what its owner may do.
        Administrators keep theirs, to sign in with when the identity provider does not answer.
        """
        row = {"issuer": issuer, "subject": subject, "user": user}
        with self._database.writing() as transaction:
            transaction.execute(
                "INSERT INTO user_identities (issuer, subject, user_id) VALUES (:issuer, :subject, :user)", row
            )
            person = find_user(transaction, user)
            if person is not None and person.has_password and not person.administrator:
                transaction.execute("UPDATE users SET password = NULL WHERE id = :user", row)
                for table in ("password_resets", "sessions", "api_tokens"):
                    transaction.execute(f"DELETE FROM {table} WHERE user_id = :user", row)  # noqa: S608

    def apply_groups(
        self, user: str, roles: Mapping[str, Role], organisations: Collection[str], administrator: bool | None
    ) -> None:
        """Replace what groups gave the person at the last sign-in; `administrator` None leaves that as it is."""
        at = now()
        with self._database.writing() as transaction:
            of_user: dict[str, object] = {"user": user}
            transaction.execute(
                "DELETE FROM roles WHERE holder_kind = 'user' AND holder = :user AND source = 'groups'", of_user
            )
            transaction.execute("DELETE FROM organisation_members WHERE user_id = :user AND source = 'groups'", of_user)
            for pilot, role in roles.items():
                row = {"pilot": pilot, "holder_kind": "user", "holder": user, "source": "groups", "role": role}
                transaction.execute(_GRANT, {**row, "who": "identity provider", "at": at})
            for organisation in organisations:
                if _organisation(transaction, organisation) is not None:
                    transaction.execute(_MEMBER, {"organisation": organisation, **of_user, "source": "groups"})
            if administrator is not None:
                transaction.execute(
                    "UPDATE users SET administrator = :value WHERE id = :user", {**of_user, "value": int(administrator)}
                )

    # -- favourites

    def favourites(self, user: str) -> list[str]:
        """Pilots that the person has marked, in the order of their ids."""
        with self._database.reading() as transaction:
            rows = transaction.execute("SELECT pilot FROM favourites WHERE user_id = :user", {"user": user})
            return sorted(row.pilot for row in rows)

    def set_favourite(self, user: str, pilot: str, *, marked: bool) -> None:
        """Mark a pilot, or no longer. The caller has checked that the person may see it."""
        row = {"user": user, "pilot": pilot}
        with self._database.writing() as transaction:
            if marked:
                transaction.execute(
                    "INSERT INTO favourites (user_id, pilot) VALUES (:user, :pilot) ON CONFLICT DO NOTHING", row
                )
            else:
                transaction.execute("DELETE FROM favourites WHERE user_id = :user AND pilot = :pilot", row)

    # -- organisations

    def organisations(self) -> list[Organisation]:
        with self._database.reading() as transaction:
            rows = transaction.execute("SELECT id, name FROM organisations ORDER BY id")
            return [Organisation(row.id, row.name) for row in rows]

    def create_organisation(self, organisation: str, name: str, who: str) -> Organisation:
        """Raises AccountError for an id that is taken or is not one."""
        if not _ORGANISATION.fullmatch(organisation):
            raise AccountError(Message("account.bad-organisation", {"organisation": organisation[:80]}))
        name = clean_text(name).strip()[:NAME_LENGTH] or organisation
        with self._database.writing() as transaction:
            added = transaction.execute(
                "INSERT INTO organisations (id, name, created, created_by) VALUES (:id, :name, :at, :who)"
                " ON CONFLICT DO NOTHING",
                {"id": organisation, "name": name, "at": now(), "who": who},
            )
            if added.rowcount != 1:
                raise AccountError(Message("account.organisation-taken", {"organisation": organisation}))
        return Organisation(organisation, name)

    def delete_organisation(self, organisation: str) -> None:
        """Delete it with its members' rights. Shares for its members and invitations into it end: another organisation
        may get the same id."""
        from techport_pilots.access.shares import revoke_of_organisation  # needs AccountError

        with self._database.writing() as transaction:
            of = {"organisation": organisation, "at": now()}
            revoke_of_organisation(transaction, organisation)
            transaction.execute(_UNINVITE, of)
            transaction.execute("DELETE FROM organisation_members WHERE organisation = :organisation", of)
            transaction.execute("DELETE FROM roles WHERE holder_kind = 'organisation' AND holder = :organisation", of)
            transaction.execute("DELETE FROM organisations WHERE id = :organisation", of)

    def organisation_members(self, organisation: str) -> list[User]:
        with self._database.reading() as transaction:
            rows = transaction.execute(_MEMBERS, {"organisation": organisation})
            return [user_of(row._mapping) for row in rows]

    def organisations_of(self, user: str) -> list[str]:
        with self._database.reading() as transaction:
            return organisations_of(transaction, user)

    def add_member(self, organisation: str, user: str) -> None:
        """Raises AccountError for an organisation that is not there."""
        with self._database.writing() as transaction:
            add_member(transaction, organisation, user)

    def remove_member(self, organisation: str, user: str) -> None:
        row = {"organisation": organisation, "user": user, "source": "granted"}
        with self._database.writing() as transaction:
            transaction.execute(_NO_MEMBER, row)

    # -- roles

    def grant(self, pilot: str, holder_kind: HolderKind, holder: str, role: Role, who: str) -> None:
        """Give a person or an organisation a role in a pilot, in place of the one they were given before. Raises
        AccountError when the holder is not there."""
        with self._database.writing() as transaction:
            account = find_user(transaction, holder) if holder_kind == "user" else _organisation(transaction, holder)
            if account is None:
                raise AccountError(Message(f"account.unknown-{holder_kind}"))
            grant_role(transaction, pilot, holder_kind, holder, role, who)

    def revoke(self, pilot: str, holder_kind: HolderKind, holder: str) -> bool:
        """Take the role back that was given; whether there was one."""
        row = {"pilot": pilot, "holder_kind": holder_kind, "holder": holder, "source": "granted"}
        with self._database.writing() as transaction:
            return transaction.execute(_TAKE, row).rowcount > 0

    def members(self, pilot: str) -> list[Member]:
        """Who has a role in the pilot, people first."""
        with self._database.reading() as transaction:
            users = {row.id: row for row in transaction.execute("SELECT id, email, name FROM users")}
            names = {row.id: row.name for row in transaction.execute("SELECT id, name FROM organisations")}
            members = []
            for row in transaction.execute(_HOLDERS, {"pilot": pilot}):
                person = users.get(row.holder) if row.holder_kind == "user" else None
                email, name = ("", names.get(row.holder, "")) if person is None else (person.email, person.name)
                members.append(Member(**row._mapping, email=email, name=name))
        return members

    def roles_of(self, user: str) -> list[tuple[str, Role]]:
        """(pilot, role) of a person, also those that their organisations have."""
        with self._database.reading() as transaction:
            return roles_of(transaction, user)


def find_user(transaction: Transaction, user: str) -> User | None:
    row = transaction.execute(f"{_USER} WHERE id = :user", {"user": user}).first()
    return None if row is None else user_of(row._mapping)


def create_user(
    transaction: Transaction,
    email: str,
    name: str,
    who: str,
    *,
    password_hash: str | None = None,
    administrator: bool = False,
) -> User:
    """Add a person whose fields were checked. Raises AccountError for an address that has an account."""
    row: dict[str, object] = {
        "id": secrets.token_hex(8),
        "email": email,
        "name": name,
        "password": password_hash,
        "administrator": int(administrator),
        "created": now(),
        "created_by": who,
    }
    if transaction.execute(_ADD_USER, row).rowcount != 1:
        raise AccountError(Message("account.email-taken", {"email": email}))
    return user_of({**row, "disabled": 0, "signed_in": None})


def grant_role(
    transaction: Transaction, pilot: str, holder_kind: HolderKind, holder: str, role: Role, who: str
) -> None:
    row: dict[str, object] = {"pilot": pilot, "holder_kind": holder_kind, "holder": holder, "source": "granted"}
    transaction.execute(_GRANT, {**row, "role": checked_role(role), "who": who, "at": now()})


def granted_role(transaction: Transaction, pilot: str, user: str) -> Role | None:
    """The role in the pilot that somebody gave the person."""
    row = transaction.execute(
        "SELECT role FROM roles"
        " WHERE pilot = :pilot AND holder_kind = 'user' AND holder = :user AND source = 'granted'",
        {"pilot": pilot, "user": user},
    ).first()
    return None if row is None else checked_role(row.role)


def add_member(transaction: Transaction, organisation: str, user: str) -> None:
    """Raises AccountError for an organisation that is not there."""
    if _organisation(transaction, organisation) is None:
        raise AccountError(Message("account.unknown-organisation"))
    transaction.execute(_MEMBER, {"organisation": organisation, "user": user, "source": "granted"})


def organisations_of(transaction: Transaction, user: str) -> list[str]:
    rows = transaction.execute(
        "SELECT DISTINCT organisation FROM organisation_members WHERE user_id = :user ORDER BY organisation",
        {"user": user},
    )
    return [row.organisation for row in rows]


def roles_of(transaction: Transaction, user: str) -> list[tuple[str, Role]]:
    return [(row.pilot, row.role) for row in transaction.execute(_OF_USER, {"user": user})]


def user_rights(transaction: Transaction, user: str, *, administrator: bool) -> Rights:
    return rights_of(() if administrator else roles_of(transaction, user), administrator=administrator)


def user_of(row: Mapping[Any, Any]) -> User:
    fields = {name: row[name] for name in ("id", "email", "name", "created", "created_by", "signed_in")}
    return User(
        **fields,
        administrator=bool(row["administrator"]),
        disabled=bool(row["disabled"]),
        has_password=row["password"] is not None,
    )


def checked_email(email: str) -> str:
    """The address as it is kept. Raises AccountError for a text that is not one."""
    key = _key(email)
    if len(key) > EMAIL_LENGTH or not _EMAIL.fullmatch(key):
        raise AccountError(Message("account.bad-email", {"email": email[:80]}))
    return key


def checked_name(name: str, email: str) -> str:
    """What pages call the person; the address where nothing was said."""
    return " ".join(clean_text(name).split())[:NAME_LENGTH] or email


def checked_role(role: str) -> Role:
    """Raises AccountError for a text that is not a role."""
    if role not in ROLES:
        raise AccountError(Message("account.bad-role", {"role": role[:80], "roles": ", ".join(ROLES)}))
    return role


def _key(email: str) -> str:
    return clean_text(email).strip().lower()


def _organisation(transaction: Transaction, organisation: str) -> str | None:
    row = transaction.execute(
        "SELECT id FROM organisations WHERE id = :organisation", {"organisation": organisation}
    ).first()
    return None if row is None else str(row.id)


def _somebody_is_left(transaction: Transaction) -> None:
    left = transaction.execute("SELECT 1 FROM users WHERE administrator = 1 AND disabled = 0 LIMIT 1").first()
    if left is None and transaction.execute("SELECT 1 FROM users LIMIT 1").first() is not None:
        raise AccountError(Message("account.last-administrator"))
