"""An ingest process for faults: `python worker.py SETTINGS`, a JSON file (`Settings`)."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry

from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.source import Source
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.accounting.announced_writes import AnnouncedWrites
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage import clock
from techport_storage.store import open_store


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker works on."""

    name: str
    port: int  # of the broker, or where to be one
    source: Literal["embedded", "mosquitto"]
    registry: str
    store: str
    share: str | None = None
    clock: str  # a file with the seconds by which the clock is wrong
    ready: str  # a file that is made once it takes messages


def main(settings: Settings) -> None:
    faulthandler.register(signal.SIGUSR1)  # says what each thread is at
    threading.Thread(target=follow_clock, args=(Path(settings.clock),), daemon=True).start()
    registry = Registry.open(settings.registry, 3.0)
    store = open_store(settings.store, AnnouncedWrites(registry.database))
    source: Source
    if settings.source == "embedded":
        source = EmbeddedBroker(EmbeddedSettings(port=settings.port))
    else:
        client = MqttSettings(
            client_id=settings.name, port=settings.port, share=settings.share, keepalive=2, longest_wait=0.5
        )
        source = open_source(client)
    ledger, metrics = Ledger(registry.database), Metrics(CollectorRegistry())
    worker = PipelineSettings(worker=settings.name, longest_wait=0.5)
    pipeline = Pipeline(source, registry, ledger, store, metrics, worker)
    threading.Thread(target=tell_ready, args=(pipeline, Path(settings.ready)), daemon=True).start()
    pipeline.run()


def tell_ready(pipeline: Pipeline, file: Path) -> None:
    while not pipeline.health().connected:
        time.sleep(0.02)
    file.touch()


def follow_clock(file: Path) -> None:
    """Let the clock be wrong by what the file says."""
    while True:
        if file.exists() and (text := file.read_text()):
            clock._SHIFT = round(float(text) * 1_000_000)
        time.sleep(0.05)


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings))
