"""Registries to test with: every test that asks for `registry_url` runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.conftest import unavailable
from tests.pilots.trial import Parts
from tests.registries import registry_in
from tests.servers import postgres as server
from tests.servers.influxd import Influxd, influxd

__all__ = ["influxd"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[server.Postgres]:
    """A PostgreSQL server. Ask it for a database."""
    programs = server.find()
    if programs is None:
        unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with server.running(programs) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty registry, with its tables or, on PostgreSQL, without them until it is opened."""
    if request.param == "sqlite":
        return registry_in(tmp_path)
    running: server.Postgres = request.getfixturevalue("postgres")
    return running.database()


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    registry = Registry.open(registry_url)
    yield registry
    registry.close()


@pytest.fixture
def ledger(registry: Registry) -> Ledger:
    return Ledger(registry.database)


@pytest.fixture
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Parts]]:
    """Makes registries, stores and ledgers: of a "laptop" (SQLite, DuckDB), or "servers" (PostgreSQL, InfluxDB)."""
    with ExitStack() as opened:

        def make(kind: str) -> Parts:
            if kind == "servers":
                database: server.Postgres = request.getfixturevalue("postgres")
                store: Influxd = request.getfixturevalue("influxd")
                urls = database.database(), store.url(store.new_bucket())
            else:
                folder = tmp_path / f"platform-{len(list(tmp_path.glob('platform-*')))}"
                folder.mkdir()
                urls = registry_in(folder), f"duckdb:///{folder}/readings.duckdb"
            registry = opened.enter_context(closing(Registry.open(urls[0])))
            return registry, opened.enter_context(closing(open_store(urls[1]))), Ledger(registry.database)

        yield make
