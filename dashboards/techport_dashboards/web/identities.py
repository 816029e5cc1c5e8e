"""Whose session or API token a request shows: asked of the registry, and remembered for a few seconds.

A right that is lost is thereby lost within FRESH_S in every process, and at once in the one that took it away. While
the registry does not answer, what it said last holds for a minute.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from techport_pilots.access.sessions import Identity, hashed_token
from techport_pilots.errors import RegistryUnavailable

FRESH_S = 5.0
STALE_S = 60.0
_MOST = 10_000


Find = Callable[[str], Identity | None]
"""Asks the registry whose a token is. May raise RegistryUnavailable."""


class Identities:
    """Belongs to the event loop, but for `forget`."""

    def __init__(self, find_session: Find, find_api_token: Find) -> None:
        self._find_session = find_session
        self._find_api_token = find_api_token
        self._known: OrderedDict[str, tuple[float, Identity | None]] = OrderedDict()

    async def of_session(self, token: str) -> Identity | None:
        """Whose session has this token; None for one that has ended or never was. Raises RegistryUnavailable."""
        return await self._find("session", token, self._find_session)

    async def of_api_token(self, text: str) -> Identity | None:
        """Who the API token speaks for, likewise."""
        return await self._find("token", text, self._find_api_token)

    def forget(self) -> None:
        """Ask the registry again, because something was changed."""
        self._known = OrderedDict()

    async def _find(self, kind: str, token: str, ask: Find) -> Identity | None:
        key, moment = f"{kind} {hashed_token(token)}", time.monotonic()
        cached = self._known
        asked, identity = cached.get(key, (float("-inf"), None))
        if moment - asked <= FRESH_S:
            return identity
        try:
            identity = await run_in_threadpool(ask, token)
        except RegistryUnavailable:
            if moment - asked <= STALE_S:
                return identity
            raise
        cached[key] = (moment, identity)
        cached.move_to_end(key)
        if len(cached) > _MOST:
            cached.popitem(last=False)
        return identity
