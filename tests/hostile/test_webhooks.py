"""Webhooks that an editor names to have the platform reach what only it can, or to keep it from telling others."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from techport import mail, webhooks
from techport.settings import Settings
from techport.webhooks import WebhookRefused, is_public
from techport_pilots.access.accounts import AccountError
from techport_pilots.alerts.log import checked_address
from techport_pilots.registry.outbox import Mail, Outbox
from tests.dashboards.web import City


def message(recipient: str) -> Mail:
    return Mail(7, "alert", recipient, "Device offline", "a", 1, 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),  # credentials of machines in a cloud
        ("224.0.0.1", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "recipient",
    [
        "http://127.0.0.1:1883/",
        "http://127.1/",
        "http://2130706433/",
        "http://[::1]:8086/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://example.org@127.0.0.1/",
        "syslog://",
        "json://127.0.0.1:8086/write",
        "mailto://a:b@127.0.0.1",
        "mqtt://127.0.0.1/city",
        "file:///etc/passwd",
        "ntfy://127.0.0.1/topic",
        "SYSLOG://x",
    ],
)
def test_what_only_the_platform_can_reach_is_refused_for_good(settings: Settings, recipient: str) -> None:
    with pytest.raises(WebhookRefused, match="private_webhooks") as refused:
        webhooks.post(settings, message(recipient))
    assert refused.value.for_good


def test_one_private_address_among_several_is_enough(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(WebhookRefused, match="private network"):
        webhooks.post(settings, message("http://hook.example.org/"))


@pytest.mark.parametrize(
    "recipient",
    ["https://hook.example.org:99999/", "https://[x/", f"https://{'a' * 70}.org/", "http://../", "https://"],
)
def test_an_address_that_is_none_is_given_up(settings: Settings, recipient: str) -> None:
    with pytest.raises(WebhookRefused) as refused:
        webhooks.post(settings, message(recipient))
    assert refused.value.for_good


@pytest.mark.parametrize(
    "address", ["https://hook.example.org:99999/", "https://[x/", "https://", "discord://a/b, json://c"]
)
def test_an_address_that_is_none_is_not_added(address: str) -> None:
    with pytest.raises(AccountError):
        checked_address(address)


@pytest.mark.parametrize("address", ["https://hook.example.org:8443/x?y=z", "tgram://123:abc/45", "ntfy://topic"])
def test_addresses_of_services_are_added(address: str) -> None:
    assert checked_address(address) == address


class Hook(BaseHTTPRequestHandler):
    hosts: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.hosts.append(self.headers["host"])  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/private")
        self.end_headers()
        if self.path == "/endless":
            try:
                while True:
                    self.wfile.write(b"x" * 65_536)
            except OSError:
                pass

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str], list[str]]]:
    """A server that counts as public by the name hook.example.org: its address, hosts asked for, names resolved."""
    server = HTTPServer(("127.0.0.1", 0), Hook)
    hosts: list[str] = []
    names: list[str] = []
    server.hosts = hosts  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(webhooks, "is_public", lambda _: True)
    monkeypatch.setattr(webhooks, "_is_of_this_machine", lambda _: False)
    yield f"http://hook.example.org:{server.server_port}", hosts, names
    server.shutdown()
    server.server_close()


def test_the_address_that_was_checked_is_the_one_that_is_reached(
    settings: Settings, hook: tuple[str, list[str], list[str]]
) -> None:
    """A name may resolve to another address the second time it is asked."""
    address, hosts, names = hook
    webhooks.post(settings, message(f"{address}/x"))
    assert names == ["hook.example.org"]
    assert hosts == [address.removeprefix("http://")]


def test_redirects_are_not_followed_and_an_endless_answer_is_not_read(
    settings: Settings, hook: tuple[str, list[str], list[str]]
) -> None:
    address, hosts, _ = hook
    webhooks.post(settings, message(f"{address}/endless"))
    with pytest.raises(WebhookRefused, match="302"):
        webhooks.post(settings, message(f"{address}/elsewhere"))
    assert len(hosts) == 2


def test_a_message_that_breaks_delivery_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(City.at(tmp_path).registry.database)
    delivered = threading.Event()

    def deliver(_: Settings, outbox: Outbox, waiting: Mail) -> None:
        if waiting.recipient == "https://breaks.example.org":
            raise AssertionError("a fault nobody thought of")
        outbox.sent(waiting)
        delivered.set()

    monkeypatch.setattr(mail, "deliver", deliver)
    monkeypatch.setattr(mail, "LOOK_EVERY_S", 0.01)
    for name in ("breaks", "works"):
        outbox.add("alert", f"https://{name}.example.org", "subject", "body")
    with mail.sending_mail(Settings(data=tmp_path), outbox._database):
        assert delivered.wait(30)
    state = outbox.state()
    assert state.waiting == 1
    assert "log" in (state.error or "")
