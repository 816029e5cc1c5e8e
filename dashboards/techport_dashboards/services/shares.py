"""Who reads shares: which share an address is of, who may read it, and how often that happens.

A share that is revoked or expires is gone within FRESH_S in every process, and at once in the one that revoked it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from techport_dashboards.problems import Problem, sign_in_needed
from techport_dashboards.viewer import Viewer
from techport_pilots.access.shares import Share, Shares
from techport_pilots.errors import RegistryUnavailable
from techport_storage import clock
from techport_storage.model import Micros

FRESH_S = 5.0
STALE_S = 60.0
"""While the registry does not answer, what it said last holds for so long."""
FLUSH_S = 15.0
"""How often it is written down how often shares were read."""
_MOST = 1_000


class ShareReaders:
    """Looks shares up, and counts their readers. Safe to use from several threads."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, Share | None]] = OrderedDict()
        self._reads: dict[str, tuple[int, Micros]] = {}
        self._flushed = float("-inf")

    def is_fresh(self, key: str) -> bool:
        """Whether `find` answers at once, without asking the registry."""
        with self._lock:
            return time.monotonic() - self._known.get(key, (float("-inf"), None))[0] <= FRESH_S

    def find(self, key: str) -> Share | None:
        """The open share with this address, as the registry knew it a few seconds ago. Raises RegistryUnavailable."""
        moment = time.monotonic()
        with self._lock:
            asked, share = self._known.get(key, (float("-inf"), None))
        if moment - asked > FRESH_S:
            try:
                share = self.shares.find(key)
            except RegistryUnavailable:
                if moment - asked > STALE_S:
                    raise
            else:
                with self._lock:
                    self._known[key] = (moment, share)
                    self._known.move_to_end(key)
                    if len(self._known) > _MOST:
                        self._known.popitem(last=False)
        return share if share is not None and share.is_open(clock.now()) else None

    def forget(self) -> None:
        """Ask the registry again, because something was changed."""
        with self._lock:
            self._known.clear()

    def readable(self, caller: Viewer) -> list[Share]:
        """Shares that the caller finds without having been given their address: those that are public, and those for
        organisations of which they are a member. By title. Raises RegistryUnavailable."""
        organisations = () if caller.identity is None else tuple(caller.identity.organisations)
        return sorted(self.shares.readable(organisations), key=lambda share: (share.terms.title, share.id))

    def count(self, share: Share) -> bool:
        """Note that the share was read; whether it is time to write that down."""
        with self._lock:
            number, _ = self._reads.get(share.id, (0, 0))
            self._reads[share.id] = (number + 1, clock.now())
            return time.monotonic() - self._flushed > FLUSH_S

    def flush(self) -> None:
        """Write down what was counted. While the registry does not answer, it is counted on."""
        with self._lock:
            reads, self._reads = self._reads, {}
            self._flushed = time.monotonic()
        try:
            self.shares.note_reads(reads)
        except RegistryUnavailable:
            with self._lock:
                for share, (number, last) in reads.items():
                    more, later = self._reads.get(share, (0, 0))
                    self._reads[share] = (number + more, max(last, later))


def admit(share: Share | None, caller: Viewer) -> tuple[Share, bool]:
    """The share, and whether the caller only looks at it as others see it, because they may share the pilot.

    Raises Problem, the same one for a share that has ended, one that is not published yet, one that is not for the
    caller, and none at all; who has not signed in is asked to where members of an organisation may read it.
    """
    if share is None:
        raise no_share()
    if caller.may("share", share.pilot):
        return share, True
    if share.published is None:
        raise no_share()
    if share.terms.audience == "organisation":
        if not caller.signed_in:
            raise sign_in_needed()
        if caller.identity is None or share.terms.organisation not in caller.identity.organisations:
            raise no_share()
    return share, False


def reader_of(share: Share) -> Viewer:
    """Whoever reads a share sees it and nothing else, as if it were the only pilot that there is."""
    only = frozenset({share.id})
    return Viewer(f"reader of {share.id}", open_pilots=lambda: only)


def no_share() -> Problem:
    return Problem("not-found", "There is no shared feed at this address: it may have ended or been revoked.")


def address_of_share(base: str, share: Share) -> str:
    """Where its audience reads it; `base` is the platform's address."""
    return f"{base}/shared/{share.key}"
