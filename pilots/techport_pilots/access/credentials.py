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

import msgspec
from sqlalchemy import Engine, delete, insert, select

from techport_pilots.registry.database import reading, writing
from techport_pilots.registry.tables import credentials
from techport_storage.clock import now
from techport_storage.model import Micros

_ROUNDS = 101


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

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def issue(self, pilot: str, device: str, who: str) -> Issued:
        """A credential for the device, instead of the one it had. The platform's broker knows it within a second."""
        username, password = _username(pilot, device), secrets.token_hex(16)
        row = {"username": username, "pilot": pilot, "device": device, "password": hashed(password)}
        with writing(self._engine) as connection:
            connection.execute(delete(credentials).where(credentials.c.username == username))
            connection.execute(insert(credentials), {**row, "who": who, "at": now()})
        return Issued(username, password, f"pilots/{pilot}/{device}/readings")

    def revoke(self, pilot: str, device: str) -> bool:
        """Take the device's credential back; whether it had one."""
        with writing(self._engine) as connection:
            mine = delete(credentials).where(credentials.c.username == _username(pilot, device))
            return connection.execute(mine).rowcount > 0

    def check(self, username: str, password: str) -> Credential | None:
        """The credential of this user name, where the password is its."""
        with reading(self._engine) as connection:
            row = connection.execute(select(credentials).where(credentials.c.username == username)).mappings().first()
        found = None if row is None else Credential(**row)
        return found if found is not None and verify(password, found.password) else None

    def all(self, pilot: str | None = None) -> list[Credential]:
        """Every credential, by user name."""
        query = select(credentials).order_by(credentials.c.username)
        if pilot is not None:
            query = query.where(credentials.c.pilot == pilot)
        with reading(self._engine) as connection:
            return [Credential(**row) for row in connection.execute(query).mappings()]


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
    """A colon ends the name in mosquitto's password file; a device's id may hold one."""
    return f"{pilot}/{device}".replace(":", "_")
