"""How to open a time-series store, of whichever kind a URL names."""

from __future__ import annotations

import pyarrow as pa

from techport_storage.announcements import Announcements
from techport_storage.reading_store import ReadingStore, read_with_extent

__all__ = ["ReadingStore", "open_store", "read_with_extent"]


def open_store(url: str, announcements: Announcements | None = None) -> ReadingStore:
    """Open the store that a URL names.

    Parameters
    ----------
    url : str
        `duckdb:///relative.duckdb`, `duckdb:////absolute/path.duckdb`, or `duckdb://` in memory, for tests.
        `influxdb://host:8086/org/bucket?token_file=FILE` is a bucket of an InfluxDB 2 server, see docs/influxdb.md.
        `iotdb://host:6667,host:6667,host:6667/database?password_file=FILE` is a table of a cluster, see docs/iotdb.md.
        `shared://127.0.0.1:8815?token_file=FILE` is the embedded store of another process of this machine.
    announcements : Announcements, optional
        How several writers of a server's store (`writers=several`) tell each other what they write.

    Returns
    -------
    ReadingStore
        A file of an older layout is upgraded first. The caller closes it.

    Raises
    ------
    ValueError
        No such scheme, or an option that it does not have.
    StoreUnavailable
        It cannot be opened now: locked by another process, disk full, server down or token refused.
    StoreIncompatible
        This version of techport cannot open it at all.
    """
    pa.array([0])  # pyarrow loads pandas with its first array, for a second: now, not while the first message waits
    scheme = url.partition("://")[0]
    if scheme == "duckdb":
        from techport_storage.duckdb.store import DuckStore

        return DuckStore.open(url)
    if scheme == "influxdb":
        from techport_storage.influxdb.store import InfluxStore

        return InfluxStore.open(url, announcements)
    if scheme == "iotdb":
        from techport_storage.iotdb.store import IoTStore

        return IoTStore.open(url, announcements)
    if scheme == "shared":
        from techport_storage.shared.store import SharedStore

        return SharedStore.open(url)
    raise ValueError(f"no store for {url!r}: use duckdb:///relative.duckdb or duckdb:////absolute/path.duckdb")
