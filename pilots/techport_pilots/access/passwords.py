"""Passwords of people, as argon2id hashes (RFC 9106): slow and large to compute, so that a stolen table is of no use.

One hash takes 64 MiB and some 50 ms; a few at once at most, so that a crowd at the sign-in page cannot fill the memory.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

from techport_pilots.errors import PilotsError
from techport_pilots.i18n import Message

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST = 12
"""NIST SP 800-63B asks for at least eight with a second factor and fifteen without; guesses are limited here."""
LONGEST = 1_000
AT_ONCE = 2

_turns = threading.BoundedSemaphore(AT_ONCE)
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$VL8vJhFQhkQOp9PUx6TWNg$cYY9Co/loYZSI74F7MwOyMEoPyJxFDzz7Gw2yTr607I"
"""Compared with where there is no account, so that the answer takes as long."""
_COMMON = ("password", "passord", "techport", "qwerty", "12345678", "trondheim")


class WeakPassword(PilotsError, ValueError):
    """A password that is too easy to guess, or too long. `message` says which, and what would do."""

    def __init__(self, message: Message) -> None:
        self.message = message
        super().__init__(str(message))


def checked(password: str, email: str) -> str:
    """The password. Raises WeakPassword."""
    plain = password.lower()
    if not SHORTEST <= len(password) <= LONGEST:
        raise WeakPassword(Message("account.password-length", {"shortest": SHORTEST, "longest": LONGEST}))
    own = [part for part in (email, email.partition("@")[0]) if len(part) > 3]
    rest = plain
    for part in (*own, *_COMMON):
        rest = rest.replace(part, "")
    if len(set(plain)) < 5 or len(rest) < SHORTEST // 2:
        raise WeakPassword(Message("account.password-guessable"))
    return password


def hashed(password: str) -> str:
    with _turns:
        return _hasher().hash(password)


def verify(password: str, hash_: str | None) -> bool:
    """Whether the password has this hash; None: of nobody, which takes as long and is never right."""
    from argon2.exceptions import InvalidHashError, VerificationError

    with _turns:
        try:
            _hasher().verify(hash_ or _NOBODY, password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return False
    return hash_ is not None


def outdated(hash_: str) -> bool:
    """Whether the hash was made with weaker parameters than now."""
    return _hasher().check_needs_rehash(hash_)


@cache
def _hasher() -> PasswordHasher:
    """Imported when somebody signs in with a password: most commands and processes never need it."""
    from argon2 import PasswordHasher

    return PasswordHasher()  # argon2id with the second recommendation of RFC 9106, for 64 MiB
