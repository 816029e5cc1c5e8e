"""What the uniqueness of rows costs: the store's write against a plain INSERT and against a table with a primary key.

    python -m benchmarks.storage_writes [--rows 2e6] [--batch 5000]

The same batches (benchmarks/storage_reads.py makes them) go, in turns of one process, through

    plain    INSERT of an Arrow table into a table without an index, which keeps every row as often as it comes
    key      INSERT OR REPLACE into a table with PRIMARY KEY (stream, time)
    store    DuckStore.write: unique rows, receipts, upkeep included

Printed are rows per CPU second, their ratio to plain, and bytes a reading in the file. "redelivered" writes all batches
once more, in another order.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.storage_reads import year_of_readings
from techport_storage.duckdb.store import DuckStore
from techport_storage.model import Batch

Write = Callable[[Batch], object]
COLUMNS = "(stream INTEGER, time BIGINT, value DOUBLE, received BIGINT, quality UTINYINT{})"


def table_of(batch: Batch) -> pa.Table:
    columns = [batch.stream, batch.time, batch.value, batch.received, batch.quality]
    return pa.table(columns, ["stream", "time", "value", "received", "quality"])


def plain(path: Path, key: str = "", verb: str = "INSERT") -> tuple[Write, Callable[[], None]]:
    con = duckdb.connect(str(path))
    con.execute(f"CREATE TABLE readings {COLUMNS.format(key)}")

    def write(batch: Batch) -> None:
        con.register("arrived", table_of(batch))
        con.execute(f"{verb} INTO readings FROM arrived")

    return write, con.close


def keyed(path: Path) -> tuple[Write, Callable[[], None]]:
    return plain(path, ", PRIMARY KEY (stream, time)", "INSERT OR REPLACE")


def store(path: Path) -> tuple[Write, Callable[[], None]]:
    opened = DuckStore.open(f"duckdb:///{path}")
    return opened.write, opened.close


def rate(batches: list[Batch], write: Write) -> float:
    """Rows per CPU second."""
    begin = time.process_time()
    for batch in batches:
        write(batch)
    return sum(map(len, batches)) / (time.process_time() - begin)


def distinct(batch: Batch) -> Batch:
    """Without the rows that come twice within the batch, which INSERT OR REPLACE does not take."""
    _, row = np.unique(np.stack([batch.stream, batch.time]), axis=1, return_index=True)
    row.sort()
    return Batch(
        batch.streams, batch.stream[row], batch.time[row], batch.value[row], batch.received[row], batch.quality[row]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=2e6)
    parser.add_argument("--batch", type=int, default=5000, help="rows a write, about")
    arguments = parser.parse_args()
    batches = [distinct(batch) for batch in year_of_readings(int(arguments.rows), arguments.batch)]
    shuffled = [batches[i] for i in np.random.default_rng(0).permutation(len(batches))]
    reference: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="techport-bench-") as folder:
        for way in (plain, keyed, store):
            path = Path(folder) / f"{way.__name__}.duckdb"
            write, close = way(path)
            for label, deliveries in (("first", batches), ("redelivered", shuffled)):
                reached = rate(deliveries, write)
                ratio = reached / reference.setdefault(label, reached)
                print(f"{way.__name__:6} {label:12} {reached / 1000:8,.0f} k rows/CPU s   {ratio:5.2f}", flush=True)
            close()
            print(f"{way.__name__:6} {path.stat().st_size / arguments.rows:8.1f} bytes a reading")


if __name__ == "__main__":
    main()
