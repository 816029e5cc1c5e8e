"""techport broker-access: a broker that somebody else runs lets in the devices of the registry, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import structlog
import typer

from techport import options
from techport.commands.run import begin
from techport.errors import CannotRun
from techport_ingest.brokers.auth import SERVICE_RIGHTS, AccessFiles, PlatformUser, nothing_observed

log = structlog.get_logger(__name__)


@options.needs("admin", logs=None)
def broker_access(
    folder: Annotated[Path, typer.Argument(help="folder in which the broker finds its users")],
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            help=f"NAME=FILE: a part of the platform ({', '.join(SERVICE_RIGHTS)}) and the file with its password; "
            "may be repeated. Without the file there is no such user",
        ),
    ] = None,
    retained: Annotated[
        bool,
        typer.Option(
            "--retained",
            help="also erase at the broker (--mqtt) what devices had it retain, when they are erased: as a user of the "
            "broker that exists for so long",
        ),
    ] = False,
    mqtt: options.Mqtt = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Write who may use the broker from the registry, and again after each change, until Ctrl-C.

    Mosquitto's files `passwords` and `access`; or, where --mqtt names NATS servers, `users.conf`, a part of their
    configuration. They are readable by this process's user alone, so run it as the broker's. Have the broker read them
    again (SIGHUP) when they change: deploy/mosquitto/run and deploy/nats/run do.
    """
    settings = begin(registry=registry, mqtt=mqtt)
    files = dict(map(_named_file, user or []))
    from techport import platform
    from techport.retained_erasure import RetainedErasure
    from techport_pilots.access.credentials import Credentials
    from techport_pilots.devices.observation_topics import ObservationTopics
    from techport_pilots.handover.broker_messages import RetainedRequests
    from techport_pilots.registry.registry import Registry

    wait = platform.wait_for_signal()
    parts = Registry.open(settings.registry_url, settings.registry_seconds)
    try:
        eraser = RetainedErasure(RetainedRequests(parts.database), settings.mqtt, platform.erase_as(settings))
        observed = ObservationTopics(parts).of_device if settings.mqtt_observations == "on" else nothing_observed
        access = AccessFiles(
            folder,
            Credentials(parts.database).all,
            anonymous=False,
            users=lambda: [*_users(files), *eraser.users()],
            observed=observed,
            broker="mosquitto" if settings.nats is None else "nats",
        )
        access.write()
        log.info("the broker's users are written", folder=str(folder), of_the_platform=sorted(files))
        access.follow(lambda: log.info("the broker's users have changed"))
        if retained:
            eraser.start()
        wait()
        if retained:
            eraser.stop()
        access.stop()
    finally:
        parts.close()


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or not file or name not in SERVICE_RIGHTS:
        raise CannotRun(f"--user {text}: write NAME=FILE, where NAME is one of {', '.join(SERVICE_RIGHTS)}")
    return name, Path(file)


def _users(files: dict[str, Path]) -> list[PlatformUser]:
    """The users whose password files exist and say something. An empty password would let everybody in."""
    passwords = {name: file.read_text().strip() for name, file in files.items() if file.exists()}
    return [PlatformUser(name, password, SERVICE_RIGHTS[name]) for name, password in passwords.items() if password]
