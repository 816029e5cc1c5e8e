"""The web app over a real registry and a real store, served by a real server on a free port."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from fastapi import FastAPI
from jinja2.bccache import Bucket, BytecodeCache
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from techport_dashboards import Health, WebSettings, create_app
from techport_dashboards.settings import HealthCheck
from techport_dashboards.web.server import WebServer
from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.proposing import propose
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.access.policy import ROLES
from techport_pilots.access.sessions import Sessions
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.model import Batch, Reading, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.registries import registry_in
from tests.servers.mosquitto import free_port


class Compiled(BytecodeCache):
    """Compiled templates, the same for the apps of all tests: a page's take a tenth of a second of processor time."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


Caller = Literal["nobody", "outsider", "viewer", "researcher", "editor", "owner", "administrator", "operator"]


class SignedIn:
    """Adds a session's cookie to requests that show no credential, as a browser does."""

    def __init__(self, app: ASGIApp, cookie: str) -> None:
        self._app = app
        self._cookie = cookie.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not {"cookie", "authorization"} & {n.decode() for n, _ in scope["headers"]}:
            scope["headers"] = [*scope["headers"], (b"cookie", self._cookie)]
        await self._app(scope, receive, send)


@dataclass
class City:
    """A registry and a store with something in them."""

    registry: Registry
    store: ReadingStore
    ledger: Ledger
    token: OperatorToken
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> City:
        registry = Registry.open(registry_in(folder))
        return cls(
            registry,
            open_store(f"duckdb:///{folder}/readings.duckdb"),
            Ledger(registry.database),
            OperatorToken.of(folder),
            folder,
        )

    def import_text(self, text: str) -> None:
        self.registry.import_pilot(parse_definition(text), text, "test")

    def write(self, *readings: Reading) -> None:
        receipt = self.store.write(Batch.of(readings))
        assert receipt.written == len(readings)

    def store_selection(self, device: str, quantity: str, pilot: str = "kai-luft") -> Selection:
        return Selection(streams=(Stream(pilot, device, quantity),))

    def cookie(self, caller: Caller, pilot: str = "kai-luft") -> str:
        """A session's cookie over http: of the operator, or of a person with an account and this role in the pilot."""
        if caller == "operator":
            return f"{self.token.cookie}={self.token.new_session()}"
        accounts = Accounts(self.registry.database)
        email = f"{caller}@example.org"
        user = accounts.by_email(email) or accounts.create(
            email, caller.title(), "test", administrator=caller == "administrator"
        )
        if caller in ROLES:
            accounts.grant(pilot, "user", user.id, caller, "test")
        session = Sessions(self.registry.database).start(user.id, "127.0.0.1", "test")
        return f"techport_session_{self.token.instance[:8]}={session}"

    def app(
        self,
        settings: WebSettings | None = None,
        health: HealthCheck = Health,
        signed_in: bool = True,
        caller: Caller = "operator",
        pilot: str = "kai-luft",
    ) -> FastAPI:
        """The web app, in which requests without a credential of their own count as the caller's (`signed_in`)."""
        settings = dataclasses.replace(settings or WebSettings(), token=self.token, propose=propose)
        app = create_app(self.registry, self.store, self.ledger, settings, health, CollectorRegistry(), explain)
        app.state.services.templates.bytecode_cache = COMPILED
        if signed_in:
            app.add_middleware(SignedIn, cookie=self.cookie(caller, pilot))
        return app

    def close(self) -> None:
        self.store.close()
        self.registry.close()


BUSY = 120
"""Seconds for a server to begin or to stop: machines may be busy."""


@contextmanager
def serving(app: FastAPI, port: int | None = None) -> Iterator[str]:
    """The address of a server that runs in a thread."""
    port = port or free_port()
    server = WebServer(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_alive(address)
        yield address
    finally:
        server.should_exit = True
        thread.join(timeout=BUSY)
        assert not thread.is_alive(), "the server did not stop"


def wait_until_alive(address: str) -> None:
    deadline = time.monotonic() + BUSY
    while True:
        try:
            httpx.get(f"{address}/healthz", timeout=BUSY).raise_for_status()
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
