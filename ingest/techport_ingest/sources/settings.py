"""How to reach a broker, and as whom."""

from __future__ import annotations

import socket
import ssl
from typing import Literal

import msgspec
from paho.mqtt.client import Client


def pinned(certificate: str) -> ssl.SSLContext:
    """Trusts the very certificate in this file, and no other, whatever its name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this one, not who signed it
    context.load_verify_locations(certificate)
    return context


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM form. Without `ca` the system's authorities are trusted."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server: str | None = None  # the very certificate that the server has to show, whatever its name: for our own broker


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the broker and as whom. `repr` shows neither the password nor the client id."""

    client_id: str  # fixed, and known to nobody else: the broker gives the session to whoever connects under it
    host: str = "127.0.0.1"
    port: int = 1883
    socket_path: str | None = None  # path of a Unix socket, instead of host and port
    topics: tuple[str, ...] = ("pilots/#",)
    share: str | None = None  # group of workers that divide the topics among them; known to nobody else, as client_id
    former_share: str | None = None  # group of an earlier version, which the session leaves
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    window: int = 10_000  # unacknowledged messages in flight, 1..65535
    session_expiry: int = 7 * 24 * 3600  # seconds that the broker keeps the session while we are away (MQTT 5)
    retire: bool = False  # take what waits in the session and nothing new; close() then removes the session
    keepalive: int = 30  # seconds
    longest_wait: float = 30.0  # seconds between two attempts to connect, at most

    def __repr__(self) -> str:
        return f"MqttSettings({self.socket_path or f'{self.host}:{self.port}'})"

    @property
    def transport(self) -> Literal["tcp", "unix"]:
        return "tcp" if self.socket_path is None else "unix"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as paho takes them: the path of a socket in place of a host."""
        return (self.host, self.port) if self.socket_path is None else (self.socket_path, self.port)

    def identify(self, client: Client) -> None:
        """Tell a client who it is: user name, password, certificates."""
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        context = self.tls_context()
        if context is not None:
            client.tls_set_context(context)
            client.tls_insecure_set(not context.check_hostname)

    def open_connection(self, timeout: float) -> socket.socket:
        """A connection to the broker, TLS made; raises OSError. `timeout` in seconds holds for what follows, too."""
        context = self.tls_context()
        if self.socket_path is not None:
            return _unix_connection(self.socket_path, timeout)
        connection = socket.create_connection((self.host, self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            return connection
        try:
            return context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise

    def tls_context(self) -> ssl.SSLContext | None:
        """What to connect with; None for a connection without TLS. Raises OSError for files that cannot be used."""
        return tls_context(self.tls)


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """What to connect with; None for a connection without TLS. Raises OSError for files that cannot be used."""
    if tls is None:
        return None
    if tls.server is not None:
        return pinned(tls.server)  # whatever its name: we connect to the address that we listen on
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _unix_connection(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
