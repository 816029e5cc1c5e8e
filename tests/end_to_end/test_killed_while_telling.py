"""Alerts while the platform is killed: each is delivered at least once, after the same command has started it again."""

from __future__ import annotations

import email
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from techport_pilots.alerts.log import AlertLog
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.outbox import TAKEN_FOR, Outbox
from techport_pilots.registry.registry import Registry
from tests.end_to_end.platforms import Platform, wait_until
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.faults

PILOT = """
id: test-street
title: {en: Test street}
question: {en: "Is there dust here?"}
phases: [{name: during, kind: intervention, start: 2026-01-01, end: 2099-01-01}]
devices: [{id: lamp-1, interval: PT1M, streams: [{quantity: pm10}]}]
"""
PEOPLE = [f"person-{number}@example.org" for number in range(4)]


class Deliveries:
    """What mail server and webhook received: the ids of messages by recipient. At some of them the platform is killed,
    before it hears that the message was taken."""

    def __init__(self, kill_at: set[int]) -> None:
        self.ids: dict[str, list[str]] = {}
        self.kills = 0
        self.platform: Platform | None = None
        self.started = threading.Event()
        self._kill_at = kill_at
        self._lock = threading.Lock()

    def receive(self, recipient: str, message_id: str) -> None:
        self.started.wait(9)  # a test that starts a platform waits until it is ready
        with self._lock:
            self.ids.setdefault(recipient, []).append(message_id)
            if sum(len(ids) for ids in self.ids.values()) in self._kill_at and self.platform is not None:
                self.kills += 1
                self.platform.kill()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=default)
        self.receive(message["To"], message["Message-ID"])
        return "250 OK"


@contextmanager
def receivers(deliveries: Deliveries) -> Iterator[tuple[int, str]]:
    """A mail server and a receiver of webhooks: the port of the one, the address of the other."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            deliveries.receive(self.path, body["id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    mail = Controller(deliveries, hostname="127.0.0.1", port=free_port())
    mail.start()
    try:
        yield mail.port, f"http://127.0.0.1:{hook.server_port}"
    finally:
        mail.stop()
        hook.shutdown()
        hook.server_close()


def test_what_began_is_delivered_though_the_platform_is_killed_while_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = Deliveries(kill_at={1, 3, 6})
    platform = deliveries.platform = Platform(tmp_path, "up")
    with receivers(deliveries) as (mail_port, hook):
        recipients = [*PEOPLE, "/hook-1", "/hook-2"]
        registry_url = _with_a_silent_device(
            platform.data, [name if "@" in name else hook + name for name in recipients]
        )
        for name, value in {
            "SMTP": f"127.0.0.1:{mail_port}",
            "SMTP_TLS": "none",
            "MAIL_FROM": "port@example.org",
            "PRIVATE_WEBHOOKS": "1",
            "ALERT_SECONDS": "1",
        }.items():
            monkeypatch.setenv(f"TECHPORT_{name}", value)
        with platform:
            deliveries.started.set()
            for start in range(1, 20):
                wait_until(lambda: _ended(platform) or set(deliveries.ids) == set(recipients))
                if not _ended(platform):
                    break
                # What was being sent is another process's after that time.
                monkeypatch.setenv("TECHPORT_CLOCK_SHIFT", str(start * (TAKEN_FOR / 1e6 + 1)))
                deliveries.started.clear()
                platform.start()
                deliveries.started.set()
            wait_until(lambda: _waiting(registry_url) == 0)
    assert deliveries.kills == 3
    assert set(deliveries.ids) == set(recipients)
    assert {name: len(set(ids)) for name, ids in deliveries.ids.items()} == dict.fromkeys(recipients, 1), "told once"
    assert sum(len(ids) for ids in deliveries.ids.values()) <= len(recipients) + deliveries.kills


def _with_a_silent_device(data: Path, recipients: list[str]) -> str:
    """A data folder with a running pilot whose device has never sent; the address of its registry."""
    data.mkdir()
    url = f"sqlite:///{data / 'registry.sqlite'}"
    registry = Registry.open(url)
    pilot = parse_definition(PILOT)
    registry.import_pilot(pilot, PILOT, "test")
    lifecycle.transition(registry.database, pilot, "running", "test")
    for recipient in recipients:
        AlertLog(registry.database).add_recipient(pilot.id, recipient, "en", "test", weekly=False)
    registry.close()
    return url


def _ended(platform: Platform) -> bool:
    return platform.process is None or platform.process.poll() is not None


def _waiting(url: str) -> int:
    registry = Registry.open(url)
    try:
        return Outbox(registry.database).state().waiting
    finally:
        registry.close()
