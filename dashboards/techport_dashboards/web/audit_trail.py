"""What of a request goes into the audit log: decided here alone, from what its route declares and who asks.

    allow ─► begin: an entry is due ─► route ─► its first change writes the entry in the same transaction
                                        └────► else AuditTrail, before the answer: at once; seeing raw data: queued

`about` is what the address, and fields of a form that the route names, say of the object. Where only the route knows
who it is about or which pilot, it says so with `note`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol
from urllib.parse import parse_qs

import structlog
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.problems import Problem
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.viewer import Viewer
from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import AuditQueue, Entry, Kind
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import COMPANION, Database, Transaction
from techport_storage.clock import now

log = structlog.get_logger(__name__)

Logs = Kind | Literal["by action"] | None
"""What a route declares: one kind, none, or what its action and method say."""

When = Callable[[HTTPConnection], bool]

_READING = ("GET", "HEAD", "OPTIONS")
_OF_ACTION: dict[str, Kind] = {
    "edit": "changed",
    "devices": "changed",
    "close": "changed",
    "share": "shared",
    "erase": "erased",
    "admin": "changed",
    "account": "changed",
}
"""What a change is, by its action."""
_QUEUED: tuple[Kind, ...] = ("saw-raw", "sign-in-failed", "refused")
"""What may come many times: it is written a moment later, and counted where it is alike."""
_STATE = "audit"
_MOST_PILOTS = 100


def kind_of(logs: Logs, action: str, method: str) -> Kind | None:
    """What a request is to the log; None: nothing."""
    if logs != "by action":
        return logs
    if action == "see-raw":
        return "saw-raw"
    return None if method in _READING else _OF_ACTION.get(action)


class Declaration(Protocol):
    """What a route says of itself with `needs` (web/access.py)."""

    @property
    def action(self) -> str: ...
    @property
    def logs(self) -> Logs: ...
    @property
    def about(self) -> tuple[str, ...]: ...
    @property
    def when(self) -> When | None: ...


class PendingEntry:
    """The entry that a request will have, written once."""

    def __init__(self, connection: HTTPConnection, kind: Kind, need: Declaration, who: str) -> None:
        self.kind: Kind = kind
        self.who = who
        self.pilots: Sequence[str] | None = None
        self.about = ""
        self.done = False
        self._scope = connection.scope
        self._need = need
        self._query = connection.query_params

    def entries(self) -> list[Entry]:
        """One for each pilot that it concerns."""
        path = self._scope.get("path_params", {})
        pilots = self.pilots
        if pilots is None:
            named = [pilot for text in self._query.getlist("pilot") for pilot in text.split(",") if pilot]
            pilots = [path["pilot"]] if "pilot" in path else list(dict.fromkeys(named))[:_MOST_PILOTS] or [""]
        paths = getattr(self._scope["app"].state, "paths", {})
        pattern = paths.get(self._scope.get("endpoint"), "")
        return [
            Entry(
                kind=self.kind,
                who=self.who,
                at=now(),
                action=self._need.action,
                what=f"{self._scope['method']} {pattern}",
                pilot=pilot,
                about=self._about(path),
            )
            for pilot in pilots
        ]

    def _about(self, path: dict[str, object]) -> str:
        parts = [f"{name}={value}" for name, value in path.items() if name != "pilot"]
        form = self._scope.get("state", {}).get("form")
        if form is not None:
            parts += [f"{name}={value[:100]}" for name in self._need.about if (value := form.get(name))]
        return " ".join([*parts, self.about] if self.about else parts)

    # -- Companion of the database: written with the first change

    def met(self, database: Database) -> None:
        pass

    def write(self, transaction: Transaction) -> bool:
        if not self.who or self.kind in _QUEUED or self.done:
            return False
        audit_log.append(transaction, self.entries())
        return True

    def committed(self) -> None:
        self.done = True


def begin(connection: HTTPConnection, need: Declaration, viewer: Viewer | None) -> None:
    """An entry is due for this request, if it is one to log. `viewer` None: the route will say who it was.

    What anybody may read without an account is not logged, nor is a page that shows raw data to some for the others.
    """
    kind = kind_of(need.logs, need.action, connection.scope["method"])
    if kind is None or (need.when is not None and not need.when(connection)):
        return
    if viewer is not None and not viewer.signed_in:
        return
    if kind == "saw-raw" and viewer is not None and not viewer.may("see-raw", connection.path_params.get("pilot")):
        return
    pending = PendingEntry(connection, kind, need, "" if viewer is None else id_of(viewer))
    connection.scope.setdefault("state", {})[_STATE] = pending
    COMPANION.set(pending)


def id_of(viewer: Viewer) -> str:
    """How the log names who asks: by the id of the account, with the number of the token."""
    if viewer.identity is None:
        return viewer.who if viewer.signed_in else ""
    token = viewer.identity.token
    return viewer.identity.user.id if token is None else f"{viewer.identity.user.id} (token {token})"


def note(
    connection: HTTPConnection,
    *,
    who: str | None = None,
    kind: Kind | None = None,
    pilots: Sequence[str] | None = None,
    about: str | None = None,
) -> None:
    """Say of the entry that is due what only the route knows; before it changes anything."""
    pending = connection.scope.get("state", {}).get(_STATE)
    if pending is None:
        return
    pending.who = pending.who if who is None else who
    pending.kind = pending.kind if kind is None else kind
    pending.pilots = pending.pilots if pilots is None else pilots
    pending.about = pending.about if about is None else about


def session_starts(connection: HTTPConnection, user: str) -> None:
    """Somebody signs in: to be said before their session is made, so that both are written together."""
    pending = connection.scope.get("state", {}).get(_STATE)
    if pending is not None and pending.kind == "signed-in":
        pending.who = user


class AuditTrail:
    """Writes the entries of requests whose routes wrote none with a change of their own."""

    def __init__(self, app: ASGIApp, queue: AuditQueue) -> None:
        self._app = app
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_logged(message: Message) -> None:
            if message["type"] == "http.response.start":
                pending = state.get(_STATE)
                if pending is not None and not pending.done:
                    await self._finish(pending, message["status"])
                if "problem" in state:
                    await self._note_refusal(scope, state.pop("problem"))
            await send(message)

        try:
            await self._app(scope, receive, send_logged)
        finally:
            if _STATE in state:
                state[_STATE].done = True
                COMPANION.set(None)

    async def _note_refusal(self, scope: Scope, problem: Problem) -> None:
        """Somebody with an account may not do this, or asks for a pilot that they may not see; or a token is wrong.

        A pilot that does not exist is looked up as one that is hidden is, and not logged.
        """
        if problem.kind == "bad-token":
            self._queue.add(Entry(kind="sign-in-failed", who="", at=now(), what="Authorization"))
            return
        viewer: Viewer | None = scope["state"].get("viewer")
        hidden = problem.kind in ("not-found", "unknown-name") and problem.parameter == "pilot"
        if viewer is None or not viewer.signed_in or not (hidden or problem.kind == "forbidden"):
            return
        asked = parse_qs(scope["query_string"].decode("latin-1"), errors="replace")
        name = str(scope.get("path_params", {}).get("pilot") or asked.get("pilot", [""])[0])
        app = scope["app"]
        exists = not name or await run_in_threadpool(_exists, app, name)
        if not exists:
            return
        pattern = app.state.paths.get(scope.get("endpoint"), "")
        self._queue.add(
            Entry(
                kind="refused",
                who=id_of(viewer),
                at=now(),
                action=scope["state"].get("action", ""),
                what=f"{scope['method']} {pattern}",
                pilot=name,
            )
        )

    async def _finish(self, pending: PendingEntry, status: int) -> None:
        pending.done = True
        if status >= 400:
            if pending.kind != "signed-in":
                return
            pending.kind = "sign-in-failed"
            pending.who = ""
        elif not pending.who:
            return
        entries = pending.entries()
        if pending.kind in _QUEUED:
            for entry in entries:
                self._queue.add(entry)
            return
        await record(self._queue, entries)


def _exists(app: FastAPI, pilot: str) -> bool:
    """Made-up names must not fill the log."""
    registry_cache: RegistryCache = app.state.services.registry_cache
    try:
        return pilot in registry_cache.current().pilots
    except RegistryUnavailable:
        return False


async def record(queue: AuditQueue, entries: Sequence[Entry]) -> None:
    """Write entries now; where the registry does not answer, as soon as it does."""
    try:
        await run_in_threadpool(audit_log.write, queue.database, entries)
    except RegistryUnavailable as error:
        log.warning("an entry of the audit log waits", problem=str(error))
        for entry in entries:
            queue.add(entry)
