"""What a reading costs the nodes of an IoTDB cluster, and the process that writes it, in processor time.

    python -m benchmarks.cluster_store [--batches 60]

Batches of 5,000 rows of 1,000 streams in the order of time, one ConfigNode and three DataNodes with three copies. The
first third warms Java up and is not counted. Results are in docs/scaling.md.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.processes import cpu_seconds
from techport_storage.model import Batch, Reading
from techport_storage.store import open_store
from tests.servers.iotdb import Cluster

ROWS = 5_000
STREAMS = 1_000
START = 1_777_896_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=60)
    batches = parser.parse_args().batches
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder) / "iotdb")
        cluster.start()
        try:
            with closing(open_store(cluster.tables.url())) as store:
                warm = batches // 3
                for number in range(warm):
                    store.write(batch(number))
                nodes, own, wall = cpu(cluster), time.process_time(), time.perf_counter()
                for number in range(warm, batches):
                    store.write(batch(number))
                rows = (batches - warm) * ROWS
                used = [(after - before) / rows * 1e6 for before, after in zip(nodes, cpu(cluster), strict=True)]
                print(
                    f"{rows / (time.perf_counter() - wall):,.0f} rows a second of wall time; "
                    f"{sum(used):.1f} µs of CPU a row in all nodes "
                    f"({', '.join(f'{microseconds:.1f}' for microseconds in used)}: ConfigNode, DataNodes); "
                    f"{(time.process_time() - own) / rows * 1e6:.1f} µs in the client"
                )
        finally:
            cluster.stop()


def batch(number: int) -> Batch:
    dice = random.Random(number)
    return Batch.of(
        [
            Reading(
                f"p{row % 10}",
                f"d{row % STREAMS}",
                "pm10",
                time=START + (number * ROWS + row) // STREAMS * 60_000_000,
                value=round(dice.gauss(20, 5), 1),
                received=START + number * 1_000_000,
            )
            for row in range(ROWS)
        ]
    )


def cpu(cluster: Cluster) -> list[float]:
    """Seconds that each node has used."""
    return [cpu_seconds(node.pid) for node in cluster.nodes]


if __name__ == "__main__":
    main()
