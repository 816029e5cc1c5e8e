"""Connections of the web server: how many there may be, and how long a client may take to send its request.

A client that opens connections and sends nothing, or a byte now and then, costs the others nothing: there is a limit
for each client and for all, and a request has to arrive in time. Whoever is gone without a word is noticed by the
kernel.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may do. Times are seconds; 0 connections means any number."""

    connections: int = 1_000
    connections_of_client: int = 100
    header_seconds: float = 15.0  # for the head of a request
    body_seconds: float = 30.0  # for its body, and a second more for each `slowest` bytes that have come
    slowest: int = 2_000


GONE_AFTER_MS = 5 * 60 * 1000
"""How long what was sent to a client may stay unacknowledged."""

_REASON = b"Too many connections of this client, or of all."
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Retry-After: 5\r\nConnection: close\r\n\r\n%s" % (len(_REASON), _REASON)
)


class Connections:
    """The open connections of one server, by the address of the client."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._of_client: Counter[str] = Counter()

    def open(self, client: str) -> bool:
        """Count a connection, if there is room for it."""
        most, most_of_client = self.limits.connections, self.limits.connections_of_client
        full = bool(most) and self._of_client.total() >= most
        if full or (most_of_client and self._of_client[client] >= most_of_client):
            return False
        self._of_client[client] += 1
        return True

    def close(self, client: str) -> None:
        """Count a connection that was opened no longer."""
        self._of_client[client] -= 1
        if self._of_client[client] <= 0:
            del self._of_client[client]


def bounded_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, whose connections are counted and whose requests have to arrive in time."""

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        _counted: str | None = None
        _phase: object = None
        _since = 0.0
        _bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            client = str(peer[0]) if isinstance(peer, tuple) else ""
            if not connections.open(client):
                transport.write(_FULL)
                transport.close()
                return
            self._counted = client
            _notice_silence(transport.get_extra_info("socket"))

        def connection_lost(self, exc: Exception | None) -> None:
            if self._counted is not None:
                connections.close(self._counted)
                self._counted = None
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._counted is None:  # closing
                return
            self._bytes += len(data)
            super().data_received(data)

        def end_if_late(self, now: float) -> None:
            """Close the connection when its client has kept the server waiting for too long."""
            phase = self._waits_for()
            if phase != self._phase:
                self._phase, self._since, self._bytes = phase, now, 0
                return
            limits = connections.limits
            if phase is None:
                return
            allowed = limits.header_seconds
            if phase[0] == "body":
                allowed = limits.body_seconds + self._bytes / limits.slowest
            if now - self._since > allowed:
                self.transport.abort()

        def _waits_for(self) -> tuple[str, int] | None:
            """What the client has to send next, and in which exchange; None while it is the server's turn."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete:
                return ("head", id(cycle))
            if cycle.more_body and not self.flow.read_paused:
                return ("body", id(cycle))
            return None

    return BoundedProtocol


def end_late(protocols: Iterable[Any], now: float) -> None:
    """Close the connections whose clients keep the server waiting for too long. Call it about once a second."""
    for protocol in list(protocols):
        if (end := getattr(protocol, "end_if_late", None)) is not None:
            end(now)


def _notice_silence(connection: Any) -> None:
    """Let the kernel end the connection when its other end is gone."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_MS)
