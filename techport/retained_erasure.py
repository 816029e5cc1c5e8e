"""Erasing retained messages at a broker where no other part of the platform may: `techport broker-access` does it.

    an erasure ─► request in the registry ─► user `erasure` of the broker, for as long as it takes ─► request is gone

No account that could read and write everything is there before or after, and none of its passwords in any file but the
broker's own.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from techport_ingest.brokers.auth import PlatformUser
from techport_ingest.sources.relay import BrokerAway
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.handover.broker_messages import Belongs, Request, RetainedRequests

log = structlog.get_logger(__name__)

USERNAME = "erasure"
LOOK_S = 0.5
"""Seconds between two looks at what is asked."""
SAID_EVERY_S = 600.0
"""How often this process says that it is the one who does it."""
LET_IN_S = 15.0
"""How long the broker may take to read that there is a new user."""


EraseAs = Callable[[PlatformUser, Sequence[str], Belongs], int]
"""Erases retained messages of topic filters as a user of the broker. May raise OSError, ValueError or BrokerAway."""


class RetainedErasure:
    """Does what is asked, in a thread until `stop`."""

    def __init__(self, requests: RetainedRequests, broker: str, erase_as: EraseAs) -> None:
        """`broker` is the address, for the log."""
        self._requests = requests
        self._broker = broker
        self._erase_as = erase_as
        self._worker = secrets.token_hex(8)
        self._said = float("-inf")
        self._user: PlatformUser | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retained-erasure", daemon=True)

    def users(self) -> list[PlatformUser]:
        """The users of the broker that are there because of this now: one, or none."""
        user = self._user
        return [] if user is None else [user]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self._round()
            except (RegistryUnavailable, OSError, ValueError, BrokerAway) as error:
                log.warning("retained messages at the broker stay for now", broker=self._broker, problem=str(error))
                self._stopping.wait(LET_IN_S)
            except Exception:  # the supervising loop
                log.exception("erasing retained messages failed; it is tried again")
                self._stopping.wait(LET_IN_S)

    def _round(self) -> None:
        if time.monotonic() - self._said > SAID_EVERY_S and self._requests.serve(self._worker):
            self._said = time.monotonic()
        waiting = self._requests.waiting()
        if not waiting:
            return
        self._user = PlatformUser(USERNAME, secrets.token_urlsafe(24))
        try:
            for number, request in waiting.items():
                erased = self._erase(request, self._user)
                self._requests.done(number)
                log.info("erased retained messages at the broker", messages=erased)
        finally:
            self._user = None

    def _erase(self, request: Request, user: PlatformUser) -> int:
        """Once the broker lets the user in. Raises OSError, ValueError or BrokerAway."""
        given_up = time.monotonic() + LET_IN_S
        while True:
            try:
                return self._erase_as(user, request.filters, request.belongs)
            except (OSError, BrokerAway):
                if time.monotonic() > given_up or self._stopping.wait(LOOK_S):
                    raise
