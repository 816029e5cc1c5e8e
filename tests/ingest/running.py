"""A whole ingest side in a folder: registry, ledger, store and a pipeline in a thread. And what tests ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry

from techport_ingest.checking.budget import DeviceLimits
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.source import Source
from techport_ingest.sources.connect import open_source
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.quarantine import Quarantine, QuarantineRecord
from techport_pilots.accounting.tally import Tally
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition, Text
from techport_pilots.registry.registry import Registry
from techport_storage.model import Query
from techport_storage.store import ReadingStore, open_store
from tests.registries import registry_in

NOON = 1_777_896_000
"""2026-05-04T12:00:00Z in seconds: the time of most readings in these tests."""


def pilot(name: str = "air", devices: int = 3) -> PilotDefinition:
    streams = [StreamDefinition(quantity="pm10"), StreamDefinition(quantity="pm25", range=(0.0, 500.0))]
    return PilotDefinition(
        id=name,
        title=Text(en=name),
        question=Text(en="Is it so?"),
        devices=[DeviceDefinition(id=f"lamp-{number}", streams=streams) for number in range(1, devices + 1)],
    )


@dataclass
class Ingest:
    """Everything but the source lives in `folder`, so that a second one over the same folder goes on where it was."""

    folder: Path
    registry: Registry = field(init=False)
    store: ReadingStore = field(init=False)
    ledger: Ledger = field(init=False)
    quarantine: Quarantine = field(init=False)
    pipeline: Pipeline | None = None
    _source: Source | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.registry = Registry.open(registry_in(self.folder))
        self.registry.import_pilot(pilot(), "", "test")
        self.store = open_store(f"duckdb:///{self.folder / 'readings.duckdb'}")
        self.ledger = Ledger(self.registry.database)
        self.quarantine = Quarantine(self.registry.database)

    def start(
        self, source: Source, store: ReadingStore | None = None, limits: DeviceLimits | None = None, **settings: object
    ) -> Pipeline:
        self._source = source
        self.pipeline = Pipeline(
            source,
            self.registry,
            self.ledger,
            store or self.store,
            Metrics(CollectorRegistry()),
            PipelineSettings(longest_wait=0.2, limits=limits or DeviceLimits()),
            **settings,  # type: ignore[arg-type]
        )
        self._thread = threading.Thread(target=self.pipeline.run, daemon=True)
        self._thread.start()
        return self.pipeline

    def stop(self) -> None:
        """Stop the pipeline and leave the broker."""
        if self.pipeline is not None and self._thread is not None and self._source is not None:
            self.pipeline.stop()
            self._thread.join(20)
            assert not self._thread.is_alive(), "the pipeline did not stop"
            self._source.close()

    def close(self) -> None:
        self.stop()
        self.store.close()
        self.registry.close()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def rows(self) -> list[tuple[str, str, float, float, int]]:
        """(device, quantity, seconds since the epoch, value, quality) of everything in the store, in its order."""
        table = self.store.read(Query()).read_all()
        columns = (table[name].to_pylist() for name in ("device", "quantity", "time", "value", "quality"))
        return [(d, q, t.timestamp(), v, f) for d, q, t, v, f in zip(*columns, strict=True)]

    def entries(self) -> list[QuarantineRecord]:
        return list(reversed(self.quarantine.entries(limit=10_000).items))

    def total(self) -> Tally:
        """The sums of the ledger, over all device-days; every single one has to be balanced."""
        total = Tally()
        for device_day, tally in self.ledger.tallies().items():
            assert tally.balanced, (device_day, tally)
            total.add(tally)
        return total


def mqtt_source(port: int, client_id: str = "ingest-1", **more: object) -> Source:
    """A subscribed source, as the platform opens it: for MQTT 5 unless `protocol` says otherwise."""
    source = open_source(MqttSettings(client_id=client_id, port=port, longest_wait=0.5, **more))  # type: ignore[arg-type]
    eventually(lambda: source.connected, "the source is subscribed")
    return source


def publisher(port: int, client_id: str = "maker") -> Client:
    """A connected MQTT 3.1.1 device with a large window. paho sends again what was not acknowledged when it
    reconnects.
    """
    client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False)
    client.max_inflight_messages_set(1_000)
    client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(client.is_connected, "the device is connected")
    return client


def hang_up(client: Client) -> None:
    client.disconnect()
    client.loop_stop()


def reading(number: int, **values: float) -> bytes:
    pairs = "".join(f', "{key}": {value}' for key, value in (values or {"pm10": number + 0.5}).items())
    return f'{{"time": {NOON + number}{pairs}}}'.encode()


def eventually(condition: Callable[[], bool], what: str, timeout: float = 300.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain until {what}"
        time.sleep(0.02)
