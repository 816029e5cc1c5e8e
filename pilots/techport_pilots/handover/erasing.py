"""What every erasure shares: one at a time, the files that go with readings, and what is left of names."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from techport_pilots.registry.database import Database
from techport_pilots.registry.leases import Leases

EMPTIED = ("intents", "announced_writes")
"""Tables whose rows go by themselves, and stay in the files of the database until those are written anew."""

UNNAMED = "(erased)"
"""The device under which sums of erased devices stand that no definition names."""


Files = Callable[[str], Sequence[Path]]
"""The files on this machine about a pilot, beside its packages: snapshots with its readings, photos of its devices."""


def no_files(_pilot: str) -> Sequence[Path]:
    return ()


_LEASE = "retention"
_LEASE_S = 600.0  # of one pilot's erasure


@contextmanager
def alone(database: Database) -> Iterator[Callable[[], object]]:
    """While no other process or thread erases: two that erase one pilot would both count its rows. Gives what keeps it
    so for another while."""
    leases, token = Leases(database), uuid.uuid4().hex

    def take() -> bool:
        return leases.acquire(_LEASE, token, _LEASE_S)

    while not take():
        time.sleep(1.0)
    try:
        yield take
    finally:
        leases.release(_LEASE, token)
