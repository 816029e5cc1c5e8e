"""An ingest process to be killed: `python worker.py FOLDER PORT mosquitto|embedded|nats`. The folder holds a test's
Ingest; the port is where MQTT is spoken, or NATS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline
from techport_ingest.source import Source
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.nats.connection import NatsSettings
from techport_ingest.sources.nats.source import NatsSource
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store


def main(folder: Path, port: int, kind: str) -> None:
    registry = Registry.open(f"sqlite:///{folder / 'registry.sqlite'}")
    store = open_store(f"duckdb:///{folder / 'readings.duckdb'}")
    source: Source
    if kind == "embedded":
        source = EmbeddedBroker(EmbeddedSettings(port=port))
    elif kind == "nats":
        source = NatsSource(NatsSettings(servers=(f"127.0.0.1:{port}",)))
    else:
        source = open_source(MqttSettings(client_id="ingest-1", port=port))
    Pipeline(source, registry, Ledger(registry.database), store, Metrics(CollectorRegistry())).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
