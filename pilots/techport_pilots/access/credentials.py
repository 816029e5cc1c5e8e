"""What devices prove at the broker who they are. The password is shown once and kept only as a salted hash.

Hashes are written as mosquitto writes them in its password file: `$7$<rounds>$<salt>$<PBKDF2-HMAC-SHA512>`
(mosquitto_passwd(1)). Passwords are 128 random bits, which nobody guesses however fast the hash is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from urllib.parse import quote

import msgspec

from techport_pilots.registry.database import Database, conditions
from techport_storage.clock import now
from techport_storage.model import Micros

_ROUNDS = 101

_SELECT = "SELECT username, pilot, device, password, who, at FROM credentials"
_DELETE = "DELETE FROM credentials WHERE pilot = :pilot AND device = :device"
_OWNER = "SELECT 1 FROM credentials WHERE username = :username"
_ADD = (
    "INSERT INTO credentials (username, pilot, device, password, who, at)"
    " VALUES (:username, :pilot, :device, :password, :who, :at)"
)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Who may publish as which device."""

    username: str
    pilot: str
    device: str
    password: str  # hash
    who: str  # issued it
    at: Micros

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
        """A credential for the device, instead of the one it had. The platform's broker knows it within a second."""
        username, password = _username(pilot, device), secrets.token_hex(16)
        with self._database.writing() as transaction:
            transaction.execute(_DELETE, {"pilot": pilot, "device": device})
            if transaction.execute(_OWNER, {"username": username}).first() is not None:
                # Earlier versions called the device a:1 a_1, and its credential keeps that name.
                username = username.replace("_", "%5F")
            row = {"username": username, "pilot": pilot, "device": device, "password": hashed(password)}
            transaction.execute(_ADD, {**row, "who": who, "at": now()})
        return Issued(username, password, f"pilots/{pilot}/{device}/readings")

    def revoke(self, pilot: str, device: str) -> bool:
        """Take the device's credential back; whether it had one."""
        with self._database.writing() as transaction:
            return transaction.execute(_DELETE, {"pilot": pilot, "device": device}).rowcount > 0

    def check(self, username: str, password: str) -> Credential | None:
        """The credential of this user name, where the password is its."""
        with self._database.reading() as transaction:
            row = transaction.execute(f"{_SELECT} WHERE username = :username", {"username": username}).first()
        credential = None if row is None else Credential(**row._mapping)
        return credential if credential is not None and verify(password, credential.password) else None

    def all(self, pilot: str | None = None) -> list[Credential]:
        """Every credential, by user name."""
        condition, parameters = conditions({"pilot = :pilot": pilot})
        with self._database.reading() as transaction:
            rows = transaction.execute(f"{_SELECT}{condition} ORDER BY username", parameters)
            return [Credential(**row._mapping) for row in rows]


def hashed(password: str, salt: bytes | None = None) -> str:
    """The hash of a password, as mosquitto writes it."""
    salt = secrets.token_bytes(12) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


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
