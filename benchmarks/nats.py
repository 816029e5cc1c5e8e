"""What a cluster of three NATS servers costs between devices and a worker: of the servers, of the worker, on the disk.

    python -m benchmarks.nats [--messages 40000]

Five values a message, QoS 1, published over MQTT to one of the servers. First while nobody takes them (a node's cost of
storing, and of its disk), then a worker takes all of them; then one takes what comes while it comes, with and without
messages of QoS 0. Processor time, since machines are shared. Results are in docs/nats.md and docs/scaling.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import tempfile
import threading
import time
from pathlib import Path
from typing import cast

from benchmarks.ingest import Counted, collector, ledger_and_store, publish
from benchmarks.processes import cpu_seconds
from techport_ingest.pipeline import PipelineSettings
from techport_ingest.source import Source
from techport_ingest.sources.nats.connection import NatsSettings
from techport_ingest.sources.nats.source import NatsSource
from tests.servers.nats import NatsCluster


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=40_000)
    count = parser.parse_args().messages
    with tempfile.TemporaryDirectory() as folder:
        cluster = NatsCluster(Path(folder) / "nats")
        cluster.start()
        try:
            connected(cluster.servers, True).close()  # the consumer is there
            storing(cluster, count)
            report("a worker takes what waits", count, *collect(Path(folder) / "a", cluster, count, True, live=False))
            for quality_0 in (True, False):
                place = Path(folder) / f"live-{quality_0}"
                seconds = collect(place, cluster, count, quality_0, live=True)
                report(f"a worker takes what comes, {'with' if quality_0 else 'without'} QoS 0", count, *seconds)
        finally:
            cluster.stop()


def report(what: str, count: int, worker: float, servers: list[float]) -> None:
    shown = ", ".join(f"{seconds / count * 1e6:.1f}" for seconds in servers)
    rate = f"{worker / count * 1e6:.1f} µs of CPU a message ({count / worker:,.0f} a CPU-second)"
    print(f"{what}: worker {rate}; servers {shown} µs", flush=True)


def storing(cluster: NatsCluster, count: int) -> None:
    """Publish while nobody takes anything."""
    before, wall = cpu(cluster), time.perf_counter()
    publish(cluster.nodes[0].mqtt, count)
    wall = time.perf_counter() - wall
    used = [(after - start) / count * 1e6 for start, after in zip(before, cpu(cluster), strict=True)]
    size = sum(file.stat().st_size for file in (cluster.nodes[0].folder / "data").rglob("*") if file.is_file())
    shown = ", ".join(f"{microseconds:.1f}" for microseconds in used)
    print(
        f"stored {count / wall:,.0f} messages a second of wall time; servers {shown} µs of CPU a message, the first of"
    )
    print(f"which devices are connected to; {size / count:.0f} bytes a message on each disk", flush=True)


def cpu(cluster: NatsCluster) -> list[float]:
    """Seconds that each server has used."""
    return [cpu_seconds(node.process.pid) for node in cluster.nodes if node.process is not None]


def connected(servers: tuple[str, ...], quality_0: bool) -> NatsSource:
    source = NatsSource(NatsSettings(servers=servers, quality_0=quality_0))
    while not source.connected:
        time.sleep(0.01)
    return source


def collect(folder: Path, cluster: NatsCluster, count: int, quality_0: bool, live: bool) -> tuple[float, list[float]]:
    """CPU seconds of a worker, and of each server, until the messages are in DuckDB and acknowledged."""
    folder.mkdir()
    ours, theirs = multiprocessing.Pipe()
    arguments = (folder, cluster.servers, count, quality_0, theirs)
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    before = cpu(cluster)
    process.start()
    if live:
        ours.recv()  # it pulls
        before = cpu(cluster)
        publish(cluster.nodes[0].mqtt, count)
    else:
        ours.recv()
    used = cast(float, ours.recv())
    servers = [after - start for start, after in zip(before, cpu(cluster), strict=True)]
    process.join()
    return used, servers


def work(
    folder: Path, servers: tuple[str, ...], count: int, quality_0: bool, answer: multiprocessing.connection.Connection
) -> None:
    """The worker process."""
    registry, store = ledger_and_store(folder)
    started = time.process_time()
    source = connected(servers, quality_0)
    answer.send("ready")
    counted = Counted(source, count)
    pipeline, ledger = collector(cast(Source, counted), registry, store, PipelineSettings().linger)
    threading.Thread(target=pipeline.run, daemon=True).start()
    counted.all_acknowledged.wait()
    answer.send(time.process_time() - started)
    booked = sum(tally.messages for tally in ledger.tallies().values())
    assert booked >= count, f"the ledger has {booked:,} messages"  # some came again while the machine was busy
    pipeline.stop()
    source.close()


if __name__ == "__main__":
    main()
