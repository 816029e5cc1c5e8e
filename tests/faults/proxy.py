"""A network between two processes that can be cut, slow, or deaf on one side: a TCP proxy in threads."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Literal

Mode = Literal["open", "cut", "delayed", "one way"]
DELAY = 0.3
"""Seconds that each piece waits while the network is delayed."""


class Proxy:
    """Listens on `port` of the loopback and passes on to `target`, as `mode` says."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode: Mode = "open"
        self._connections: set[socket.socket] = set()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def be(self, mode: Mode) -> None:
        """From now on. Cut: connections end at once and none is made. One way: nothing comes back."""
        self._mode = mode
        if mode == "cut":
            self._hang_up()

    def close(self) -> None:
        self._closed.set()
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._mode == "cut":
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._connections |= {near, far}
            for source, sink, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, back), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._mode == "delayed":
                    time.sleep(DELAY)
                while back and self._mode == "one way" and not self._closed.is_set():
                    time.sleep(0.02)
                sink.sendall(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.discard(source)
        source.close()
