"""techport doctor: is this machine, and what runs on it, in order, and if not, what to do."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.broker_probe import probe_broker
from techport.data_dir import Platform, Running, open_to_others, owner
from techport.public_url import problem_of
from techport.settings import Address, Settings, load_settings
from techport_ingest.brokers.mosquitto import find_mosquitto, left_behind
from techport_pilots.errors import PilotsError
from techport_storage.clock import now_datetime
from techport_storage.errors import StoreError

LEAST_FREE = 1 << 30  # bytes; below it the doctor warns
CLOCK_TOLERANCE = 5 * 60  # seconds, the same that a reading's time may be ahead
QUEUE_TO_NOTICE = 200  # messages; mosquitto's own figures are some fifty of them
RELEASED = 1_790_000_000  # a clock before this second (2026-09) has never been set


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""


@options.needs("admin", logs=None)
def doctor(
    data: options.Data = None,
    http: options.Http = None,
    mqtt: options.Mqtt = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Check ports, broker, store, clock and disk, and say what to do. Exit code 1 when something has failed."""
    settings = load_settings({"data": data, "http": http, "mqtt": mqtt, "store": store, "registry": registry})
    console = Console(highlight=False)
    marks = {"ok": "[green]ok[/green]", "warning": "[yellow]look[/yellow]", "failed": "[red]failed[/red]"}
    failed = False
    for check in examine(settings):
        failed |= check.state == "failed"
        console.print(f"{marks[check.state]:>8}  {check.name}: {check.found}", soft_wrap=True)
        if check.remedy:
            console.print(f"          {check.remedy}", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def examine(settings: Settings) -> Iterator[Check]:
    """All checks, in the order in which to fix things."""
    running = owner(settings.data) if settings.data.is_dir() else None
    yield _disk(settings.data)
    yield from _rights(settings)
    if running is not None and running.http is not None:
        yield Check("platform", "ok", f"`techport {running.command}` runs here as process {running.pid}")
        yield from _ask_running(Platform.of(settings.data, running.http, running.certificate))
        yield from _public(settings)
    else:
        yield from _stores(settings)
        yield from _ports(settings)
    yield from _retention(settings)
    yield from _broker(settings, running)


def _disk(folder: Path) -> Check:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    usage = shutil.disk_usage(existing)
    free = f"{usage.free / 2**30:.1f} GiB free of {usage.total / 2**30:.0f} under {existing}"
    if usage.free < LEAST_FREE or usage.free < usage.total * 0.02:
        return Check(
            "disk", "failed" if usage.free < LEAST_FREE / 10 else "warning", free, "free some space, or move --data"
        )
    return Check("disk", "ok", free)


def _rights(settings: Settings) -> Iterator[Check]:
    if not settings.data.is_dir():
        return
    wider = open_to_others(settings.data, settings.files())
    if not wider:
        yield Check("rights", "ok", f"nobody else may read {settings.data}")
        return
    named = ", ".join(str(path) for path in wider[:5]) + (f" and {len(wider) - 5} more" if len(wider) > 5 else "")
    remedy = f"the next start corrects it; what belongs to another user: chmod -R go= {settings.data}, as that user"
    yield Check("rights", "warning", f"other users of this machine may read or change {named}", remedy)


def _ports(settings: Settings) -> Iterator[Check]:
    for service, address, flag in (
        ("http", settings.http_address, "--http"),
        ("mqtt", settings.mqtt_address, "--mqtt"),
    ):
        if not _listens(address):
            yield Check(f"{service} port", "ok", f"{address} is free")
        elif service == "http":
            yield Check(
                f"{service} port", "warning", f"{address} is taken by another program", f"choose another with {flag}"
            )
        else:
            yield Check(f"{service} port", "ok", f"something listens at {address}; see broker")


def _listens(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=2).close()
    except OSError:
        return False
    return True


def _broker(settings: Settings, running: Running | None) -> Iterator[Check]:
    orphans = left_behind(settings.data / "mosquitto") if running is None else []
    for pid in orphans:
        yield Check(
            "broker",
            "failed",
            f"the mosquitto of a platform that was killed is still running here, as process {pid}",
            f"start techport again: it ends it in good order and takes what it holds. By hand: kill -TERM {pid}",
        )
    if orphans:
        return
    if running and running.mqtt:
        settings = settings.model_copy(update={"mqtt": running.mqtt})
    if settings.nats is not None:
        yield from _nats(settings)
        return
    address = settings.mqtt_address
    if not _listens(address):
        kind = (
            f"mosquitto ({find_mosquitto()})" if find_mosquitto() else "the embedded broker, mosquitto is not installed"
        )
        yield Check(
            "broker", "ok" if not running else "failed", f"none runs at {address}; `techport up` would start {kind}"
        )
        return
    from techport.platform import mqtt_settings

    state = probe_broker(address.host, address.port, mqtt_settings(settings).identify)
    if state.problem:
        remedy = "check mqtt_username, mqtt_password_file and mqtt_ca, and the broker's log"
        yield Check("broker", "failed", f"{address}: {state.problem}", remedy)
        return
    yield Check("broker", "ok", f"{address} accepts connections")
    if state.away and (state.held or 0) > QUEUE_TO_NOTICE:
        yield Check(
            "sessions",
            "warning",
            f"the broker holds {state.held} messages, and {state.away} session(s) have no client",
            "start the worker that is away under its own name, or take what it left: techport ingest drain NAME",
        )


def _nats(settings: Settings) -> Iterator[Check]:
    """Each server, and the consumer that workers pull from."""
    from techport import platform

    assert settings.nats is not None
    reach = platform.nats_settings(settings)
    from techport_ingest.sources.nats.probe import probe_nats

    away = [str(server) for server in settings.nats.servers if not _listens(server)]
    for server in away:
        yield Check("broker", "warning", f"no NATS server listens at {server}", "start it: the others carry on without")
    if len(away) == len(settings.nats.servers):
        yield Check("broker", "failed", f"none of the servers of {settings.mqtt} listens", "check `mqtt`")
        return
    state = probe_nats(reach)
    if state.problem:
        remedy = "check mqtt_username, mqtt_password_file and mqtt_ca, and the servers' log; see docs/nats.md"
        yield Check("broker", "failed", f"{settings.mqtt}: {state.problem}", remedy)
        return
    shown = f"{settings.mqtt}: copies of each message: {state.copies}; messages that wait for a worker: {state.waiting}"
    yield Check("broker", "ok", shown)


def _stores(settings: Settings) -> Iterator[Check]:
    """One by one, so that each is told of whatever the other does."""
    from techport_pilots.registry.registry import Registry
    from techport_storage.model import Selection
    from techport_storage.store import open_store

    settings.data.mkdir(parents=True, exist_ok=True)
    newest: list[int] = []
    try:
        with closing(open_store(settings.store_url)) as readings:
            readings.probe()
            newest = readings.latest(Selection())["received"].cast("int64").to_pylist()
        yield Check("store", "ok", f"{_shown(settings.store_url)} takes readings")
    except StoreError as error:
        yield Check("store", "failed", str(error), "fix it, or check `store`; messages wait at the broker meanwhile")
    yield from _archive(settings)
    try:
        with closing(Registry.open(settings.registry_url, settings.registry_seconds)) as registry:
            yield Check("registry", "ok", f"{_shown(settings.registry_url)}, {len(registry.pilots())} pilot(s)")
    except PilotsError as error:
        yield Check("registry", "failed", str(error), "fix it, or check `registry` and registry_password_file")
    yield _clock(max(newest, default=0) / 1e6)


def _archive(settings: Settings) -> Iterator[Check]:
    if settings.archive is None:
        return
    try:
        from techport_storage.archive.table import ArchiveTable

        snapshot = ArchiveTable.open(settings.archive).snapshot()
    except (StoreError, ValueError) as error:
        yield Check("archive", "failed", str(error), "fix it, or check `archive`; closed days stay in the store")
        return
    until = "nothing yet" if snapshot.archived is None else f"all days before {_day(snapshot.archived)}"
    yield Check("archive", "ok", f"{_shown(settings.archive)} holds {until}")


def _day(at: int) -> str:
    return f"{dt.datetime.fromtimestamp(at / 1e6, dt.UTC):%Y-%m-%d}"


def _retention(settings: Settings) -> Iterator[Check]:
    """Whether readings are there that should have been erased; nothing where the registry cannot be asked."""
    from techport_pilots.registry import erasures
    from techport_pilots.registry.registry import Registry

    try:
        with closing(Registry.open(settings.registry_url, settings.registry_seconds)) as registry:
            overdue = erasures.overdue(registry, int(now_datetime().timestamp() * 1e6))
    except PilotsError:
        return  # said by the check of the registry
    if not overdue:
        yield Check("retention", "ok", "no erasure is overdue")
        return
    dates = ", ".join(f"{due.pilot} ({dt.datetime.fromtimestamp(due.at / 1e6, dt.UTC):%Y-%m-%d})" for due in overdue)
    remedy = (
        "`techport up` and `serve` erase within the hour, `techport retention run` now; see their log if they do not"
    )
    yield Check("retention", "warning", f"erasure is overdue: {dates}", remedy)


def _clock(newest_received: float) -> Check:
    present = now_datetime()
    shown = f"{present:%Y-%m-%d %H:%M:%S} UTC"
    now = present.timestamp()
    if now < RELEASED or now < newest_received - CLOCK_TOLERANCE:
        return Check(
            "clock",
            "failed",
            f"{shown} is in the past",
            "set the clock (timedatectl set-ntp true), or readings are set aside",
        )
    return Check("clock", "ok", shown)


def _ask_running(platform: Platform) -> Iterator[Check]:
    try:
        request = urllib.request.Request(f"{platform.origin}/readyz", headers=platform.headers)
        with urllib.request.urlopen(request, timeout=10, context=platform.tls) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError as error:
        yield Check(
            "web", "failed", f"{platform.origin} does not answer: {error}", "stop the process and start it again"
        )
        return
    state = msgspec.json.decode(body)
    problems = state.get("problems") or []
    for problem in problems:
        yield Check("readiness", "failed", problem)
    if not problems:
        yield Check("readiness", "ok", f"{platform.origin} is ready")
    yield _clock(0)


def _public(settings: Settings) -> Iterator[Check]:
    if settings.public_url is None:
        return
    problem = problem_of(settings)
    if problem:
        remedy = "see Behind a proxy in docs/operations.md"
        yield Check("public_url", "failed", problem, remedy)
    else:
        yield Check("public_url", "ok", f"{settings.public_url} leads here")


def _shown(url: str) -> str:
    """The URL without a password."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    return f"{scheme}://{rest.rpartition('@')[2]}"
