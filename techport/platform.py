"""The wiring: from settings to the parts of a running platform, opened in order and closed in reverse.

stores()      registry, books and time-series store
source()      the broker of this process, where it runs one, and the source that reads from it
ingesting()   the pipeline, in a thread of its own
flagging()    quality flags that need the readings around one, in a thread of their own
web()         the ASGI app over the same stores, until Ctrl-C
"""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from techport.settings import Settings
from techport_ingest.admission import AccessFiles, Gate, Own
from techport_ingest.broker import LOOPBACK, BrokerError, Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.metrics import Metrics
from techport_ingest.mqtt_paho import MqttSettings, PahoSource, Tls
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.source import Source
from techport_pilots.books import Books
from techport_pilots.credentials import Credentials
from techport_pilots.flags_pass import FlagPass
from techport_pilots.registry import Registry
from techport_storage.store import ReadingStore, open_store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    registry: Registry
    books: Books
    readings: ReadingStore
    metrics: CollectorRegistry


@contextmanager
def stores(settings: Settings) -> Iterator[Stores]:
    """Open the registry (migrated), the books and the time-series store. May raise "not now" errors."""
    settings.data.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        registry = Registry.open(settings.registry_url)
        closing.callback(registry.close)
        readings = open_store(settings.store_url)
        closing.callback(readings.close)
        yield Stores(registry, Books(registry.engine), readings, CollectorRegistry())


@contextmanager
def source(settings: Settings, own_broker: Registry | None = None, retire: bool = False) -> Iterator[Source]:
    """The messages of the broker at settings.mqtt, which is started first where it is our own. Raises BrokerError.

    Our own broker lets in the devices with a credential in the registry `own_broker`, and on the loopback everybody
    else. `retire` takes only what waits in the worker's session, and removes the session at the end.
    """
    with ExitStack() as closing:
        reader: Source
        if own_broker is not None and _broker_kind(settings) == "embedded":
            reader = _embedded(settings, own_broker)
        else:
            reach = mqtt_settings(settings)
            if own_broker is not None and _broker_kind(settings) == "mosquitto":
                reach = closing.enter_context(_mosquitto(settings, reach, own_broker))
            reader = PahoSource(msgspec.structs.replace(reach, retire=retire))
        closing.callback(reader.close)
        yield reader


def _embedded(settings: Settings, registry: Registry) -> EmbeddedBroker:
    address = settings.mqtt_address
    listen = EmbeddedSettings(host=address.host, port=address.port, window=settings.inflight)
    return EmbeddedBroker(listen, Gate(Credentials(registry.engine).all, address.host in LOOPBACK))


def _broker_kind(settings: Settings) -> str:
    if settings.broker != "auto":
        return settings.broker
    return "mosquitto" if find_mosquitto() else "embedded"


@contextmanager
def _mosquitto(settings: Settings, reach: MqttSettings, registry: Registry) -> Iterator[MqttSettings]:
    """Run mosquitto; gives how this process reaches it. Raises BrokerError."""
    executable = find_mosquitto()
    if executable is None:
        raise BrokerError("mosquitto is not installed: install it, or choose --broker embedded")
    address = settings.mqtt_address
    folder = (settings.data / "mosquitto").resolve()
    anonymous = address.host in LOOPBACK
    own = Own(reach.username, reach.password or "") if reach.username is not None else None
    if own is None and not anonymous:
        own = Own("techport", secrets.token_hex(16))
    access = AccessFiles(folder, Credentials(registry.engine).all, anonymous, own)
    access.write()
    broker = Mosquitto(
        MosquittoSettings(
            folder=folder, executable=executable, host=address.host, port=address.port, extra=access.configuration
        )
    )
    broker.start()
    access.follow(broker.reload)
    try:
        yield reach if own is None else msgspec.structs.replace(reach, username=own.username, password=own.password)
    finally:
        access.stop()
        broker.stop()


def mqtt_settings(settings: Settings) -> MqttSettings:
    """How this process reaches the broker."""
    tls = None
    if settings.mqtt_ca or settings.mqtt_cert:
        files = [str(path) if path else None for path in (settings.mqtt_ca, settings.mqtt_cert, settings.mqtt_key)]
        tls = Tls(ca=files[0], certificate=files[1], key=files[2])
    return MqttSettings(
        client_id=f"techport-{settings.worker}",
        host=settings.mqtt_address.host,
        port=settings.mqtt_address.port,
        share=settings.share,
        username=settings.mqtt_username,
        password=settings.password(),
        tls=tls,
        window=settings.inflight,
    )


@contextmanager
def ingesting(settings: Settings, parts: Stores, reader: Source, failed: Callable[[], None]) -> Iterator[Pipeline]:
    """Run the pipeline in a thread until the block ends. `failed` is called if the pipeline gives up by itself."""
    pipeline = Pipeline(
        source=reader,
        registry=parts.registry,
        books=parts.books,
        store=parts.readings,
        metrics=Metrics(parts.metrics),
        settings=PipelineSettings(worker=settings.worker),
    )

    def run() -> None:
        try:
            pipeline.run()
        except BaseException:
            log.exception("the pipeline stopped; nothing that was acknowledged is lost, start again")
            failed()
            raise

    thread = threading.Thread(target=run, name="pipeline")
    thread.start()
    try:
        yield pipeline
    finally:
        pipeline.stop()
        thread.join()


@contextmanager
def flagging(settings: Settings, parts: Stores) -> Iterator[None]:
    """Flag what comes, in a thread until the block ends."""
    rounds = FlagPass(parts.registry, parts.readings, settings.worker)
    thread = threading.Thread(target=rounds.run, name="flags")
    thread.start()
    try:
        yield
    finally:
        rounds.stop()
        thread.join()


def wait_for_signal() -> Callable[[], None]:
    """A function that returns at SIGINT or SIGTERM, for a process without a web server."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return lambda: _wait(stop)


def _wait(stop: threading.Event) -> None:
    while not stop.wait(1):
        pass
