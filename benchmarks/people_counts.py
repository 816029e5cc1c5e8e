"""What it costs that counts of people leave as sums: the same questions to the store, and through the wrapper.

    python -m benchmarks.people_counts

Results and the machine: ACCESS.md.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from techport_pilots.definition.load import parse_definition
from techport_pilots.quality.people_counts import PublishedStore
from techport_storage.microseconds import DAY, MINUTE, SECOND
from techport_storage.model import Batch, BucketWidth, Query, Selection, Stream
from techport_storage.store import ReadingStore, open_store

DEVICES, DAYS = 10, 90
END = 1_760_000_000 * SECOND // DAY * DAY
PEOPLE, CARS = "people", "cars"
RULES = {PEOPLE: "people_counts: {quantities: [pedestrian_count], least: 5}", CARS: ""}
BUCKETS = {
    "quarters": BucketWidth(900, "s"),
    "hours": BucketWidth(3_600, "s"),
    "days": BucketWidth(1, "d"),
    "all": None,
}


def main() -> None:
    pilots = {name: parse_definition(_definition(name)) for name in RULES}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"duckdb://{folder}/readings.duckdb")
        for name in RULES:
            _fill(store, name)
        wrapped = PublishedStore(store, lambda: pilots)
        for question, ask in (
            ("latest values of ten devices", _latest),
            ("a day of one device in quarters", _range(1, "quarters", 1)),
            ("a month of one device in hours", _range(30, "hours", 1)),
            ("ninety days of ten devices in days", _range(DAYS, "days", DEVICES)),
            ("a month of one device, each reading or sum", _range(30, "all", 1)),
        ):
            taken = [_median_ms(ask, *asked) for asked in ((store, CARS), (wrapped, CARS), (wrapped, PEOPLE))]
            print(
                f"{question}: {taken[0]:.1f} ms without the wrapper, {taken[1]:.1f} with it, {taken[2]:.1f} of people"
            )
        store.close()


def _definition(name: str) -> str:
    streams = "streams: [{quantity: pedestrian_count}]"
    devices = "\n".join(f"  - {{id: d{number}, interval: PT1M, {streams}}}" for number in range(DEVICES))
    return f"id: {name}\ntitle: {{en: A street}}\nquestion: {{en: How many?}}\n{RULES[name]}\ndevices:\n{devices}\n"


def _fill(store: ReadingStore, name: str) -> None:
    random = np.random.default_rng(1)
    times = np.arange(END - DAYS * DAY, END, MINUTE)
    for number in range(DEVICES):
        store.write(
            Batch(
                streams=(Stream(name, f"d{number}", "pedestrian_count"),),
                stream=np.zeros(len(times), np.int32),
                time=times,
                value=random.poisson(3, len(times)).astype(float),
                received=times + SECOND,
                quality=np.zeros(len(times), np.uint8),
            )
        )


def _latest(store: ReadingStore, pilot: str) -> None:
    store.latest(Selection(pilots=(pilot,)))


def _range(days: int, buckets: str, devices: int) -> Callable[[ReadingStore, str], None]:
    every = BUCKETS[buckets]
    names = tuple(f"d{number}" for number in range(devices))

    def ask(store: ReadingStore, pilot: str) -> None:
        query = Query(select=Selection(pilots=(pilot,), devices=names), start=END - days * DAY, end=END, every=every)
        store.read(query).read_all()

    return ask


def _median_ms(ask: Callable[[ReadingStore, str], None], store: ReadingStore, pilot: str) -> float:
    """Processor time of one question, once the store is warm."""
    ask(store, pilot)
    taken = []
    for _ in range(15):
        begun = time.process_time()
        ask(store, pilot)
        taken.append(time.process_time() - begun)
    return statistics.median(taken) * 1e3


if __name__ == "__main__":
    main()
