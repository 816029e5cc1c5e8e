"""A reverse proxy as small as can be: each connection goes to the next server that takes it."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer


class RoundRobin(ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1, given by `address`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, servers: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self._servers = servers
        self._turns = itertools.count()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def connected(self) -> socket.socket:
        """A connection to the next server that is there. Raises OSError when none is."""
        turn = next(self._turns)
        for place in range(len(self._servers)):
            host, _, port = self._servers[(turn + place) % len(self._servers)].partition(":")
            with suppress(ConnectionRefusedError):
                return socket.create_connection((host, int(port)), timeout=60)
        raise OSError("no server is there")


class _Connection(BaseRequestHandler):
    server: RoundRobin

    def handle(self) -> None:
        with suppress(OSError), self.server.connected() as behind:
            behind.settimeout(None)
            answering = threading.Thread(target=_pass_on, args=(behind, self.request), daemon=True)
            answering.start()
            _pass_on(self.request, behind)
            answering.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def round_robin(servers: Sequence[str]) -> Iterator[RoundRobin]:
    with RoundRobin(servers) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
