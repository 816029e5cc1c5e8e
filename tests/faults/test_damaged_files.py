"""Files that are damaged when a process starts are refused with the way back, and left as they are; and a migration of
the registry that is killed in the middle of it.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import techport.cli
from techport_pilots.errors import RegistryDamaged
from techport_pilots.registry.database import Database, revisions
from techport_pilots.registry.registry import Registry
from techport_storage.errors import StoreIncompatible
from techport_storage.model import Batch, Reading
from techport_storage.store import open_store
from tests.ingest.running import pilot
from tests.pilots.conftest import postgres

__all__ = ["postgres"]

Damage = Callable[[bytearray], None]


def header(content: bytearray) -> None:
    content[:100] = random.Random(1).randbytes(100)


def truncated(content: bytearray) -> None:
    del content[len(content) * 2 // 3 :]


def pages(content: bytearray) -> None:
    for at in range(8192, len(content), 16384):
        content[at : at + 4096] = random.Random(at).randbytes(len(content[at : at + 4096]))


def damaged(file: Path, damage: Damage) -> bytes:
    """What the file holds afterwards."""
    content = bytearray(file.read_bytes())
    damage(content)
    file.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("damage", [header, truncated, pages])
def test_a_damaged_registry_is_refused_with_the_way_back(tmp_path: Path, damage: Damage) -> None:
    file = tmp_path / "registry.sqlite"
    registry = Registry.open(f"sqlite:///{file}")
    registry.import_pilot(pilot(devices=200), "", "test")
    registry.close()
    content = damaged(file, damage)
    with pytest.raises(RegistryDamaged, match="techport store restore"):
        Registry.open(f"sqlite:///{file}")
    assert file.read_bytes() == content, "it is left to whoever can repair it"
    told = CliRunner().invoke(techport.cli.app, ["audit", "--data", str(tmp_path)])
    assert isinstance(told.exception, techport.cli.EXPECTED)


@pytest.mark.parametrize("damage", [header, truncated, pages])
def test_a_damaged_store_is_refused_with_the_way_back(tmp_path: Path, damage: Damage) -> None:
    file = tmp_path / "readings.duckdb"
    store = open_store(f"duckdb:///{file}")
    noise = random.Random(1)
    store.write(Batch.of([Reading("air", "lamp-1", "pm10", i * 60_000_000, noise.random(), 0) for i in range(200_000)]))
    store.close()
    content = damaged(file, damage)
    with pytest.raises(StoreIncompatible, match="techport store restore"):
        open_store(f"duckdb:///{file}")
    assert file.read_bytes() == content


_MIGRATION = """
import os, signal, sys
from alembic.operations import Operations
from techport_pilots.registry.database import Database

left = int(sys.argv[2])
for name in ("create_table", "add_column", "execute", "create_index"):
    def step(self, *args, _original=getattr(Operations, name), **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return _original(self, *args, **options)
    setattr(Operations, name, step)
Database.open(sys.argv[1])
"""


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("steps", [1, 60])
def test_a_migration_that_is_killed_half_way_is_done_by_the_next_start(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str, steps: int
) -> None:
    registry_url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    if engine == "postgresql":
        registry_url = request.getfixturevalue("postgres").database()
    killed = subprocess.run([sys.executable, "-c", _MIGRATION, registry_url, str(steps)], check=False)
    assert killed.returncode == -signal.SIGKILL
    registry = Registry.open(registry_url)
    with registry.database.reading() as transaction:
        assert transaction.execute("SELECT version_num FROM alembic_version").scalar_one() == revisions()[-1]
    registry.import_pilot(pilot(), "", "test")
    assert [known.id for known in registry.pilots()] == ["air"]
    registry.close()
    Database.open(registry_url).close()
