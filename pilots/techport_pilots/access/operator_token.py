"""What the operator proves with that a request is theirs: the token in the data folder, and what is made from it.

The command line and scripts send the token itself. A browser opens an address with a one-time token, which is exchanged
for a session: a time and a random number with a keyed hash of both, so that nothing has to be kept and every process
over the same data folder accepts it. Whoever replaces the token ends all sessions.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from functools import cached_property
from pathlib import Path

from techport_pilots.errors import PilotsError
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

FILE = "token"
LINKS = "sign-in-links"
LINK_LASTS: Micros = HOUR
SESSION_LASTS: Micros = 30 * DAY

_TOKEN = re.compile(r"[A-Za-z0-9_-]{40,200}")
_BYTES = 32


class UnusableToken(PilotsError):
    """The file is there and holds no token."""


class OperatorToken:
    """The token of a data folder. Its text is in no representation, so that it gets into no log."""

    def __init__(self, secret: str, folder: Path) -> None:
        """`secret` is the token, `folder` the data folder, in which one-time tokens that nobody has used yet lie."""
        self._secret = secret.encode()
        self._links = folder / LINKS

    @classmethod
    def of(cls, folder: Path) -> OperatorToken:
        """The folder's token, made where there is none. Raises UnusableToken, OSError."""
        file = folder / FILE
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _write_new(file, secrets.token_urlsafe(_BYTES))
        if file.stat().st_mode & 0o077:  # a copy or a restored backup: only its owner may read it
            file.chmod(0o600)
        return cls(read_token(folder), folder)

    @cached_property
    def cookie(self) -> str:
        """Name of the cookie. Browsers send cookies to all ports of a host, so it differs from folder to folder."""
        return f"techport_{self._keyed('cookie name')[:8]}"

    @cached_property
    def instance(self) -> str:
        """Tells the processes over one data folder from others; says nothing about the token."""
        return self._keyed("instance")[:16]

    def matches(self, text: str) -> bool:
        """Whether the text is the token."""
        return hmac.compare_digest(self._secret, text.encode("utf-8", "replace"))

    def new_link(self) -> str:
        """A one-time token, good for an hour. Raises OSError."""
        self._links.mkdir(mode=0o700, exist_ok=True)
        for file in self._links.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was used at this moment
                if _expired(file):
                    file.unlink()
        token = secrets.token_urlsafe(_BYTES)
        _write_new(self._link(token), str(now() + LINK_LASTS))
        return token

    def redeem(self, token: str) -> bool:
        """Use a one-time token up. False for one that was used, has expired or never was.

        The file system removes a file once, however many processes try: a token is never good twice.
        """
        file = self._link(token)
        try:
            fresh = not _expired(file)
            file.unlink()
        except OSError:
            return False
        return fresh

    def new_session(self) -> str:
        """The value of a cookie that is good for thirty days."""
        content = f"{now() + SESSION_LASTS}.{secrets.token_hex(8)}"
        return f"{content}.{self._keyed('session ' + content)}"

    def accepts(self, session: str) -> bool:
        """Whether the value of a cookie was made with this token and has not expired."""
        content, _, mac = session.rpartition(".")
        until = content.partition(".")[0]
        if not until:  # most browsers have none: no hash for them
            return False
        right = hmac.compare_digest(self._keyed("session " + content).encode(), mac.encode("utf-8", "replace"))
        return right and until.isdecimal() and int(until) > now()

    def _keyed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _link(self, token: str) -> Path:
        """Named by the hash: who lists the folder has no token."""
        return self._links / hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def read_token(folder: Path) -> str:
    """The token of a data folder that has one. Raises UnusableToken, OSError."""
    file = folder / FILE
    text = file.read_text("utf-8", "replace").strip()
    if not _TOKEN.fullmatch(text):
        raise UnusableToken(f"{file} holds no token. Remove it and start techport again: it makes a new one")
    return text


def _expired(file: Path) -> bool:
    """Whether the time in the file of a one-time token is past. Raises OSError for one that is not there."""
    until = file.read_text("utf-8", "replace")
    return not until.isdecimal() or int(until) <= now()


def _write_new(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all; leave one that is there already."""
    draft = file.with_name(f".{file.name[:16]}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(text)
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
