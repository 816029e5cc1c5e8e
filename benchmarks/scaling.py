"""From a laptop to a nation: what so many devices need, by arithmetic and a simulation, from measured costs.

    python -m benchmarks.scaling [--seconds 600] [--seed 1]

The load is that of the simulated district by its generator's arithmetic (techport_simulators/devices.py): as many of
each kind of device as it has, each with its interval and an offset by chance, times as many as there shall be; and a
share that reports when the full minute begins, as firmware does that sleeps until then. Costs are those of COSTS, each
from a measurement that docs/scaling.md names. Each part is a queue that cores serve at the measured rate, in steps of
10 ms; the slowest part decides how long messages wait.

What it says is how many cores keep up, how long messages wait where many report at once, and what a million readings
cost. What it does not say is how networks, disks and garbage collectors behave at that size: nobody measured that here.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from techport_pilots.definition.load import read_definition
from techport_simulators.demo import demo_definitions
from techport_simulators.devices import all_devices


class Load(NamedTuple):
    """So many devices, with intervals of their own or this one."""

    devices: int
    interval: dt.timedelta | None = None


LOADS = (Load(50), Load(5_000), Load(50_000), Load(1_000_000, dt.timedelta(minutes=10)), Load(1_000_000))
"""A laptop's pilot, a city, a region, and a nation twice: of meters, and of districts like the simulated one."""

STEP = 0.01
"""Seconds of a step of the simulation."""

BUSY = 0.6
"""Share of a core that is planned with: the rest is for restarts, catching up, and what else the machine does."""

ON_THE_MINUTE = 0.2
"""Share of the devices that send when the full minute begins, and not in a phase of their own."""


@dataclass(frozen=True)
class Costs:
    """Processor time of one core, in seconds, and bytes; per message unless said otherwise. See docs/scaling.md."""

    broker: float  # of each of three servers, all three together
    worker: float  # fixed part of a message
    worker_value: float
    store_value: float  # of all nodes together
    broker_bytes: float  # on each server, until a worker has it
    store_bytes: float  # per value, of all copies
    archive_bytes: float  # per value


PARTS = ("broker", "workers", "store")

COSTS = Costs(
    broker=72e-6,
    worker=37e-6,
    worker_value=1.6e-6,
    store_value=33e-6,
    broker_bytes=458,
    store_bytes=24,
    archive_bytes=5.6,
)
"""As measured on 30 November 2026 on two cores that others kept busy: docs/scaling.md."""


class Kind(NamedTuple):
    """Devices that are alike."""

    share: float  # of all devices
    interval: float  # seconds between two messages
    values: int  # in each


def kinds_of_the_district(interval: dt.timedelta | None) -> list[Kind]:
    """The devices of the packaged pilots, `interval` in place of their own where there is one. One whose streams have
    several intervals counts once for each.
    """
    pilots = [read_definition(file) for file in demo_definitions()]
    numbers = Counter((device.interval / 1e6, len(device.sensors)) for device in all_devices(pilots, 1, interval))
    return [Kind(number / numbers.total(), *kind) for kind, number in sorted(numbers.items())]


def messages_in_steps(
    devices: int, kinds: Sequence[Kind], seconds: float, dice: np.random.Generator
) -> tuple[NDArray[np.int64], float]:
    """How many messages come in each step, and how many values a message has in the mean."""
    steps = math.ceil(seconds / STEP)
    counts = np.zeros(steps, np.int64)
    values = messages = 0.0
    for share, interval, width in kinds:
        number = round(devices * share)
        phases = dice.uniform(0, interval, number)
        if interval >= 60:
            sleeping = dice.random(number) < ON_THE_MINUTE
            phases[sleeping] = np.floor(phases[sleeping] / 60) * 60
        rounds = np.arange(math.ceil(seconds / interval) + 1) * interval
        jitter = dice.exponential(0.5, (number, len(rounds)))  # clocks and networks
        times = (phases[:, None] + rounds + jitter).ravel()
        slots = (times[times < seconds] / STEP).astype(np.int64)
        counts += np.bincount(slots, minlength=steps)[:steps]
        messages += len(slots)
        values += len(slots) * width
    return counts, values / messages


def waits(arrivals: NDArray[np.int64], rate: float) -> NDArray[np.float64]:
    """Seconds that what comes in each step waits at a queue that is served at `rate` a second."""
    served = rate * STEP
    backlog = np.zeros(len(arrivals))
    held = 0.0
    for step, count in enumerate(arrivals.tolist()):
        held = max(0.0, held + count - served)
        backlog[step] = held
    return backlog / rate


def percentile(waiting: NDArray[np.float64], arrivals: NDArray[np.int64], share: float) -> float:
    """Of the messages, not of the steps."""
    order = np.argsort(waiting)
    reached = np.cumsum(arrivals[order])
    return float(waiting[order][np.searchsorted(reached, share * reached[-1])])


@dataclass(frozen=True)
class Need:
    """What so many devices need."""

    load: Load
    messages: float  # a second
    values: float  # a second
    busiest: float  # messages in the busiest second
    cores: tuple[int, int, int]  # broker, workers, store
    wait: tuple[float, float]  # until a worker has it: p50 and p99
    all_at_once: float  # seconds until the last of one message of every device is stored
    hour_away: float  # seconds to catch up with an hour without workers
    held: float  # bytes on each server then
    year: float  # bytes of the store a year
    cpu_a_million: float  # CPU-seconds for a million readings


def need(load: Load, costs: Costs, seconds: float, seed: int) -> Need:
    devices, kinds = load.devices, kinds_of_the_district(load.interval)
    arrivals, width = messages_in_steps(devices, kinds, seconds, np.random.default_rng(seed))
    rate = arrivals.sum() / seconds
    worker = costs.worker + width * costs.worker_value
    times = (costs.broker, worker, width * costs.store_value)
    cores = tuple(max(1, math.ceil(rate * time / BUSY)) for time in times)
    # The slowest part decides: behind it nothing waits.
    rates = [number / time for number, time in zip(cores, times, strict=True)]
    slowest = min(rates)
    waiting = waits(arrivals, slowest)
    per_second = arrivals[: len(arrivals) // 100 * 100].reshape(-1, 100).sum(axis=1)
    return Need(
        load=load,
        messages=rate,
        values=rate * width,
        busiest=float(per_second.max()),
        cores=(cores[0], cores[1], cores[2]),
        wait=(percentile(waiting, arrivals, 0.5), percentile(waiting, arrivals, 0.99)),
        all_at_once=devices / slowest,
        hour_away=3600 * rate / (slowest - rate),
        held=3600 * rate * costs.broker_bytes,
        year=rate * width * 365 * 86_400 * costs.store_bytes,
        cpu_a_million=1e6 * (sum(times) / width),
    )


def table(needs: Sequence[Need]) -> str:
    """In Markdown, as docs/scaling.md has it."""
    head = (
        "| devices | messages/s (busiest second) | readings/s | cores: broker, workers, store | wait p50 / p99, s "
        "| all at once, s | after an hour away: catches up in, held | store, TB a year |"
    )
    lines = [head, "| ---: " * 8 + "|"]
    for row in needs:
        broker, workers, store = row.cores
        interval = f" every {row.load.interval.seconds // 60} min" if row.load.interval else ""
        cells = (
            f"{row.load.devices:,}{interval}",
            f"{row.messages:,.0f} ({row.busiest:,.0f})",
            f"{row.values:,.0f}",
            f"{broker}, {workers}, {store}",
            f"{row.wait[0]:.2f} / {row.wait[1]:.1f}",
            f"{row.all_at_once:,.0f}",
            f"{row.hour_away / 60:,.0f} min, {row.held / 1e9:,.1f} GB",
            f"{row.year / 1e12:,.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    needs = [need(load, COSTS, given.seconds, given.seed) for load in LOADS]
    print(table(needs))
    print()
    broker, worker, store = parts = (
        COSTS.broker,
        COSTS.worker + needs[-1].values / needs[-1].messages * COSTS.worker_value,
        needs[-1].values / needs[-1].messages * COSTS.store_value,
    )
    width = needs[-1].values / needs[-1].messages
    shown = ", ".join(f"{name} {seconds / width * 1e6:.1f}" for name, seconds in zip(PARTS, parts, strict=True))
    print(f"CPU-seconds for a million readings: {sum((broker, worker, store)) / width * 1e6:.1f} ({shown})")
    print(
        f"bytes for a million readings: store {COSTS.store_bytes:.0f} MB, archive {COSTS.archive_bytes:.1f} MB; "
        f"on the brokers' disks until a worker has them {3 * COSTS.broker_bytes / width:.0f} MB"
    )


if __name__ == "__main__":
    main()
