"""techport ingest, and techport ingest drain: workers between a broker and a store."""

from __future__ import annotations

import time
from typing import Annotated

import structlog
import typer
from rich.console import Console

from techport import options
from techport.commands.run import begin, check_exposure, check_port, import_pilots, interrupt
from techport.data_dir import lock
from techport.errors import CannotRun
from techport.importing import importing
from techport.settings import Settings

log = structlog.get_logger(__name__)

app = typer.Typer(invoke_without_command=True)


@app.callback()
@options.needs("admin", logs=None)
def ingest(
    context: typer.Context,
    data: options.Data = None,
    http: options.Http = None,
    mqtt: options.Mqtt = None,
    pilot: options.PilotFiles = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    worker: options.Worker = None,
    share: options.Share = None,
    insecure: options.Insecure = None,
) -> None:
    """One ingest worker: from a broker that runs elsewhere into the store."""
    flags = {"data": data, "http": http, "mqtt": mqtt, "store": store, "registry": registry}
    settings = begin(**flags, worker=worker, share=share, insecure=insecure)
    if context.invoked_subcommand is not None:
        context.obj = settings
        return
    own_web = "http" in settings.model_fields_set
    check_exposure(settings, broker=False, pages=own_web)
    if own_web:
        check_port(settings.http_address, "--http")
    with importing():
        from techport import platform

    wait = platform.wait_for_signal()
    with (
        lock(settings.data, "ingest", settings.http if own_web else None, settings.mqtt),
        platform.stores(settings) as parts,
    ):
        import_pilots(parts.registry, pilot or [])
        with (
            platform.broker(settings, parts) as reached,
            platform.ingesting(settings, parts, reached, failed=interrupt) as pipeline,
            platform.flagging(settings, parts),
        ):
            log.info("ingesting", broker=settings.mqtt, worker=settings.worker)
            if own_web:
                with importing():
                    from techport import web

                web.web(settings, parts, web.pipeline_health(pipeline), reached.relay).run()
            else:
                wait()


@app.command("drain")
@options.needs("admin", logs=None)
def drain(
    context: typer.Context,
    worker: Annotated[str, typer.Argument(help="name of the worker that will not come back")],
    quiet: Annotated[float, typer.Option(min=1, help="seconds without a message after which it is empty")] = 5.0,
) -> None:
    """Take what the broker still holds for a worker that will not come back, and remove its session.

    Flags of the broker, the store and the share group stand before `drain`.
    """
    settings: Settings = context.obj.model_copy(update={"worker": worker})
    from techport import platform
    from techport_pilots.accounting.worker_sessions import WorkerSessions

    with lock(settings.data, "ingest drain", None, settings.mqtt), platform.stores(settings) as parts:
        sessions = WorkerSessions(parts.registry.database)
        if sessions.find(worker) is None:
            names = ", ".join(sessions.names()) or "none"
            raise CannotRun(f"no worker {worker} has been here. Workers that the registry knows: {names}")
        with platform.broker(settings, parts, retire=True) as reached:
            until = time.monotonic() + 30
            while not reached.source.connected:
                if time.monotonic() > until:
                    raise CannotRun(f"no connection to the broker at {settings.mqtt}; see `techport doctor`")
                time.sleep(0.1)
            with platform.ingesting(settings, parts, reached, failed=interrupt) as pipeline:
                started = pipeline.health().last_commit
                last, since = started, time.monotonic()
                while time.monotonic() - since < quiet:
                    time.sleep(0.2)
                    health = pipeline.health()
                    if health.last_commit != last or health.lag_seconds or not health.connected:
                        last, since = health.last_commit, time.monotonic()
        sessions.removed(worker)
        total = parts.metrics.get_sample_value("techport_ingest_messages_total")
    Console(highlight=False).print(f"{total:.0f} messages of {worker} taken; its session at the broker is gone")
