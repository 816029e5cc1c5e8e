"""up, demo, serve: the processes that stay and have pages.

Each imports the parts that it runs when it runs them: a worker does not load the web app, nor `--help` the stores.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import structlog
import typer
from rich.console import Console

from techport import logs, options
from techport.alerting import alerting
from techport.archiving import archiving
from techport.commands.link import people_sign_in, sign_in_address
from techport.data_dir import lock
from techport.errors import CannotRun
from techport.importing import importing
from techport.mail import sending_mail
from techport.settings import Address, Settings, load_settings
from techport_pilots.children import end_child, start_child
from techport_storage.clock import now_datetime

if TYPE_CHECKING:
    from techport.demo_history import DemoHistory
    from techport_dashboards.web.server import WebServer
    from techport_pilots.registry.registry import Registry

log = structlog.get_logger(__name__)


@options.needs("admin", logs=None)
def up(
    data: options.Data = None,
    http: options.Http = None,
    mqtt: options.Mqtt = None,
    pilot: options.PilotFiles = None,
    broker: options.Broker = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    insecure: options.Insecure = None,
) -> None:
    """Everything in one process: broker, ingest, store, API and pages."""
    settings = begin(data=data, http=http, mqtt=mqtt, broker=broker, store=store, registry=registry, insecure=insecure)
    with lock(settings.data, "up", settings.http, settings.mqtt, settings.http_cert):
        _run_everything(settings, pilot or [])


@options.needs("admin", logs=None)
def demo(
    data: options.Data = None,
    http: options.Http = None,
    mqtt: options.Mqtt = None,
    pilot: options.PilotFiles = None,
    broker: options.Broker = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same district")] = 1,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="write months of readings before the first start")
    ] = True,
    insecure: options.Insecure = None,
) -> None:
    """`up` with a simulated district of pilots and devices."""
    from techport.demo_history import DemoHistory
    from techport_simulators.demo import demo_in, finished_in

    settings = begin(data=data, http=http, mqtt=mqtt, broker=broker, insecure=insecure)
    if settings.broker_cert is not None and settings.mqtt_ca is None:
        raise CannotRun("the simulated devices do not know who signed broker_cert: set mqtt_ca to that authority (PEM)")
    with lock(settings.data, "demo", settings.http, settings.mqtt, settings.http_cert):
        folder, today = settings.data / "demo", now_datetime(ZoneInfo("Europe/Oslo")).date()
        definitions = demo_in(folder, today)
        past = DemoHistory(settings, definitions, finished_in(folder, today), seed) if history else None
        _run_everything(settings, pilot or [], _District(settings, definitions, seed, past))


@options.needs("admin", logs=None)
def serve(
    data: options.Data = None,
    http: options.Http = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    insecure: options.Insecure = None,
) -> None:
    """The pages and the API only, over a store that others fill."""
    settings = begin(data=data, http=http, store=store, registry=registry, insecure=insecure)
    check_exposure(settings, broker=False)
    check_port(settings.http_address, "--http")
    with importing():
        from techport import platform, web

    with (
        platform.stores(settings) as parts,
        platform.relaying(settings) as relay,
        platform.erasing(settings, parts, relay),
        archiving(settings, parts.registry.database, parts.readings),
        sending_mail(settings, parts.registry.database),
        alerting(settings, parts),
    ):
        server = web.web(settings, parts, relay=relay)
        log.info("serving", address=f"{'https' if settings.http_cert else 'http'}://{settings.http}")
        _announce_pages(settings, parts.registry)
        _run(server, settings)


def import_pilots(registry: Registry, files: list[Path]) -> None:
    """Import definition files. Raises DefinitionError, which names line, field and remedy."""
    from techport_pilots.definition.load import read_definition
    from techport_pilots.definition.neighbours import everybody

    for file in files:
        text = file.read_text(encoding="utf-8")
        registry.import_pilot(read_definition(file), text, who="command line", may_see=everybody)


def _settle(registry: Registry, definitions: list[Path]) -> None:
    """Import and start the pilots of the demo that are not there yet; what was changed since stays as it is."""
    from techport_pilots.registry import lifecycle

    imported = {pilot.id for pilot in registry.pilots()}
    new = [file for file in definitions if file.stem not in imported]  # they are called as their files
    import_pilots(registry, new)
    for file in new:
        pilot = registry.pilot(file.stem)
        lifecycle.transition(registry.database, pilot, "running", "demo")


def begin(**flags: object) -> Settings:
    settings = load_settings(flags)
    logs.configure(settings.log_format, settings.log_level)
    return settings


def _run_everything(settings: Settings, pilots: list[Path], district: _District | None = None) -> None:
    check_exposure(settings)
    check_port(settings.http_address, "--http")
    if settings.store_address is not None:
        check_port(Address.parse(settings.store_address), "store_address")
    with importing():
        from techport import platform, web

    if settings.broker != "external":
        platform.end_brokers_left_behind(settings)
        check_port(settings.mqtt_address, "--mqtt")

    with platform.stores(settings) as parts:
        import_pilots(parts.registry, pilots)
        if district is not None:
            if district.past is not None:
                district.past.write(parts)
            _settle(parts.registry, district.definitions)
        with (
            platform.broker(settings, parts, own=True) as reached,
            platform.ingesting(settings, parts, reached, failed=interrupt) as pipeline,
            platform.flagging(settings, parts),
            sending_mail(settings, parts.registry.database),
            alerting(settings, parts),
            platform.erasing(settings, parts, reached.relay),
            archiving(settings, parts.registry.database, parts.readings),
            platform.sharing(settings, parts),
            district.running() if district else _nothing(),
        ):
            server = web.web(settings, parts, web.pipeline_health(pipeline), reached.relay, own_broker=reached.own)
            _announce(settings, parts.registry)
            _run(server, settings)


class _District:
    """The simulated district: a process of its own that knows only the broker's address and the pilots' definitions."""

    def __init__(self, settings: Settings, definitions: list[Path], seed: int, past: DemoHistory | None = None) -> None:
        self.past = past
        self._command = [
            sys.executable,
            "-m",
            "techport",
            "simulate",
            "--mqtt",
            settings.mqtt,
            "--with-parent",
            "--demo-faults",
            "--seed",
            str(seed),
        ]
        self.definitions = definitions
        for file in definitions:
            self._command += ["--pilot", str(file)]

    @contextmanager
    def running(self) -> Iterator[None]:
        # In a session of its own, so that Ctrl-C reaches the platform, which then ends the devices before the broker.
        # The pipe closes with this process, however that ends: no district is left behind.
        process = start_child(self._command, stdin=subprocess.PIPE, start_new_session=True)
        try:
            yield
        finally:
            end_child(process, 5)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(settings: Settings, registry: Registry) -> None:
    console = Console(stderr=True, highlight=False)
    _announce_pages(settings, registry)
    address, tls = settings.mqtt_address, bool(settings.broker_cert)
    if settings.nats is not None:
        address, tls = settings.broker_of_devices
    console.print(f"  Devices publish to {'mqtts' if tls else 'mqtt'}://{address}")
    console.print(f"  Everything is kept in {settings.data.resolve()}", soft_wrap=True)
    console.print("  Ctrl-C stops it; starting again keeps the data.\n")


def check_exposure(settings: Settings, broker: bool = True, pages: bool = True) -> None:
    """Refuse to listen beyond this machine without TLS, unless that is what was asked for. Raises CannotRun.

    `broker` and `pages` say what this process may listen with.
    """
    for use in ("broker", "http"):
        certificate, key = getattr(settings, f"{use}_cert"), getattr(settings, f"{use}_key")
        if (certificate is None) != (key is None):
            raise CannotRun(f"{use}_cert and {use}_key belong together: set both, or neither")
        for file in (certificate, key):
            if file is not None and not file.is_file():
                raise CannotRun(f"{file} is not there. `techport certificate` makes a certificate for a trial")
    if settings.insecure:
        return
    ways = "or add --insecure where the network between is yours alone"
    if (
        broker
        and settings.broker != "external"
        and settings.broker_cert is None
        and not settings.mqtt_address.is_loopback
    ):
        raise CannotRun(
            f"--mqtt {settings.mqtt} listens beyond this machine without TLS: passwords and readings can be read and "
            "changed on the way. Set broker_cert and broker_key (`techport certificate` makes both for a trial), "
            f"{ways}"
        )
    if pages and settings.http_cert is None and not settings.trusted_proxy and not settings.http_address.is_loopback:
        raise CannotRun(
            f"--http {settings.http} listens beyond this machine without TLS: passwords can be read on the way. "
            f"Set http_cert and http_key, or trusted_proxy where a proxy does TLS, {ways}"
        )


def _run(server: WebServer, settings: Settings) -> None:
    """Serve until Ctrl-C; meanwhile see whether public_url leads here."""
    from techport.public_url import watch_start

    ended = threading.Event()
    watch_start(settings, ended)
    try:
        server.run()
    finally:
        ended.set()


def _announce_pages(settings: Settings, registry: Registry) -> None:
    """Where the pages are. Until people have accounts the address signs in: on the terminal, and in no log line."""
    console = Console(stderr=True, highlight=False)
    if people_sign_in(settings, registry):
        console.print(f"\n  techport is running. Open [bold]{settings.web_url}[/bold]", soft_wrap=True)
        return
    console.print(f"\n  techport is running. Open [bold]{sign_in_address(settings)}[/bold]", soft_wrap=True)
    console.print("  This address signs one browser in, once, within an hour; `techport operator-link` prints another.")


def check_port(address: Address, flag: str) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            raise CannotRun(
                f"cannot listen on {address}: {error.strerror}. Choose another address, for example "
                f"{flag} {address.host}:{address.port + 1}"
            ) from error
