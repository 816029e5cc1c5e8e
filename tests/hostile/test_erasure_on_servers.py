"""After an erasure no byte of the folders of PostgreSQL and InfluxDB names the devices (docs/operations.md)."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec
import psycopg

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.handover import retention
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.model import Batch, Reading
from techport_storage.store import open_store
from tests.hostile.test_erasure import YEARS, end, fill
from tests.ingest.running import eventually
from tests.pilots import trial
from tests.pilots.conftest import postgres
from tests.registries import registry_in
from tests.servers.influxd import Influxd, find_influxd
from tests.servers.postgres import Postgres

__all__ = ["postgres"]


def _holding(folder: Path, text: str) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}


def _erase(registry_url: str, store_url: str, canary: str) -> None:
    names = [f"{canary}-a4c138{number:06x}" for number in range(40)]
    with closing(Registry.open(registry_url)) as registry, closing(open_store(store_url)) as store:
        ledger = Ledger(registry.database)
        registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
        fill(registry, store, ledger, "elgeseter", names)
        end(registry, "elgeseter")
        (receipt,) = retention.run(registry, store, ledger, now() + YEARS)
        assert receipt.rows == len(names)


def test_the_tables_of_postgresql(postgres: Postgres) -> None:
    """All files but the write-ahead log, which the server recycles in its own time."""
    canary, url = "kanari-of-postgres", postgres.database()
    _erase(url, "duckdb://", canary)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        left = {path for path in _holding(postgres.folder, canary) if "pg_wal" not in path.parts}
        names = connection.execute("SELECT relfilenode, relname FROM pg_class").fetchall()
    tables: dict[str, str] = {str(node): name for node, name in names}
    assert {tables.get(path.name, path.name) for path in left} == set()
    assert _holding(postgres.folder / "pg_wal", canary), "else the exception can go from the documentation"


def test_the_files_of_influxdb(tmp_path: Path) -> None:
    """Readings leave with the compaction of their shard; names of streams when series file and index are made anew."""
    canary, program = "kanari-of-influxdb", find_influxd()
    at_once = ("--storage-compact-full-write-cold-duration=1s", "--storage-cache-snapshot-write-cold-duration=1s")
    server = Influxd(tmp_path / "influxdb", program, arguments=(*at_once, "--log-level=warn"))
    server.start()
    try:
        server.set_up()
        url = server.url(server.new_bucket())
        _erase(registry_in(tmp_path), url, canary)
        with closing(open_store(url)) as store:  # a shard's log goes when it has something to write
            store.write(Batch.of([Reading("other", "box", "pm10", now(), 1.0, 0)]))
        files = (".tsm", ".wal")
        eventually(lambda: not [path for path in _holding(server.folder, canary) if path.suffix in files], "compacted")
    finally:
        server.stop()
    engine = server.folder / "engine"
    command = [program, "inspect", "build-tsi", "--data-path", str(engine / "data"), "--wal-path", str(engine / "wal")]
    _run([*command, "--compact-series-file"])
    for index in list(engine.glob("data/*/[!_]*/*/index")):
        shutil.rmtree(index)
    _run(command)
    assert _holding(server.folder, canary) == set()


def _run(command: list[str]) -> None:
    """It asks root whether that is meant."""
    done = subprocess.run(command, input="y\n" * 20, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
