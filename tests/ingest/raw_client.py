"""A device that writes its packets byte by byte, as the specifications have them: what no client library would send."""

from __future__ import annotations

import socket
from types import TracebackType

import mqtt5


def text(value: str | bytes) -> bytes:
    """A string of MQTT (section 1.5.3 of MQTT 3.1.1)."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    """A packet with its header (section 2.2)."""
    length, rest = b"", len(body)
    while True:
        length += bytes((rest & 0x7F | (0x80 if rest > 0x7F else 0),))
        rest >>= 7
        if not rest:
            return bytes((first,)) + length + body


def connect(
    client_id: str = "box",
    level: int = 4,
    flags: int = 2,
    keep_alive: int = 60,
    properties: bytes = b"",
    more: bytes = b"",
) -> bytes:
    five = packet(0, properties)[1:] if level == 5 else b""
    return packet(
        0x10, text("MQTT") + bytes((level, flags)) + keep_alive.to_bytes(2, "big") + five + text(client_id) + more
    )


def publish(
    topic: str | bytes, payload: bytes, packet_id: int = 1, qos: int = 1, level: int = 4, properties: bytes = b""
) -> bytes:
    number = packet_id.to_bytes(2, "big") if qos else b""
    five = packet(0, properties)[1:] if level == 5 else b""
    return packet(0x30 | qos << 1, text(topic) + number + five + payload)


class RawClient:
    """A connection to the port; with `level` it says CONNECT and reads CONNACK."""

    def __init__(self, port: int, level: int = 0, timeout: float = 30.0, **words: object) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._data = b""
        if level:
            self.send(connect(level=level, **words))  # type: ignore[arg-type]
            self.connack = self.read()
            assert self.connack[0] == 0x20
            assert self.connack[3] == 0, f"refused: {self.connack!r}"

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> bytes:
        """The next whole packet; b"" where the connection has ended."""
        while True:
            length, shift = 0, 0
            for at, byte in enumerate(self._data[1:5], 1):
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    end = at + 1 + length
                    if len(self._data) >= end:
                        whole, self._data = self._data[:end], self._data[end:]
                        return whole
                    break
            try:
                more = self.socket.recv(65_536)
            except ConnectionResetError:
                return b""
            if not more:
                return b""
            self._data += more

    def read5(self) -> mqtt5.Packet:
        """The next packet of MQTT 5."""
        whole = self.read()
        assert whole, "the connection has ended"
        return mqtt5.read(memoryview(whole))[0]

    def is_answered(self) -> bool:
        """Whether a ping comes back, and nothing before it: all that was sent before it has been worked through."""
        self.send(b"\xc0\x00")
        return self.read() == b"\xd0\x00"
