"""The wiring: from settings to the parts of a running platform, opened in order and closed in reverse.

stores()      registry, ledger and time-series store
broker()      the broker, started where it is our own: the source that reads from it, the relay that publishes to it
ingesting()   the pipeline, in a thread of its own
flagging()    quality flags that need the readings around one, in a thread of their own
erasing()     what retention says is due, in a thread of its own
web()         the ASGI app over the same stores, until Ctrl-C
"""

from __future__ import annotations

import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Gauge

from techport.archiving import open_readings
from techport.background import in_background
from techport.data_dir import close_to_others
from techport.errors import CannotRun
from techport.retained_erasure import EraseAs
from techport.settings import Address, Settings
from techport_ingest.after.answers import AnswerSenders
from techport_ingest.after.observations import PublishObservations
from techport_ingest.brokers.auth import AccessFiles, Authenticator, PlatformUser, nothing_observed
from techport_ingest.brokers.mosquitto import (
    LOOPBACK,
    BrokerError,
    DeviceCertificates,
    Mosquitto,
    MosquittoSettings,
    end_left_behind,
    find_mosquitto,
)
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_ingest.source import Source
from techport_ingest.sources.connect import open_source, spoken_protocol
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.own_relay import OwnRelay
from techport_ingest.sources.relay import Publisher, Relay, erase_retained
from techport_ingest.sources.session_watch import SessionWatch
from techport_ingest.sources.settings import MqttSettings, Tls
from techport_ingest.sources.succession import SucceedingSource
from techport_pilots.access.credentials import Credentials
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.accounting.device_budgets import DeviceLimits
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_pilots.devices.observation_topics import ObservationTopics
from techport_pilots.devices.photos import PhotoStore
from techport_pilots.errors import RegistryUnavailable, WorkerReplaced
from techport_pilots.handover.broker_messages import Belongs, ForgetRetained, RetainedRequests
from techport_pilots.handover.erasing import Files
from techport_pilots.handover.retention import RetentionPass
from techport_pilots.quality.flagging import FlagPass
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY
from techport_storage.store import ReadingStore

if TYPE_CHECKING:
    from techport_ingest.sources.nats.connection import NatsSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    registry: Registry
    ledger: Ledger
    readings: ReadingStore
    metrics: CollectorRegistry


@contextmanager
def stores(settings: Settings) -> Iterator[Stores]:
    """Open the registry (migrated), the ledger and the time-series store. May raise "not now" errors."""
    close_to_others(settings.data, settings.files())
    with ExitStack() as closing:
        registry = Registry.open(settings.registry_url, settings.registry_seconds)
        closing.callback(registry.close)
        readings = open_readings(settings, registry.database)
        closing.callback(readings.close)
        yield Stores(registry, Ledger(registry.database), readings, _metrics(settings.data))


def _metrics(folder: Path) -> CollectorRegistry:
    """The process's metrics, of which the free space for its data folder is one."""
    metrics = CollectorRegistry()
    free = Gauge("techport_disk_free_bytes", "Free space where the data folder lies", registry=metrics)
    free.set_function(lambda: float(shutil.disk_usage(folder).free))
    return metrics


class Reached(NamedTuple):
    """A broker: its messages for the pipeline, and a way to publish."""

    source: Source
    relay: Publisher
    own: bool = False  # we run it


@contextmanager
def broker(settings: Settings, parts: Stores, own: bool = False, retire: bool = False) -> Iterator[Reached]:
    """The broker at settings.mqtt, which is started first where it is our own (`own`). Raises BrokerError.

    Our own broker lets in the devices with a credential in the registry, and on the loopback everybody else. `retire`
    takes only what waits in the worker's session, and removes the session at the end.
    """
    if settings.nats is not None:
        with _nats(settings, parts, own, retire) as reached:
            yield reached
        return
    with ExitStack() as closing:
        reader: Source
        relay: Publisher
        if own and _broker_kind(settings) == "embedded":
            reader = _embedded(settings, parts.registry)
            relay = OwnRelay(reader)
        else:
            sessions = WorkerSessions(parts.registry.database)
            session = sessions.of(settings.worker)
            reach = mqtt_settings(settings, session.client_id)
            if settings.share is not None:
                group = sessions.group(settings.share)
                reach = msgspec.structs.replace(reach, share=group, former_share=settings.share)
            if own and _broker_kind(settings) == "mosquitto":
                reach = closing.enter_context(_mosquitto(settings, reach, parts.registry))
            else:
                reach = _in_its_protocol(settings, reach)
            if retire:
                reader = open_source(msgspec.structs.replace(reach, retire=True))
            else:
                watch = SessionWatch(sessions, settings.worker, settings.mqtt, parts.metrics)
                reader = open_source(reach, watch)
            if session.previous is not None:
                earlier = open_source(msgspec.structs.replace(reach, client_id=session.previous, retire=True))
                reader = SucceedingSource(reader, earlier, partial(sessions.emptied, settings.worker))
            relay = Relay(reach)
        closing.callback(reader.close)
        closing.callback(relay.close)
        yield Reached(reader, relay, own and _broker_kind(settings) != "external")


@contextmanager
def relaying(settings: Settings) -> Iterator[Publisher]:
    """A way to publish to the broker at settings.mqtt, for a process that receives nothing."""
    relay: Publisher
    if settings.nats is not None:
        relay = _nats_relay(settings)
    else:
        relay = Relay(_in_its_protocol(settings, mqtt_settings(settings)))
    try:
        yield relay
    finally:
        relay.close()


@contextmanager
def _nats(settings: Settings, parts: Stores, own: bool, retire: bool) -> Iterator[Reached]:
    """A cluster of NATS servers, which somebody else runs. Raises BrokerError."""
    if own and settings.broker != "external":
        raise BrokerError(f"the broker at {settings.mqtt} is nobody's own: add --broker external")
    if retire:
        raise BrokerError("workers at NATS servers share one consumer: nothing waits for one of them")
    reach = nats_settings(settings)
    from techport_ingest.sources.nats.source import NatsSource

    sessions = WorkerSessions(parts.registry.database)
    with ExitStack() as closing:
        # One consumer is all workers' session: its loss is noted once, by who finds it gone.
        source = NatsSource(reach, SessionWatch(sessions, settings.worker, settings.mqtt, parts.metrics))
        closing.callback(source.close)
        relay = _nats_relay(settings)
        closing.callback(relay.close)
        yield Reached(source, relay)


def _nats_relay(settings: Settings) -> Publisher:
    reach = nats_settings(settings)
    from techport_ingest.sources.nats.relay import NatsRelay

    return NatsRelay(reach)


def erase_as(settings: Settings) -> EraseAs:
    """How `techport broker-access` erases retained messages. Raises BrokerError where it cannot."""
    if settings.nats is not None:
        servers = nats_settings(settings)
        from techport_ingest.sources.nats.relay import erase_retained as erase_at_nats

        return lambda user, filters, belongs: erase_at_nats(
            msgspec.structs.replace(servers, username=user.username, password=user.password), filters, belongs
        )
    reach = mqtt_settings(settings)
    return lambda user, filters, belongs: erase_retained(
        msgspec.structs.replace(reach, username=user.username, password=user.password), filters, belongs
    )


def nats_settings(settings: Settings) -> NatsSettings:
    """How this process reaches the servers of the cluster. Raises BrokerError where it cannot."""
    try:
        from techport_ingest.sources.nats.connection import NatsSettings
    except ImportError as error:
        raise BrokerError("NATS servers need the package nats-py: pip install 'techport[nats]'") from error
    url, mqtt = settings.nats, mqtt_settings(settings)
    assert url is not None
    return NatsSettings(
        servers=tuple(map(str, url.servers)),
        username=mqtt.username,
        password=mqtt.password,
        tls=mqtt.tls,
        window=settings.inflight,
        quality_0=url.quality_0,
    )


def _in_its_protocol(settings: Settings, reach: MqttSettings) -> MqttSettings:
    """How to reach a broker that is not ours, in the protocol of the settings or else the newest that it speaks."""
    protocol = spoken_protocol(reach) if settings.mqtt_protocol == "auto" else settings.mqtt_protocol
    return msgspec.structs.replace(reach, protocol=protocol)


def _embedded(settings: Settings, registry: Registry) -> EmbeddedBroker:
    """The broker inside this process. Raises BrokerError."""
    if settings.device_ca is not None:
        raise BrokerError(
            "device_ca needs mosquitto, and this is the embedded broker: install it, or leave device_ca out"
        )
    address = settings.mqtt_address
    own = None if settings.mqtt_username is None else PlatformUser(settings.mqtt_username, settings.password() or "")
    listen = EmbeddedSettings(
        host=address.host,
        port=address.port,
        window=settings.inflight,
        certificate=settings.broker_cert,
        key=settings.broker_key,
        restarted=not Ledger(registry.database).empty,
    )
    observed = ObservationTopics(registry).of_device if publishes_observations(settings, own=True) else nothing_observed
    gate = Authenticator(Credentials(registry.database), address.host in LOOPBACK, own, observed)
    return EmbeddedBroker(listen, gate)


def end_brokers_left_behind(settings: Settings) -> None:
    """End a broker of this data folder whose platform was killed: it holds the port and what it has acknowledged.

    Only for who holds the folder's lock, so that no platform is using it.
    """
    end_left_behind(_broker_folder(settings))


def _broker_folder(settings: Settings) -> Path:
    return (settings.data / "mosquitto").resolve()


def _own(reach: MqttSettings) -> PlatformUser:
    """The platform's own user at a broker that it runs: as the settings say, or one that nobody else knows."""
    if reach.username is not None:
        return PlatformUser(reach.username, reach.password or "")
    return PlatformUser("techport", secrets.token_hex(16))


def publishes_observations(settings: Settings, own: bool) -> bool:
    """Whether new readings are published at the broker, which we run (`own`) or somebody else."""
    return settings.mqtt_observations == "on" or (own and settings.mqtt_observations == "auto")


def _device_certificates(settings: Settings) -> DeviceCertificates | None:
    """What devices may show in place of passwords. Raises BrokerError."""
    if settings.device_ca is None:
        return None
    if settings.broker_cert is None:
        raise BrokerError("device_ca needs broker_cert and broker_key: certificates are shown within TLS")
    return DeviceCertificates(
        port=settings.device_ca_port,
        authority=settings.device_ca.resolve(),
        revoked=None if settings.device_crl is None else settings.device_crl.resolve(),
    )


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
    folder = _broker_folder(settings)
    certificates = _device_certificates(settings)
    own = _own(reach)
    if certificates is not None:  # a certificate with the platform's user name would have its rights: nobody knows it
        own = PlatformUser(f"techport-{secrets.token_hex(16)}", secrets.token_hex(16))
    observed = ObservationTopics(registry).of_device if publishes_observations(settings, own=True) else nothing_observed
    access = AccessFiles(folder, Credentials(registry.database).all, address.host in LOOPBACK, lambda: [own], observed)
    access.write()
    broker = Mosquitto(
        MosquittoSettings(
            folder=folder,
            executable=executable,
            host=address.host,
            port=address.port,
            certificate=settings.broker_cert,
            key=settings.broker_key,
            extra=access.configuration,
            certificates=certificates,
        )
    )
    broker.start()
    reach = msgspec.structs.replace(reach, username=own.username, password=own.password)
    if not broker.settings.anonymous:
        reach = msgspec.structs.replace(reach, socket_path=str(broker.settings.socket), tls=None)
    access.follow(broker.reload)
    try:
        yield reach
    finally:
        access.stop()
        broker.stop()


def mqtt_settings(settings: Settings, client_id: str = "techport") -> MqttSettings:
    """How this process reaches the broker, and under which client id the broker keeps its session."""
    tls = None
    if settings.broker_cert:  # our own broker: no certificate but this one will do
        tls = Tls(server=str(settings.broker_cert))
    elif settings.mqtt_ca or settings.mqtt_cert:
        files = [str(path) if path else None for path in (settings.mqtt_ca, settings.mqtt_cert, settings.mqtt_key)]
        tls = Tls(ca=files[0], certificate=files[1], key=files[2])
    return MqttSettings(
        client_id=client_id,
        host=settings.mqtt_address.host,
        port=settings.mqtt_address.port,
        share=settings.share,
        username=settings.mqtt_username,
        password=settings.password(),
        tls=tls,
        window=settings.inflight,
    )


def device_limits(settings: Settings) -> DeviceLimits:
    """What one device may send."""
    return DeviceLimits(
        undescribed_streams=settings.device_streams,
        hourly_values=settings.device_values,
        hourly_bytes=settings.device_bytes,
        hourly_quarantine_entries=settings.device_quarantine_entries,
        hourly_quarantine_bytes=settings.device_quarantine_bytes,
    )


@contextmanager
def ingesting(settings: Settings, parts: Stores, reached: Reached, failed: Callable[[], None]) -> Iterator[Pipeline]:
    """Run the pipeline in a thread until the block ends.

    If the pipeline gives up by itself, `failed` is called, which lets the block end; then CannotRun is raised, so that
    what supervises the process sees that it failed.
    """
    pipeline = Pipeline(
        source=reached.source,
        registry=parts.registry,
        ledger=parts.ledger,
        store=parts.readings,
        metrics=Metrics(parts.metrics),
        settings=PipelineSettings(worker=settings.worker, limits=device_limits(settings)),
        publish=reached.relay.publish,
    )

    if isinstance(reached.source, EmbeddedBroker):
        pipeline.follow_with(AnswerSenders(reached.source))
    if publishes_observations(settings, reached.own):
        pipeline.follow_with(PublishObservations(ObservationTopics(parts.registry), reached.relay.tell))

    problems: list[str] = []

    def run() -> None:
        try:
            pipeline.run()
        except WorkerReplaced:
            problems.append(
                f"another process has begun as the worker {settings.worker}, so this one ends."
                " Give each ingest process a name of its own (worker, TECHPORT_WORKER)"
            )
            failed()
        except BaseException:
            log.exception("the pipeline stopped")
            problems.append("the pipeline stopped, see the log; nothing that was acknowledged is lost. Start again")
            failed()

    with in_background("pipeline", run, pipeline.stop):
        yield pipeline
    if problems:
        raise CannotRun(problems[0])


@contextmanager
def flagging(settings: Settings, parts: Stores) -> Iterator[None]:
    """Flag what comes, in a thread until the block ends."""
    rounds = FlagPass(parts.registry, parts.readings, settings.worker)
    with in_background("flags", rounds.run, rounds.stop):
        yield


def files_of_pilots(settings: Settings) -> Files:
    """The files that go when a pilot is erased, beside its packages."""
    from techport_dashboards.services.snapshots import SnapshotStore

    snapshots, photos = SnapshotStore(settings.snapshots_folder), PhotoStore(settings.photos_folder)
    return lambda pilot: [*snapshots.files_of(pilot), *photos.files_of(pilot)]


def forgetting(relay: Publisher | None, registry: Registry) -> ForgetRetained:
    """Erases retained messages at the broker: from here, and through `techport broker-access` where that one may."""
    requests = RetainedRequests(registry.database)

    def forget(filters: Sequence[str], belongs: Belongs) -> int:
        erased = 0 if relay is None else relay.forget_retained(filters, belongs)
        try:
            requests.ask(filters, belongs)
        except RegistryUnavailable as error:
            log.warning("retained messages at the broker stay", problem=str(error))
        return erased

    return forget


@contextmanager
def sharing(settings: Settings, parts: Stores) -> Iterator[None]:
    """Let other processes of this machine use the store until the block ends, where the settings say at which address.

    Raises OSError where it cannot listen there."""
    if settings.store_address is None:
        yield
        return
    from techport_storage.shared.server import StoreServer

    address = Address.parse(settings.store_address)
    server = StoreServer(parts.readings, address.host, address.port, OperatorToken.of(settings.data).matches)
    log.info("other processes may use the store", store=f"shared://{address}?token_file={settings.data / 'token'}")
    try:
        yield
    finally:
        server.shutdown()


@contextmanager
def erasing(settings: Settings, parts: Stores, relay: Publisher) -> Iterator[None]:
    """Erase what is due, in a thread until the block ends."""
    rounds = RetentionPass(
        parts.registry,
        parts.readings,
        parts.ledger,
        settings.data / "receipts",
        files_of_pilots(settings),
        forget_retained=forgetting(relay, parts.registry),
        log_lasts=settings.audit_days * DAY,
    )
    with in_background("retention", rounds.run, rounds.stop):
        yield


def wait_for_signal() -> Callable[[], None]:
    """A function that returns at SIGINT or SIGTERM, for a process without a web server."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return lambda: _wait(stop)


def _wait(stop: threading.Event) -> None:
    while not stop.wait(1):
        pass
