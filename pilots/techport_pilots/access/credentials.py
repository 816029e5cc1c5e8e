"""What devices prove at the broker who they are. The password is shown once and kept only as a salted hash.

A device whose password is rotated has two credentials until the old one ends. mosquitto's password file has one
password for each user name, so the new one comes with a user name of its own (`air/lamp-1~2`).

Hashes are written as mosquitto writes them in its password file: `$7$<rounds>$<salt>$<PBKDF2-HMAC-SHA512>`
(mosquitto_passwd(1)); and, for NATS servers, which know no other, as bcrypt does. Passwords are 128 random bits, which
nobody guesses however fast the hash is: bcrypt's least cost will do, and a server that restarts lets a thousand devices
in within a second.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import secrets
from collections.abc import Iterable
from urllib.parse import quote

import bcrypt
import msgspec

from techport_pilots.registry.database import Database, Transaction, conditions
from techport_pilots.registry.lifecycle import refuse_if_closed
from techport_storage.clock import now
from techport_storage.model import Micros

_ROUNDS = 101
_BCRYPT_COST = 4  # the least that there is; a millisecond

_SELECT = "SELECT username, pilot, device, password, bcrypt, who, at, until FROM credentials"
_IN_FORCE = f"coalesce(until, {2**63 - 1}) > :now"
_DELETE = "DELETE FROM credentials WHERE pilot = :pilot AND device = :device"
_DELETE_ENDED = "DELETE FROM credentials WHERE until <= :now"
_OWNER = "SELECT pilot, device FROM credentials WHERE username = :username"
_END = (
    "UPDATE credentials SET until = :end WHERE pilot = :pilot AND device = :device AND (until IS NULL OR until > :end)"
)
_ADD = (
    "INSERT INTO credentials (username, pilot, device, password, bcrypt, who, at)"
    " VALUES (:username, :pilot, :device, :password, :bcrypt, :who, :at)"
)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Who may publish as which device."""

    username: str
    pilot: str
    device: str
    password: str  # hash
    bcrypt: str | None = None  # another hash; of credentials that were issued before NATS was known there is none
    who: str  # issued it
    at: Micros
    until: Micros | None = None  # when it ends, because another one has taken its place

    @property
    def topics(self) -> str:
        """The beginning of all topics that the device may use."""
        return f"pilots/{self.pilot}/{self.device}/"


class Issued(msgspec.Struct, frozen=True):
    """A new credential, the only time that its password is known."""

    username: str
    password: str
    topic: str  # where readings go


class Credentials:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def issue(self, pilot: str, device: str, who: str) -> Issued:
        """A credential for the device, instead of all that it had. The platform's broker knows it within a second.

        Raises WrongState where the pilot is closed."""
        [issued] = self.issue_all(pilot, [device], who)
        return issued

    def issue_all(self, pilot: str, devices: Iterable[str], who: str) -> list[Issued]:
        """The same for several devices of a pilot: all of them or none. Raises WrongState."""
        issued = []
        with self._database.writing() as transaction:
            refuse_if_closed(transaction, pilot)
            transaction.execute(_DELETE_ENDED, {"now": now()})
            for device in devices:
                transaction.execute(_DELETE, {"pilot": pilot, "device": device})
                issued.append(_add(transaction, pilot, device, who))
        return issued

    def rotate(self, pilot: str, device: str, who: str, overlap: Micros) -> Issued:
        """A second credential for the device. Those that it had go on for `overlap` and then end by themselves.

        Raises WrongState where the pilot is closed."""
        at = now()
        with self._database.writing() as transaction:
            refuse_if_closed(transaction, pilot)
            transaction.execute(_DELETE_ENDED, {"now": at})
            transaction.execute(_END, {"pilot": pilot, "device": device, "end": at + overlap})
            return _add(transaction, pilot, device, who)

    def revoke(self, pilot: str, device: str, username: str | None = None) -> bool:
        """Take the device's credentials back, or the one of this user name; whether it had any."""
        limits = {"pilot = :pilot": pilot, "device = :device": device, "username = :username": username}
        condition, parameters = conditions(limits)
        with self._database.writing() as transaction:
            return transaction.execute(f"DELETE FROM credentials{condition}", parameters).rowcount > 0  # noqa: S608

    def check(self, username: str, password: str) -> Credential | None:
        """The credential of this user name, where the password is its."""
        condition, parameters = conditions({"username = :username": username, _IN_FORCE: now()})
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_SELECT}{condition}", parameters).first()
        credential = None if row is None else Credential(**row._mapping)
        return credential if credential is not None and verify(password, credential.password) else None

    def all(self, pilot: str | None = None, device: str | None = None) -> list[Credential]:
        """Every credential in force, by user name."""
        limits = {"pilot = :pilot": pilot, "device = :device": device, _IN_FORCE: now()}
        condition, parameters = conditions(limits)
        with self._database.reading() as transaction:
            rows = transaction.execute(f"{_SELECT}{condition} ORDER BY username", parameters)
            return [Credential(**row._mapping) for row in rows]

    def hashes(self) -> dict[str, str]:
        """The hash of the password that proves each user name in force."""
        condition, parameters = conditions({_IN_FORCE: now()})
        with self._database.reading() as transaction:
            rows = transaction.execute(f"SELECT username, password FROM credentials{condition}", parameters)  # noqa: S608
            return {row.username: row.password for row in rows}


def _add(transaction: Transaction, pilot: str, device: str, who: str) -> Issued:
    username, password = _free_username(transaction, pilot, device), secrets.token_hex(16)
    row = {"username": username, "pilot": pilot, "device": device}
    hashes = {"password": hashed(password), "bcrypt": bcrypt_hash(password)}
    transaction.execute(_ADD, {**row, **hashes, "who": who, "at": now()})
    return Issued(username, password, f"pilots/{pilot}/{device}/readings")


def _free_username(transaction: Transaction, pilot: str, device: str) -> str:
    def owner(username: str) -> tuple[str, str] | None:
        row = transaction.execute(_OWNER, {"username": username}).first()
        return None if row is None else (row.pilot, row.device)

    username = _username(pilot, device)
    if owner(username) not in (None, (pilot, device)):
        # Earlier versions called the device a:1 a_1, and its credential keeps that name.
        username = username.replace("_", "%5F")
    names = itertools.chain([username], (f"{username}~{number}" for number in itertools.count(2)))
    return next(name for name in names if owner(name) is None)


def hashed(password: str, salt: bytes | None = None) -> str:
    """The hash of a password, as mosquitto writes it."""
    salt = secrets.token_bytes(12) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def bcrypt_hash(password: str) -> str:
    """The hash of a password that nobody guesses, as NATS servers take it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_BCRYPT_COST)).decode()


def verify(password: str, hash_: str) -> bool:
    """Whether the password has this hash."""
    try:
        salt = base64.b64decode(hash_.split("$")[3])
    except (IndexError, binascii.Error):
        return False
    return hmac.compare_digest(hashed(password, salt), hash_)


def _username(pilot: str, device: str) -> str:
    """A name that no other device has. A colon, which an id may hold, ends the name in mosquitto's password file:
    everything beyond letters, digits and `._-~` is percent-encoded, as in a URL.
    """
    return f"{quote(pilot, safe='')}/{quote(device, safe='')}"
