"""Entries of the audit log for what commands do by themselves, without a platform that is asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import Entry, Kind
from techport_pilots.registry.database import COMPANION, Database, Transaction
from techport_storage.clock import now

WHO = "command line"
_ABOUT = ("device", "quantity", "role", "organisation", "administrator", "share", "audience")
"""Arguments that say what a command is about; never an address or another text about a person."""


class CommandEntry:
    """The entry of a command: written with its first change, or when it is done."""

    def __init__(self, kind: Kind, action: str, command: str, arguments: Mapping[str, Any]) -> None:
        pilot = arguments.get("pilot")
        self._about = " ".join(f"{name}={_text(arguments[name])}" for name in _ABOUT if arguments.get(name))
        self._pilot = pilot if isinstance(pilot, str) else ""
        self._kind: Kind = kind
        self._action = action
        self._what = command
        self._database: Database | None = None
        self._done = False

    def met(self, database: Database) -> None:
        self._database = database

    def write(self, transaction: Transaction) -> bool:
        if self._done:
            return False
        audit_log.append(transaction, [self._entry()])
        return True

    def committed(self) -> None:
        self._done = True

    def finish(self) -> None:
        """The command is done. Where it looked into the registry and changed nothing, its entry is written now."""
        if not self._done and self._database is not None:
            with self._database.writing():
                pass
            self._database.close()

    def _entry(self) -> Entry:
        return Entry(
            kind=self._kind,
            who=WHO,
            at=now(),
            action=self._action,
            what=self._what,
            pilot=self._pilot,
            about=self._about,
        )


def _text(argument: object) -> str:
    """An option that may be repeated has its values side by side, so that erasing finds each."""
    return ",".join(map(str, argument)) if isinstance(argument, list | tuple) else str(argument)


@contextmanager
def logged(kind: Kind, action: str, command: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """While the command `what` runs. One that fails is logged if it changed something before, or showed raw data."""
    entry = CommandEntry(kind, action, command, arguments)
    token = COMPANION.set(entry)
    try:
        try:
            yield
        except typer.Exit as ended:
            if ended.exit_code == 0 or kind == "saw-raw":
                entry.finish()
            raise
        except BaseException:
            if kind == "saw-raw":
                entry.finish()
            raise
        entry.finish()
    finally:
        COMPANION.reset(token)
