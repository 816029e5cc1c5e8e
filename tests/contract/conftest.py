"""The stores that the contract is held against. A new one is a line in BACKENDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from techport_pilots.accounting.announced_writes import AnnouncedWrites
from techport_pilots.registry.database import Database
from techport_storage.model import Batch, Receipt, Replacing
from techport_storage.shared.server import StoreServer
from techport_storage.shared.store import SharedStore
from techport_storage.store import ReadingStore, open_store
from tests.cluster.archives import store_that_archives_at_once
from tests.registries import registry_in
from tests.servers.influxd import Influxd, influxd
from tests.servers.iotdb import Tables, iotdb
from tests.servers.mosquitto import free_port

__all__ = ["influxd", "iotdb"]

BACKENDS: dict[str, Callable[[Path], str]] = {
    "duckdb": lambda folder: f"duckdb:///{folder}/readings.duckdb",
    # So small that a few hundred rows take the way of a few hundred million: many runs, merges, checkpoints.
    "duckdb-busy-upkeep": lambda folder: (
        f"duckdb:///{folder}/readings.duckdb?head_rows=150&runs=3&merge_rows=500&log_bytes=20000"
    ),
    "duckdb-memory": lambda folder: "duckdb://",
}
SHARED = "duckdb-shared"  # through another process's server, here a thread's
INFLUXDB = {"influxdb": {}, "influxdb-several-writers": {"writers": "several"}}
IOTDB = "iotdb"

ARCHIVE = "archive"
"""A store of which almost every row of the tests lies in the archive alone."""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[ReadingStore]:
    """What a server shares."""
    store = open_store(f"duckdb:///{tmp_path}/readings.duckdb")
    yield store
    store.close()


@pytest.fixture
def shared_url(tmp_path: Path, holder: ReadingStore) -> Iterator[str]:
    """Of a store that a server shares."""
    port, token = free_port(), tmp_path / "token"
    token.write_text("secret\n")
    server = StoreServer(holder, "127.0.0.1", port, lambda shown: shown == "secret")
    yield f"shared://127.0.0.1:{port}?token_file={token}"
    server.shutdown()


class WrittenWhereItIsHeld(SharedStore):
    """As the platform uses it: messages are taken in by the process that holds the store."""

    holder: ReadingStore

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        return self.holder.write(batch, replacing)


CLUSTERS = [pytest.param(name, marks=pytest.mark.cluster) for name in (ARCHIVE, IOTDB)]


@pytest.fixture(params=[*BACKENDS, SHARED, *INFLUXDB, *CLUSTERS])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, which open_store may open again and again, unless it lives in memory."""
    if request.param == SHARED:
        url: str = request.getfixturevalue("shared_url")
        return url
    if request.param in INFLUXDB:
        server: Influxd = request.getfixturevalue("influxd")
        return server.url(server.new_bucket(), **INFLUXDB[request.param])
    if request.param == IOTDB:
        tables: Tables = request.getfixturevalue("iotdb")
        return tables.url()
    return ARCHIVE if request.param == ARCHIVE else BACKENDS[request.param](tmp_path)


@pytest.fixture
def store(store_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ReadingStore]:
    """An empty store."""
    store: ReadingStore
    if store_url.startswith("shared:"):
        shared = WrittenWhereItIsHeld.open(store_url)
        shared.holder = request.getfixturevalue("holder")
        store = shared
    elif "writers=several" in store_url:
        store = open_store(store_url, request.getfixturevalue("announced"))
    else:
        store = store_that_archives_at_once(tmp_path) if store_url == ARCHIVE else open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def announced(tmp_path: Path) -> Iterator[AnnouncedWrites]:
    """How writers of one store tell each other what they write."""
    database = Database.open(registry_in(tmp_path / "announcements"))
    yield AnnouncedWrites(database)
    database.close()


@pytest.fixture
def lasting_url(store_url: str) -> str:
    """As store_url, of a store that is there again after its process ended."""
    if store_url == ARCHIVE:
        pytest.skip("tests/cluster/test_archive.py opens archives again")
    if store_url == "duckdb://":
        pytest.skip("a store in memory ends with its process")
    if store_url.startswith("shared:"):
        pytest.skip("the process that holds the store goes on")
    return store_url
