"""Whether a package was made by this platform: a keyed sum over its SHA256SUMS, in the comment of the zip.

The key is a secret in the registry, so that every process of the platform has it and a backup keeps it. HMAC needs
nothing but the standard library; only platforms with the same registry can tell (docs/decisions). The files of a
package and their sums are the same with and without it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal

from techport_pilots.errors import BadPackage
from techport_pilots.registry.database import Database
from techport_storage.clock import now

Origin = Literal["this-platform", "unknown-key", "unsigned"]

_ORIGINS: dict[Origin, str] = {
    "this-platform": "signed by this platform",
    "unknown-key": "signed by another platform, which cannot be verified here",
    "unsigned": "not signed",
}
"""As the history of a pilot and the command line say it."""

_NAME = "package"
_FORM = re.compile(rb"techport-signature hmac-sha256 ([0-9a-f]{16}) ([0-9a-f]{64})")
_READ = "SELECT key_id, secret FROM signing_keys WHERE name = :name"
_CREATE = (
    "INSERT INTO signing_keys (name, key_id, secret, created) VALUES (:name, :key_id, :secret, :created)"
    " ON CONFLICT DO NOTHING"
)


def sign(database: Database, sums: bytes) -> bytes:
    """The comment of a package whose SHA256SUMS are `sums`. May raise RegistryUnavailable."""
    key = _key(database)
    if key is None:
        with database.writing() as transaction:  # another process may be at it: the first key stays
            fresh = {"key_id": secrets.token_hex(8), "secret": secrets.token_bytes(32)}
            transaction.execute(_CREATE, {"name": _NAME, "created": now(), **fresh})
        key = _key(database)
    assert key is not None
    key_id, secret = key
    return f"techport-signature hmac-sha256 {key_id} {_sum(secret, sums)}".encode()


def origin(database: Database, sums: bytes, comment: bytes) -> Origin:
    """Who made the package, as far as its comment can say.

    Raises BadPackage where it has the name of this platform's key and not its signature, and RegistryUnavailable.
    """
    match = _FORM.fullmatch(comment.strip())
    if match is None:
        return "unsigned"
    key = _key(database)
    if key is None or key[0] != match[1].decode():
        return "unknown-key"
    if not hmac.compare_digest(_sum(key[1], sums), match[2].decode()):
        raise BadPackage(
            "the package was changed since this platform signed it: take the file that was made, or make it again "
            "(`techport pilot close`)"
        )
    return "this-platform"


def origin_in_words(of: Origin) -> str:
    """Who made a package, for the history of a pilot and the command line."""
    return _ORIGINS[of]


def _key(database: Database) -> tuple[str, bytes] | None:
    with database.reading() as transaction:
        row = transaction.execute(_READ, {"name": _NAME}).first()
    return None if row is None else (row.key_id, bytes(row.secret))


def _sum(secret: bytes, sums: bytes) -> str:
    return hmac.new(secret, sums, hashlib.sha256).hexdigest()
