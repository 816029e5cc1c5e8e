"""The stores that the contract is held against. A new one is a line in BACKENDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from techport_storage.store import ReadingStore, open_store
from tests.cluster.archives import store_that_archives_at_once
from tests.servers.influxd import Influxd, influxd

__all__ = ["influxd"]

BACKENDS: dict[str, Callable[[Path], str]] = {
    "duckdb": lambda folder: f"duckdb:///{folder}/readings.duckdb",
    # So small that a few hundred rows take the way of a few hundred million: many runs, merges, checkpoints.
    "duckdb-busy-upkeep": lambda folder: (
        f"duckdb:///{folder}/readings.duckdb?head_rows=150&runs=3&merge_rows=500&log_bytes=20000"
    ),
    "duckdb-memory": lambda folder: "duckdb://",
}
INFLUXDB = {"influxdb": {}, "influxdb-several-writers": {"writers": "several"}}


ARCHIVE = "archive"
"""A store of which almost every row of the tests lies in the archive alone."""


@pytest.fixture(params=[*BACKENDS, *INFLUXDB, pytest.param(ARCHIVE, marks=pytest.mark.cluster)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, which open_store may open again and again, unless it lives in memory."""
    if request.param in INFLUXDB:
        server: Influxd = request.getfixturevalue("influxd")
        return server.url(server.new_bucket(), **INFLUXDB[request.param])
    return ARCHIVE if request.param == ARCHIVE else BACKENDS[request.param](tmp_path)


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[ReadingStore]:
    """An empty store."""
    store = store_that_archives_at_once(tmp_path) if store_url == ARCHIVE else open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def lasting_url(store_url: str) -> str:
    """As store_url, of a store that is there again after its process ended."""
    if store_url == ARCHIVE:
        pytest.skip("tests/cluster/test_archive.py opens archives again")
    if store_url == "duckdb://":
        pytest.skip("a store in memory ends with its process")
    return store_url
