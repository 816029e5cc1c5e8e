"""Serves the app with uvicorn in a way that stops: live pages are let go first, and the caller goes on after it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI

from techport_dashboards.web.connections import ConnectionLimits, Connections, bounded_protocol, end_late
from techport_dashboards.web.dependencies import Services


class Certificate(NamedTuple):
    """Files in PEM form."""

    certificate: Path
    key: Path


class WebServer(uvicorn.Server):
    """uvicorn waits for open answers when it stops, and a live page never ends by itself: end those first.

    It also raises the signal that stopped it once more when it is done, which would end the process before the rest of
    the platform is closed; here SIGINT and SIGTERM only make `run` return.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str = "127.0.0.1",
        port: int = 8000,
        access_log: bool = False,
        limits: ConnectionLimits | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.connections = Connections(limits or ConnectionLimits())
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=bounded_protocol(self.connections),
                access_log=access_log,
                proxy_headers=False,  # it would believe X-Forwarded-For of everybody on this machine
                log_config=None,  # the process has set up logging
                timeout_graceful_shutdown=5,
                server_header=False,
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.key,
            )
        )
        self._services: Services = app.state.services

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once a second
            end_late(self.server_state.connections, time.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._services.live.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
