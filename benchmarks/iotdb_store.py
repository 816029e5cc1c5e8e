"""IoTStore beside InfluxStore in one run: writing and reading, from one node to three, and the pause when a node dies.

    python -m benchmarks.iotdb_store [--rows 150000] [--points 5000] [--turns 5]

Starts an influxd and clusters of IoTDB on the loopback. The stores take turns, batch by batch and question by question,
so that a busy machine slows all of them. CPU seconds are of this process (client) and of all processes of a store
(server).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.influx_store import BATCH, SECOND, START, Cost, live, shapes
from benchmarks.processes import cpu_seconds
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore, open_store
from tests.cluster.test_iotdb import Ingest, leading
from tests.servers.influxd import start_influxd
from tests.servers.iotdb import Cluster, start_cluster

COMPILED = ("-XX:+UseSerialGC",)  # tests start faster, with the first of Java's two compilers only
Stores = dict[str, tuple[ReadingStore, list[int]]]
"""By name: the store, and the processes that it asks."""


def measured(pids: list[int], work: Callable[[], object]) -> Cost:
    begin = time.perf_counter(), time.process_time(), sum(map(cpu_seconds, pids))
    work()
    return Cost(time.perf_counter() - begin[0], time.process_time() - begin[1], sum(map(cpu_seconds, pids)) - begin[2])


def writing(stores: Stores, rows: int) -> None:
    batches = list(live(rows, 1000))
    costs: dict[str, list[Cost]] = {name: [] for name in stores}
    for turn, batch in enumerate(batches):
        for name in list(stores) if turn % 2 else list(stores)[::-1]:
            store, pids = stores[name]
            cost = measured(pids, lambda store=store, batch=batch: store.write(batch))  # type: ignore[misc]
            if turn >= len(batches) // 3:  # the rest warms up what Java compiles
                costs[name].append(cost)
    print(f"\n## Writing: batches of {BATCH} rows, 1,000 streams\n")
    print("| | rows/s | rows per client CPU s | rows per server CPU s |\n|---|---|---|---|")
    for name, found in costs.items():
        wall = statistics.median(c.wall for c in found)
        sums = sum(c.client for c in found), sum(c.server for c in found)
        each = [f"{BATCH * len(found) / s / 1000:,.0f} k" for s in sums]
        print(f"| {name} | {BATCH / wall / 1000:,.0f} k | {each[0]} | {each[1]} |", flush=True)


def reading(stores: Stores, points: int, turns: int) -> None:
    offset = int(time.time() * SECOND) - START - 1100 * SECOND
    for store, _ in stores.values():
        for i in range(0, 100, 5):
            parts = []
            for j in range(i, i + 5):
                when = START + np.arange(points, dtype=np.int64) * 60 * SECOND
                parts.append((np.full(points, j - i, np.int32), when, np.random.default_rng(j).normal(10, 5, points)))
            stream, when, value = (np.concatenate(part) for part in zip(*parts, strict=True))
            names = [Stream("hundred", f"d{j:03}", "temperature") for j in range(i, i + 5)]
            store.write(Batch(names, stream, when, value, when, np.zeros(len(when), np.uint8)))
        for batch in live(100_000, 1000, offset=offset):
            store.write(batch)
    asked = {name: shapes(store) for name, (store, _) in stores.items()}
    print(f"\n## Reading: ms, and CPU ms of the servers, medians of {turns}\n")
    print(f"| | {' | '.join(stores)} |\n|---|{'---|' * len(stores)}")
    for shape in next(iter(asked.values())):
        costs: dict[str, list[Cost]] = {name: [] for name in stores}
        for turn in range(turns + 2):
            for name, (_, pids) in stores.items():
                cost = measured(pids, asked[name][shape])
                if turn >= 2:
                    costs[name].append(cost)
        cells = [
            f"{1000 * statistics.median(c.wall for c in found):,.0f} "
            f"({1000 * statistics.mean(c.server for c in found):,.0f})"
            for found in costs.values()
        ]
        print(f"| {shape.replace('5,000', f'{points:,}')} | {' | '.join(cells)} |", flush=True)


def pauses(cluster: Cluster) -> None:
    print("\n## The longest pause between two acknowledged batches of 200 rows, s\n\n| | s |\n|---|---|")
    with Ingest(cluster.tables.url()) as ingest:
        ingest.go_on(20)
        ingest.longest = 0
        ingest.go_on(20)
        print(f"| nothing happens | {ingest.longest:.1f} |", flush=True)
        ingest.longest = 0
        node = leading(cluster)
        node.kill()
        ingest.go_on(20)
        print(f"| a node that leads is killed | {ingest.longest:.1f} |", flush=True)
        node.start()
        node.wait()
        time.sleep(20)
        ingest.longest = 0
        node = leading(cluster)
        node.freeze()
        ingest.go_on(20)
        print(f"| a node that leads stands still | {ingest.longest:.1f} |", flush=True)
        node.thaw()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--points", type=int, default=5_000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    forms = {"1 node, 1 copy": (1, 1), "3 nodes, 1 copy": (3, 1), "3 nodes, 3 copies": (3, 3)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = start_influxd(Path(folder) / "influxd")
        stack.callback(server.stop)
        stores: Stores = {"InfluxDB": (open_store(server.url(server.new_bucket())), [server.pid])}
        for name, (size, copies) in forms.items():
            cluster = start_cluster(
                Path(folder) / f"{size}-{copies}",  # without a comma: folders of data are a list to IoTDB
                size,
                COMPILED,
                data_replication_factor=copies,
                schema_replication_factor=copies,
            )
            stack.callback(cluster.stop)
            store = open_store(cluster.tables.url(copies=str(copies)))
            stores[f"IoTDB, {name}"] = store, [node.pid for node in cluster.nodes]
        writing(stores, given.rows)
        reading(stores, given.points, given.turns)
        pauses(cluster)


if __name__ == "__main__":
    main()
