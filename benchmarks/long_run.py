"""A long run under a steady load: does anything grow, and does anything fall behind?

    python -m benchmarks.long_run --seconds 3600 --rate 2000 [--noisy 0]

mosquitto, one ingest worker over DuckDB and SQLite, and a publisher, each its own process. Of a hundred messages one is
broken in one of several ways. Every few seconds the worker's memory, descriptors, threads and processor time are noted,
mosquitto's memory, and how many messages the ledger has booked of those that were sent, for each of two pilots. With
`--noisy` a third of the time the second pilot sends so many messages a second more: whether the first then waits.

Prints growth and lag, audits the ledger, and writes benchmarks/long_run.csv and docs/pictures/long_run.svg.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.ingest.running import mqtt_source, pilot, publisher
from tests.registries import registry_in
from tests.servers.mosquitto import free_port

ROOT = Path(__file__).parent.parent
WORKER = ROOT / "tests" / "ingest" / "worker.py"
PILOTS = ("quiet", "noisy")
DEVICES = 50
WAITING = 5_000  # messages of a publisher that the broker has not acknowledged, at most
POISON = (
    b"",
    b"{",
    b'{"pm10": NaN}',
    b'{"pm10": "much"}',
    b'{"time": 9999999999999, "pm10": 1}',
    b"[[[]]]",
    b"\xff\xfe",
)


class Sample(NamedTuple):
    """One look, `second` seconds after the start."""

    second: float
    memory: float  # of the worker, MiB
    broker_memory: float  # MiB
    descriptors: int
    threads: int
    processor: float  # share of a core since the last look
    quiet_lag: float  # seconds of the pilot's messages that are sent and not booked yet
    noisy_lag: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--rate", type=int, default=2_000, help="messages a second, of both pilots together")
    parser.add_argument("--noisy", type=int, default=0, help="messages a second more of one pilot, in the second third")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks")
    chosen = parser.parse_args()
    executable = find_mosquitto()
    assert executable is not None, "install mosquitto first"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = MosquittoSettings(folder=folder / "broker", executable=executable, port=free_port())
        broker = Mosquitto(settings)
        broker.start()
        registry = Registry.open(registry_in(folder))
        for name in PILOTS:
            registry.import_pilot(pilot(name, DEVICES), "", "benchmark")
        mqtt_source(settings.port).close()
        command = [sys.executable, str(WORKER), str(folder), str(settings.port), "mosquitto"]
        worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sent = {name: multiprocessing.Value("q", 0) for name in PILOTS}
        rates = dict.fromkeys(PILOTS, chosen.rate / 2)
        publishers = [
            multiprocessing.Process(
                target=publish,
                args=(settings.port, name, rates[name], chosen.noisy * (name == "noisy"), chosen.seconds, sent[name]),
            )
            for name in PILOTS
        ]
        try:
            for process in publishers:
                process.start()
            samples = watch(worker.pid, broker, Ledger(registry.database), sent, rates, chosen.seconds, chosen.every)
            for process in publishers:
                process.join()
            caught_up = wait_for_the_rest(Ledger(registry.database), {name: sent[name].value for name in PILOTS})
        finally:
            worker.kill()
            worker.wait()
            broker.stop()
        store = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
        report = audit(Ledger(registry.database), store)
        total = sum(count.value for count in sent.values())
        print(
            f"{total:,} messages in {chosen.seconds:,.0f} s, all booked {caught_up:.1f} s after the last;"
            f" the ledger {'agrees' if report.ok else 'DIFFERS'}"
        )
        store.close()
        registry.close()
    tell(samples)
    with (ROOT / "benchmarks" / "long_run.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Sample._fields, *([f"{value:.4g}" for value in sample] for sample in samples)])
    (ROOT / "docs" / "pictures" / "long_run.svg").write_text(picture(samples))


def publish(port: int, name: str, rate: float, more: float, seconds: float, sent: object) -> None:
    """Messages at an even pace, as far as the broker takes them; so many more a second in the second third."""
    client = publisher(port, f"device-{name}")
    acknowledged: list[int] = []
    client.on_publish = lambda _client, _data, mid, _reason, _properties: acknowledged.append(mid)
    started, due, last, number = time.monotonic(), 0.0, 0.0, 0
    while (elapsed := time.monotonic() - started) < seconds:
        due += (elapsed - last) * (rate + (more if 1 / 3 <= elapsed / seconds < 2 / 3 else 0))
        last = elapsed
        while number < due and number - len(acknowledged) < WAITING:
            number += 1
            payload = b'{"time": %d, "pm10": %d.5, "pm25": %d}' % (time.time_ns() // 1000, number % 90, number % 50)
            if number % 100 == 0:
                payload = POISON[number // 100 % len(POISON)]
            client.publish(f"pilots/{name}/lamp-{number % DEVICES + 1}/readings", payload, qos=1)
            sent.value = number  # type: ignore[attr-defined]
        time.sleep(0.01)
    while len(acknowledged) < number:
        time.sleep(0.1)
    client.disconnect()
    client.loop_stop()


def booked(ledger: Ledger) -> dict[str, int]:
    """Messages of each pilot that are in the ledger."""
    counts = dict.fromkeys(PILOTS, 0)
    for device_day, tally in ledger.tallies().items():
        counts[device_day.pilot] += tally.messages
    return counts


def watch(
    pid: int, broker: Mosquitto, ledger: Ledger, sent: dict, rates: dict[str, float], seconds: float, every: float
) -> list[Sample]:
    worker, samples = psutil.Process(pid), []
    started = last = time.monotonic()
    used = sum(worker.cpu_times()[:2])
    while time.monotonic() - started < seconds:
        time.sleep(every)
        counts = {name: sent[name].value for name in PILOTS}
        lags = {name: max(0.0, (counts[name] - count) / rates[name]) for name, count in booked(ledger).items()}
        now, cpu = time.monotonic(), sum(worker.cpu_times()[:2])
        assert broker.pid is not None
        memory, theirs = (process.memory_info().rss / 2**20 for process in (worker, psutil.Process(broker.pid)))
        samples.append(
            Sample(
                now - started,
                memory,
                theirs,
                worker.num_fds(),
                worker.num_threads(),
                (cpu - used) / (now - last),
                *lags.values(),
            )
        )
        last, used = now, cpu
    return samples


def wait_for_the_rest(ledger: Ledger, sent: dict[str, int]) -> float:
    """Seconds until the ledger has all that was sent."""
    started = time.monotonic()
    while booked(ledger) != sent and time.monotonic() - started < 600:
        time.sleep(0.1)
    assert booked(ledger) == sent, (booked(ledger), sent)
    return time.monotonic() - started


def tell(samples: Sequence[Sample]) -> None:
    """Growth by a straight line through the second half, in which caches and indexes have their size."""
    half = samples[len(samples) // 2 :]
    seconds = np.array([sample.second for sample in half])
    for name in ("memory", "broker_memory", "descriptors", "threads"):
        values = np.array([getattr(sample, name) for sample in half], float)
        slope = np.polyfit(seconds, values, 1)[0] * 3_600
        print(f"{name}: {values.min():.0f} to {values.max():.0f} in the second half, {slope:+.1f} an hour")
    print(f"processor: {np.mean([sample.processor for sample in samples]):.0%} of a core")
    third = len(samples) // 3
    for name in ("quiet_lag", "noisy_lag"):
        values = np.array([getattr(sample, name) for sample in samples])
        parts = [values[:third], values[third : 2 * third], values[2 * third :]]
        texts = [f"p50 {np.median(part):.1f}, worst {part.max():.1f}" for part in parts]
        print(f"{name} of each third, s: {'; '.join(texts)}")


WIDTH, HEIGHT, LEFT = 720, 120, 60
ROWS = (
    ("memory of the worker and of mosquitto, MiB", ("memory", "broker_memory")),
    ("descriptors and threads", ("descriptors", "threads")),
    ("share of a core", ("processor",)),
    ("messages sent and not booked yet, in seconds: quiet and noisy pilot", ("quiet_lag", "noisy_lag")),
)
COLOURS = ("#1d4ed8", "#dc2626")


def picture(samples: Sequence[Sample]) -> str:
    """The samples as curves over time, one row for each kind."""
    seconds = np.array([sample.second for sample in samples])
    parts = []
    for row, (title, names) in enumerate(ROWS):
        top = row * (HEIGHT + 40) + 24
        columns = [np.array([getattr(sample, name) for sample in samples], float) for name in names]
        largest = max(float(column.max()) for column in columns) or 1.0
        parts.append(f'<text x="{LEFT}" y="{top - 6}">{escape(title)}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{largest:.3g}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>')
        parts.append(f'<path d="M{LEFT} {top}V{top + HEIGHT}H{LEFT + WIDTH}" stroke="#94a3b8" fill="none"/>')
        for column, colour in zip(columns, COLOURS, strict=False):
            x, y = LEFT + seconds / seconds[-1] * WIDTH, top + HEIGHT * (1 - column / largest)
            points = " ".join(f"{left:.1f},{down:.1f}" for left, down in zip(x, y, strict=True))
            parts.append(f'<polyline points="{points}" stroke="{colour}" fill="none"/>')
    bottom = len(ROWS) * (HEIGHT + 40)
    parts.append(f'<text x="{LEFT + WIDTH}" y="{bottom}" text-anchor="end">{seconds[-1]:,.0f} s</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {bottom + 10}"'
    style = 'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    return f"{head} {style}\n" + "\n".join(parts) + "\n</svg>\n"


if __name__ == "__main__":
    main()
