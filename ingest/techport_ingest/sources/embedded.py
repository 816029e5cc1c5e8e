"""The ingest endpoint: a broker inside our process that acknowledges a reading when it is stored, and not before.

    device ── PUBLISH ──► Connection ──► Inbox ──► receive() ... write ... ack()
       ▲                                                                    │
       └────────────── PUBACK ◄──────────── Server.release ◄────────────────┘

There is no queue between a device and the store: what is not acknowledged is the device's to send again, also after we
crashed. What a device sent before its connection was lost is stored all the same and comes again: a duplicate, which
the store recognises. Clients of MQTT 5 are told with the acknowledgement why a message went to quarantine
(after/answers.py).

The event loop has a thread of its own; the modules of its protocol are in the folder `endpoint`. Sessions,
subscriptions and retained messages live in memory. See docs/decisions/0004-embedded-broker-holds-the-puback.md and
docs/decisions/0033-an-ingest-endpoint-of-our-own.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
import structlog

from techport_ingest.brokers.auth import AllowAll, CredentialAuthenticator
from techport_ingest.brokers.mosquitto import MAX_PACKET_BYTES, BrokerError
from techport_ingest.message import Message
from techport_ingest.source import Answer
from techport_ingest.sources.endpoint.delivery import MOST_RETAINED_BYTES, MOST_SESSIONS
from techport_ingest.sources.endpoint.server import Server
from techport_ingest.sources.session import Inbox

log = structlog.get_logger(__name__)

__all__ = ["MOST_RETAINED_BYTES", "MOST_SESSIONS", "EmbeddedBroker", "EmbeddedSettings"]

_BACKLOG = 4_096  # connections that the system holds until they are accepted: devices come back all at once


class EmbeddedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Without a CredentialAuthenticator everybody on `host` may publish: keep it to loopback then."""

    host: str = "127.0.0.1"
    port: int = 1883
    topics: tuple[str, ...] = ("pilots/#",)  # what the pipeline gets; subscribers may use any other topic beside it
    window: int = 10_000
    max_packet_bytes: int = MAX_PACKET_BYTES
    certificate: Path | None = None  # with its key: clients connect with TLS
    key: Path | None = None
    restarted: bool = False  # an earlier run had clients, which may have kept messages meanwhile


class EmbeddedBroker:
    """A Source that is a broker. Listens once the constructor returns; raises BrokerError where it cannot."""

    def __init__(self, settings: EmbeddedSettings, gate: CredentialAuthenticator | None = None) -> None:
        self._settings = settings
        self._inbox = Inbox(settings.window)
        self._context = _tls(settings)
        self._listeners = _listen(settings)
        _allow_many_connections()
        self._loop = _new_event_loop()
        self._stop = asyncio.Event()
        self._server = Server(
            self._loop, self._inbox, gate or AllowAll(), settings.max_packet_bytes, settings.restarted
        )
        self._server.set_topics(settings.topics)
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._thread.start()

    # -- Source ----------------------------------------------------------------------------------------------------

    def receive(self, timeout: float) -> list[Message]:
        return self._inbox.take(timeout)

    def ack(self, messages: Sequence[Message]) -> None:
        self._call(self._server.release, [message.id for message in messages])

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        self._call(self._server.set_topics, tuple(topics))

    @property
    def connected(self) -> bool:
        return self._thread.is_alive()

    @property
    def port(self) -> int:
        return self._settings.port

    def close(self) -> None:
        self._call(self._stop.set)
        self._thread.join()
        self._inbox.wake()

    # -- AnswersSenders --------------------------------------------------------------------------------------------

    def can_tell(self, message_id: int) -> bool:
        return self._server.waits_for_words(message_id)

    def tell(self, message_id: int, answer: Answer) -> None:
        self._server.answers[message_id] = answer

    # -- for the platform itself, which needs no connection --------------------------------------------------------

    def publish_own(self, topic: str, payload: bytes, qos: int) -> Future[None]:
        """Publish as a client without limits would. The result is there when the message is kept."""
        kept: Future[None] = Future()
        if not self._call(self._server.publish_own, topic, payload, qos, kept):
            kept.set_exception(ConnectionError("techport is stopping"))
        return kept

    def forget_retained(self, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> Future[int]:
        """Erase the retained messages of the filters that `belongs(topic, payload)` says; how many they were."""
        erased: Future[int] = Future()
        if not self._call(self._server.forget_retained, filters, belongs, erased):
            erased.set_result(0)
        return erased

    # -- the event loop's thread -----------------------------------------------------------------------------------

    def _call(self, function: Callable[..., object], *arguments: object) -> bool:
        """Call this in the event loop; False where it has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: its clients are gone, and what they sent was not acknowledged
            log.debug("the embedded broker is closed already")
            return False
        return True

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(self._listeners, self._context, self._stop))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _tls(settings: EmbeddedSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as error:  # ssl.SSLError is one
        raise BrokerError(f"cannot use the certificate {settings.certificate}: {error}") from None
    return context


def _listen(settings: EmbeddedSettings) -> list[socket.socket]:
    """A socket for each address of the host. Raises BrokerError."""
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            listeners.append(socket.create_server(address[:2], family=family, backlog=_BACKLOG))
            listeners[-1].setblocking(False)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise BrokerError(f"cannot listen on {settings.host}:{settings.port}: {error}") from error
    return listeners


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows this process: each device has one."""
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
