"""Serves the app with uvicorn in a way that stops: open live pages are let go first."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from techport_dashboards.services import Services


class WebServer(uvicorn.Server):
    """uvicorn waits for open answers when it stops, and a live page never ends by itself: end those first."""

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", port: int = 8000, access_log: bool = False) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                access_log=access_log,
                log_config=None,  # the process has set up logging
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        self._services: Services = app.state.services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._services.live.close()
        await super().shutdown(sockets)
