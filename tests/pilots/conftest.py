"""Registries to test with: every test that asks for `registry_url` runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from techport_pilots.books import Books
from techport_pilots.registry import Registry
from tests.conftest import unavailable
from tests.servers import postgres as server


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
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.sqlite"
    running: server.Postgres = request.getfixturevalue("postgres")
    return running.database()


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    registry = Registry.open(registry_url)
    yield registry
    registry.close()


@pytest.fixture
def books(registry: Registry) -> Books:
    return Books(registry.engine)
