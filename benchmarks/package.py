"""Peak memory and time of a package by the number of its readings, each in a process of its own.

nice .venv/bin/python -m benchmarks.package [--millions 1 3 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from techport_pilots.definition.load import parse_definition
from techport_pilots.handover.closeout import write_package
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore, open_store

DEVICES = 20
START, YEAR = 1_735_689_600_000_000, 365 * DAY
PILOT = """
id: p
title: Package
question: How much memory?
phases:
  - {name: before, kind: baseline, start: 2025-01-01, end: 2025-07-01}
  - {name: after, kind: intervention, start: 2025-07-01, end: 2026-01-01}
kpis: [{id: k, title: Dust, quantity: pm10}]
devices:
""" + "".join(f"  - {{id: d{i:02}, interval: PT1M, streams: [{{quantity: pm10}}]}}\n" for i in range(DEVICES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--measure", type=Path, help="make the package of a folder (used by itself)")
    wanted = parser.parse_args()
    if wanted.measure:
        measure(wanted.measure)
        return
    for millions in wanted.millions:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name), int(millions * 1e6))
            subprocess.run([sys.executable, "-m", "benchmarks.package", "--measure", name], check=True)


def fill(folder: Path, readings: int) -> None:
    """A year of a pilot with so many readings, spread over its devices."""
    registry, store = _parts(folder)
    registry.import_pilot(parse_definition(PILOT), PILOT, "benchmark")
    streams = [Stream("p", f"d{i:02}", "pm10") for i in range(DEVICES)]
    each = readings // DEVICES
    random = np.random.default_rng(1)
    for first in range(0, each, 10_000):
        steps = np.arange(first, min(first + 10_000, each))
        times = np.tile(START + steps * (YEAR // each), DEVICES)
        stream = np.repeat(np.arange(DEVICES, dtype=np.int32), len(steps))
        values = np.round(random.normal(20, 5, len(times)), 2)
        store.write(Batch(streams, stream, times, values, times + 1_000_000, np.zeros(len(times), np.uint8)))
    store.close()
    registry.close()


def measure(folder: Path) -> None:
    """Prints what a package of the folder costs beyond a process that has opened it."""
    registry, store = _parts(folder)
    before = _status_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    made = write_package(registry, store, registry.pilot("p"), folder / "out")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size, more = Path(made.path).stat().st_size / 1e6, _status_mb("VmHWM") - before
    print(
        f"{made.rows:,} readings: {more:.0f} MB beyond the {before:.0f} MB at the start, "
        f"{cpu:.1f} CPU-seconds, {wall:.0f} s, package of {size:.0f} MB",
        flush=True,
    )
    store.close()
    registry.close()


def _parts(folder: Path) -> tuple[Registry, ReadingStore]:
    return Registry.open(f"sqlite:///{folder}/registry.sqlite"), open_store(f"duckdb:///{folder}/readings.duckdb")


def _status_mb(name: str) -> float:
    """Of this process: VmRSS now, VmHWM at most. getrusage would count the parent's peak too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


if __name__ == "__main__":
    main()
