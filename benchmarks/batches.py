"""What each step of a batch costs, without broker and server: recorded packets, and a store that sends nothing.

    python -m benchmarks.batches [--messages 50000] [--batch 12500]

The messages are those of ingest.py. Microseconds of CPU a message, all threads; it is cheap enough to be repeated on a
busy machine, before and after a change. docs/performance.md says what was learned with it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import mqtt5
import numpy as np
import pyarrow as pa
from prometheus_client import CollectorRegistry

from benchmarks.ingest import payload, pilot
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.influxdb.line_protocol import Lines
from techport_storage.model import Batch, Receipt, Replacing
from techport_storage.places import Places

STEPS = ("_decode_and_check", "_open", "_write", "_book")
SHOWN = {"_decode_and_check": "decode and check", "_open": "ledger: intent", "_write": "lines", "_book": "ledger: sums"}


LINES = 10_000  # of one request, as InfluxStore sends them


class Unsent:
    """A store that writes the lines of InfluxDB and sends them nowhere."""

    def __init__(self) -> None:
        self._lines = Lines()
        pa.array([0])  # loads pandas, as open_store does

    def write(self, batch: Batch, replacing: Replacing | None = None) -> Receipt:
        rows = Places.of(batch, np.arange(len(batch))).last
        for first in range(0, len(rows), LINES):
            self._lines.encode(batch, rows[first : first + LINES])
        return Receipt(len(batch))


class Waiting:
    """A source that nothing is taken from."""

    connected = True

    def subscribe(self, topics: Sequence[str], described: Sequence[str] = ()) -> None: ...

    def ack(self, messages: Sequence[Message]) -> None: ...

    def close(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--batch", type=int, default=12_500)
    chosen = parser.parse_args()
    messages = read_packets(chosen.messages)
    with tempfile.TemporaryDirectory() as folder:
        keep(Path(folder), messages, chosen.batch)


def read_packets(count: int) -> list[Message]:
    """The messages as the codec reads them from what a broker would send."""
    at_least_once = mqtt5.QoS.AT_LEAST_ONCE
    packets = bytearray()
    for number in range(count):
        topic, body = payload(number)
        packet = mqtt5.PublishPacket(topic, body, qos=at_least_once, packet_id=number % 60_000 + 1)
        packets += packet.write()
    messages = []
    start, begin, received = time.thread_time(), 0, now()
    with memoryview(packets) as view:
        while begin < len(packets):
            read, length = mqtt5.read(view[begin:])
            assert isinstance(read, mqtt5.PublishPacket)
            messages.append(Message(read.topic, read.payload, received, len(messages)))
            begin += length
    print(f"{'packets':>20} {(time.thread_time() - start) / count * 1e6:6.2f}")
    return messages


def keep(folder: Path, messages: Sequence[Message], size: int) -> None:
    """Decode, check, write and book the messages in batches of this size."""
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    registry.import_pilot(pilot(), "", "benchmark")
    ledger = Ledger(registry.database)
    pipeline = Pipeline(Waiting(), registry, ledger, Unsent(), Metrics(CollectorRegistry()))  # type: ignore[arg-type]
    pipeline._to_reconcile = False
    spent = dict.fromkeys(STEPS, 0.0)
    for step in STEPS:
        setattr(pipeline, step, timed(getattr(pipeline, step), step, spent))
    start = time.process_time()
    for first in range(0, len(messages), size):
        pipeline._keep(messages[first : first + size])
        pipeline._budgets.begin()
    whole = time.process_time() - start
    for step in STEPS:
        print(f"{SHOWN[step]:>20} {spent[step] / len(messages) * 1e6:6.2f}")
    print(f"{'what follows':>20} {(whole - sum(spent.values())) / len(messages) * 1e6:6.2f}")
    print(f"{'batch, together':>20} {whole / len(messages) * 1e6:6.2f}")


def timed(step: Callable[..., object], name: str, spent: dict[str, float]) -> Callable[..., object]:
    def measured(*arguments: object) -> object:
        start = time.process_time()
        try:
            return step(*arguments)
        finally:
            spent[name] += time.process_time() - start

    return measured


if __name__ == "__main__":
    print("µs of CPU a message")
    main()
