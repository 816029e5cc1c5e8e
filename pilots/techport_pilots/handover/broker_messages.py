"""What a broker still holds of a pilot's devices when they are erased: retained messages, by topic and content.

Where the process that erases may not read and write them, as in the compose form, it leaves a request in the registry
for the one that looks after the broker's users (`techport broker-access`), and waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import msgspec
import structlog

from techport_pilots.device_names import comparable_name
from techport_pilots.handover.references import Reference, reference_of
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.database import Database
from techport_pilots.registry.leases import Leases
from techport_storage.clock import now
from techport_storage.microseconds import DAY

log = structlog.get_logger(__name__)


class Belongs(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a retained message, by its topic and payload, is one to erase."""

    own: str  # how the pilot's own topics begin
    names: list[str]  # of the devices, as they are compared
    whole: bool  # of all the pilot's devices, whatever they are called
    text: str | None  # which the message holds

    def __call__(self, topic: str, payload: bytes) -> bool:
        """Topics that are not the pilot's own may be shared with others: there a level of the topic has to name a
        device.
        """
        reference = reference_of(self.text)
        if reference is not None and not (reference.is_in(topic) or reference.is_in(payload)):
            return False
        if topic.startswith(self.own):
            return self.whole or comparable_name(topic.split("/")[2]) in self.names
        return any(comparable_name(level) in self.names for level in topic.split("/"))


ForgetRetained = Callable[[Sequence[str], Belongs], int]
"""Erases retained messages of topic filters at the broker; returns how many. Never raises: a broker may be away."""


def no_broker(_filters: Sequence[str], _belongs: Belongs) -> int:
    """Where there is no broker to ask."""
    return 0


def topic_filters(definition: PilotDefinition) -> list[str]:
    """Where messages of the pilot's devices may be."""
    return [f"pilots/{definition.id}/#", *(source.topic for source in definition.sources)]


def of_devices(definition: PilotDefinition, devices: Collection[str] | None, reference: Reference | None) -> Belongs:
    """Messages of these devices (None: of all the pilot's), which hold the reference where there is one."""
    described = [name for device in definition.devices for name in (device.id, *device.aliases)]
    named = described if devices is None else _with_aliases(definition, devices)
    return Belongs(
        own=f"pilots/{definition.id}/",
        names=sorted({comparable_name(name) for name in named}),
        whole=devices is None,
        text=None if reference is None else reference.text,
    )


def _with_aliases(definition: PilotDefinition, devices: Collection[str]) -> list[str]:
    aliases = [alias for device in definition.devices if device.id in devices for alias in device.aliases]
    return [*devices, *aliases]


# -- Requests to the process that may


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be erased at the broker."""

    filters: list[str]
    belongs: Belongs


_ASK = "INSERT INTO retained_requests (content, at) VALUES (:content, :at) RETURNING id"
_WAITING = "SELECT id, content FROM retained_requests ORDER BY id"
_IS_WAITING = "SELECT count(*) FROM retained_requests WHERE id = :id"
_DONE = "DELETE FROM retained_requests WHERE id = :id"
_TOO_OLD = "DELETE FROM retained_requests WHERE at < :before"

_LEASE = "retained-messages"
_LEASE_S = 86_400.0
"""So long a request is left for a process that was there and is not now, such as one that is being replaced."""
_LEFT_FOR = 30 * DAY
PATIENCE_S = 60.0
"""How long an erasure waits for the process that may. Later the request is still done, without it."""
_LOOK_S = 0.25


class RetainedRequests:
    """Requests of processes that erase to the one that may at the broker. Methods may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leases = Leases(database)

    def serve(self, worker: str) -> bool:
        """Say that this process does what is asked; whether it is the one that does."""
        return self._leases.acquire(_LEASE, worker, _LEASE_S)

    def stop_serving(self, worker: str) -> None:
        self._leases.release(_LEASE, worker)

    def waiting(self) -> dict[int, Request]:
        """What is asked, by its number."""
        with self._database.reading() as transaction:
            rows = transaction.execute(_WAITING).all()
        return {int(row.id): msgspec.json.decode(row.content, type=Request) for row in rows}

    def done(self, number: int) -> None:
        """Forget the request, whose text may be what was erased."""
        with self._database.writing() as transaction:
            transaction.execute(_DONE, {"id": number})
        self._database.rewrite(("retained_requests",))

    def ask(self, filters: Sequence[str], belongs: Belongs, patience_s: float = PATIENCE_S) -> bool:
        """Have messages erased, where there is a process that does; whether that is done."""
        if not self._leases.is_held(_LEASE):
            return False
        request = Request(filters=list(filters), belongs=belongs)
        with self._database.writing() as transaction:
            transaction.execute(_TOO_OLD, {"before": now() - _LEFT_FOR})
            row = {"content": msgspec.json.encode(request).decode(), "at": now()}
            number = transaction.execute(_ASK, row).scalar_one()
        given_up = time.monotonic() + patience_s
        while time.monotonic() < given_up:
            with self._database.reading() as transaction:
                if not transaction.execute(_IS_WAITING, {"id": number}).scalar_one():
                    return True
            time.sleep(_LOOK_S)
        log.warning("retained messages at the broker are still to be erased by techport broker-access")
        return False
