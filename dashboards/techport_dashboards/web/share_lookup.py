"""Which share an address is of, asked from the event loop."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from techport_dashboards.services.shares import ShareReaders
from techport_pilots.access.shares import Share


async def share_at(readers: ShareReaders, key: str) -> Share | None:
    """The open share with this key. A thread is taken only where the registry has to be asked: every request of a share
    asks twice. Raises RegistryUnavailable."""
    return readers.find(key) if readers.is_fresh(key) else await run_in_threadpool(readers.find, key)
