"""The audit log as people read it: who it was by name, and what it was, for pages and the API."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import msgspec

from techport_pilots.access import audit_log
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.audit_log import KINDS, AuditQueue, Kind, Logged
from techport_pilots.i18n import N_

KIND_NAMES: dict[Kind, str] = {
    "signed-in": N_("signed in"),
    "sign-in-failed": N_("failed to sign in"),
    "signed-out": N_("signed out"),
    "saw-raw": N_("saw raw data"),
    "read-share": N_("read a shared feed"),
    "changed": N_("changed"),
    "exported": N_("exported"),
    "shared": N_("shared, or changed rights"),
    "erased": N_("erased"),
    "refused": N_("was refused"),
    "log-trimmed": N_("removed old entries of this log"),
}

WHO_NAMES = {"operator": N_("operator"), "command line": N_("command line"), "platform": N_("platform")}
"""Who has no account."""
ERASED = N_("(erased)")
NOBODY = N_("unknown")


class Shown(msgspec.Struct, frozen=True):
    """An entry, with the address that the account has now."""

    entry: Logged
    email: str
    """Of the account; empty for who has none, and where the account or the entry's text was erased."""

    @property
    def plain_who(self) -> str:
        """Whoever has no account, or what is known of them."""
        if self.entry.who in WHO_NAMES:
            return WHO_NAMES[self.entry.who]
        if self.entry.who == "" and self.entry.who_salt:
            return NOBODY
        return ERASED if not self.email else ""

    @property
    def token(self) -> str:
        """The number of the API token that was used."""
        return self.entry.who.partition(" (token ")[2].rstrip(")")


def shown(
    queue: AuditQueue, *, pilot: str | None, kind: Kind | None, before: int | None, limit: int
) -> tuple[list[Shown], int | None]:
    """Entries, the newest first, and the number to go on before; None on the last page. What this process has seen and
    not written yet is written first. Raises RegistryUnavailable."""
    queue.flush()
    entries = audit_log.entries(queue.database, pilot=pilot, kind=kind, before=before, limit=limit + 1)
    page = entries[:limit]
    return _with_addresses(queue, page), page[-1].number if len(entries) > limit else None


def json_lines(entries: Iterable[Logged]) -> Generator[bytes]:
    """An entry a line, with the hashes: whoever has the file can follow the chain of the whole log."""
    lines: list[bytes] = []
    for entry in entries:
        lines.append(msgspec.json.encode(entry))
        if len(lines) == 1000:
            yield b"\n".join([*lines, b""])
            lines = []
    yield b"\n".join([*lines, b""]) if lines else b""


def checked_kind(text: str) -> Kind | None:
    """The kind of this name; None for another text."""
    return next((kind for kind in KINDS if kind == text), None)


def _with_addresses(queue: AuditQueue, page: Sequence[Logged]) -> list[Shown]:
    accounts = Accounts(queue.database)
    users = {entry.who.partition(" ")[0] for entry in page if entry.who and entry.who not in WHO_NAMES}
    emails = {user: account.email for user in users if (account := accounts.find(user)) is not None}
    return [Shown(entry, emails.get(entry.who.partition(" ")[0], "")) for entry in page]
